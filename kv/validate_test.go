package kv

import (
	"context"
	"fmt"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/troupe-raft/troupe/kv/internal/kvtest"
)

func opRange(key, end string) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{
		RequestRange: &pb.RangeRequest{Key: []byte(key), RangeEnd: []byte(end)}}}
}

func opTxn(then, otherwise []*pb.RequestOp) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: &pb.TxnRequest{Success: then, Failure: otherwise}}}
}

func repeatOp(n int, op func(i int) *pb.RequestOp) (ops []*pb.RequestOp) {
	for i := range n {
		ops = append(ops, op(i))
	}
	return ops
}

func numberedPut(i int) *pb.RequestOp { return kvtest.PutOp(fmt.Sprintf("k%04d", i), "v") }

func TestInvalidRequestsGetEtcdErrors(t *testing.T) {
	ts := startServer(t)
	put := func(r *pb.PutRequest) func(context.Context) error {
		return func(ctx context.Context) error { _, err := ts.kv.Put(ctx, r); return err }
	}
	get := func(r *pb.RangeRequest) func(context.Context) error {
		return func(ctx context.Context) error { _, err := ts.kv.Range(ctx, r); return err }
	}
	stream := func(r *pb.RangeRequest) func(context.Context) error {
		return func(ctx context.Context) error {
			s, err := ts.kv.RangeStream(ctx, r)
			if err == nil {
				_, err = s.Recv()
			}
			return err
		}
	}
	txn := func(r *pb.TxnRequest) func(context.Context) error {
		return func(ctx context.Context) error { _, err := ts.kv.Txn(ctx, r); return err }
	}
	key := []byte("k")
	ts.put(t, "k", "v")
	for name, c := range map[string]struct {
		call func(context.Context) error
		want error
	}{
		"range without a key":        {get(&pb.RangeRequest{}), rpctypes.ErrGRPCEmptyKey},
		"range with unknown order":   {get(&pb.RangeRequest{Key: key, SortOrder: 9}), rpctypes.ErrGRPCInvalidSortOption},
		"range with unknown target":  {get(&pb.RangeRequest{Key: key, SortTarget: 9}), rpctypes.ErrGRPCInvalidSortOption},
		"range in the future":        {get(&pb.RangeRequest{Key: key, Revision: 99}), rpctypes.ErrGRPCFutureRev},
		"stream without a key":       {stream(&pb.RangeRequest{}), rpctypes.ErrGRPCEmptyKey},
		"stream in another order":    {stream(&pb.RangeRequest{Key: key, SortOrder: pb.RangeRequest_DESCEND}), status.Error(codes.Unimplemented, "RangeStream does not support custom sort orders")},
		"stream with a filter":       {stream(&pb.RangeRequest{Key: key, MinModRevision: 2}), status.Error(codes.Unimplemented, "RangeStream does not support revision filters")},
		"stream in the future":       {stream(&pb.RangeRequest{Key: key, Revision: 99}), rpctypes.ErrGRPCFutureRev},
		"put without a key":          {put(&pb.PutRequest{}), rpctypes.ErrGRPCEmptyKey},
		"put with value and ignored": {put(&pb.PutRequest{Key: key, Value: key, IgnoreValue: true}), rpctypes.ErrGRPCValueProvided},
		"put with lease and ignored": {put(&pb.PutRequest{Key: key, Lease: 1, IgnoreLease: true}), rpctypes.ErrGRPCLeaseProvided},
		"put ignoring value of none": {put(&pb.PutRequest{Key: []byte("none"), IgnoreValue: true}), rpctypes.ErrGRPCKeyNotFound},
		"put with an unknown lease":  {put(&pb.PutRequest{Key: key, Lease: 5}), rpctypes.ErrGRPCLeaseNotFound},
		"put too large":              {put(&pb.PutRequest{Key: key, Value: make([]byte, 3<<19)}), rpctypes.ErrGRPCRequestTooLarge},
		"delete without a key": {func(ctx context.Context) error {
			_, err := ts.kv.DeleteRange(ctx, &pb.DeleteRangeRequest{})
			return err
		}, rpctypes.ErrGRPCEmptyKey},
		"compare without a key":       {txn(&pb.TxnRequest{Compare: []*pb.Compare{{}}}), rpctypes.ErrGRPCEmptyKey},
		"txn with an empty operation": {txn(&pb.TxnRequest{Success: []*pb.RequestOp{{}}}), rpctypes.ErrGRPCKeyNotFound},
		"txn put without a key":       {txn(&pb.TxnRequest{Failure: []*pb.RequestOp{kvtest.PutOp("", "v")}}), rpctypes.ErrGRPCEmptyKey},
		"txn range in the future": {txn(&pb.TxnRequest{Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestRange{
			RequestRange: &pb.RangeRequest{Key: key, Revision: 99}}}}}), rpctypes.ErrGRPCFutureRev},
		"txn with 129 operations": {txn(&pb.TxnRequest{Success: repeatOp(129, numberedPut)}), rpctypes.ErrGRPCTooManyOps},
		"nested txn beyond what its parent left": {txn(&pb.TxnRequest{
			Success: append(repeatOp(127, numberedPut), opTxn(repeatOp(2, func(i int) *pb.RequestOp { return numberedPut(i + 500) }), nil))}), rpctypes.ErrGRPCTooManyOps},
		"txn that puts a key twice":               {txn(&pb.TxnRequest{Success: []*pb.RequestOp{kvtest.PutOp("a", "1"), kvtest.PutOp("a", "2")}}), rpctypes.ErrGRPCDuplicateKey},
		"txn that puts and deletes a key":         {txn(&pb.TxnRequest{Success: []*pb.RequestOp{kvtest.PutOp("a", "1"), kvtest.DeleteOp("a", "")}}), rpctypes.ErrGRPCDuplicateKey},
		"txn that puts into what it empties":      {txn(&pb.TxnRequest{Failure: []*pb.RequestOp{kvtest.DeleteOp("a", "c"), kvtest.PutOp("b", "1")}}), rpctypes.ErrGRPCDuplicateKey},
		"txn whose nested one puts it again":      {txn(&pb.TxnRequest{Success: []*pb.RequestOp{kvtest.PutOp("a", "1"), opTxn(nil, []*pb.RequestOp{kvtest.PutOp("a", "2")})}}), rpctypes.ErrGRPCDuplicateKey},
		"txn that empties without bound and puts": {txn(&pb.TxnRequest{Success: []*pb.RequestOp{kvtest.DeleteOp("a", "\x00"), kvtest.PutOp("b", "1")}}), rpctypes.ErrGRPCDuplicateKey},
		"compaction in the future": {func(ctx context.Context) error {
			_, err := ts.kv.Compact(ctx, &pb.CompactionRequest{Revision: 99})
			return err
		}, rpctypes.ErrGRPCFutureRev},
	} {
		got, want := status.Convert(c.call(testContext(t))), status.Convert(c.want)
		if got.Code() != want.Code() || got.Message() != want.Message() {
			t.Errorf("%s: got %v %q, want %v %q", name, got.Code(), got.Message(), want.Code(), want.Message())
		}
	}
	if r, err := ts.kv.Range(testContext(t), &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}}); err != nil || r.Header.Revision != 2 {
		t.Errorf("a refused request changed something: revision %d, %v", r.GetHeader().GetRevision(), err)
	}
}

