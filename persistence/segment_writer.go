package persistence

import (
	"fmt"

	"github.com/troupe-raft/troupe/persistence/vfs"
)

// segmentWriter appends frames to the active segment. Each frame is synced before the next one is
// written, so writeOffset and durableEnd differ only during a write.
type segmentWriter struct {
	segment     *segment
	file        vfs.File
	directIO    bool  // small frames bypass the page cache
	writeOffset int64 // of the next frame
	durableEnd  int64 // the file is durable up to this offset

	// Of the last frame.
	lastSequence  uint64
	lastCRC       uint32
	lastFrameIdle bool // no frame would be more than a repetition of it
	hard          hardState

	frameBuf []byte // memory of the last frame, reused
}

// open makes a segment the active one; its preamble of so many bytes is durable.
func (w *segmentWriter) open(s *segment, file vfs.File, preamble int64) {
	w.segment, w.file, w.writeOffset, w.durableEnd = s, file, preamble, preamble
	w.directIO, w.lastFrameIdle = false, false
	if f, ok := file.(vfs.DirectAppender); ok {
		// writeFrame only appends, and no Reader reads beyond the frames.
		w.directIO = f.AppendDirect(preamble)
	}
}

// newFrame returns the header of a frame at the end of the segment, after which the log ends at
// index last. The commit index is limited to last, because a higher one would refer to entries that
// the log does not hold.
func (w *segmentWriter) newFrame(first, last uint64, hard hardState) frameHeader {
	hard.commit = min(hard.commit, last)
	return frameHeader{segment: w.segment.sequence, offset: uint64(w.writeOffset), durableEnd: uint64(w.durableEnd),
		sequence: w.lastSequence + 1, first: first, hard: hard, previousCRC: w.lastCRC}
}

// writeFrame appends an encoded frame and syncs the file.
func (w *segmentWriter) writeFrame(f *frameHeader, b []byte) error {
	if err := writeFull(w.file, w.segment.path, b, w.writeOffset); err != nil {
		return err
	}
	if err := w.file.SyncData(); err != nil {
		return fmt.Errorf("sync %s: %w", w.segment.path, err)
	}
	w.writeOffset += int64(len(b))
	w.durableEnd = w.writeOffset
	w.lastSequence, w.lastCRC, w.hard = f.sequence, f.crc, f.hard
	w.lastFrameIdle = f.kind == kindIdle
	return nil
}
