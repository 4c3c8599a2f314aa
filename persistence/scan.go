package persistence

import (
	"errors"
	"fmt"

	"github.com/troupe-raft/troupe/messages"
)

// scanWindow is how much of a segment is read at a time when all of it is.
const scanWindow = 1 << 20

// scan is the walk over all frames of a segment, from the first.
type scan struct {
	w      *window
	header header
	end    int64  // after the last good frame
	chain  uint32 // its crc
	last   frame
	frames int
	// Why the walk ended before the limit; nil if it did not.
	stopped error
}

// run visits the frames up to limit (the end of the file, or the end that the successor's header gives). visit gets the
// whole frame; it is valid until it returns. The error is one of reading, or visit's.
func (s *scan) run(limit int64, visit func(f *frame, b []byte) error) error {
	s.end, s.chain = headerBytes, s.header.crc
	for s.end < limit {
		f, b, err := s.w.frame(s.end, s.header.sequence)
		if err == nil {
			err = s.check(&f, limit)
		}
		if errors.Is(err, errBadFrame) {
			s.stopped = err
			return nil
		}
		if err != nil {
			return err
		}
		s.end, s.chain, s.last = f.end(), f.crc, f
		s.frames++
		if err := visit(&f, b); errors.Is(err, errBadFrame) {
			return corrupt(s.w.path, int64(f.offset), "%v", err)
		} else if err != nil {
			return err
		}
	}
	return nil
}

// check holds a frame against the one before it.
func (s *scan) check(f *frame, limit int64) error {
	switch {
	case f.previous != s.chain:
		return badFrame("it follows a frame with checksum %08x, not %08x", f.previous, s.chain)
	case f.end() > limit:
		return badFrame("it goes on to %d, beyond the end at %d", f.end(), limit)
	case (s.frames == 0) != (f.kind == kindOpen):
		return badFrame("%v frame as number %d of its segment", f.kind, s.frames+1)
	case s.frames > 0 && (f.sequence != s.last.sequence+1 || f.durable < s.last.durable || f.hard.term < s.last.hard.term ||
		f.hard.commit < s.last.hard.commit):
		return badFrame("frame %d of term %d with durable %d after frame %d of term %d with durable %d", f.sequence, f.hard.term,
			f.durable, s.last.sequence, s.last.hard.term, s.last.durable)
	}
	return nil
}

// effect is what a frame does to the log. b is the whole frame.
func (f *frame) effect(b []byte, e *effect) error {
	e.offset, e.first, e.count, e.base = int64(f.offset), f.first, uint64(f.count), nil
	e.runs, e.configurations = e.runs[:0], e.configurations[:0]
	switch f.kind {
	case kindBatch:
		for i := range f.runs {
			first, term := f.run(b, i)
			e.runs = append(e.runs, termRun{first, term})
		}
		at := f.tableEnd()
		for i := range f.count {
			length, _ := f.entry(b, i)
			if isConfiguration(b[at : at+int64(length)]) {
				e.configurations = append(e.configurations, f.first+uint64(i))
			}
			at += int64(length)
		}
	case kindBase:
		base, err := decodeBase(b[f.tableEnd() : f.tableEnd()+int64(f.payload)])
		if err != nil {
			return err
		}
		e.base = base
	}
	return nil
}

// entries makes messages of a frame, with bytes of their own.
func (f *frame) entries(b []byte) *messages.Entries {
	e := &messages.Entries{First: f.first, Bytes: uint64(f.payload)}
	for i := range f.runs {
		first, term := f.run(b, i)
		e.Runs = append(e.Runs, &messages.TermRun{FirstIndex: first, Term: term})
	}
	at := f.tableEnd()
	body := append([]byte(nil), b[at:at+int64(f.payload)]...)
	for i := range f.count {
		length, _ := f.entry(b, i)
		e.Data = append(e.Data, body[:length:length])
		body = body[length:]
	}
	return e
}

// readIndex reads the index of a finished segment.
func readIndex(w *window, at indexPlace, of uint64) (x *segmentIndex, end int64, chain uint32, err error) {
	f, b, err := w.frame(at.offset, at.segment)
	if err != nil {
		return nil, 0, 0, err
	}
	if f.kind != kindIndex {
		return nil, 0, 0, badFrame("%v frame where an index should be", f.kind)
	}
	x, segment, end, chain, err := decodeIndex(b[f.tableEnd() : f.tableEnd()+int64(f.payload)])
	if err == nil && segment != of {
		err = badFrame("index of segment %016x where that of %016x should be", segment, of)
	}
	return x, end, chain, err
}

// fault turns a frame that cannot be read into a refusal, and leaves other errors alone.
func fault(path string, offset int64, doing string, err error) error {
	if errors.Is(err, errBadFrame) {
		return corrupt(path, offset, "%s: %v", doing, err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}
