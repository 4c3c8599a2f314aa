package checker

import (
	"encoding/binary"

	"github.com/troupe-raft/troupe/internal/sim/hash"
)

// frame is what a frame of a segment does to the log: the log ends before first, then come the
// entries.
type frame struct {
	kind       byte
	first      uint64
	term, vote uint64
	terms      []uint64
	sums       []uint32
}

// The numbers are those of docs/storage-format.md, and on purpose not those of the production code.
const (
	frameHeaderBytes   = 96
	segmentHeaderBytes = 4096

	frameEntries  = 1
	frameIdle     = 3
	framePreamble = 4
)

// readFrames decodes the frames at an offset of a segment, up to the first bytes that are no frame.
func readFrames(b []byte, offset uint64) (all []frame) {
	le := binary.LittleEndian
	for len(b) >= frameHeaderBytes {
		length, count, runs := le.Uint32(b[4:]), le.Uint32(b[72:]), le.Uint32(b[76:])
		table := frameHeaderBytes + 16*uint64(runs) + 8*uint64(count)
		if uint64(length) > uint64(len(b)) || table > uint64(length) || le.Uint32(b) != hash.Checksum(b[4:table]) || le.Uint64(b[16:]) != offset {
			return all
		}
		f := frame{kind: b[92], first: le.Uint64(b[40:]), term: le.Uint64(b[48:]), vote: le.Uint64(b[56:])}
		at, run, body := frameHeaderBytes+16*uint64(runs), -1, b[table:length]
		for i := range uint64(count) {
			for run+1 < int(runs) && le.Uint64(b[frameHeaderBytes+16*(run+1):]) <= f.first+i {
				run++
			}
			size, sum := le.Uint32(b[at+8*i:]), le.Uint32(b[at+8*i+4:])
			if run < 0 || uint64(size) > uint64(len(body)) || hash.Checksum(body[:size]) != sum {
				return all
			}
			f.terms, f.sums = append(f.terms, le.Uint64(b[frameHeaderBytes+16*run+8:])), append(f.sums, sum)
			body = body[size:]
		}
		all = append(all, f)
		b, offset = b[length:], offset+uint64(length)
	}
	return all
}
