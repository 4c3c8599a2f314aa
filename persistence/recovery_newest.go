package persistence

import (
	"errors"
	"fmt"

	"github.com/troupe-raft/troupe/messages"
)

// newestSegment is the segment whose end is recorded nowhere; recovery must find it.
//
//	◄──── proven: below the durable end of a later ────►│◄─ unproven: ─►│ invalid
//	      frame, or below the preamble end              │   valid       │
//	header │ open │ batch │ batch │ batch │ batch │ idle│ batch         │ bat…
//	                                                 end┘
//
// A proven frame is on the disk. An unproven frame may be in the page cache only, after a failed
// sync (E5). It may have been acknowledged (if the sync succeeded) or not, so recovery must keep
// it, and may report it only after it has written it again. Usually there is one unproven frame at
// most, because each frame is synced before the next one is written.
type newestSegment struct {
	// Of the proven frames.
	proven  int64 // all frames that end here or below are proven
	index   *segmentIndex
	base    base
	hard    hardState
	end     int64
	lastCRC uint32

	scanned      []scannedFrame // valid frames that are not proven so far
	free         []scannedFrame // memory for more of them
	unproven     []unprovenFrame
	lastSequence uint64 // of the last valid frame
}

// scannedFrame is a valid frame.
type scannedFrame struct {
	header frameHeader
	edit   logEdit
}

// unprovenFrame is a frame that recovery writes again to the new segment.
type unprovenFrame struct {
	header  frameHeader
	entries *messages.Entries // of a batch
	payload []byte            // of another kind
}

// scanNewest reads the whole newest segment.
func (r *recoveryState) scanNewest(s *segment, h *segmentHeader) (*newestSegment, error) {
	w, err := openFileWindow(r.options.FS, s.path, scanReadBytes)
	if err != nil {
		return nil, err
	}
	defer w.file.Close()
	t := &newestSegment{proven: int64(h.preambleEnd)}
	sc := segmentScanner{window: w, header: *h}
	if err := sc.scan(w.size, t.addFrame); err != nil {
		return nil, err
	}
	if err := r.classifyEnd(&sc, t.proven); err != nil {
		return nil, err
	}
	r.addWarning(w)
	t.lastSequence = sc.lastHeader.sequence
	for i := range t.scanned {
		if err := t.keepUnproven(w, &t.scanned[i]); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// addFrame takes the next valid frame, and applies all frames that its durable end proves.
func (t *newestSegment) addFrame(f *frameHeader, b []byte) error {
	if f.kind == kindOpen {
		opened, err := decodeBase(f.payload(b))
		if err != nil {
			return err
		}
		t.index, t.base = newSegmentIndex(f.first), *opened
	}
	var next scannedFrame
	if n := len(t.free); n > 0 {
		next, t.free = t.free[n-1], t.free[:n-1]
	}
	next.header = *f
	if err := f.decodeEdit(b, &next.edit); err != nil {
		return err
	}
	t.scanned = append(t.scanned, next)
	t.proven = max(t.proven, int64(f.durableEnd))
	done := 0
	for ; done < len(t.scanned) && t.scanned[done].header.endOffset() <= t.proven; done++ {
		if err := t.applyProven(&t.scanned[done]); err != nil {
			return err
		}
		t.free = append(t.free, t.scanned[done])
	}
	t.scanned = append(t.scanned[:0], t.scanned[done:]...)
	return nil
}

func (t *newestSegment) applyProven(s *scannedFrame) error {
	f := &s.header
	if f.first > t.index.last+1 && s.edit.base == nil {
		return invalidFrame("entries from %d after a log that ends at %d", f.first, t.index.last)
	}
	t.index.apply(&s.edit)
	if s.edit.base != nil {
		t.base = *s.edit.base
	}
	t.end, t.lastCRC, t.hard = f.endOffset(), f.crc, f.hard
	return nil
}

// keepUnproven reads a frame that must be written again.
func (t *newestSegment) keepUnproven(w *fileWindow, s *scannedFrame) error {
	if s.header.kind == kindIndex {
		return nil // the new segment holds the index
	}
	f, b, err := w.readFrame(int64(s.header.offset), s.header.segment)
	if err != nil {
		return corruptIfInvalid(w.path, int64(s.header.offset), "read it again", err)
	}
	u := unprovenFrame{header: f}
	if f.kind == kindBatch {
		u.entries = f.decodeEntries(b)
	} else {
		u.payload = append([]byte(nil), f.payload(b)...)
	}
	t.unproven = append(t.unproven, u)
	return nil
}

// appendCopy appends the frame to buf with a new header, and sets edit to what it does to the log.
func (u *unprovenFrame) appendCopy(buf []byte, f *frameHeader, edit *logEdit) ([]byte, error) {
	if u.header.kind == kindBatch {
		edit.setBatch(int64(f.offset), f.first, u.entries)
		return appendBatchFrame(buf, f, u.entries), nil
	}
	*edit = logEdit{offset: int64(f.offset), first: f.first}
	if u.header.kind == kindBase {
		var err error
		if edit.base, err = decodeBase(u.payload); err != nil {
			return nil, err
		}
	}
	return appendFrame(buf, f, u.header.kind, u.payload), nil
}

// classifyEnd decides what the bytes after the last valid frame are:
//
//	invalid bytes, or the end of the   durable data was damaged: refused
//	  file, below a durable end that
//	  was read before
//	a later frame of this segment      durable data was damaged: refused
//	  has a durable end above them
//	they are all zeros                 the end of the log
//	otherwise                          a write that did not finish: dropped, with a warning
func (r *recoveryState) classifyEnd(sc *segmentScanner, proven int64) error {
	path, why := sc.window.path, sc.stopReason
	if why == nil {
		why = errors.New("the file ends")
	}
	if sc.end < proven {
		return corruptError(path, sc.end, "%v; this part of the file was durable up to offset %d", why, proven)
	}
	if sc.stopReason == nil {
		return nil
	}
	used, claim, err := sc.window.scanBeyondEnd(sc.end, sc.header.sequence)
	if err != nil {
		return err
	}
	if claim != nil {
		return corruptError(path, sc.end, "%v; but the frame at offset %d records that the file was durable up to %d",
			sc.stopReason, claim.offset, claim.durableEnd)
	}
	if used > sc.end {
		r.warnings = append(r.warnings, fmt.Sprintf("dropped a write that did not finish: up to %d bytes in %s at offset %d (%v)",
			used-sc.end, path, sc.end, sc.stopReason))
	}
	return nil
}

// addWarning takes over the warning of a window, if there is one.
func (r *recoveryState) addWarning(w *fileWindow) {
	if w.rereadWarning != "" {
		r.warnings = append(r.warnings, w.rereadWarning)
	}
}
