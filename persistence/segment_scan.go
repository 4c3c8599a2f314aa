package persistence

import (
	"errors"
)

// scanReadBytes is the size of one read while a whole segment is read.
const scanReadBytes = 1 << 20

// segmentScanner reads the frames of a segment in order, from the first.
type segmentScanner struct {
	window     *fileWindow
	header     segmentHeader
	end        int64  // of the last valid frame
	lastCRC    uint32 // of that frame
	lastHeader frameHeader
	frameCount int
	stopReason error // why the scan ended before the limit, if it did
}

// scan calls visit for the frames up to limit, which is the end of the file or the end in the next
// segment's header. visit gets the whole frame, which is valid until visit returns. An invalid
// frame ends the scan and sets stopReason. The error is that of a read or of visit.
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

// checkOrder checks a frame against the one before it.
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
