package mvcc

import (
	"encoding/binary"
	"fmt"
)

// The rows of the store. The first byte of a key is its space; rows of a space are ordered
// bytewise.
//
//	c | key           newest state of a live key: metadata, and values up to maxInlineValueBytes
//	r | main, sub     history: one event for each change, with the value and a pointer to the key's
//	                  event before it
//	d | key           revision of the tombstone of a key that is not live, until it is compacted
//	b | first key     number of live keys from this key to the next bucket (see countTree)
//	l | index         session records, for exactly-once writes
//	m | name          the state row and other single rows
//	u | index, key    state of a key before a batch that is staged (staging.go)
//
// A key's rows after put, put, delete, put:
//
//	r|2.0 put v1 ◄── r|3.0 put v2 ◄── r|5.0 tombstone ◄── r|8.0 put v3        d|key, while deleted
//	                                                      └ c|key: 8.0, v3
//
// The most frequent read is one point get of c|key; a range is a scan of c; a watch that catches up
// is a scan of r. There is no index from a key to its older revisions: each event points to the one
// before it, so a read of a past revision follows the pointers from c|key (or d|key), one point get
// for each change of the key since then. That saves a third row for each put, and a watch reads
// prev_kv with one get.
//
// History holds every value as long as its event, and the newest event of a live key is never
// removed. So c need not hold a value above maxInlineValueBytes: its row refers to history, and
// compactions of the LSM rewrite only the small row.
const (
	spaceBuckets    byte = 'b'
	spaceCurrent    byte = 'c'
	spaceTombstones byte = 'd'
	spaceSessions   byte = 'l'
	spaceMeta       byte = 'm'
	spaceHistory    byte = 'r'
	spaceUndo       byte = 'u'
)

// maxInlineValueBytes is the size of the largest value that is stored in c|key too. Up to it, a
// second copy costs less than a second get of every read (measured: docs/kv-format.md).
const maxInlineValueBytes = 1024

// revision identifies one change: main is etcd's revision, sub numbers the changes of one
// transaction.
type revision struct {
	main int64
	sub  uint32
}

func (r revision) isZero() bool { return r.main == 0 }

const revisionBytes = 12

func appendRevision(buf []byte, r revision) []byte {
	buf = binary.BigEndian.AppendUint64(buf, uint64(r.main))
	return binary.BigEndian.AppendUint32(buf, r.sub)
}

func parseRevision(b []byte) (revision, error) {
	if len(b) != revisionBytes {
		return revision{}, fmt.Errorf("a revision of %d bytes: %w", len(b), ErrCorrupt)
	}
	return revision{main: int64(binary.BigEndian.Uint64(b)), sub: binary.BigEndian.Uint32(b[8:])}, nil
}

func appendHistoryKey(buf []byte, r revision) []byte {
	return appendRevision(append(buf, spaceHistory), r)
}

func appendSpaceKey(buf []byte, space byte, key []byte) []byte {
	return append(append(buf, space), key...)
}

// record is a row of space c or r, decoded. Its slices share the row's memory.
type record struct {
	metadata // not live: a tombstone
	// prev is the key's event before this one; zero if there is none that can still be read.
	prev revision
	// valueInHistory means that only the history row of rev holds the value.
	valueInHistory bool
	value          []byte
}

const (
	flagSub            byte = 1 << 0 // rev.sub is not 0 (current rows)
	flagLease          byte = 1 << 1
	flagPrev           byte = 1 << 2
	flagPrevSub        byte = 1 << 3
	flagValueInHistory byte = 1 << 4
	flagsKnown         byte = 1<<5 - 1
)

// maxRowOverhead limits the bytes of a row in addition to key and value.
const maxRowOverhead = 1 + 7*binary.MaxVarintLen64

// A current row: flags, main, [sub], fields. An event row: flags, length of key, key, fields. The
// fields: main−create, version, [lease], [main−prev.main], [prev.sub], value.

