package world

import (
	"syscall"

	"github.com/troupe-raft/troupe/internal/sim/fault"
	"github.com/troupe-raft/troupe/persistence/vfs"
)

// hurt is what is to go wrong with one read of a disk.
type ReadFault struct {
	Countdown int // so many more reads, this one included; 0: none is armed
	// only, if not nil, are the reads that count.
	Matches func(vfs.Op) bool
	// flips: it brings one bit that is not so on the disk. Else it fails.
	Flips      bool
	ByteOffset int64 // whose bit that is, in its file; 0: the seed decides
	Repeats    bool  // not one read, but every one that counts
}

// data are reads of the log's bytes, as against looks at names and sizes.
func IsLogRead(op vfs.Op) bool { return op.Kind == vfs.OpRead && IsSegment(op.Path) }

// segmentHeaderBytes is the size of the header of a segment.
const segmentHeaderBytes = 4096

// scan are reads of much of a segment at a time.
func IsSegmentScan(op vfs.Op) bool { return IsLogRead(op) && op.Length > segmentHeaderBytes }

// injectRead decides about an operation that only looks.
func (d *disk) injectRead(op vfs.Op) error {
	h := &d.ReadFault
	if h.Countdown == 0 || d.internalRead || h.Matches != nil && !h.Matches(op) || h.Flips && op.Kind != vfs.OpRead {
		return nil
	}
	if h.Countdown--; h.Countdown > 0 {
		return nil
	}
	if h.Repeats {
		h.Countdown = 1
	}
	w := d.member.world
	if h.Flips {
		w.Counts.FlippedReads++
		d.readFlipped = true
		return &vfs.FlippedRead{Bit: d.wrongBit(op)}
	}
	w.Counts.FailedReads++
	d.failed, d.failedAt = true, w.now
	// Nothing depends on giving back the zeros behind the end of a former segment, the one reason to
	// open it for writing.
	if !(op.Kind == vfs.OpOpen && op.Writable && IsSegment(op.Path)) {
		d.member.expectStop()
	}
	return syscall.EIO
}

// wrongBit draws a bit of those that a read brings, mostly of a byte that is not zero, as there is
// more nothing than anything in a segment; and often of the newest write, which nothing but its own
// sum says was ever finished.
func (d *disk) wrongBit(op vfs.Op) int64 {
	w, bytes := d.member.world, d.Peek(op.Path)
	if at := d.ReadFault.ByteOffset; at != 0 {
		return (at-op.Offset)*8 + w.Random.Int64N(8)
	}
	end := min(op.Offset+int64(op.Length), int64(len(bytes)))
	for end > op.Offset && bytes[end-1] == 0 {
		end--
	}
	if newest := min(end-op.Offset, 200); newest > 0 && w.Chance(0.5) {
		return 8*(end-newest-op.Offset) + w.Random.Int64N(8*newest)
	}
	at := w.Random.IntN(op.Length)
	for range 20 {
		if off := op.Offset + int64(at); off < int64(len(bytes)) && bytes[off] != 0 {
			break
		}
		at = w.Random.IntN(1 + at) // what there is stands in front
	}
	return int64(at)*8 + w.Random.Int64N(8)
}

// look lets the simulator itself look at the disk, without meeting what is armed.
func (d *disk) WithoutFaults(at func()) {
	d.internalRead = true
	at()
	d.internalRead = false
}

// injectReadFault arms a fault of reads. A node that runs reads little, and one that starts reads
// all it has: so half of the time it is killed, to start again.
func (w *World) injectReadFault(kind fault.Kind, m *Member) {
	m.Disk.ReadFault = ReadFault{Countdown: 1 + w.Random.IntN(30), Flips: kind == fault.FlippedRead}
	switch {
	case w.Chance(0.3):
		m.Disk.ReadFault.Matches, m.Disk.ReadFault.Countdown = IsLogRead, 1+w.Random.IntN(6)
	case w.Chance(0.5): // what is read whole when a node starts: the newest segment, whose end nothing else tells
		m.Disk.ReadFault.Matches, m.Disk.ReadFault.Countdown = IsSegmentScan, 1
	}
	if w.Chance(0.7) {
		w.killAndRestart(m)
	}
}
