package persistence

import (
	"errors"
	"fmt"

	"github.com/troupe-raft/troupe/messages"
)

// scanReadBytes is how much of a segment is read at a time when all of it is.
const scanReadBytes = 1 << 20

// scan is the walk over all frames of a segment, from the first.
type segmentScanner struct {
	window     *fileWindow
	header     segmentHeader
	end        int64  // after the last good frame
	lastCRC    uint32 // its crc
	lastHeader frameHeader
	frameCount int
	// Why the walk ended before the limit; nil if it did not.
	stopReason error
}

// run visits the frames up to limit (the end of the file, or the end that the successor's header gives). visit gets the
// whole frame; it is valid until it returns. The error is one of reading, or visit's.
func (s *segmentScanner) scan(limit int64, visit func(f *frameHeader, b []byte) error) error {
	s.end, s.lastCRC = segmentHeaderBytes, s.header.crc
	for s.end < limit {
		f, b, err := s.window.readFrame(s.end, s.header.sequence)
		if err == nil {
			err = s.checkOrder(&f, limit)
		}
		if errors.Is(err, errInvalidFrame) {
			s.stopReason = err
			return nil
		}
		if err != nil {
			return err
		}
		s.end, s.lastCRC, s.lastHeader = f.endOffset(), f.crc, f
		s.frameCount++
		if err := visit(&f, b); errors.Is(err, errInvalidFrame) {
			return corruptError(s.window.path, int64(f.offset), "%v", err)
		} else if err != nil {
			return err
		}
	}
	return nil
}

// check holds a frame against the one before it.
func (s *segmentScanner) checkOrder(f *frameHeader, limit int64) error {
	switch {
	case f.previousCRC != s.lastCRC:
		return invalidFrame("it follows a frame with checksum %08x, not %08x", f.previousCRC, s.lastCRC)
	case f.endOffset() > limit:
		return invalidFrame("it goes on to %d, beyond the end at %d", f.endOffset(), limit)
	case (s.frameCount == 0) != (f.kind == kindOpen):
		return invalidFrame("%v frame as number %d of its segment", f.kind, s.frameCount+1)
	case s.frameCount > 0 && (f.sequence != s.lastHeader.sequence+1 || f.durableEnd < s.lastHeader.durableEnd || f.hard.term < s.lastHeader.hard.term ||
		f.hard.commit < s.lastHeader.hard.commit):
		return invalidFrame("frame %d of term %d with durable %d after frame %d of term %d with durable %d", f.sequence, f.hard.term,
			f.durableEnd, s.lastHeader.sequence, s.lastHeader.hard.term, s.lastHeader.durableEnd)
	}
	return nil
}

// effect is what a frame does to the log. b is the whole frame.
func (f *frameHeader) decodeEdit(b []byte, e *logEdit) error {
	e.offset, e.first, e.count, e.base = int64(f.offset), f.first, uint64(f.entryCount), nil
	e.runs, e.configurations = e.runs[:0], e.configurations[:0]
	switch f.kind {
	case kindBatch:
		for i := range f.runCount {
			first, term := f.termRunAt(b, i)
			e.runs = append(e.runs, termRun{first, term})
		}
		at := f.tableEnd()
		for i := range f.entryCount {
			length, _ := f.entryAt(b, i)
			if isConfiguration(b[at : at+int64(length)]) {
				e.configurations = append(e.configurations, f.first+uint64(i))
			}
			at += int64(length)
		}
	case kindBase:
		base, err := decodeBase(b[f.tableEnd() : f.tableEnd()+int64(f.payloadBytes)])
		if err != nil {
			return err
		}
		e.base = base
	}
	return nil
}

// entries makes messages of a frame, with bytes of their own.
func (f *frameHeader) decodeEntries(b []byte) *messages.Entries {
	e := &messages.Entries{First: f.first, Bytes: uint64(f.payloadBytes)}
	for i := range f.runCount {
		first, term := f.termRunAt(b, i)
		e.Runs = append(e.Runs, &messages.TermRun{FirstIndex: first, Term: term})
	}
	at := f.tableEnd()
	body := append([]byte(nil), b[at:at+int64(f.payloadBytes)]...)
	for i := range f.entryCount {
		length, _ := f.entryAt(b, i)
		e.Data = append(e.Data, body[:length:length])
		body = body[length:]
	}
	return e
}

// readIndex reads the index of a finished segment.
func readIndex(w *fileWindow, at indexLocation, of uint64) (x *segmentIndex, end int64, chain uint32, err error) {
	f, b, err := w.readFrame(at.offset, at.segment)
	if err != nil {
		return nil, 0, 0, err
	}
	if f.kind != kindIndex {
		return nil, 0, 0, invalidFrame("%v frame where an index should be", f.kind)
	}
	x, segment, end, chain, err := decodeIndex(b[f.tableEnd() : f.tableEnd()+int64(f.payloadBytes)])
	if err == nil && segment != of {
		err = invalidFrame("index of segment %016x where that of %016x should be", segment, of)
	}
	return x, end, chain, err
}

// fault turns a frame that cannot be read into a refusal, and leaves other errors alone.
func corruptIfInvalid(path string, offset int64, doing string, err error) error {
	if errors.Is(err, errInvalidFrame) {
		return corruptError(path, offset, "%s: %v", doing, err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}
