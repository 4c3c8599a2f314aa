package persistence

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/troupe-raft/troupe/raft"
)

// Suffixes of the files in the log directory. A segment gets its name after its preamble is
// durable; until then it is a newSuffix file or a spare, which is never read.
const (
	segmentSuffix      = ".seg"
	spareSuffix        = ".spare"  // zeroed, durable
	partialSpareSuffix = ".making" // a spare being zeroed
	newSuffix          = ".new"    // a segment being created
)

func segmentName(sequence uint64) string { return fmt.Sprintf("%016x%s", sequence, segmentSuffix) }

// parseSegmentName returns the sequence in a segment's name.
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
	// flagHoldsPreviousIndex means that this segment holds the index of the one before, because a
	// crash prevented its completion.
	flagHoldsPreviousIndex = 1
)

// segmentHeader is the first block of a segment.
type segmentHeader struct {
	flags     uint32
	sequence  uint64
	nodeID    uint64
	storageID [16]byte
	// The segment before this one.
	previousSequence    uint64 // 0: there is none
	previousEnd         uint64 // of its last valid frame
	previousIndexOffset uint64
	previousCRC         uint32 // of its last valid frame

	preambleEnd uint64 // everything below was durable before the file got its name
	crc         uint32 // of the block; the first frame holds it as previousCRC
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

// decodeSegmentHeader decodes the header of the file that is named as the segment with this
// sequence.
func decodeSegmentHeader(file string, sequence uint64, b []byte) (segmentHeader, error) {
	if len(b) < segmentHeaderBytes {
		return segmentHeader{}, corruptError(file, 0, "%d bytes are too short for a segment", len(b))
	}
	if string(b[:8]) != segmentMagic {
		return segmentHeader{}, corruptError(file, 0, "not a segment: it begins with %s", hex.EncodeToString(b[:8]))
	}
	// All versions compute this checksum alike, so a flipped bit is not mistaken for another version.
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

// checkOwner refuses a file of another member, or of another disk of this one (E37).
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