func appendCurrent(buf []byte, r *record) []byte {
	flags := r.flags()
	if r.rev.sub != 0 {
		flags |= flagSub
	}
	if r.valueInHistory {
		flags |= flagValueInHistory
	}
	buf = append(buf, flags)
	buf = binary.AppendUvarint(buf, uint64(r.rev.main))
	if r.rev.sub != 0 {
		buf = binary.AppendUvarint(buf, uint64(r.rev.sub))
	}
	buf = r.appendFields(buf)
	if r.valueInHistory {
		return buf
	}
	return append(buf, r.value...)
}

func appendEvent(buf []byte, key []byte, r *record) []byte {
	buf = append(buf, r.flags())
	buf = binary.AppendUvarint(buf, uint64(len(key)))
	buf = append(buf, key...)
	buf = r.appendFields(buf)
	return append(buf, r.value...)
}

func (r *record) flags() (f byte) {
	if r.lease != 0 {
		f |= flagLease
	}
	if !r.prev.isZero() {
		f |= flagPrev
	}
	if r.prev.sub != 0 {
		f |= flagPrevSub
	}
	return f
}

func (r *record) appendFields(buf []byte) []byte {
	buf = binary.AppendUvarint(buf, uint64(r.rev.main-r.create))
	buf = binary.AppendUvarint(buf, uint64(r.version))
	if r.lease != 0 {
		buf = binary.AppendUvarint(buf, uint64(r.lease))
	}
	if !r.prev.isZero() {
		buf = binary.AppendUvarint(buf, uint64(r.rev.main-r.prev.main))
	}
	if r.prev.sub != 0 {
		buf = binary.AppendUvarint(buf, uint64(r.prev.sub))
	}
	return buf
}

// rowReader reads the varints of a row. It stops at the first error.
type rowReader struct {
	b      []byte
	failed bool
}

func (p *rowReader) uvarint() uint64 {
	// Most numbers of a row fit in one byte.
	if len(p.b) > 0 && p.b[0] < 0x80 {
		u := uint64(p.b[0])
		p.b = p.b[1:]
		return u
	}
	u, n := binary.Uvarint(p.b)
	if n <= 0 {
		p.failed, p.b = true, nil
		return 0
	}
	p.b = p.b[n:]
	return u
}

func (p *rowReader) bytes(n uint64) []byte {
	if n > uint64(len(p.b)) {
		p.failed, p.b = true, nil
		return nil
	}
	b := p.b[:n:n]
	p.b = p.b[n:]
	return b
}

func (p *rowReader) flags() byte {
	f := p.bytes(1)
	if p.failed || f[0]&^flagsKnown != 0 {
		p.failed = true
		return 0
	}
	return f[0]
}

func (p *rowReader) fields(flags byte, r *record) {
	r.create = r.rev.main - int64(p.uvarint())
	r.version = int64(p.uvarint())
	if flags&flagLease != 0 {
		r.lease = int64(p.uvarint())
	}
	if flags&flagPrev != 0 {
		r.prev.main = r.rev.main - int64(p.uvarint())
	}
	if flags&flagPrevSub != 0 {
		r.prev.sub = uint32(p.uvarint())
	}
	r.valueInHistory = flags&flagValueInHistory != 0
	r.value = p.b[:len(p.b):len(p.b)]
}

func parseCurrent(row []byte) (r record, err error) {
	p := rowReader{b: row}
	flags := p.flags()
	r.rev.main = int64(p.uvarint())
	if flags&flagSub != 0 {
		r.rev.sub = uint32(p.uvarint())
	}
	p.fields(flags, &r)
	if p.failed {
		return record{}, fmt.Errorf("parsing a current row of %d bytes: %w", len(row), ErrCorrupt)
	}
	return r, nil
}

func parseEvent(rev revision, row []byte) (key []byte, r record, err error) {
	p := rowReader{b: row}
	flags := p.flags()
	key = p.bytes(p.uvarint())
	r.rev = rev
	p.fields(flags, &r)
	if p.failed {
		return nil, record{}, fmt.Errorf("parsing the event of revision %d.%d, %d bytes: %w", rev.main, rev.sub, len(row), ErrCorrupt)
	}
	return key, r, nil
}
