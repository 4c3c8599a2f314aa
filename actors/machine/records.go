package machine

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/troupe-raft/troupe/statemachine"
)

// journal writes the ledger down for an OnDisk machine, a record a batch, stored in the same transaction as the batch's
// changes. So wherever a crash leaves the machine, its ledger stands at the same index.
//
// Most records hold the changes of one batch. Reading back makes the same changes by the same code, on top of what was
// there. So that records do not pile up, one that holds the whole ledger is written once the changes since the last such
// take minDeltaBytes and growth times as much as it did; all before it are dropped. Reading back therefore never takes more
// than a small multiple of the ledger, and at most one byte in growth is written for it beside the changes.
//
//	record    version 1 | kind | …
//	changes   { change } …
//	  open    1 | index | node | length | nonce
//	  close   2 | origin
//	  repeat  3 | index | origin | sequence | lowestOutstanding            nothing was applied
//	  apply   4 | index | origin | sequence | lowestOutstanding | length | value
//	  large   5 | index | origin | sequence | lowestOutstanding            applied, the value was too large to keep
//	whole     count, { id | node | lastUsed | watermark | floor | length | nonce | count, { answer } … } …
//	  answer  sequence | index | state | (kept:) length | value
//
// All numbers are uvarints; an index in changes is the distance from the one before.
type sessionRecorder struct {
	buffer       []byte
	fullBytes    int // of the last whole record
	deltaRecords int // records since
	deltaBytes   int // of those
}

const (
	recordVersion = 1

	recordDelta = 1
	recordFull  = 2

	minDeltaBytes   = 256 << 10
	maxDeltaRecords = 4096
	deltaGrowth     = 4
)

type changeKind byte

const (
	changeRegister      changeKind = 1
	changeExpire        changeKind = 2
	changeDuplicate     changeKind = 3
	changeApply         changeKind = 4
	changeApplyUncached changeKind = 5
)

// change is an entry that concerns the ledger.
type change struct {
	kind              changeKind
	index             uint64
	node              uint64
	nonce             []byte
	session           uint64
	sequence          uint64
	lowestOutstanding uint64
	batchPosition     int // of an apply: its place in the batch
}

// update makes the record of a batch. The ledger has been changed already. The record's bytes are good until the next call.
func (j *sessionRecorder) update(l *sessionTable, last uint64, changes []change, results [][]byte) statemachine.SessionUpdate {
	if len(changes) == 0 {
		return statemachine.SessionUpdate{}
	}
	if j.deltaRecords >= maxDeltaRecords || j.deltaBytes > max(minDeltaBytes, deltaGrowth*j.fullBytes) {
		j.buffer = appendFull(append(j.buffer[:0], recordVersion, recordFull), l)
		j.fullBytes, j.deltaRecords, j.deltaBytes = len(j.buffer), 0, 0
		return statemachine.SessionUpdate{DropBelow: last, Put: statemachine.SessionRecord{Index: last, Data: j.buffer}}
	}
	b := append(j.buffer[:0], recordVersion, recordDelta)
	previous := uint64(0)
	for _, c := range changes {
		b = appendChange(b, c, previous, l.limits, results)
		previous = c.index
	}
	j.buffer = b
	j.deltaRecords, j.deltaBytes = j.deltaRecords+1, j.deltaBytes+len(b)
	return statemachine.SessionUpdate{Put: statemachine.SessionRecord{Index: last, Data: b}}
}

func appendChange(b []byte, c change, previous uint64, l sessionLimits, results [][]byte) []byte {
	var value []byte
	if c.kind == changeApply {
		if value = results[c.batchPosition]; len(value) > l.maxValueBytes {
			c.kind = changeApplyUncached
		}
	}
	b = append(b, byte(c.kind))
	b = binary.AppendUvarint(b, c.index-previous)
	switch c.kind {
	case changeRegister:
		b = binary.AppendUvarint(b, c.node)
		return appendBytes(b, c.nonce)
	case changeExpire:
		return binary.AppendUvarint(b, c.session)
	}
	b = binary.AppendUvarint(b, c.session)
	b = binary.AppendUvarint(b, c.sequence)
	b = binary.AppendUvarint(b, c.lowestOutstanding)
	if c.kind == changeApply {
		b = appendBytes(b, value)
	}
	return b
}

func appendBytes(b, data []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(data))), data...)
}

// appendFull writes the whole ledger. Between batches no answer is pending, so the same ledger gives the same bytes.
func appendFull(b []byte, l *sessionTable) []byte {
	b = binary.AppendUvarint(b, uint64(len(l.sessions)))
	for _, o := range l.sessions {
		for _, number := range []uint64{o.id, o.node, o.lastUsed, o.lowestOutstanding, o.cachedFrom} {
			b = binary.AppendUvarint(b, number)
		}
		b = appendBytes(b, o.nonce)
		b = binary.AppendUvarint(b, uint64(len(o.replies)))
		for _, a := range o.replies {
			b = binary.AppendUvarint(b, a.sequence)
			b = binary.AppendUvarint(b, a.index)
			b = append(b, byte(a.state))
			if a.state == cached {
				b = appendBytes(b, a.value)
			}
		}
	}
	return b
}

// errBadRecord says that the ledger's records are not what was stored.
var errBadRecord = errors.New("the ledger of answers cannot be read")

