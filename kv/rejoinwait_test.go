package kv

import (
	"context"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/troupe-raft/troupe"
)

// A member that waits to rejoin has an empty store: it must not answer that a key does not exist.
// It serves the same requests once the wait has ended.
func TestWaitingMemberServesNothingFromItsStore(t *testing.T) {
	ts := startServer(t)
	ts.put(t, "k", "v")
	calls := map[string]func(context.Context) error{
		"hash of keys": func(ctx context.Context) error {
			_, err := pb.NewMaintenanceClient(ts.conn).HashKV(ctx, &pb.HashKVRequest{})
			return err
		},
		"hash": func(ctx context.Context) error {
			_, err := pb.NewMaintenanceClient(ts.conn).Hash(ctx, &pb.HashRequest{})
			return err
		},
		"watch": func(ctx context.Context) error {
			w, err := ts.watch.Watch(ctx)
			if err == nil {
				_ = w.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{
					CreateRequest: &pb.WatchCreateRequest{Key: []byte("k")}}})
				_, err = w.Recv()
			}
			return err
		},
		"range in mode local": func(ctx context.Context) error {
			_, err := ts.kv.Range(metadata.AppendToOutgoingContext(ctx, ReadModeKey, "local"), &pb.RangeRequest{Key: []byte("k")})
			return err
		},
	}
	for _, c := range readCalls(true) {
		calls["serializable "+c.name] = func(ctx context.Context) error {
			_, err := c.read(ctx, ts, "k")
			return err
		}
	}
	setWaiting := func(waits bool) {
		ts.consensus.SetStatus(func(s *troupe.Status) { s.Rejoining = waits })
	}
	setWaiting(true)
	for name, call := range calls {
		if err := call(testContext(t)); status.Convert(err).Message() != status.Convert(rpctypes.ErrGRPCNoLeader).Message() ||
			status.Code(err) != status.Code(rpctypes.ErrGRPCNoLeader) {
			t.Errorf("%s at a member that waits to rejoin: %v", name, err)
		}
	}
	// An orchestrator must not restart the member for it.
	for _, path := range []string{"/livez", "/health?serializable=true"} {
		if code, body := ts.get(t, path); code != 200 {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	setWaiting(false)
	for name, call := range calls {
		if err := call(testContext(t)); err != nil {
			t.Errorf("%s after the wait: %v", name, err)
		}
	}
}