func TestTxnAtTheLimitsIsAccepted(t *testing.T) {
	ts := startServer(t)
	for name, r := range map[string]*pb.TxnRequest{
		"128 operations":                     {Success: repeatOp(128, numberedPut)},
		"nested with what the parent left":   {Success: append(repeatOp(126, numberedPut), opTxn(repeatOp(1, func(int) *pb.RequestOp { return kvtest.PutOp("nested", "") }), nil))},
		"both branches put the same key":     {Success: []*pb.RequestOp{kvtest.PutOp("a", "1")}, Failure: []*pb.RequestOp{kvtest.PutOp("a", "2")}},
		"nested branches put the same key":   {Success: []*pb.RequestOp{opTxn([]*pb.RequestOp{kvtest.PutOp("a", "1")}, []*pb.RequestOp{kvtest.PutOp("a", "2")})}},
		"two deletes of overlapping ranges":  {Success: []*pb.RequestOp{kvtest.DeleteOp("a", "c"), kvtest.DeleteOp("b", "d")}},
		"one branch puts, the other empties": {Success: []*pb.RequestOp{opTxn([]*pb.RequestOp{kvtest.PutOp("a", "1")}, []*pb.RequestOp{kvtest.DeleteOp("a", "b")})}},
		"an empty transaction":               {},
	} {
		if _, err := ts.kv.Txn(testContext(t), r); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
