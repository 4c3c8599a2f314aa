package sim

import (
	"syscall"

	"github.com/troupe-raft/troupe/internal/sim/fault"
	"github.com/troupe-raft/troupe/persistence/vfs"
)

// hurt is what is to go wrong with one read of a disk.
type readFault struct {
	countdown int // so many more reads, this one included; 0: none is armed
	// only, if not nil, are the reads that count.
	matches func(vfs.Op) bool
	// flips: it brings one bit that is not so on the disk. Else it fails.
	flips      bool
	byteOffset int64 // whose bit that is, in its file; 0: the seed decides
	repeats    bool  // not one read, but every one that counts
}

// data are reads of the log's bytes, as against looks at names and sizes.
func isLogRead(op vfs.Op) bool { return op.Kind == vfs.OpRead && isSegment(op.Path) }

// segmentHeaderBytes is the size of the header of a segment.
const segmentHeaderBytes = 4096

// scan are reads of much of a segment at a time.
func isSegmentScan(op vfs.Op) bool { return isLogRead(op) && op.Length > segmentHeaderBytes }

// injectRead decides about an operation that only looks.
func (d *disk) injectRead(op vfs.Op) error {
	h := &d.readFault
	if h.countdown == 0 || d.internalRead || h.matches != nil && !h.matches(op) || h.flips && op.Kind != vfs.OpRead {
		return nil
	}
	if h.countdown--; h.countdown > 0 {
		return nil
	}
	if h.repeats {
		h.countdown = 1
	}
	w := d.member.world
	if h.flips {
		w.counts.FlippedReads++
		d.readFlipped = true
		return &vfs.FlippedRead{Bit: d.wrongBit(op)}
	}
	w.counts.FailedReads++
	d.failed, d.failedAt = true, w.now
	// Nothing depends on giving back the zeros behind the end of a former segment, the one reason to open it for writing.
	if !(op.Kind == vfs.OpOpen && op.Writable && isSegment(op.Path)) {
		d.member.expectStop()
	}
	return syscall.EIO
}

// wrongBit draws a bit of those that a read brings, mostly of a byte that is not zero, as there is more nothing than anything
// in a segment; and often of the newest write, which nothing but its own sum says was ever finished.
func (d *disk) wrongBit(op vfs.Op) int64 {
	w, bytes := d.member.world, d.Peek(op.Path)
	if at := d.readFault.byteOffset; at != 0 {
		return (at-op.Offset)*8 + w.random.Int64N(8)
	}
	end := min(op.Offset+int64(op.Length), int64(len(bytes)))
	for end > op.Offset && bytes[end-1] == 0 {
		end--
	}
	if newest := min(end-op.Offset, 200); newest > 0 && w.chance(0.5) {
		return 8*(end-newest-op.Offset) + w.random.Int64N(8*newest)
	}
	at := w.random.IntN(op.Length)
	for range 20 {
		if off := op.Offset + int64(at); off < int64(len(bytes)) && bytes[off] != 0 {
			break
		}
		at = w.random.IntN(1 + at) // what there is stands in front
	}
	return int64(at)*8 + w.random.Int64N(8)
}

// look lets the simulator itself look at the disk, without meeting what is armed.
func (d *disk) withoutFaults(at func()) {
	d.internalRead = true
	at()
	d.internalRead = false
}

// injectReadFault arms a fault of reads. A node that runs reads little, and one that starts reads all it has: so half of the time
// it is killed, to start again.
func (w *World) injectReadFault(kind fault.Kind, m *member) {
	m.disk.readFault = readFault{countdown: 1 + w.random.IntN(30), flips: kind == fault.FlippedRead}
	switch {
	case w.chance(0.3):
		m.disk.readFault.matches, m.disk.readFault.countdown = isLogRead, 1+w.random.IntN(6)
	case w.chance(0.5): // what is read whole when a node starts: the newest segment, whose end nothing else tells
		m.disk.readFault.matches, m.disk.readFault.countdown = isSegmentScan, 1
	}
	if w.chance(0.7) {
		w.killAndRestart(m)
	}
}