// recoverSessionTable reads the ledger back as it stood at index applied.
func recoverSessionTable(applied uint64, records []statemachine.SessionRecord, l sessionLimits) (*sessionTable, *sessionRecorder, error) {
	records = slices.Clone(records)
	slices.SortFunc(records, func(a, b statemachine.SessionRecord) int { return cmp.Compare(a.Index, b.Index) })
	ledger, journal := newSessionTable(l), new(sessionRecorder)
	for i, r := range records {
		if r.Index > applied || i > 0 && r.Index == records[i-1].Index {
			return nil, nil, fmt.Errorf("%w: a record at index %d of a state machine that has applied %d, the one before at %d",
				errBadRecord, r.Index, applied, records[max(i-1, 0)].Index)
		}
		if err := journal.read(ledger, r.Data); err != nil {
			return nil, nil, fmt.Errorf("record at index %d: %w", r.Index, err)
		}
	}
	return ledger, journal, nil
}

// read takes a record up into the ledger.
func (j *sessionRecorder) read(l *sessionTable, data []byte) error {
	if len(data) < 2 || data[0] != recordVersion {
		return fmt.Errorf("%w: %d bytes of an unknown version", errBadRecord, len(data))
	}
	r := recordReader{rest: data[2:]}
	switch data[1] {
	case recordFull:
		r.readFull(l)
		j.fullBytes, j.deltaRecords, j.deltaBytes = len(data), 0, 0
	case recordDelta:
		for index := uint64(0); len(r.rest) > 0 && !r.bad; {
			index = r.replayChange(l, index)
		}
		j.deltaRecords, j.deltaBytes = j.deltaRecords+1, j.deltaBytes+len(data)
	default:
		r.bad = true
	}
	if r.bad || len(r.rest) > 0 {
		return fmt.Errorf("%w: kind %d, %d bytes, wrong %d before the end", errBadRecord, data[1], len(data), len(r.rest))
	}
	return nil
}

// recordReader takes values off the front of a record. Once something is wrong it is bad, and gives zeros.
type recordReader struct {
	rest []byte
	bad  bool
}

func (r *recordReader) uvarint() uint64 {
	value, n := binary.Uvarint(r.rest)
	if n <= 0 {
		r.bad, r.rest = true, nil
		return 0
	}
	r.rest = r.rest[n:]
	return value
}

func (r *recordReader) byte() byte {
	if len(r.rest) == 0 {
		r.bad = true
		return 0
	}
	b := r.rest[0]
	r.rest = r.rest[1:]
	return b
}

// bytes gives a copy: a kept answer must not hold on to the record it came in.
func (r *recordReader) bytes() []byte {
	n := r.uvarint()
	if n > uint64(len(r.rest)) {
		r.bad, r.rest = true, nil
		return nil
	}
	data := slices.Clone(r.rest[:n])
	r.rest = r.rest[n:]
	return data
}

// change makes one change again and returns its index. The ledger must decide as it did then.
func (r *recordReader) replayChange(l *sessionTable, previous uint64) (index uint64) {
	kind := changeKind(r.byte())
	index = previous + r.uvarint()
	switch kind {
	case changeRegister:
		node, nonce := r.uvarint(), r.bytes()
		r.bad = r.bad || l.register(index, node, nonce) == 0
		return index
	case changeExpire:
		origin := r.uvarint()
		r.bad = r.bad || !l.expire(origin)
		return index
	case changeDuplicate, changeApply, changeApplyUncached:
	default:
		r.bad = true
		return index
	}
	id, sequence, lowest := r.uvarint(), r.uvarint(), r.uvarint()
	o := l.find(id)
	if r.bad || o == nil {
		r.bad = true
		return index
	}
	verdict, _ := l.admit(o, index, sequence, lowest)
	switch kind {
	case changeApply:
		l.cacheReply(id, sequence, r.bytes())
	case changeApplyUncached:
		l.dropValue(o, sequence)
	}
	r.bad = r.bad || (verdict == isNew) == (kind == changeDuplicate)
	return index
}

// whole replaces the ledger by what the record holds.
func (r *recordReader) readFull(l *sessionTable) {
	l.sessions, l.lastFound = nil, nil
	for count := r.uvarint(); count > 0 && !r.bad; count-- {
		o := &session{id: r.uvarint(), node: r.uvarint(), lastUsed: r.uvarint(), lowestOutstanding: r.uvarint(), cachedFrom: r.uvarint()}
		o.nonce = r.bytes()
		for answers := r.uvarint(); answers > 0 && !r.bad; answers-- {
			n := len(o.replies)
			o.insert(n, cachedReply{sequence: r.uvarint(), index: r.uvarint(), state: replyState(r.byte())})
			a := o.replies[n]
			r.bad = r.bad || a.state != cached && a.state != evicted || a.sequence < o.cachedFrom || n > 0 && a.sequence <= o.replies[n-1].sequence
			if a.state == cached {
				o.setValue(n, r.bytes())
			}
		}
		n := len(l.sessions)
		r.bad = r.bad || o.cachedFrom < o.lowestOutstanding || n > 0 && o.id <= l.sessions[n-1].id
		l.sessions = append(l.sessions, o)
	}
}
