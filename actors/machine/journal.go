package machine

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// journal writes the ledger down for an OnDisk machine, a record a batch, stored in the same transaction as the batch's
// changes. So wherever a crash leaves the machine, its ledger stands at the same index.
//
// Most records hold the changes of one batch. Reading back makes the same changes by the same code, on top of what was
// there. So that records do not pile up, one that holds the whole ledger is written once the changes since the last such
// take minChangeBytes and growth times as much as it did; all before it are dropped. Reading back therefore never takes more
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
type journal struct {
	buffer     []byte
	wholeBytes int // of the last whole record
	changes    int // records since
	bytes      int // of those
}

const (
	recordVersion = 1

	recordChanges = 1
	recordWhole   = 2

	minChangeBytes   = 256 << 10
	maxChangeRecords = 4096
	growth           = 4
)

type changeKind byte

const (
	changeOpen   changeKind = 1
	changeClose  changeKind = 2
	changeRepeat changeKind = 3
	changeApply  changeKind = 4
	changeLarge  changeKind = 5
)

// change is an entry that concerns the ledger.
type change struct {
	kind     changeKind
	index    uint64
	node     uint64
	nonce    []byte
	origin   uint64
	sequence uint64
	lowest   uint64
	command  int // of an apply: its place in the batch
}

// update makes the record of a batch. The ledger has been changed already. The record's bytes are good until the next call.
func (j *journal) update(l *ledger, last uint64, changes []change, results [][]byte) LedgerUpdate {
	if len(changes) == 0 {
		return LedgerUpdate{}
	}
	if j.changes >= maxChangeRecords || j.bytes > max(minChangeBytes, growth*j.wholeBytes) {
		j.buffer = appendWhole(append(j.buffer[:0], recordVersion, recordWhole), l)
		j.wholeBytes, j.changes, j.bytes = len(j.buffer), 0, 0
		return LedgerUpdate{DropBelow: last, Put: LedgerRecord{Index: last, Data: j.buffer}}
	}
	b := append(j.buffer[:0], recordVersion, recordChanges)
	previous := uint64(0)
	for _, c := range changes {
		b = appendChange(b, c, previous, l.limits, results)
		previous = c.index
	}
	j.buffer = b
	j.changes, j.bytes = j.changes+1, j.bytes+len(b)
	return LedgerUpdate{Put: LedgerRecord{Index: last, Data: b}}
}

func appendChange(b []byte, c change, previous uint64, l limits, results [][]byte) []byte {
	var value []byte
	if c.kind == changeApply {
		if value = results[c.command]; len(value) > l.answerBytes {
			c.kind = changeLarge
		}
	}
	b = append(b, byte(c.kind))
	b = binary.AppendUvarint(b, c.index-previous)
	switch c.kind {
	case changeOpen:
		b = binary.AppendUvarint(b, c.node)
		return appendBytes(b, c.nonce)
	case changeClose:
		return binary.AppendUvarint(b, c.origin)
	}
	b = binary.AppendUvarint(b, c.origin)
	b = binary.AppendUvarint(b, c.sequence)
	b = binary.AppendUvarint(b, c.lowest)
	if c.kind == changeApply {
		b = appendBytes(b, value)
	}
	return b
}

func appendBytes(b, data []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(data))), data...)
}

// appendWhole writes the whole ledger. Between batches no answer is pending, so the same ledger gives the same bytes.
func appendWhole(b []byte, l *ledger) []byte {
	b = binary.AppendUvarint(b, uint64(len(l.origins)))
	for _, o := range l.origins {
		for _, number := range []uint64{o.id, o.node, o.lastUsed, o.watermark, o.floor} {
			b = binary.AppendUvarint(b, number)
		}
		b = appendBytes(b, o.nonce)
		b = binary.AppendUvarint(b, uint64(len(o.answers)))
		for _, a := range o.answers {
			b = binary.AppendUvarint(b, a.sequence)
			b = binary.AppendUvarint(b, a.index)
			b = append(b, byte(a.state))
			if a.state == kept {
				b = appendBytes(b, a.value)
			}
		}
	}
	return b
}

// errBadRecord says that the ledger's records are not what was stored.
var errBadRecord = errors.New("the ledger of answers cannot be read")

// recoverLedger reads the ledger back as it stood at index applied.
func recoverLedger(applied uint64, records []LedgerRecord, l limits) (*ledger, *journal, error) {
	records = slices.Clone(records)
	slices.SortFunc(records, func(a, b LedgerRecord) int { return cmp.Compare(a.Index, b.Index) })
	ledger, journal := newLedger(l), new(journal)
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
func (j *journal) read(l *ledger, data []byte) error {
	if len(data) < 2 || data[0] != recordVersion {
		return fmt.Errorf("%w: %d bytes of an unknown version", errBadRecord, len(data))
	}
	r := recordReader{rest: data[2:]}
	switch data[1] {
	case recordWhole:
		r.whole(l)
		j.wholeBytes, j.changes, j.bytes = len(data), 0, 0
	case recordChanges:
		for index := uint64(0); len(r.rest) > 0 && !r.bad; {
			index = r.change(l, index)
		}
		j.changes, j.bytes = j.changes+1, j.bytes+len(data)
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

func (r *recordReader) number() uint64 {
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
	n := r.number()
	if n > uint64(len(r.rest)) {
		r.bad, r.rest = true, nil
		return nil
	}
	data := slices.Clone(r.rest[:n])
	r.rest = r.rest[n:]
	return data
}

// change makes one change again and returns its index. The ledger must decide as it did then.
func (r *recordReader) change(l *ledger, previous uint64) (index uint64) {
	kind := changeKind(r.byte())
	index = previous + r.number()
	switch kind {
	case changeOpen:
		node, nonce := r.number(), r.bytes()
		r.bad = r.bad || l.open(index, node, nonce) == 0
		return index
	case changeClose:
		origin := r.number()
		r.bad = r.bad || !l.close(origin)
		return index
	case changeRepeat, changeApply, changeLarge:
	default:
		r.bad = true
		return index
	}
	id, sequence, lowest := r.number(), r.number(), r.number()
	o := l.find(id)
	if r.bad || o == nil {
		r.bad = true
		return index
	}
	verdict, _ := l.admit(o, index, sequence, lowest)
	switch kind {
	case changeApply:
		l.settle(id, sequence, r.bytes())
	case changeLarge:
		l.lose(o, sequence)
	}
	r.bad = r.bad || (verdict == isNew) == (kind == changeRepeat)
	return index
}

// whole replaces the ledger by what the record holds.
func (r *recordReader) whole(l *ledger) {
	l.origins, l.recent = nil, nil
	for count := r.number(); count > 0 && !r.bad; count-- {
		o := &origin{id: r.number(), node: r.number(), lastUsed: r.number(), watermark: r.number(), floor: r.number()}
		o.nonce = r.bytes()
		for answers := r.number(); answers > 0 && !r.bad; answers-- {
			n := len(o.answers)
			o.insert(n, answer{sequence: r.number(), index: r.number(), state: answerState(r.byte())})
			a := o.answers[n]
			r.bad = r.bad || a.state != kept && a.state != dropped || a.sequence < o.floor || n > 0 && a.sequence <= o.answers[n-1].sequence
			if a.state == kept {
				o.keep(n, r.bytes())
			}
		}
		n := len(l.origins)
		r.bad = r.bad || o.floor < o.watermark || n > 0 && o.id <= l.origins[n-1].id
		l.origins = append(l.origins, o)
	}
}
