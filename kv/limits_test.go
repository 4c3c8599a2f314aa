package kv

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/troupe-raft/troupe"
	"github.com/troupe-raft/troupe/kv/internal/kvtest"
)

// blockingConsensus is a Consensus whose reads block until release is closed. It has metrics.
type blockingConsensus struct {
	Consensus
	waiting chan struct{} // receives once for each read
	release chan struct{}
}

func (s *blockingConsensus) Read(ctx context.Context, mode troupe.ReadMode) (troupe.ReadPoint, error) {
	s.waiting <- struct{}{}
	select {
	case <-s.release:
	case <-ctx.Done():
		return troupe.ReadPoint{}, ctx.Err()
	}
	return s.Consensus.Read(ctx, mode)
}

func (s *blockingConsensus) Metrics() troupe.Metrics {
	m := troupe.Metrics{
		Syncs: 3, SyncDuration: time.Second, PendingProposals: 11, PendingProposalBytes: 12, PendingReads: 13, UnappliedReadPoints: 14, SessionBytes: 15,
		Refusals: []troupe.RefusalCount{{Limit: "MaxPendingReads", Count: 16}},
		Actors:   []troupe.ActorMetrics{{Name: "troupe/node", MailboxDepth: 17, MessagesHandled: 18, BusyTime: 2 * time.Second}},
		Links:    []troupe.LinkMetrics{{PeerID: 0xab, Up: true, QueuedBytes: 19, EnvelopesDropped: 20}},
	}
	m.SyncDurationCounts[0], m.SyncDurationCounts[2] = 1, 2
	return m
}

func startBlockingServer(t *testing.T, adjust func(*ServerConfig)) (*testServer, *blockingConsensus) {
	s := &blockingConsensus{waiting: make(chan struct{}, 1000), release: make(chan struct{})}
	ts := startServer(t, func(c *ServerConfig) {
		s.Consensus = c.Consensus
		c.Consensus = s
		adjust(c)
	})
	return ts, s
}

func (ts *testServer) refusals(t *testing.T, limit string) float64 {
	t.Helper()
	return ts.metric(t, fmt.Sprintf("troupe_client_refused_total{limit=%q}", limit))
}

func TestE45RequestsInFlightAreLimited(t *testing.T) {
	const limit, more = 20, 30
	ts, s := startBlockingServer(t, func(c *ServerConfig) { c.MaxRequestsInFlight = limit })
	responses := make(chan error, limit)
	read := func() error {
		_, err := ts.kv.Range(testContext(t), &pb.RangeRequest{Key: []byte("k")})
		return err
	}
	for range limit {
		go func() { responses <- read() }()
	}
	for range limit {
		<-s.waiting
	}
	for range more {
		if err := read(); !errors.Is(rpctypes.Error(err), rpctypes.ErrTooManyRequests) {
			t.Fatalf("above the limit: %v", err)
		}
	}
	if n := ts.refusals(t, "requests-in-flight"); n != more {
		t.Errorf("%v of %d refusals were counted", n, more)
	}
	if n := ts.metric(t, "troupe_client_requests_in_flight"); n != limit {
		t.Errorf("%v requests are in flight, not %d", n, limit)
	}
	close(s.release)
	for range limit {
		if err := <-responses; err != nil {
			t.Errorf("within the limit: %v", err)
		}
	}
	// The client may have the response before the server has counted the request as done.
	eventually(t, "requests are accepted again", func() bool { return read() == nil })
}

