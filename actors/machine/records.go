package machine

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/troupe-raft/troupe/statemachine"
)

// sessionRecorder encodes the session table for an OnDisk state machine: one record for each batch,
// which the state machine stores in the same transaction as the batch's changes. Wherever a crash
// leaves the state machine, its session table is at the same index.
//
// Most records are deltas: the changes of one batch. A recovery reads all records and makes the
// same changes with the same code. A full record has the whole table and replaces all records
// before it. It is written when the deltas since the last full record are maxDeltaRecords, or have
// more bytes than minDeltaBytes and than deltaGrowth times the full record. So a recovery reads at
// most a small multiple of the table, and full records add at most one byte for every deltaGrowth
// bytes of deltas.
//
//	record       version 1 | kind | …
//	delta (1)    { change } …
//	  register   1 | index | node | length | nonce
//	  expire     2 | index | session
//	  duplicate  3 | index | session | sequence | lowestOutstanding     not applied
//	  apply      4 | index | session | sequence | lowestOutstanding | length | value
//	  uncached   5 | index | session | sequence | lowestOutstanding     applied, value too large
//	  use        6 | index | session                                    a barrier
//	full (2)     count, { id | node | lastUsed | lowestOutstanding | cachedFrom | length | nonce |
//	             count, { reply } … } …
//	  reply      sequence | index | state | (cached:) length | value
//
// All numbers are uvarints; the index of a change is the distance from the index of the change
// before it.
type sessionRecorder struct {
	buffer       []byte
	fullBytes    int // of the last full record
	deltaRecords int // since then
	deltaBytes   int
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
	changeUse           changeKind = 6
)

// change is the effect of one entry on the session table.
type change struct {
	kind              changeKind
	index             uint64
	node              uint64
	nonce             []byte
	session           uint64
	sequence          uint64
	lowestOutstanding uint64
	batchPosition     int // of the command, if the kind is changeApply
}

// update makes the record of a batch whose changes are in the table already. Its bytes are valid
// until the next call.
func (w *sessionRecorder) update(t *sessionTable, last uint64, changes []change, results [][]byte) statemachine.SessionUpdate {
	if len(changes) == 0 {
		return statemachine.SessionUpdate{}
	}
	if w.deltaRecords >= maxDeltaRecords || w.deltaBytes > max(minDeltaBytes, deltaGrowth*w.fullBytes) {
		w.buffer = appendFull(append(w.buffer[:0], recordVersion, recordFull), t)
		w.fullBytes, w.deltaRecords, w.deltaBytes = len(w.buffer), 0, 0
		return statemachine.SessionUpdate{DropBelow: last, Put: statemachine.SessionRecord{Index: last, Data: w.buffer}}
	}
	b := append(w.buffer[:0], recordVersion, recordDelta)
	previous := uint64(0)
	for _, c := range changes {
		b = appendChange(b, c, previous, t.limits, results)
		previous = c.index
	}
	w.buffer = b
	w.deltaRecords, w.deltaBytes = w.deltaRecords+1, w.deltaBytes+len(b)
	return statemachine.SessionUpdate{Put: statemachine.SessionRecord{Index: last, Data: b}}
}

