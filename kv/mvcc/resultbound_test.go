package mvcc

import (
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/troupe-raft/troupe/statemachine"
)

// No result is larger than its bound, whatever the store holds.
func TestNoResultExceedsItsBound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := smallOptions
		o.resultBytes, o.MaxValueBytes = 4<<10, maxInlineValueBytes+2
		r := openReplica(t, vfs.NewMem(), o)
		defer r.close()
		m := newModel()
		for range rapid.IntRange(1, 40).Draw(t, "commands") {
			e := drawCommand(t, m)
			bound := r.s.MaxResultBytes(e.command)
			if result := r.apply(e.command)[0]; len(result) > bound {
				t.Fatalf("%s: a result of %d bytes, its bound is %d", e.what, len(result), bound)
			}
		}
	})
}

// Commands that return nothing have small bounds, so that their batches are not divided.
func TestBoundsOfResults(t *testing.T) {
	o := smallOptions
	o.resultBytes, o.MaxValueBytes = 64<<20, 1<<20
	r := openReplica(t, vfs.NewMem(), o)
	defer r.close()
	const small, value, ranges = 1 << 10, 1 << 20, 64 << 20
	some := &pb.RangeRequest{Key: []byte("a"), RangeEnd: []byte("b")}
	for _, c := range []struct {
		name        string
		command     []byte
		least, most int
	}{
		{"put", put("a", strings.Repeat("v", 10000)), 0, small},
		{"put, previous value", must(EncodePut(&pb.PutRequest{Key: []byte("a"), PrevKv: true})), value, value + small},
		{"delete of a range", del("a", "b"), 0, small},
		{"delete of a key, previous value", must(EncodeDeleteRange(&pb.DeleteRangeRequest{Key: []byte("a"), PrevKv: true})), value, value + small},
		{"delete of a range, previous values", must(EncodeDeleteRange(&pb.DeleteRangeRequest{Key: []byte("a"), RangeEnd: []byte("b"), PrevKv: true})), ranges, ranges + small},
		{"compaction", must(EncodeCompaction(&pb.CompactionRequest{Revision: 1})), 0, small},
		{"txn, two puts", must(EncodeTxn(&pb.TxnRequest{Success: []*pb.RequestOp{opPut("a"), opPut("b")}})), 0, small},
		{"txn, count", must(EncodeTxn(&pb.TxnRequest{Success: []*pb.RequestOp{opPut("a"), opRangeOf(&pb.RangeRequest{Key: some.Key, RangeEnd: some.RangeEnd, CountOnly: true})}})), 0, small},
		{"txn, two ranges", must(EncodeTxn(&pb.TxnRequest{Success: []*pb.RequestOp{opPut("a"), opRangeOf(some), opRangeOf(some)}})), ranges, ranges + small},
		{"txn, a key in the failure branch", must(EncodeTxn(&pb.TxnRequest{Success: []*pb.RequestOp{opPut("a")}, Failure: []*pb.RequestOp{opRangeOf(&pb.RangeRequest{Key: []byte("a")})}})), value, value + small},
		{"txn, a range in the failure branch", must(EncodeTxn(&pb.TxnRequest{Success: []*pb.RequestOp{opPut("a")}, Failure: []*pb.RequestOp{opRangeOf(some)}})), ranges, ranges + small},
		{"txn, nested with previous values", must(EncodeTxn(&pb.TxnRequest{Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestTxn{RequestTxn: &pb.TxnRequest{Failure: []*pb.RequestOp{
			{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte("a"), PrevKv: true}}},
			{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: []byte("b"), PrevKv: true}}},
		}}}}}})), 2 * value, 2*value + small},
		{"nothing", nil, 0, small},
		{"no txn", []byte{KindTxn, 0xff}, 0, small},
	} {
		if n := r.s.MaxResultBytes(c.command); n < c.least || n > c.most {
			t.Errorf("%s: the bound is %d, want %d to %d", c.name, n, c.least, c.most)
		}
	}
}

func opRangeOf(r *pb.RangeRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: proto.Clone(r).(*pb.RangeRequest)}}
}

// The store that a node opens is a ResultSizer too.
func TestReferredStoreBoundsResults(t *testing.T) {
	var s statemachine.StateMachine = &referredStore{}
	if _, ok := s.(statemachine.ResultSizer); !ok {
		t.Errorf("%T is none", s)
	}
}
