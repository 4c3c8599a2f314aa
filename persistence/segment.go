package persistence

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

// Files of the log directory. A segment gets its name last, when everything it begins with is durable; until then it is
// a newSuffix or a spare, which nobody reads.
const (
	segmentSuffix = ".seg"
	spareSuffix   = ".spare"  // zeroed, full size, durable: becomes a segment by a rename
	makingSuffix  = ".making" // a spare being zeroed
	newSuffix     = ".new"    // a segment being begun
)

func segmentName(sequence uint64) string { return fmt.Sprintf("%016x%s", sequence, segmentSuffix) }

// segmentSequence reads the number from a segment's name.
func segmentSequence(name string) (uint64, bool) {
	digits, ok := strings.CutSuffix(name, segmentSuffix)
	if !ok || len(digits) != 16 {
		return 0, false
	}
	sequence, err := strconv.ParseUint(digits, 16, 64)
	return sequence, err == nil && sequence > 0 && segmentName(sequence) == name
}

const (
	headerBytes = 4096
	magic       = "TROUPLOG"
	// The index of the predecessor stands in this segment, since a crash kept it from being finished in place.
	flagIndexHere = 1
)

// header is the first block of a segment.
type header struct {
	flags    uint32
	sequence uint64
	node     uint64
	storage  [16]byte
	// The segment before this one (0: none), where it ends for ever, where its index is, and the crc of its last frame:
	// the chain of sums through all segments.
	previous      uint64
	previousEnd   uint64
	previousIndex uint64
	previousChain uint32
	// Everything before this offset was durable when the segment got its name.
	opened uint64
	// The sum over the whole block; the first link of this segment's chain.
	crc uint32
}

func (h *header) encode(b []byte) {
	clear(b[:headerBytes])
	copy(b, magic)
	le.PutUint32(b[8:], FormatVersion)
	le.PutUint32(b[12:], h.flags)
	le.PutUint64(b[16:], h.sequence)
	le.PutUint64(b[24:], h.node)
	copy(b[32:48], h.storage[:])
	le.PutUint64(b[48:], h.previous)
	le.PutUint64(b[56:], h.previousEnd)
	le.PutUint64(b[64:], h.previousIndex)
	le.PutUint64(b[72:], h.opened)
	le.PutUint32(b[80:], h.previousChain)
	h.crc = checksum(b[:headerBytes-4])
	le.PutUint32(b[headerBytes-4:], h.crc)
}

// decodeSegmentHeader reads the block of the file that is named as segment `sequence`.
func decodeSegmentHeader(file string, sequence uint64, b []byte) (header, error) {
	if len(b) < headerBytes {
		return header{}, corrupt(file, 0, "%d bytes are too short for a segment", len(b))
	}
	if string(b[:8]) != magic {
		return header{}, corrupt(file, 0, "not a segment of a log: it begins with %s", hex.EncodeToString(b[:8]))
	}
	// Every version sums its first block alike, so that a flipped bit is told from a format of the future.
	if version := le.Uint32(b[8:]); version != FormatVersion {
		if checksum(b[:headerBytes-4]) != le.Uint32(b[headerBytes-4:]) {
			return header{}, corrupt(file, 8, "format version %d in a header whose checksum is wrong", version)
		}
		return header{}, &FormatError{File: file, Found: version}
	}
	h := header{
		flags: le.Uint32(b[12:]), sequence: le.Uint64(b[16:]), node: le.Uint64(b[24:]),
		previous: le.Uint64(b[48:]), previousEnd: le.Uint64(b[56:]), previousIndex: le.Uint64(b[64:]),
		opened: le.Uint64(b[72:]), previousChain: le.Uint32(b[80:]), crc: le.Uint32(b[headerBytes-4:]),
	}
	copy(h.storage[:], b[32:48])
	if sum := checksum(b[:headerBytes-4]); sum != h.crc {
		return header{}, corrupt(file, 0, "checksum of the header is %08x, %08x expected", sum, h.crc)
	}
	if h.sequence != sequence || h.previous >= sequence {
		return header{}, corrupt(file, 16, "the header is that of segment %016x after %016x", h.sequence, h.previous)
	}
	return h, nil
}

// checkOwner refuses a file of another member, or of this one with another disk (E37).
func (h *header) checkOwner(file string, o *Options) error {
	if h.node != o.Node {
		return &MismatchError{Kind: ErrWrongMember, File: file, What: "node id",
			Found: fmt.Sprintf("%x", h.node), Want: fmt.Sprintf("%x", o.Node)}
	}
	if h.storage != o.StorageID {
		return &MismatchError{Kind: ErrWrongMember, File: file, What: "storage id",
			Found: hex.EncodeToString(h.storage[:]), Want: hex.EncodeToString(o.StorageID[:])}
	}
	return nil
}