func TestE45StreamsAndWatchersAreLimited(t *testing.T) {
	ts := startServer(t, func(c *ServerConfig) { c.MaxOpenStreams, c.MaxWatchersPerStream = 3, 2 })
	var open []*clientWatch
	ctx, leave := context.WithCancel(testContext(t))
	for _, ctx := range []context.Context{testContext(t), ctx, testContext(t)} {
		w := ts.openWatchFor(t, ctx)
		w.create(&pb.WatchCreateRequest{Key: []byte("k")})
		open = append(open, w)
	}
	refused := ts.openWatch(t)
	if _, err := refused.stream.Recv(); !errors.Is(rpctypes.Error(err), rpctypes.ErrTooManyRequests) {
		t.Errorf("the fourth of three streams: %v", err)
	}
	open[0].create(&pb.WatchCreateRequest{Key: []byte("k")})
	open[0].sendCreate(&pb.WatchCreateRequest{Key: []byte("k")})
	if r := open[0].receive(); !r.Canceled || r.CancelReason != "troupe: too many watchers on this stream; use another one" {
		t.Errorf("the third of two watchers: %v", r)
	}
	if s, w := ts.refusals(t, "open-streams"), ts.refusals(t, "watchers-of-a-stream"); s != 1 || w != 1 {
		t.Errorf("%v and %v refusals were counted", s, w)
	}
	leave()
	eventually(t, "the stream that ended is not counted", func() bool { return ts.metric(t, "troupe_client_streams") == 2 })
	ts.openWatch(t).create(&pb.WatchCreateRequest{Key: []byte("k")})
}

// fill puts about 1 MiB.
func (ts *testServer) fill(t *testing.T) {
	t.Helper()
	for i := range 64 {
		ts.put(t, fmt.Sprintf("k%02d", i), strings.Repeat("v", 16<<10))
	}
}

var allKeys = &pb.RangeRequest{Key: []byte("k"), RangeEnd: []byte("l")}

func TestE45RangeAboveResponseBudgetIsRefused(t *testing.T) {
	ts := startServer(t, func(c *ServerConfig) { c.MaxResponseBytes = 512 << 10 })
	ts.fill(t)
	inTxn := &pb.TxnRequest{Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestRange{RequestRange: allKeys}}}}
	for name, call := range map[string]func() error{
		"range": func() error { _, err := ts.kv.Range(testContext(t), allKeys); return err },
		"txn":   func() error { _, err := ts.kv.Txn(testContext(t), inTxn); return err },
	} {
		if err := call(); status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), "max-response-bytes=524288") {
			t.Errorf("%s of all keys: %v", name, err)
		}
	}
	if n := ts.refusals(t, "max-response-bytes"); n != 2 {
		t.Errorf("%v refusals were counted of 2", n)
	}
	for _, r := range []*pb.RangeRequest{
		{Key: allKeys.Key, RangeEnd: allKeys.RangeEnd, Limit: 20}, {Key: allKeys.Key, RangeEnd: allKeys.RangeEnd, CountOnly: true},
		{Key: allKeys.Key, RangeEnd: allKeys.RangeEnd, KeysOnly: true},
	} {
		for range 10 { // a response that was sent releases its reservation
			if _, err := ts.kv.Range(testContext(t), r); err != nil {
				t.Fatalf("%v: %v", r, err)
			}
			eventually(t, "the reservation is released", func() bool { return ts.budget.reservedBytes.Load() == 0 })
		}
	}
	eventually(t, "all reservations are released", func() bool { return ts.metric(t, "troupe_client_response_bytes") == 0 })
}

