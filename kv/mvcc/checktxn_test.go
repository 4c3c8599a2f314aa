package mvcc

import (
	"errors"
	"fmt"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"pgregory.net/rapid"
)

// TestRangeSetContainsTheUnion compares the set's binary search with a loop over all ranges.
func TestRangeSetContainsTheUnion(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringOfN(rapid.RuneFrom([]rune("abc")), 0, 3, -1)
		var set rangeSet
		var all []keyRange
		for range rapid.IntRange(0, 12).Draw(t, "ranges") {
			end := name.Draw(t, "end")
			if rapid.IntRange(0, 9).Draw(t, "to the end") == 0 {
				end = "\x00"
			}
			r := newKeyRange([]byte(name.Draw(t, "start")), []byte(end))
			all = append(all, r)
			set.add(r)
			if rapid.Bool().Draw(t, "asked between") {
				set.contains(name.Draw(t, "asked"))
			}
		}
		key := name.Draw(t, "key")
		want := false
		for _, r := range all {
			want = want || r.contains([]byte(key))
		}
		if got := set.contains(key); got != want {
			t.Fatalf("%q in %+v: %v, want %v", key, all, got, want)
		}
	})
}

func TestTxnNestedTooDeepIsRefused(t *testing.T) {
	if err := CheckTxn(&pb.TxnRequest{Success: []*pb.RequestOp{opPut("x"), nestedTxnOp(maxTxnDepth + 1)}}); !errors.Is(err, ErrInvalidCommand) {
		t.Errorf("%d levels: %v", maxTxnDepth+1, err)
	}
	if err := CheckTxn(&pb.TxnRequest{Success: []*pb.RequestOp{opPut("x"), nestedTxnOp(maxTxnDepth - 1)}}); err != nil {
		t.Errorf("%d levels: %v", maxTxnDepth-1, err)
	}
}

func nestedTxnOp(levels int) *pb.RequestOp {
	op := opPut("bottom")
	for range levels {
		op = opTxn([]*pb.RequestOp{op}, nil)
	}
	return op
}

// TestLargeTxnIsCheckedInOnePass checks 64,000 operations, half of them deletes that cover no put.
// The bound is far above what one pass takes; a quadratic check takes a thousand times as
// long.
func TestLargeTxnIsCheckedInOnePass(t *testing.T) {
	ops := make([]*pb.RequestOp, 0, 64_000)
	for i := range 32_000 {
		ops = append(ops, opPut(fmt.Sprintf("put%06d", i)), opDelete(fmt.Sprintf("del%06d", i), fmt.Sprintf("del%06d", i+1)))
	}
	done := make(chan error, 1)
	go func() { done <- CheckTxn(&pb.TxnRequest{Success: ops}) }()
	select {
	case err := <-done:
		mustSucceed(t, err)
	case <-time.After(time.Minute):
		t.Fatal("it takes more than a minute")
	}
}
