package kv

import (
	"context"
	"sync"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/troupe-raft/troupe"
	"github.com/troupe-raft/troupe/kv/internal/kvtest"
	"github.com/troupe-raft/troupe/messages"
)

// writeCalls are the calls that are proposed. Each writes its own key.
var writeCalls = map[string]func(ctx context.Context, ts *testServer, key string) error{
	"Put": func(ctx context.Context, ts *testServer, key string) error {
		_, err := ts.kv.Put(ctx, &pb.PutRequest{Key: []byte(key)})
		return err
	},
	"Txn": func(ctx context.Context, ts *testServer, key string) error {
		_, err := ts.kv.Txn(ctx, &pb.TxnRequest{Success: []*pb.RequestOp{kvtest.PutOp(key, "")}})
		return err
	},
	"DeleteRange": func(ctx context.Context, ts *testServer, key string) error {
		_, err := ts.kv.DeleteRange(ctx, &pb.DeleteRangeRequest{Key: []byte(key)})
		return err
	},
	"Compact": func(ctx context.Context, ts *testServer, _ string) error {
		_, err := ts.kv.Compact(ctx, &pb.CompactionRequest{Revision: 1})
		return err
	},
	"physical Compact": func(ctx context.Context, ts *testServer, _ string) error {
		_, err := ts.kv.Compact(ctx, &pb.CompactionRequest{Revision: 1, Physical: true})
		return err
	},
}

// The client waits for two minutes (testContext), and the server for a fifth of a second.
func TestRequestsWithoutMajorityEndInTime(t *testing.T) {
	c := startMembers(t, 200*time.Millisecond)
	c.servers[1].put(t, "k", "v")
	isolated, _ := c.isolate(false)
	eventually(t, "it knows no leader", func() bool { return isolated.config.Consensus.Status().LeaderID == 0 })
	for name, write := range writeCalls {
		// What etcd 3.7.3 returns, and the only code after which clientv3 repeats a write.
		if err := write(testContext(t), isolated, name); status.Code(err) != codes.DeadlineExceeded ||
			status.Convert(err).Message() != "context deadline exceeded" {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, call := range append(readCalls(false), nestedTxn(false)) {
		if _, err := call.read(testContext(t), isolated, "k"); status.Code(err) != codes.Unavailable ||
			status.Convert(err).Message() != "etcdserver: request timed out" {
			t.Errorf("%s: %v", call.name, err)
		}
	}
	_, err := pb.NewClusterClient(isolated.conn).MemberList(testContext(t), &pb.MemberListRequest{Linearizable: true})
	if status.Convert(err).Message() != "etcdserver: request timed out" {
		t.Errorf("MemberList: %v", err)
	}
}

// A write that a leader has in its log may still be committed, so no client may repeat it unasked.
func TestProposedWriteTimesOutAsUnavailable(t *testing.T) {
	// The request timeout is long enough that a write is proposed before it ends.
	c := startMembers(t, 2*time.Second)
	leader := c.servers[c.leader()]
	leader.put(t, "k", "v") // its session is registered
	c.Network.Filter(func(m troupe.MessageInTransit) bool {
		_, acknowledges := m.Message.(*messages.AppendResponse)
		return !acknowledges
	})
	var writes sync.WaitGroup
	for name, write := range writeCalls {
		writes.Go(func() {
			if err := write(testContext(t), leader, name); status.Code(err) != codes.Unavailable ||
				status.Convert(err).Message() != "etcdserver: request timed out" {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	writes.Wait()
	c.Network.Filter(nil)
	r, err := leader.kv.Range(testContext(t), &pb.RangeRequest{Key: []byte("Put")})
	for ; err == nil && len(r.Kvs) == 0; r, err = leader.kv.Range(testContext(t), &pb.RangeRequest{Key: []byte("Put")}) {
	}
	mustSucceed(t, err)
}

func TestMoveLeaderEndsInTime(t *testing.T) {
	ts := startServer(t, func(c *ServerConfig) { c.RequestTimeout = time.Millisecond })
	ts.consensus.SetStatus(func(s *troupe.Status) { s.Members = append(s.Members, troupe.Member{ID: 2}) })
	_, err := pb.NewMaintenanceClient(ts.conn).MoveLeader(testContext(t), &pb.MoveLeaderRequest{TargetID: 2})
	if status.Code(err) != codes.Unavailable || status.Convert(err).Message() != "etcdserver: request timed out, leader transfer took too long" {
		t.Errorf("a transfer that does not end: %v", err)
	}
}

func TestRequestTimeoutLeavesShorterDeadlines(t *testing.T) {
	short, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	bounded, done := boundWait(short, nil, time.Hour)
	defer done()
	if bounded != short {
		t.Error("a deadline before the request timeout costs another context")
	}
	bounded, done2 := boundWait(short, nil, time.Second)
	defer done2()
	if deadline, _ := bounded.Deadline(); time.Until(deadline) > time.Second {
		t.Errorf("the request waits until %v", deadline)
	}
}