// A stream has the chunk in memory that it sends, and a sorted one all of them.
func TestE45StreamReservesWhatItHolds(t *testing.T) {
	ts := startServer(t, func(c *ServerConfig) { c.MaxResponseBytes, c.MaxRequestBytes = 512<<10, 128<<10 })
	ts.fill(t) // 1 MiB
	receive := func(r *pb.RangeRequest) (keys int, err error) {
		stream, err := ts.kv.RangeStream(testContext(t), r)
		mustSucceed(t, err)
		for {
			chunk, err := stream.Recv()
			if err == io.EOF {
				return keys, nil
			}
			if err != nil {
				return keys, err
			}
			keys += len(chunk.RangeResponse.Kvs)
		}
	}
	if n, err := receive(allKeys); n != 64 || err != nil {
		t.Errorf("a stream in key order: %d keys, %v", n, err)
	}
	sorted := &pb.RangeRequest{Key: allKeys.Key, RangeEnd: allKeys.RangeEnd, SortTarget: pb.RangeRequest_MOD}
	if _, err := receive(sorted); status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), "max-response-bytes=524288") {
		t.Errorf("a sorted stream: %v", err)
	}
	sorted.RangeEnd = []byte("k20")
	if n, err := receive(sorted); n != 20 || err != nil {
		t.Errorf("a small sorted stream: %d keys, %v", n, err)
	}
	eventually(t, "all reservations are released", func() bool { return ts.budget.reservedBytes.Load() == 0 })
	// The budget is that of all clients.
	ts.budget.reservedBytes.Store(512 << 10)
	if _, err := receive(allKeys); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("a stream while the budget is used up: %v", err)
	}
	ts.budget.reservedBytes.Store(0)
}

// A transaction is not walked before it is checked: it may be far above the limit of operations.
func TestReservationDoesNotDependOnOperations(t *testing.T) {
	b := &responseBudget{}
	for _, op := range []*pb.RequestOp{kvtest.PutOp("k", "v"), {Request: &pb.RequestOp_RequestRange{RequestRange: allKeys}}} {
		if _, r := b.reserveFor(testContext(t), &pb.TxnRequest{Success: []*pb.RequestOp{op}}); r == nil {
			t.Errorf("no reservation for a transaction of %v", op)
		}
	}
}

// The ranges of a transaction that writes have no budget: Apply reads them at every member.
func TestWriteTxnReadsAboveResponseBudget(t *testing.T) {
	ts := startServer(t, func(c *ServerConfig) { c.MaxResponseBytes = 512 << 10 })
	ts.fill(t)
	r, err := ts.kv.Txn(testContext(t), &pb.TxnRequest{Success: []*pb.RequestOp{
		kvtest.PutOp("a", "v"), {Request: &pb.RequestOp_RequestRange{RequestRange: allKeys}},
	}})
	if err != nil || len(r.Responses[1].GetResponseRange().GetKvs()) != 64 {
		t.Errorf("a transaction that puts and ranges over 1 MiB: %v", err)
	}
	if n := ts.metric(t, "troupe_client_response_bytes"); n != 0 {
		t.Errorf("%v bytes are reserved for it", n)
	}
}

// Responses that clients do not read stay within the budget, and their reservations are released
// with the connection.
func TestE45UnreadResponsesStayWithinBudget(t *testing.T) {
	const limit = 5 << 20
	ts := startServer(t, func(c *ServerConfig) { c.MaxResponseBytes = limit })
	ts.fill(t)
	for _, leave := range []string{"the connection breaks", "the call is cancelled"} {
		conn, err := grpc.NewClient("passthrough:///"+ts.address, grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithStaticStreamWindowSize(64<<10), grpc.WithStaticConnWindowSize(1<<20))
		mustSucceed(t, err)
		defer conn.Close()
		ctx, cancel := context.WithCancel(testContext(t))
		defer cancel()
		for range 10 {
			stream, err := conn.NewStream(ctx, &grpc.StreamDesc{}, pb.KV_Range_FullMethodName)
			mustSucceed(t, err)
			mustSucceed(t, errors.Join(stream.SendMsg(allKeys), stream.CloseSend()))
			if _, err := stream.Header(); err != nil {
				t.Fatal(err)
			}
		}
		if n := ts.metric(t, "troupe_client_response_bytes"); n < limit*3/4 || n > limit {
			t.Errorf("%v bytes are reserved, of at most %d", n, limit)
		}
		if _, err := ts.kv.Range(testContext(t), allKeys); status.Code(err) != codes.ResourceExhausted {
			t.Errorf("all keys once more: %v", err)
		}
		if leave == "the connection breaks" {
			_ = conn.Close()
		} else {
			cancel()
		}
		eventually(t, "all reservations are released when "+leave, func() bool { return ts.metric(t, "troupe_client_response_bytes") == 0 })
		if _, err := ts.kv.Range(testContext(t), allKeys); err != nil {
			t.Errorf("after %s: %v", leave, err)
		}
	}
}

