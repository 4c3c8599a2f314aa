package persistence

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"

	"github.com/troupe-raft/troupe/messages"
)

// formatVersion is the format version that this program reads and writes.
const formatVersion = 1

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(p []byte) uint32 { return crc32.Checksum(p, castagnoli) }

// frameKind is what a frame is for.
type frameKind uint8

const (
	kindBatch frameKind = iota + 1 // entries and hard state
	kindBase                       // the log begins after an index (compaction or snapshot)
	kindIdle                       // no entries: records what is durable, and the newest commit index
	kindOpen                       // the first frame of every segment: hard state and base
	kindIndex                      // where the entries of a finished segment are
)

func (k frameKind) String() string {
	names := [...]string{"?", "batch", "base", "idle", "open", "index"}
	if int(k) < len(names) {
		return names[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// The parts of a frame:
//
//	header │ runs: first, term │ entries: length, CRC │ bytes of all entries in order │ padding to 8
//	└──────────── covered by the CRC of the frame ────┘ └── each entry by its own ────┘
//
// So every byte is covered by one checksum, a part of a frame can be read and checked without the
// rest, and the bytes of neighbouring entries come with one read.
const (
	frameHeaderBytes = 96
	termRunBytes     = 16
	tableEntryBytes  = 8
	frameAlignment   = 8
	maxFrameBytes    = 1 << 30
)

// MaxBatchBytes is the size of the largest batch of entries that Log.Add accepts, with their table.
const MaxBatchBytes = maxFrameBytes - 1<<20

type hardState struct{ term, vote, commit uint64 }

func (h hardState) message() *messages.HardState {
	return &messages.HardState{Term: h.term, Vote: h.vote, Commit: h.commit}
}

// frameHeader is a decoded frame header. Segment, offset and previousCRC reject a frame that was
// written to another place, in a recycled file, or in another history.
type frameHeader struct {
	crc          uint32 // of the header from length on, and the table
	length       uint32 // of the whole frame with its padding
	segment      uint64 // sequence of the segment that it was written to
	offset       uint64 // in that segment
	durableEnd   uint64 // the segment was durable up to this offset when the frame was written
	sequence     uint64 // number of the frame in the log
	first        uint64 // truncates the log to end before first, then appends its entries
	hard         hardState
	entryCount   uint32
	runCount     uint32
	payloadBytes uint32 // bytes after the table, without padding
	payloadCRC   uint32 // of a payload that is not entries
	previousCRC  uint32 // of the frame before, or of the segment header
	kind         frameKind
}

func alignFrame(n int64) int64 { return (n + frameAlignment - 1) &^ (frameAlignment - 1) }

func (f *frameHeader) tableEnd() int64 {
	return frameHeaderBytes + termRunBytes*int64(f.runCount) + tableEntryBytes*int64(f.entryCount)
}
func (f *frameHeader) lastIndex() uint64 { return f.first + uint64(f.entryCount) - 1 }
func (f *frameHeader) endOffset() int64  { return int64(f.offset) + int64(f.length) }

// setLength computes the length from the counts and the payload.
func (f *frameHeader) setLength() {
	f.length = uint32(alignFrame(f.tableEnd() + int64(f.payloadBytes)))
}

var le = binary.LittleEndian

// encode writes the header to b, which holds the table already, and sets the checksum over both.
func (f *frameHeader) encode(b []byte) {
	le.PutUint32(b[4:], f.length)
	le.PutUint64(b[8:], f.segment)
	le.PutUint64(b[16:], f.offset)
	le.PutUint64(b[24:], f.durableEnd)
	le.PutUint64(b[32:], f.sequence)
	le.PutUint64(b[40:], f.first)
	le.PutUint64(b[48:], f.hard.term)
	le.PutUint64(b[56:], f.hard.vote)
	le.PutUint64(b[64:], f.hard.commit)
	le.PutUint32(b[72:], f.entryCount)
	le.PutUint32(b[76:], f.runCount)
	le.PutUint32(b[80:], f.payloadBytes)
	le.PutUint32(b[84:], f.payloadCRC)
	le.PutUint32(b[88:], f.previousCRC)
	le.PutUint32(b[92:], uint32(f.kind))
	f.crc = checksum(b[4:f.tableEnd()])
	le.PutUint32(b, f.crc)
}

var errInvalidFrame = errors.New("not a frame")

func invalidFrame(what string, args ...any) error {
	return fmt.Errorf("%w: %s", errInvalidFrame, fmt.Sprintf(what, args...))
}

// decodeFrameHeader decodes a header and checks that its sizes are consistent. checkTable checks
// its checksum.
func decodeFrameHeader(b []byte) (frameHeader, error) {
	f := frameHeader{
		crc: le.Uint32(b), length: le.Uint32(b[4:]), segment: le.Uint64(b[8:]), offset: le.Uint64(b[16:]),
		durableEnd: le.Uint64(b[24:]), sequence: le.Uint64(b[32:]), first: le.Uint64(b[40:]),
		hard:       hardState{le.Uint64(b[48:]), le.Uint64(b[56:]), le.Uint64(b[64:])},
		entryCount: le.Uint32(b[72:]), runCount: le.Uint32(b[76:]), payloadBytes: le.Uint32(b[80:]), payloadCRC: le.Uint32(b[84:]),
		previousCRC: le.Uint32(b[88:]), kind: frameKind(b[92]),
	}
	switch {
	case f.kind < kindBatch || f.kind > kindIndex || b[93]|b[94]|b[95] != 0:
		return f, invalidFrame("unknown kind %d", le.Uint32(b[92:]))
	case f.length > maxFrameBytes || int64(f.length) != alignFrame(f.tableEnd()+int64(f.payloadBytes)):
		return f, invalidFrame("length %d does not fit %d runs, %d entries and %d bytes", f.length, f.runCount, f.entryCount, f.payloadBytes)
	case f.kind != kindBatch && (f.entryCount != 0 || f.runCount != 0):
		return f, invalidFrame("%v frame with entries", f.kind)
	case f.first == 0 || f.first > math.MaxUint64-uint64(f.entryCount):
		return f, invalidFrame("%d entries from index %d", f.entryCount, f.first)
	case f.durableEnd > f.offset || f.hard.commit >= f.first+uint64(f.entryCount):
		return f, invalidFrame("durable %d at offset %d, commit %d at last index %d", f.durableEnd, f.offset, f.hard.commit, f.lastIndex())
	}
	return f, nil
}

// checkTable checks the checksum over header and table, and the table. b holds both.
func (f *frameHeader) checkTable(b []byte) error {
	if sum := checksum(b[4:f.tableEnd()]); sum != f.crc {
		return invalidFrame("checksum %08x, %08x expected", sum, f.crc)
	}
	if f.entryCount == 0 {
		return nil
	}
	if f.runCount == 0 {
		return invalidFrame("%d entries without a term", f.entryCount)
	}
	for i := range f.runCount {
		first, term := f.termRunAt(b, i)
		if i == 0 && first != f.first || first > f.lastIndex() {
			return invalidFrame("run of terms from %d in entries [%d, %d]", first, f.first, f.lastIndex())
		}
		if i > 0 {
			if before, beforeTerm := f.termRunAt(b, i-1); first <= before || term <= beforeTerm {
				return invalidFrame("runs of terms do not ascend at index %d", first)
			}
		}
	}
	sum := uint64(0)
	for i := range f.entryCount {
		length, _ := f.entryAt(b, i)
		sum += uint64(length)
	}
	if sum != uint64(f.payloadBytes) {
		return invalidFrame("entries of %d bytes in a payload of %d", sum, f.payloadBytes)
	}
	return nil
}

func (f *frameHeader) termRunAt(b []byte, i uint32) (first, term uint64) {
	at := frameHeaderBytes + termRunBytes*int64(i)
	return le.Uint64(b[at:]), le.Uint64(b[at+8:])
}

func (f *frameHeader) entryAt(b []byte, i uint32) (length, crc uint32) {
	at := frameHeaderBytes + termRunBytes*int64(f.runCount) + tableEntryBytes*int64(i)
	return le.Uint32(b[at:]), le.Uint32(b[at+4:])
}

// checkPayload checks what follows the table. b is the whole frame.
func (f *frameHeader) checkPayload(b []byte) error {
	if f.kind == kindBatch {
		return f.checkEntries(b, b[f.tableEnd():], 0, f.entryCount)
	}
	if sum := checksum(f.payload(b)); sum != f.payloadCRC {
		return invalidFrame("checksum of the payload %08x, %08x expected", sum, f.payloadCRC)
	}
	return nil
}

// checkEntries checks the bytes (body) of `count` entries of the frame after the first `skip`. b
// holds the header and the table.
func (f *frameHeader) checkEntries(b, body []byte, skip, count uint32) error {
	for i := skip; i < skip+count; i++ {
		length, crc := f.entryAt(b, i)
		if sum := checksum(body[:length]); sum != crc {
			return invalidFrame("checksum of entry %d is %08x, %08x expected", f.first+uint64(i), sum, crc)
		}
		body = body[length:]
	}
	return nil
}

// appendBatchFrame appends a frame of entries to buf. The header's place, hard state and chain are
// in f already.
func appendBatchFrame(buf []byte, f *frameHeader, e *messages.Entries) []byte {
	f.kind, f.entryCount, f.runCount, f.payloadBytes, f.payloadCRC = kindBatch, uint32(len(e.Data)), uint32(len(e.Runs)), uint32(e.Bytes), 0
	f.setLength()
	start := len(buf)
	buf = growBuffer(buf, int(f.length))
	b := buf[start:]
	at := frameHeaderBytes
	for _, r := range e.Runs {
		le.PutUint64(b[at:], r.FirstIndex)
		le.PutUint64(b[at+8:], r.Term)
		at += termRunBytes
	}
	body := int(f.tableEnd())
	for _, data := range e.Data {
		le.PutUint32(b[at:], uint32(len(data)))
		le.PutUint32(b[at+4:], checksum(data))
		at += tableEntryBytes
		body += copy(b[body:], data)
	}
	clear(b[body:])
	f.encode(b)
	return buf
}

// appendFrame appends a frame of any other kind.
func appendFrame(buf []byte, f *frameHeader, kind frameKind, payload []byte) []byte {
	f.kind, f.entryCount, f.runCount, f.payloadBytes, f.payloadCRC = kind, 0, 0, uint32(len(payload)), checksum(payload)
	f.setLength()
	start := len(buf)
	buf = growBuffer(buf, int(f.length))
	b := buf[start:]
	clear(b[frameHeaderBytes+copy(b[frameHeaderBytes:], payload):])
	f.encode(b)
	return buf
}

// growBuffer makes buf longer by n bytes of any value.
func growBuffer(buf []byte, n int) []byte {
	if need := len(buf) + n; need > cap(buf) {
		return append(make([]byte, 0, max(need, 2*cap(buf))), buf...)[:need]
	}
	return buf[:len(buf)+n]
}

// decodeEntries makes messages of a frame, with bytes of their own.
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

// payload returns the payload of a whole frame b.
func (f *frameHeader) payload(b []byte) []byte {
	return b[f.tableEnd() : f.tableEnd()+int64(f.payloadBytes)]
}
