package persistence

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/troupe-raft/troupe/raft"
)

// Files of the log directory. A segment gets its name last, when everything it begins with is durable; until then it is
// a newSuffix or a spare, which nobody reads.
const (
	segmentSuffix      = ".seg"
	spareSuffix        = ".spare"  // zeroed, full size, durable: becomes a segment by a rename
	partialSpareSuffix = ".making" // a spare being zeroed
	newSuffix          = ".new"    // a segment being begun
)

func segmentName(sequence uint64) string { return fmt.Sprintf("%016x%s", sequence, segmentSuffix) }

// parseSegmentName reads the number from a segment's name.
func parseSegmentName(name string) (uint64, bool) {
	digits, ok := strings.CutSuffix(name, segmentSuffix)
	if !ok || len(digits) != 16 {
		return 0, false
	}
	sequence, err := strconv.ParseUint(digits, 16, 64)
	return sequence, err == nil && sequence > 0 && segmentName(sequence) == name
}

const (
	segmentHeaderBytes = 4096
	segmentMagic       = "TROUPLOG"
	// The index of the predecessor stands in this segment, since a crash kept it from being finished in place.
	flagHoldsPreviousIndex = 1
)

// header is the first block of a segment.
type segmentHeader struct {
	flags     uint32
	sequence  uint64
	nodeID    uint64
	storageID [16]byte
	// The segment before this one (0: none), where it ends for ever, where its index is, and the crc of its last frame:
	// the chain of sums through all segments.
	previousSequence    uint64
	previousEnd         uint64
	previousIndexOffset uint64
	previousCRC         uint32
	// Everything before this offset was durable when the segment got its name.
	preambleEnd uint64
	// The sum over the whole block; the first link of this segment's chain.
	crc uint32
}

func (h *segmentHeader) encode(b []byte) {
	clear(b[:segmentHeaderBytes])
	copy(b, segmentMagic)
	le.PutUint32(b[8:], formatVersion)
	le.PutUint32(b[12:], h.flags)
	le.PutUint64(b[16:], h.sequence)
	le.PutUint64(b[24:], h.nodeID)
	copy(b[32:48], h.storageID[:])
	le.PutUint64(b[48:], h.previousSequence)
	le.PutUint64(b[56:], h.previousEnd)
	le.PutUint64(b[64:], h.previousIndexOffset)
	le.PutUint64(b[72:], h.preambleEnd)
	le.PutUint32(b[80:], h.previousCRC)
	h.crc = checksum(b[:segmentHeaderBytes-4])
	le.PutUint32(b[segmentHeaderBytes-4:], h.crc)
}

// decodeSegmentHeader reads the block of the file that is named as segment `sequence`.
func decodeSegmentHeader(file string, sequence uint64, b []byte) (segmentHeader, error) {
	if len(b) < segmentHeaderBytes {
		return segmentHeader{}, corruptError(file, 0, "%d bytes are too short for a segment", len(b))
	}
	if string(b[:8]) != segmentMagic {
		return segmentHeader{}, corruptError(file, 0, "not a segment of a log: it begins with %s", hex.EncodeToString(b[:8]))
	}
	// Every version sums its first block alike, so that a flipped bit is told from a format of the future.
	if version := le.Uint32(b[8:]); version != formatVersion {
		if checksum(b[:segmentHeaderBytes-4]) != le.Uint32(b[segmentHeaderBytes-4:]) {
			return segmentHeader{}, corruptError(file, 8, "format version %d in a header whose checksum is wrong", version)
		}
		return segmentHeader{}, &formatError{File: file, Found: version}
	}
	h := segmentHeader{
		flags: le.Uint32(b[12:]), sequence: le.Uint64(b[16:]), nodeID: le.Uint64(b[24:]),
		previousSequence: le.Uint64(b[48:]), previousEnd: le.Uint64(b[56:]), previousIndexOffset: le.Uint64(b[64:]),
		preambleEnd: le.Uint64(b[72:]), previousCRC: le.Uint32(b[80:]), crc: le.Uint32(b[segmentHeaderBytes-4:]),
	}
	copy(h.storageID[:], b[32:48])
	if sum := checksum(b[:segmentHeaderBytes-4]); sum != h.crc {
		return segmentHeader{}, corruptError(file, 0, "checksum of the header is %08x, %08x expected", sum, h.crc)
	}
	if h.sequence != sequence || h.previousSequence >= sequence {
		return segmentHeader{}, corruptError(file, 16, "the header is that of segment %016x after %016x", h.sequence, h.previousSequence)
	}
	return h, nil
}

// checkOwner refuses a file of another member, or of this one with another disk (E37).
func (h *segmentHeader) checkOwner(file string, o *Options) error {
	if h.nodeID != o.NodeID {
		return &mismatchError{Kind: ErrWrongMember, File: file, Field: "node id",
			Found: raft.FormatID(h.nodeID), Want: raft.FormatID(o.NodeID)}
	}
	if h.storageID != o.StorageID {
		return &mismatchError{Kind: ErrWrongMember, File: file, Field: "storage id",
			Found: hex.EncodeToString(h.storageID[:]), Want: hex.EncodeToString(o.StorageID[:])}
	}
	return nil
}
