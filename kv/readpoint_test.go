package kv

import (
	"context"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// A node confirms a read for a state machine that a restart of its actors may close right after it.
// The store that is opened next is behind until it has replayed the log.
func TestReadsWaitForAStoreReopenedBehind(t *testing.T) {
	ts := startServer(t)
	ts.put(t, "k", "v")
	mustSucceed(t, ts.Publish(testContext(t)))
	proposals := ts.consensus.Proposals()
	one := &pb.RangeRequest{Key: []byte("k")}
	calls := map[string]func(context.Context) (any, error){
		"range": func(ctx context.Context) (any, error) {
			r, err := ts.kv.Range(ctx, one)
			return len(r.GetKvs()), err
		},
		"serializable range": func(ctx context.Context) (any, error) {
			r, err := ts.kv.Range(ctx, &pb.RangeRequest{Key: one.Key, Serializable: true})
			return len(r.GetKvs()), err
		},
		"read-only txn": func(ctx context.Context) (any, error) {
			r, err := ts.kv.Txn(ctx, &pb.TxnRequest{Success: []*pb.RequestOp{opRange("k", "")}})
			if err != nil {
				return nil, err
			}
			return len(r.Responses[0].GetResponseRange().GetKvs()), nil
		},
		"stream": func(ctx context.Context) (any, error) {
			s, err := ts.kv.RangeStream(ctx, one)
			if err != nil {
				return nil, err
			}
			r, err := s.Recv()
			return len(r.GetRangeResponse().GetKvs()), err
		},
		"member list": func(ctx context.Context) (any, error) {
			r, err := pb.NewClusterClient(ts.conn).MemberList(ctx, &pb.MemberListRequest{Linearizable: true})
			if err != nil {
				return nil, err
			}
			return len(r.Members[0].ClientURLs), nil
		},
		"publish": func(ctx context.Context) (any, error) {
			err := ts.Publish(ctx)
			return 1 + ts.consensus.Proposals() - proposals, err // it is published already
		},
		"watch": func(ctx context.Context) (any, error) {
			w, err := ts.watch.Watch(ctx)
			if err == nil {
				err = w.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{
					CreateRequest: &pb.WatchCreateRequest{Key: []byte("k")}}})
			}
			if err != nil {
				return nil, err
			}
			r, err := w.Recv()
			return int(r.GetHeader().GetRevision()) - 1, err
		},
	}
	type answer struct {
		call string
		got  any
		err  error
	}
	answers := make(chan answer, len(calls))
	ts.consensus.ReopenBehind(t, func() {
		var asked int64
		for i := range ts.consensus.Reads {
			asked -= ts.consensus.Reads[i].Load()
		}
		for name, call := range calls {
			go func() {
				got, err := call(testContext(t))
				answers <- answer{name, got, err}
			}()
		}
		eventually(t, "every read has its read point", func() bool {
			n := asked
			for i := range ts.consensus.Reads {
				n += ts.consensus.Reads[i].Load()
			}
			return n == int64(len(calls))
		})
	})
	for range calls {
		if a := <-answers; a.err != nil || a.got != 1 {
			t.Errorf("%s: got %v, %v from a store that was behind; want 1", a.call, a.got, a.err)
		}
	}
}
