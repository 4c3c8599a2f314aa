package mvcc

import (
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/troupe-raft/troupe/statemachine"
)

var _ statemachine.ResultSizer = (*Store)(nil)

// MaxResultBytes implements statemachine.ResultSizer. Ranges, and the previous values of a deleted
// range, have at most maxResultBytes together (resultSize). Each single key that is returned counts
// as the largest value, whatever it has. So batches of commands that return nothing are whole, and
// those of commands that may return much are divided.
func (s *Store) MaxResultBytes(command []byte) int {
	if len(command) == 0 {
		return 0
	}
	b := resultBound{commandBytes: len(command), valueBytes: s.valueBytes}
	switch body := command[1:]; command[0] {
	case KindPut:
		b.addPut(body)
	case KindDeleteRange:
		b.addDelete(body)
	case KindTxn:
		b.addTxn(body)
	}
	return b.bytes(s.resultBytes)
}

// resultBound bounds the result of a command without reading the store. It reads the encoded
// request, since decoding it as a whole would cost as much as Apply pays for that.
type resultBound struct {
	commandBytes, valueBytes int
	operations               int // each with a response
	singles                  int // keys that are returned by name
	ranges                   int // operations that return keys of a range
}

// operationBytes is more than the response to an operation takes without its keys and values.
const operationBytes = 128

func (b *resultBound) bytes(maxRanges int) int {
	n := (b.operations+1)*operationBytes + b.singles*(b.valueBytes+b.commandBytes+operationBytes)
	if b.ranges > 0 {
		// Each range returns besides what the command itself has put.
		n += maxRanges + b.ranges*b.commandBytes
	}
	return n
}

func (b *resultBound) addKeys(key, end []byte) {
	if keys := newKeyRange(key, end); keys.single() {
		b.singles++
		return
	}
	b.ranges++
}

// The field numbers of etcdserverpb's TxnRequest, RequestOp, RangeRequest and DeleteRangeRequest.
const (
	txnSuccess, txnFailure                  protowire.Number = 2, 3
	opFieldRange, opFieldPut, opFieldDelete protowire.Number = 1, 2, 3
	opFieldTxn                              protowire.Number = 4
	rangeKey, rangeEnd, rangeCountOnly      protowire.Number = 1, 2, 9
	deleteKey, deleteEnd, deletePrevKV      protowire.Number = 1, 2, 3
)

// addTxn adds the branch of a transaction that may return more.
func (b *resultBound) addTxn(body []byte) {
	success, failure := *b, *b
	for f := (fieldReader{rest: body}); f.next(); {
		switch f.number {
		case txnSuccess:
			success.addOperation(f.bytes)
		case txnFailure:
			failure.addOperation(f.bytes)
		}
	}
	b.operations = max(success.operations, failure.operations)
	b.singles = max(success.singles, failure.singles)
	b.ranges = max(success.ranges, failure.ranges)
}

func (b *resultBound) addOperation(body []byte) {
	b.operations++
	for f := (fieldReader{rest: body}); f.next(); {
		switch f.number {
		case opFieldRange:
			b.addRange(f.bytes)
		case opFieldPut:
			b.addPut(f.bytes)
		case opFieldDelete:
			b.addDelete(f.bytes)
		case opFieldTxn:
			b.addTxn(f.bytes)
		}
	}
}

func (b *resultBound) addPut(body []byte) {
	if p, ok := parsePut(body); ok && p.prevKV {
		b.singles++
	}
}

func (b *resultBound) addRange(body []byte) {
	var key, end []byte
	countOnly := false
	for f := (fieldReader{rest: body}); f.next(); {
		switch f.number {
		case rangeKey:
			key = f.bytes
		case rangeEnd:
			end = f.bytes
		case rangeCountOnly:
			countOnly = f.varint != 0
		}
	}
	if !countOnly {
		b.addKeys(key, end)
	}
}

func (b *resultBound) addDelete(body []byte) {
	var key, end []byte
	prevKV := false
	for f := (fieldReader{rest: body}); f.next(); {
		switch f.number {
		case deleteKey:
			key = f.bytes
		case deleteEnd:
			end = f.bytes
		case deletePrevKV:
			prevKV = f.varint != 0
		}
	}
	if prevKV {
		b.addKeys(key, end)
	}
}

// fieldReader reads the fields of an encoded message one after the other. It ends at the first one
// that is damaged.
type fieldReader struct {
	rest   []byte
	number protowire.Number
	bytes  []byte // of a field with bytes
	varint uint64 // of a field with a number
}

func (f *fieldReader) next() bool {
	if len(f.rest) == 0 {
		return false
	}
	number, kind, n := protowire.ConsumeTag(f.rest)
	if n < 0 {
		return false
	}
	f.rest, f.number, f.bytes, f.varint = f.rest[n:], number, nil, 0
	switch kind {
	case protowire.BytesType:
		f.bytes, n = protowire.ConsumeBytes(f.rest)
	case protowire.VarintType:
		f.varint, n = protowire.ConsumeVarint(f.rest)
	default:
		n = protowire.ConsumeFieldValue(number, kind, f.rest)
	}
	if n < 0 {
		return false
	}
	f.rest = f.rest[n:]
	return true
}
