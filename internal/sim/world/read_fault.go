package world

import (
	"syscall"

	"github.com/troupe-raft/troupe/internal/sim/fault"
	"github.com/troupe-raft/troupe/persistence/vfs"
)

// ReadFault is a planned fault of one read.
type ReadFault struct {
	Countdown int // the number of the read that fails, counted from now; 0: none
	// Matches, if not nil, selects the reads that count.
	Matches func(vfs.Op) bool
	// Flips: the read returns one wrong bit. Else it fails.
	Flips      bool
	ByteOffset int64 // of the wrong bit, in its file; 0: the seed decides
	Repeats    bool  // every matching read fails, and not only one
}

// IsLogRead matches reads of the log's bytes, as against lookups of names and sizes.
func IsLogRead(op vfs.Op) bool { return op.Kind == vfs.OpRead && IsSegment(op.Path) }

// segmentHeaderBytes is the size of the header of a segment.
const segmentHeaderBytes = 4096

// IsSegmentScan matches reads of large parts of a segment.
func IsSegmentScan(op vfs.Op) bool { return IsLogRead(op) && op.Length > segmentHeaderBytes }

// injectRead decides about an operation that only reads.
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
	// A former segment is opened for writing only to free the zeros behind its end, which may fail.
	if !(op.Kind == vfs.OpOpen && op.Writable && IsSegment(op.Path)) {
		d.member.expectStop()
	}
	return syscall.EIO
}

// wrongBit draws a bit of those that a read returns. Mostly it is a bit of a byte that is not zero,
// since most of a segment is zeros; often it is one of the newest write, which only its own
// checksum confirms.
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
		at = w.Random.IntN(1 + at) // the data is in front
	}
	return int64(at)*8 + w.Random.Int64N(8)
}

// WithoutFaults calls a function of the simulator that reads the disk; planned faults do not hit
// it.
func (d *disk) WithoutFaults(at func()) {
	d.internalRead = true
	at()
	d.internalRead = false
}

// injectReadFault plans a fault of a read. A running node reads little, and a starting one reads
// everything: so the node is killed in most cases, and starts again.
func (w *World) injectReadFault(kind fault.Kind, m *Member) {
	m.Disk.ReadFault = ReadFault{Countdown: 1 + w.Random.IntN(30), Flips: kind == fault.FlippedRead}
	switch {
	case w.Chance(0.3):
		m.Disk.ReadFault.Matches, m.Disk.ReadFault.Countdown = IsLogRead, 1+w.Random.IntN(6)
	case w.Chance(0.5):
		// The newest segment is read whole when a node starts, and only its own checksums confirm its
		// end.
		m.Disk.ReadFault.Matches, m.Disk.ReadFault.Countdown = IsSegmentScan, 1
	}
	if w.Chance(0.7) {
		w.killAndRestart(m)
	}
}
