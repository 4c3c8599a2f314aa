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
type tail struct {
	index  *segmentIndex // of the proven part
	base   base
	hard   hardState
	end    int64
	chain  uint32
	copies []copied // the middle part
	// Of the last good frame.
	sequence uint64
}

// waiting is a good frame that no claim has proven yet.
type waiting struct {
	frame  frame
	effect effect
}

// scanTail reads the newest segment whole, and tells a write that never finished from damage (E7).
func (r *recovered) scanTail(s *segment, h *header) (*tail, error) {
	file, err := r.o.FS.Open(s.path)
	if err != nil {
		return nil, unreadable(s.path, 0, err)
	}
	defer file.Close()
	w, err := newWindow(file, s.path, scanWindow)
	if err != nil {
		return nil, err
	}
	t := &tail{}
	var queue, free []waiting
	proven := int64(h.opened)
	sc := scan{w: w, header: *h}
	err = sc.run(w.size, func(f *frame, b []byte) error {
		if f.kind == kindOpen {
			opened, err := decodeBase(b[f.tableEnd() : f.tableEnd()+int64(f.payload)])
			if err != nil {
				return err
			}
			t.index, t.base = newSegmentIndex(f.first), *opened
		}
		var q waiting
		if n := len(free); n > 0 {
			q, free = free[n-1], free[:n-1]
		}
		q.frame = *f
		if err := f.effect(b, &q.effect); err != nil {
			return err
		}
		queue = append(queue, q)
		proven = max(proven, int64(f.durable))
		done := 0
		for ; done < len(queue) && queue[done].frame.end() <= proven; done++ {
			if err := t.apply(&queue[done]); err != nil {
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
	if err := r.judge(&sc, proven); err != nil {
		return nil, err
	}
	r.tell(w)
	t.sequence = sc.last.sequence
	for i := range queue {
		if err := t.copy(w, &queue[i]); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// tell takes up what a window has to say to people.
func (r *recovered) tell(w *window) {
	if w.misread != "" {
		r.warnings = append(r.warnings, w.misread)
	}
}

func (t *tail) apply(q *waiting) error {
	if q.frame.first > t.index.last+1 && q.effect.base == nil {
		return badFrame("entries from %d after a log that ends at %d", q.frame.first, t.index.last)
	}
	t.index.apply(&q.effect)
	if q.effect.base != nil {
		t.base = *q.effect.base
	}
	t.end, t.chain, t.hard = q.frame.end(), q.frame.crc, q.frame.hard
	return nil
}

// copy keeps a frame that has to be written anew.
func (t *tail) copy(w *window, q *waiting) error {
	if q.frame.kind == kindIndex { // the segment was about to be finished: the new one brings its index
		return nil
	}
	f, b, err := w.frame(int64(q.frame.offset), q.frame.segment)
	if err != nil {
		return fault(w.path, int64(q.frame.offset), "read it again", err)
	}
	c := copied{frame: f}
	if f.kind == kindBatch {
		c.entries = f.entries(b)
	} else {
		c.payload = append([]byte(nil), b[f.tableEnd():f.tableEnd()+int64(f.payload)]...)
	}
	t.copies = append(t.copies, c)
	return nil
}

// judge decides what a bad frame is: damage to something durable, which is refused, or a write that never finished.
func (r *recovered) judge(sc *scan, proven int64) error {
	if sc.stopped == nil {
		return nil
	}
	path := sc.w.path
	if sc.end < proven {
		return corrupt(path, sc.end, "%v; what lies there was durable up to offset %d", sc.stopped, proven)
	}
	used, claim, err := sc.w.rest(sc.end, sc.header.sequence)
	if err != nil {
		return err
	}
	if claim != nil {
		return corrupt(path, sc.end, "%v; but the frame at offset %d says that all was durable up to %d", sc.stopped, claim.offset, claim.durable)
	}
	if used > sc.end {
		r.warnings = append(r.warnings, fmt.Sprintf("dropped a write that did not finish: up to %d bytes in %s at offset %d (%v)",
			used-sc.end, path, sc.end, sc.stopped))
	}
	return nil
}

// addTail adds the newest segment, and checks that the whole is a log.
func (r *recovered) addTail(t *tail) error {
	s := r.segments[len(r.segments)-1]
	if err := r.merge(s, t.index); err != nil {
		return err
	}
	if r.last < r.base.index || t.hard.commit > r.last {
		return corrupt(s.path, t.end, "the log ends at %d, below its commit index %d or its base %d", r.last, t.hard.commit, r.base.index)
	}
	if r.floor > r.base.index+1 {
		return corrupt(r.segments[0].path, headerBytes, "the log begins at %d, but nothing says that what lies below was compacted: the segments before this one are missing", r.floor)
	}
	c := catalog{base: r.base, spans: r.spans}
	c.rebase()
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
		return corrupt(s.path, headerBytes, "the log begins at %d in term %d, but its base is %d in term %d: a segment is missing",
			r.runs[0].first, r.runs[0].term, r.base.index, r.base.term)
	}
	r.sequence, r.provenHard, r.copies = t.sequence, t.hard, t.copies
	r.predecessor = &predecessor{segment: s, end: t.end, chain: t.chain, index: t.index}
	return nil
}

// settle makes sure of the names that were found, and removes what crashes have left behind. The newest segment may have
// got its name a moment before a kill that came before the sync of the directory: a power cut must not find the segment
// that is begun now, and lack the one that it follows (E6).
func (r *recovered) settle() error {
	if len(r.segments) > 0 {
		if err := r.o.FS.SyncDir(r.o.Dir); err != nil {
			return err
		}
	}
	for _, path := range r.leftover {
		if err := r.o.FS.Remove(path); err != nil {
			return err
		}
	}
	return nil
}

// shrink gives back the zeros behind the end of the former segment, so that a node which is started often does not fill
// the disk with them. Nothing depends on it.
func (r *recovered) shrink() {
	if r.predecessor == nil || r.predecessor.segment.size <= r.predecessor.end {
		return
	}
	s := r.predecessor.segment
	file, err := r.o.FS.OpenReadWrite(s.path)
	if err != nil {
		return
	}
	if file.Truncate(r.predecessor.end) == nil {
		s.size = r.predecessor.end
	}
	file.Close()
}

// makeDir makes a directory so that it is still there after a crash: from the top down, each new one with a sync of the
// directory that holds it, before anything is made in it. (One ancestor not synced lost a whole log in a simulated crash,
// E6.) So of those that are there only the deepest may have been made a moment before a crash that came before its sync:
// a start that was cut off in the middle goes on from there.
func makeDir(filesystem vfs.FS, dir string) error {
	var missing []string
	at := filepath.Clean(dir)
	for ; at != filepath.Dir(at); at = filepath.Dir(at) {
		_, err := filesystem.Stat(at)
		if err == nil {
			break
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return unreadable(at, 0, err)
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
