package persistence

import (
	"errors"
	"fmt"

	"github.com/troupe-raft/troupe/persistence/vfs"
)

// addFinished applies segment i, which has a successor, by its index. An index is redundant: if it
// is damaged, it is rebuilt from the segment's frames.
func (r *recoveryState) addFinished(i int) error {
	s, next := r.segments[i], &r.headers[i+1]
	s.indexAt = indexLocation{s.path, s.sequence, int64(next.previousIndexOffset)}
	if next.flags&flagHoldsPreviousIndex != 0 {
		s.indexAt = indexLocation{r.segments[i+1].path, next.sequence, int64(next.previousIndexOffset)}
	}
	x, err := loadIndex(r.options.FS, s, next)
	if errors.Is(err, errInvalidFrame) {
		if x, err = rebuildIndex(r.options.FS, s, &r.headers[i], next); err == nil {
			r.warnings = append(r.warnings, fmt.Sprintf("the index of segment %s, in %s at offset %d, is damaged: the segment was read instead; "+
				"nothing is lost, but check the disk", s.path, s.indexAt.path, s.indexAt.offset))
			s.rebuiltIndex = x
		}
	}
	if err != nil {
		return err
	}
	return r.mergeIndex(s, x)
}

// loadIndex reads the index of a segment and compares it with the header of the segment after it.
func loadIndex(fs vfs.FS, s *segment, next *segmentHeader) (*segmentIndex, error) {
	w, err := openFileWindow(fs, s.indexAt.path, 64<<10)
	if err != nil {
		return nil, err
	}
	defer w.file.Close()
	x, end, lastCRC, err := readIndex(w, s.indexAt, s.sequence)
	if err == nil && (end != int64(next.previousEnd) || lastCRC != next.previousCRC) {
		err = invalidFrame("index up to %d with checksum %08x, but the next segment has %d and %08x",
			end, lastCRC, next.previousEnd, next.previousCRC)
	}
	return x, err
}

// readIndex reads the index of the finished segment with this sequence.
func readIndex(w *fileWindow, at indexLocation, sequence uint64) (x *segmentIndex, end int64, lastCRC uint32, err error) {
	f, b, err := w.readFrame(at.offset, at.segment)
	if err != nil {
		return nil, 0, 0, err
	}
	if f.kind != kindIndex {
		return nil, 0, 0, invalidFrame("%v frame where an index should be", f.kind)
	}
	x, segment, end, lastCRC, err := decodeIndex(f.payload(b))
	if err == nil && segment != sequence {
		err = invalidFrame("index of segment %016x where that of %016x should be", segment, sequence)
	}
	return x, end, lastCRC, err
}

// rebuildIndex computes the index of a finished segment from its frames.
func rebuildIndex(fs vfs.FS, s *segment, h, next *segmentHeader) (*segmentIndex, error) {
	w, err := openFileWindow(fs, s.path, scanReadBytes)
	if err != nil {
		return nil, err
	}
	defer w.file.Close()
	var x *segmentIndex
	var e logEdit
	end, lastCRC := int64(next.previousEnd), next.previousCRC
	sc := segmentScanner{window: w, header: *h}
	err = sc.scan(end, func(f *frameHeader, b []byte) error {
		if x == nil {
			x = newSegmentIndex(f.first)
		}
		if err := f.decodeEdit(b, &e); err != nil {
			return err
		}
		if f.first > x.last+1 && e.base == nil {
			return invalidFrame("entries from %d after a log that ends at %d", f.first, x.last)
		}
		x.apply(&e)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if sc.stopReason != nil {
		return nil, corruptError(s.path, sc.end, "%v", sc.stopReason)
	}
	if sc.end != end || sc.lastCRC != lastCRC || x == nil {
		return nil, corruptError(s.path, end, "the segment ends with checksum %08x, the next segment has %08x", sc.lastCRC, lastCRC)
	}
	return x, nil
}
