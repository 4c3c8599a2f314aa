package mvcc

import (
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"
)

// drawKey draws one of few keys, so that commands affect each other.
func drawKey(t *rapid.T) []byte {
	return []byte(rapid.SampledFrom(modelKeys).Draw(t, "key"))
}

var modelKeys = func() (keys []string) {
	for _, a := range []string{"\x00", "a", "ab", "b", "b\x00", "c", "\xff"} {
		for _, b := range []string{"", "1", "2\xff"} {
			keys = append(keys, a+b)
		}
	}
	return keys
}()

func drawEnd(t *rapid.T) []byte {
	switch rapid.IntRange(0, 4).Draw(t, "end kind") {
	case 0, 1:
		return nil
	case 2:
		return []byte{0}
	}
	return drawKey(t)
}

func drawValue(t *rapid.T) []byte {
	v := []byte(fmt.Sprint("v", rapid.IntRange(0, 5).Draw(t, "value")))
	if rapid.IntRange(0, 7).Draw(t, "long") == 0 {
		v = append(v, make([]byte, maxInlineValueBytes)...)
	}
	return v
}

func drawPut(t *rapid.T) *pb.PutRequest {
	p := &pb.PutRequest{Key: drawKey(t), PrevKv: rapid.Bool().Draw(t, "prev")}
	if p.IgnoreValue = rapid.IntRange(0, 5).Draw(t, "ignore value") == 0; !p.IgnoreValue {
		p.Value = drawValue(t)
	}
	if p.IgnoreLease = rapid.IntRange(0, 5).Draw(t, "ignore lease") == 0; !p.IgnoreLease {
		p.Lease = rapid.Int64Range(0, 2).Draw(t, "lease")
	}
	return p
}

func drawRev(t *rapid.T, newest int64) int64 {
	if rapid.Bool().Draw(t, "newest") {
		return 0
	}
	return rapid.Int64Range(-2, newest+1).Draw(t, "revision")
}

func drawRange(t *rapid.T, newest int64) *pb.RangeRequest {
	r := &pb.RangeRequest{
		Key: drawKey(t), RangeEnd: drawEnd(t), Revision: drawRev(t, newest),
		Limit:     rapid.SampledFrom([]int64{0, 0, 1, 2, 5, 100}).Draw(t, "limit"),
		KeysOnly:  rapid.IntRange(0, 3).Draw(t, "keys only") == 0,
		CountOnly: rapid.IntRange(0, 5).Draw(t, "count only") == 0,
	}
	if rapid.IntRange(0, 2).Draw(t, "sorted") == 0 {
		r.SortOrder = pb.RangeRequest_SortOrder(rapid.IntRange(0, 2).Draw(t, "order"))
		r.SortTarget = pb.RangeRequest_SortTarget(rapid.IntRange(0, 4).Draw(t, "target"))
	}
	if rapid.IntRange(0, 3).Draw(t, "filtered") == 0 {
		for _, f := range []*int64{&r.MinModRevision, &r.MaxModRevision, &r.MinCreateRevision, &r.MaxCreateRevision} {
			if rapid.Bool().Draw(t, "filter") {
				*f = rapid.Int64Range(1, newest+1).Draw(t, "bound")
			}
		}
	}
	return r
}

func drawCompare(t *rapid.T, newest int64) *pb.Compare {
	c := &pb.Compare{
		Key: drawKey(t), RangeEnd: drawEnd(t),
		Result: pb.Compare_CompareResult(rapid.IntRange(0, 3).Draw(t, "result")),
		Target: pb.Compare_CompareTarget(rapid.IntRange(0, 4).Draw(t, "target")),
	}
	n := rapid.Int64Range(0, 3).Draw(t, "number")
	rev := rapid.Int64Range(0, newest).Draw(t, "revision")
	switch c.Target {
	case pb.Compare_VALUE:
		c.TargetUnion = &pb.Compare_Value{Value: drawValue(t)}
	case pb.Compare_CREATE:
		c.TargetUnion = &pb.Compare_CreateRevision{CreateRevision: rev * (n & 1)}
	case pb.Compare_MOD:
		c.TargetUnion = &pb.Compare_ModRevision{ModRevision: rev}
	case pb.Compare_VERSION:
		c.TargetUnion = &pb.Compare_Version{Version: n}
	case pb.Compare_LEASE:
		c.TargetUnion = &pb.Compare_Lease{Lease: n}
	}
	return c
}

func drawTxn(t *rapid.T, newest int64, depth int, writes bool) *pb.TxnRequest {
	r := &pb.TxnRequest{}
	for range rapid.IntRange(0, 2).Draw(t, "compares") {
		r.Compare = append(r.Compare, drawCompare(t, newest))
	}
	ops := func() (ops []*pb.RequestOp) {
		for range rapid.IntRange(0, 3).Draw(t, "operations") {
			op := &pb.RequestOp{}
			kind := rapid.IntRange(0, 3).Draw(t, "kind")
			if !writes && (kind == 1 || kind == 2) {
				kind = 0
			}
			switch {
			case kind == 1:
				op.Request = &pb.RequestOp_RequestPut{RequestPut: drawPut(t)}
			case kind == 2:
				op.Request = &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: drawDelete(t)}
			case kind == 3 && depth < 2:
				op.Request = &pb.RequestOp_RequestTxn{RequestTxn: drawTxn(t, newest, depth+1, writes)}
			default:
				op.Request = &pb.RequestOp_RequestRange{RequestRange: drawRange(t, newest-1)}
			}
			ops = append(ops, op)
		}
		return ops
	}
	r.Success, r.Failure = ops(), ops()
	return r
}

func drawDelete(t *rapid.T) *pb.DeleteRangeRequest {
	return &pb.DeleteRangeRequest{Key: drawKey(t), RangeEnd: drawEnd(t), PrevKv: rapid.Bool().Draw(t, "prev")}
}

// expectedResult is a command with the model's result.
type expectedResult struct {
	command []byte
	what    string
	want    proto.Message
	wantErr error
	decode  func([]byte) (proto.Message, error)
}

func decoder[M proto.Message](f func([]byte) (M, error)) func([]byte) (proto.Message, error) {
	return func(b []byte) (proto.Message, error) { return f(b) }
}

func drawCommand(t *rapid.T, m *model) expectedResult {
	switch kind := rapid.IntRange(0, 9).Draw(t, "command"); {
	case kind < 4:
		p := drawPut(t)
		want, err := m.put(p)
		return expectedResult{must(EncodePut(p)), fmt.Sprint("put ", p), want, err, decoder(DecodePut)}
	case kind < 6:
		d := drawDelete(t)
		return expectedResult{must(EncodeDeleteRange(d)), fmt.Sprint("delete ", d), m.del(d), nil, decoder(DecodeDeleteRange)}
	case kind < 9:
		x := drawTxn(t, m.rev, 0, true)
		e := expectedResult{command: must(EncodeTxn(x)), what: fmt.Sprint("txn ", x), decode: decoder(DecodeTxn)}
		if e.wantErr = CheckTxn(x); e.wantErr == nil {
			e.want, e.wantErr = m.txn(x)
		}
		return e
	}
	rev := rapid.Int64Range(-1, m.rev+1).Draw(t, "compact at")
	want, err := m.compact(rev)
	return expectedResult{compact(rev), fmt.Sprint("compact ", rev), want, err, decoder(DecodeCompaction)}
}