func TestRefusedLargeRequestsAreCounted(t *testing.T) {
	ts := startServer(t, func(c *ServerConfig) { c.MaxRequestBytes, c.MaxTxnOps = 1000, 2 })
	_, large := ts.kv.Put(testContext(t), &pb.PutRequest{Key: []byte("k"), Value: make([]byte, 1000)})
	_, many := ts.kv.Txn(testContext(t), &pb.TxnRequest{Success: []*pb.RequestOp{kvtest.PutOp("a", ""), kvtest.PutOp("b", ""), kvtest.PutOp("c", "")}})
	if !errors.Is(rpctypes.Error(large), rpctypes.ErrRequestTooLarge) || !errors.Is(rpctypes.Error(many), rpctypes.ErrTooManyOps) {
		t.Errorf("too large: %v; too many: %v", large, many)
	}
	if l, m := ts.refusals(t, "max-request-bytes"), ts.refusals(t, "max-txn-ops"); l != 1 || m != 1 {
		t.Errorf("%v and %v refusals were counted", l, m)
	}
}

func TestNodeCountersAreServedAsMetrics(t *testing.T) {
	ts, _ := startBlockingServer(t, func(*ServerConfig) {})
	_, body := ts.get(t, "/metrics")
	for _, line := range []string{
		"etcd_server_proposals_pending 11", "troupe_proposals_pending_bytes 12", "troupe_reads_pending 13", "troupe_read_points_parked 14",
		"troupe_session_bytes 15", `troupe_refused_total{limit="MaxPendingReads"} 16`, `troupe_mailbox_depth{actor="troupe/node"} 17`,
		`troupe_actor_messages_total{actor="troupe/node"} 18`, `troupe_actor_busy_seconds_total{actor="troupe/node"} 2`,
		`troupe_peer_up{peer="0xab"} 1`, `troupe_peer_queue_bytes{peer="0xab"} 19`, `troupe_peer_dropped_total{peer="0xab"} 20`,
		`etcd_disk_wal_fsync_duration_seconds_bucket{le="0.001"} 3`, `etcd_disk_wal_fsync_duration_seconds_bucket{le="6.25e-05"} 1`,
		"etcd_disk_wal_fsync_duration_seconds_count 3", "etcd_disk_wal_fsync_duration_seconds_sum 1",
	} {
		if !strings.Contains(body, "\n"+line+"\n") {
			t.Errorf("no line %q", line)
		}
	}
}

// docs/limits.md names a metric for each limit.
func TestMetricsNamedInLimitsTableExist(t *testing.T) {
	text, err := os.ReadFile("../docs/limits.md")
	mustSucceed(t, err)
	named := regexp.MustCompile("`((?:troupe|etcd|grpc|go|process)_[a-z0-9_]+)").FindAllStringSubmatch(string(text), -1)
	if len(named) < 20 {
		t.Fatalf("only %d metrics are named", len(named))
	}
	ts, _ := startBlockingServer(t, func(*ServerConfig) {})
	ts.consensus.SetStatus(func(s *troupe.Status) { s.Peers = []troupe.PeerStatus{{ID: 0xab}} })
	if _, err := pb.NewMaintenanceClient(ts.conn).Status(testContext(t), &pb.StatusRequest{}); err != nil { // for the metrics of its client
		t.Fatal(err)
	}
	_, body := ts.get(t, "/metrics")
	for _, name := range named {
		if !strings.Contains(body, "\n"+name[1]+" ") && !strings.Contains(body, "\n"+name[1]+"{") && !strings.Contains(body, "\n"+name[1]+"_count ") {
			t.Errorf("docs/limits.md names %s, which is not served", name[1])
		}
	}
}
