package persistence

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/troupe-raft/troupe/persistence/vfs"
)

// tail is the newest segment: nothing says yet where it ends.
//
//	      proven by a later frame's claim │ whole, but perhaps only in memory │ torn
//	open frame frame frame frame frame    │ frame                             │ fra
//	                                   end┘
//
// Ordinarily the middle part is one frame, as each is synced before the next is written.
type newestSegment struct {
	index    *segmentIndex // of the proven part
	base     base
	hard     hardState
	end      int64
	lastCRC  uint32
	unproven []unprovenFrame // the middle part
	// Of the last good frame.
	lastSequence uint64
}

// waiting is a good frame that no claim has proven yet.
type scannedFrame struct {
	header frameHeader
	edit   logEdit
}

// scanNewest reads the newest segment whole, and tells a write that never finished from damage (E7).
func (r *recoveryState) scanNewest(s *segment, h *segmentHeader) (*newestSegment, error) {
	file, err := r.options.FS.Open(s.path)
	if err != nil {
		return nil, readError(s.path, 0, err)
	}
	defer file.Close()
	w, err := newFileWindow(file, s.path, scanReadBytes)
	if err != nil {
		return nil, err
	}
	t := &newestSegment{}
	var queue, free []scannedFrame
	proven := int64(h.preambleEnd)
	sc := segmentScanner{window: w, header: *h}
	err = sc.scan(w.size, func(f *frameHeader, b []byte) error {
		if f.kind == kindOpen {
			opened, err := decodeBase(b[f.tableEnd() : f.tableEnd()+int64(f.payloadBytes)])
			if err != nil {
				return err
			}
			t.index, t.base = newSegmentIndex(f.first), *opened
		}
		var q scannedFrame
		if n := len(free); n > 0 {
			q, free = free[n-1], free[:n-1]
		}
		q.header = *f
		if err := f.decodeEdit(b, &q.edit); err != nil {
			return err
		}
		queue = append(queue, q)
		proven = max(proven, int64(f.durableEnd))
		done := 0
		for ; done < len(queue) && queue[done].header.endOffset() <= proven; done++ {
			if err := t.applyFrame(&queue[done]); err != nil {
				return err
			}
			free = append(free, queue[done])
		}
		queue = append(queue[:0], queue[done:]...)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if err := r.classifyEnd(&sc, proven); err != nil {
		return nil, err
	}
	r.addWarning(w)
	t.lastSequence = sc.lastHeader.sequence
	for i := range queue {
		if err := t.keepUnproven(w, &queue[i]); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// tell takes up what a window has to say to people.
func (r *recoveryState) addWarning(w *fileWindow) {
	if w.rereadWarning != "" {
		r.warnings = append(r.warnings, w.rereadWarning)
	}
}

func (t *newestSegment) applyFrame(q *scannedFrame) error {
	if q.header.first > t.index.last+1 && q.edit.base == nil {
		return invalidFrame("entries from %d after a log that ends at %d", q.header.first, t.index.last)
	}
	t.index.apply(&q.edit)
	if q.edit.base != nil {
		t.base = *q.edit.base
	}
	t.end, t.lastCRC, t.hard = q.header.endOffset(), q.header.crc, q.header.hard
	return nil
}

// copy keeps a frame that has to be written anew.
func (t *newestSegment) keepUnproven(w *fileWindow, q *scannedFrame) error {
	if q.header.kind == kindIndex { // the segment was about to be finished: the new one brings its index
		return nil
	}
	f, b, err := w.readFrame(int64(q.header.offset), q.header.segment)
	if err != nil {
		return corruptIfInvalid(w.path, int64(q.header.offset), "read it again", err)
	}
	c := unprovenFrame{header: f}
	if f.kind == kindBatch {
		c.entries = f.decodeEntries(b)
	} else {
		c.payload = append([]byte(nil), b[f.tableEnd():f.tableEnd()+int64(f.payloadBytes)]...)
	}
	t.unproven = append(t.unproven, c)
	return nil
}

// judge decides what a bad frame is: damage to something durable, which is refused, or a write that never finished.
func (r *recoveryState) classifyEnd(sc *segmentScanner, proven int64) error {
	if sc.stopReason == nil {
		return nil
	}
	path := sc.window.path
	if sc.end < proven {
		return corruptError(path, sc.end, "%v; what lies there was durable up to offset %d", sc.stopReason, proven)
	}
	used, claim, err := sc.window.scanBeyondEnd(sc.end, sc.header.sequence)
	if err != nil {
		return err
	}
	if claim != nil {
		return corruptError(path, sc.end, "%v; but the frame at offset %d says that all was durable up to %d", sc.stopReason, claim.offset, claim.durableEnd)
	}
	if used > sc.end {
		r.warnings = append(r.warnings, fmt.Sprintf("dropped a write that did not finish: up to %d bytes in %s at offset %d (%v)",
			used-sc.end, path, sc.end, sc.stopReason))
	}
	return nil
}

// addNewest adds the newest segment, and checks that the whole is a log.
func (r *recoveryState) addNewest(t *newestSegment) error {
	s := r.segments[len(r.segments)-1]
	if err := r.mergeIndex(s, t.index); err != nil {
		return err
	}
	if r.last < r.base.index || t.hard.commit > r.last {
		return corruptError(s.path, t.end, "the log ends at %d, below its commit index %d or its base %d", r.last, t.hard.commit, r.base.index)
	}
	if r.contiguousFrom > r.base.index+1 {
		return corruptError(r.segments[0].path, segmentHeaderBytes, "the log begins at %d, but nothing says that what lies below was compacted: the segments before this one are missing", r.contiguousFrom)
	}
	c := publishedLog{base: r.base, spans: r.spans}
	c.trimSpans()
	r.spans = c.spans
	for len(r.runs) > 1 && r.runs[1].first <= r.base.index+1 {
		r.runs = r.runs[1:]
	}
	if r.last == r.base.index {
		r.runs = nil
	} else if r.runs[0].first <= r.base.index {
		r.runs[0].first = r.base.index + 1
	}
	if len(r.runs) > 0 && (r.runs[0].first != r.base.index+1 || r.runs[0].term < r.base.term) {
		return corruptError(s.path, segmentHeaderBytes, "the log begins at %d in term %d, but its base is %d in term %d: a segment is missing",
			r.runs[0].first, r.runs[0].term, r.base.index, r.base.term)
	}
	r.lastSequence, r.provenHard, r.unproven = t.lastSequence, t.hard, t.unproven
	r.predecessor = &predecessor{segment: s, end: t.end, lastCRC: t.lastCRC, index: t.index}
	return nil
}

// settle makes sure of the names that were found, and removes what crashes have left behind. The newest segment may have
// got its name a moment before a kill that came before the sync of the directory: a power cut must not find the segment
// that is begun now, and lack the one that it follows (E6).
func (r *recoveryState) syncAndRemoveLeftovers() error {
	if len(r.segments) > 0 {
		if err := r.options.FS.SyncDir(r.options.Dir); err != nil {
			return err
		}
	}
	for _, path := range r.leftovers {
		if err := r.options.FS.Remove(path); err != nil {
			return err
		}
	}
	return nil
}

// shrink gives back the zeros behind the end of the former segment, so that a node which is started often does not fill
// the disk with them. Nothing depends on it.
func (r *recoveryState) truncatePredecessor() {
	if r.predecessor == nil || r.predecessor.segment.size <= r.predecessor.end {
		return
	}
	s := r.predecessor.segment
	file, err := r.options.FS.OpenReadWrite(s.path)
	if err != nil {
		return
	}
	if file.Truncate(r.predecessor.end) == nil {
		s.size = r.predecessor.end
	}
	file.Close()
}

// makeDurableDir makes a directory so that it is still there after a crash: from the top down, each new one with a sync of the
// directory that holds it, before anything is made in it. (One ancestor not synced lost a whole log in a simulated crash,
// E6.) So of those that are there only the deepest may have been made a moment before a crash that came before its sync:
// a start that was cut off in the middle goes on from there.
func makeDurableDir(filesystem vfs.FS, dir string) error {
	var missing []string
	at := filepath.Clean(dir)
	for ; at != filepath.Dir(at); at = filepath.Dir(at) {
		_, err := filesystem.Stat(at)
		if err == nil {
			break
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return readError(at, 0, err)
		}
		missing = append(missing, at)
	}
	// Who made the directory, and perhaps the one that holds it, is not known. Those above may be none of our business.
	for _, found := range []string{at, filepath.Dir(at)} {
		if err := filesystem.SyncDir(filepath.Dir(found)); err != nil && !errors.Is(err, fs.ErrPermission) {
			return err
		}
	}
	for _, at := range slices.Backward(missing) {
		if err := filesystem.MkdirAll(at); err != nil {
			return err
		}
		if err := filesystem.SyncDir(filepath.Dir(at)); err != nil {
			return err
		}
	}
	return nil
}