func appendChange(b []byte, c change, previous uint64, l SessionLimits, results [][]byte) []byte {
	var value []byte
	if c.kind == changeApply {
		if value = results[c.batchPosition]; len(value) > l.MaxValueBytes {
			c.kind = changeApplyUncached
		}
	}
	b = append(b, byte(c.kind))
	b = binary.AppendUvarint(b, c.index-previous)
	switch c.kind {
	case changeRegister:
		b = binary.AppendUvarint(b, c.node)
		return appendBytes(b, c.nonce)
	case changeExpire, changeUse:
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

// appendFull encodes the whole table. No reply is pending between batches, so equal tables have
// equal bytes.
func appendFull(b []byte, t *sessionTable) []byte {
	b = binary.AppendUvarint(b, uint64(len(t.sessions)))
	for _, s := range t.sessions {
		for _, number := range []uint64{s.id, s.node, s.lastUsed, s.lowestOutstanding, s.cachedFrom} {
			b = binary.AppendUvarint(b, number)
		}
		b = appendBytes(b, s.nonce)
		b = binary.AppendUvarint(b, uint64(len(s.replies)))
		for _, reply := range s.replies {
			b = binary.AppendUvarint(b, reply.sequence)
			b = binary.AppendUvarint(b, reply.index)
			b = append(b, byte(reply.state))
			if reply.state == cached {
				b = appendBytes(b, reply.value)
			}
		}
	}
	return b
}

// errBadRecord: the session records are not those that were stored.
var errBadRecord = errors.New("the session records are damaged")

// recoverSessionTable decodes the table as it was at the applied index.
func recoverSessionTable(applied uint64, records []statemachine.SessionRecord, l SessionLimits) (*sessionTable, *sessionRecorder, error) {
	records = slices.Clone(records)
	slices.SortFunc(records, func(a, b statemachine.SessionRecord) int { return cmp.Compare(a.Index, b.Index) })
	table, recorder := newSessionTable(l), new(sessionRecorder)
	for i, r := range records {
		if r.Index > applied || i > 0 && r.Index == records[i-1].Index {
			return nil, nil, fmt.Errorf("%w: a record at index %d of a state machine that has applied %d, the one before at %d",
				errBadRecord, r.Index, applied, records[max(i-1, 0)].Index)
		}
		if err := recorder.read(table, r.Data); err != nil {
			return nil, nil, fmt.Errorf("record at index %d: %w", r.Index, err)
		}
	}
	return table, recorder, nil
}

// read applies one record to the table.
func (w *sessionRecorder) read(t *sessionTable, data []byte) error {
	if len(data) < 2 || data[0] != recordVersion {
		return fmt.Errorf("%w: %d bytes of an unknown version", errBadRecord, len(data))
	}
	r := recordReader{rest: data[2:]}
	switch data[1] {
	case recordFull:
		r.readFull(t)
		w.fullBytes, w.deltaRecords, w.deltaBytes = len(data), 0, 0
	case recordDelta:
		for index := uint64(0); len(r.rest) > 0 && !r.bad; {
			index = r.replayChange(t, index)
		}
		w.deltaRecords, w.deltaBytes = w.deltaRecords+1, w.deltaBytes+len(data)
	default:
		r.bad = true
	}
	if r.bad || len(r.rest) > 0 {
		return fmt.Errorf("%w: kind %d, %d bytes, wrong %d before the end", errBadRecord, data[1], len(data), len(r.rest))
	}
	return nil
}

// recordReader decodes values from the front of a record. After an error it is bad and returns
// zeros.
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

// bytes returns a copy, so that a cached reply does not keep the whole record in memory.
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

// replayChange makes one change again and returns its index. The table must decide as it did the
// first time.
func (r *recordReader) replayChange(t *sessionTable, previous uint64) (index uint64) {
	kind := changeKind(r.byte())
	index = previous + r.uvarint()
	switch kind {
	case changeRegister:
		node, nonce := r.uvarint(), r.bytes()
		r.bad = r.bad || t.register(index, node, nonce) == 0
		return index
	case changeExpire:
		id := r.uvarint()
		r.bad = r.bad || !t.expire(id)
		return index
	case changeUse:
		s := t.find(r.uvarint())
		if r.bad = r.bad || s == nil; !r.bad {
			t.use(s, index)
		}
		return index
	case changeDuplicate, changeApply, changeApplyUncached:
	default:
		r.bad = true
		return index
	}
	id, sequence, lowest := r.uvarint(), r.uvarint(), r.uvarint()
	s := t.find(id)
	if r.bad || s == nil {
		r.bad = true
		return index
	}
	decision, _ := t.admit(s, index, sequence, lowest)
	switch kind {
	case changeApply:
		t.cacheReply(id, sequence, r.bytes())
	case changeApplyUncached:
		s.dropValue(sequence)
	}
	r.bad = r.bad || (decision == isNew) == (kind == changeDuplicate)
	return index
}

// readFull replaces the table by the one in the record.
func (r *recordReader) readFull(t *sessionTable) {
	t.sessions, t.lastFound = nil, nil
	for count := r.uvarint(); count > 0 && !r.bad; count-- {
		s := &clientSession{id: r.uvarint(), node: r.uvarint(), lastUsed: r.uvarint(), lowestOutstanding: r.uvarint(), cachedFrom: r.uvarint()}
		s.nonce = r.bytes()
		for replies := r.uvarint(); replies > 0 && !r.bad; replies-- {
			n := len(s.replies)
			s.insert(n, cachedReply{sequence: r.uvarint(), index: r.uvarint(), state: replyState(r.byte())})
			reply := s.replies[n]
			r.bad = r.bad || reply.state != cached && reply.state != evicted || reply.sequence < s.cachedFrom || n > 0 && reply.sequence <= s.replies[n-1].sequence
			if reply.state == cached {
				s.setValue(n, r.bytes())
			}
		}
		n := len(t.sessions)
		r.bad = r.bad || s.cachedFrom < s.lowestOutstanding || n > 0 && s.id <= t.sessions[n-1].id
		t.sessions = append(t.sessions, s)
	}
}
