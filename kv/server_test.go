package kv

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/troupe-raft/troupe"
	"github.com/troupe-raft/troupe/kv/internal/kvtest"
)

type mvccKV = mvccpb.KeyValue

// eventually polls a condition for which there is no event.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for ; !condition(); <-time.After(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("timed out waiting until %s", what)
		}
	}
}

func (ts *testServer) get(t *testing.T, path string) (int, string) {
	t.Helper()
	r, err := http.Get("http://" + ts.address + path)
	mustSucceed(t, err)
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	mustSucceed(t, err)
	return r.StatusCode, string(body)
}

// metric scrapes the metrics and returns one of them.
func (ts *testServer) metric(t *testing.T, name string) float64 {
	t.Helper()
	_, body := ts.get(t, "/metrics")
	_, rest, found := strings.Cut(body, "\n"+name+" ")
	if !found {
		t.Fatalf("no metric %s", name)
	}
	line, _, _ := strings.Cut(rest, "\n")
	v, err := strconv.ParseFloat(line, 64)
	mustSucceed(t, err)
	return v
}

func TestHTTPEndpointsShareThePortWithGRPC(t *testing.T) {
	ts := startServer(t)
	ts.put(t, "k", "v")
	for path, want := range map[string]string{
		"/health":                   `{"health":"true","reason":""}`,
		"/health?serializable=true": `{"health":"true","reason":""}`,
		"/livez":                    "ok\n",
		"/livez?verbose":            "[+]serializable_read ok\nok\n",
		"/readyz":                   "ok\n",
		"/readyz?verbose":           "[+]data_corruption ok\n[+]serializable_read ok\n[+]linearizable_read ok\n[+]non_learner ok\nok\n",
		"/readyz/linearizable_read": "ok\n",
		"/readyz?verbose&exclude=data_corruption&exclude=non_learner": "[+]serializable_read ok\n[+]linearizable_read ok\nok\n",
	} {
		if code, body := ts.get(t, path); code != http.StatusOK || body != want {
			t.Errorf("%s: %d %q, want %q", path, code, body, want)
		}
	}
	var v map[string]string
	if _, body := ts.get(t, "/version"); json.Unmarshal([]byte(body), &v) != nil || v["etcdserver"] != APIVersion || v["troupe"] != "0.1.0-test" {
		t.Errorf("/version: %v", v)
	}
	if code, _ := ts.get(t, "/debug/pprof/"); code != http.StatusNotFound {
		t.Errorf("profiles are served although Pprof is not set: %d", code)
	}
	r, err := http.Post("http://"+ts.address+"/health", "text/plain", strings.NewReader(""))
	if err != nil || r.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST /health: %v, %v", r, err)
	}
}

func TestHealthEndpointsReportTheReason(t *testing.T) {
	ts := startServer(t)
	ts.consensus.SetStatus(func(s *troupe.Status) { s.DiskLow = true })
	if code, body := ts.get(t, "/health"); code != 503 || body != `{"health":"false","reason":"ALARM NOSPACE"}` {
		t.Errorf("disk low: %d %s", code, body)
	}
	if code, body := ts.get(t, "/health?exclude=NOSPACE"); code != 200 {
		t.Errorf("disk low, excluded: %d %s", code, body)
	}
	ts.consensus.SetStatus(func(s *troupe.Status) { s.DiskLow, s.LeaderID = false, 0 })
	ts.consensus.SetFailure(troupe.ErrNoLeader)
	if code, body := ts.get(t, "/health"); code != 503 || body != `{"health":"false","reason":"RAFT NO LEADER"}` {
		t.Errorf("no leader: %d %s", code, body)
	}
	if code, body := ts.get(t, "/health?serializable=true"); code != 200 {
		t.Errorf("no leader, serializable: %d %s", code, body)
	}
	if code, body := ts.get(t, "/readyz"); code != 503 || !strings.Contains(body, "[-]linearizable_read failed: no leader") ||
		!strings.Contains(body, "[+]serializable_read ok") {
		t.Errorf("readyz: %d %s", code, body)
	}
	if code, body := ts.get(t, "/livez"); code != 200 {
		t.Errorf("livez: %d %s", code, body)
	}
	ts.consensus.SetStatus(func(s *troupe.Status) { s.IsLearner = true })
	if code, _ := ts.get(t, "/readyz/non_learner"); code != 503 {
		t.Errorf("a learner passes as a voter: %d", code)
	}
}

func TestMetricsUseEtcdNames(t *testing.T) {
	ts := startServer(t)
	ts.put(t, "k", "v")
	_, body := ts.get(t, "/metrics")
	for _, line := range []string{
		"etcd_server_has_leader 1", "etcd_server_is_leader 1", "etcd_debugging_mvcc_current_revision 2",
		"etcd_debugging_mvcc_keys_total 1", "etcd_mvcc_db_total_size_in_bytes ", `etcd_server_id{server_id="1234"} 1`,
		`grpc_server_handled_total{grpc_code="OK",grpc_method="Put",grpc_service="etcdserverpb.KV",grpc_type="unary"} 1`,
		fmt.Sprintf("troupe_raft_term %d", kvtest.Term), "go_goroutines ", "troupe_client_connections ",
	} {
		if !strings.Contains(body, "\n"+line) {
			t.Errorf("no line %q", line)
		}
	}
}

func TestGRPCHealthServesWhileLeaderIsKnown(t *testing.T) {
	ts := startServer(t, func(c *ServerConfig) { c.ElectionTimeout = time.Millisecond })
	client := healthpb.NewHealthClient(ts.conn)
	becomes := func(want healthpb.HealthCheckResponse_ServingStatus) {
		t.Helper()
		watch, err := client.Watch(testContext(t), &healthpb.HealthCheckRequest{})
		mustSucceed(t, err)
		for {
			r, err := watch.Recv()
			if err != nil {
				t.Fatalf("waiting for %v: %v", want, err)
			}
			if r.Status == want {
				return
			}
		}
	}
	becomes(healthpb.HealthCheckResponse_SERVING)
	ts.consensus.SetStatus(func(s *troupe.Status) { s.LeaderID = 0 })
	becomes(healthpb.HealthCheckResponse_NOT_SERVING)
}

func TestStatusAndAlarmReportTheMember(t *testing.T) {
	ts := startServer(t, func(c *ServerConfig) { c.QuotaBytes = 42 })
	ts.put(t, "k", "v")
	ts.consensus.SetStatus(func(s *troupe.Status) { s.CommitIndex, s.AppliedIndex, s.LogBytes = 11, 10, 4711 })
	client := pb.NewMaintenanceClient(ts.conn)
	var header metadata.MD
	r, err := client.Status(testContext(t), &pb.StatusRequest{}, grpc.Header(&header))
	mustSucceed(t, err)
	if fmt.Sprint(header.Get(VersionHeader), header.Get(LogBytesHeader)) != "[0.1.0-test] [4711]" {
		t.Errorf("headers of the status: %v", header)
	}
	if r.Leader != kvtest.MemberID || r.RaftTerm != kvtest.Term || r.RaftIndex != 11 || r.RaftAppliedIndex != 10 || r.Version != APIVersion ||
		r.DbSizeQuota != 42 || r.IsLearner || len(r.Errors) > 0 || r.Header.Revision != 2 {
		t.Errorf("status: %v", r)
	}
	ts.consensus.SetStatus(func(s *troupe.Status) { s.LeaderID, s.IsLearner, s.DiskLow = 0, true, true })
	r, err = client.Status(testContext(t), &pb.StatusRequest{})
	if err != nil || !r.IsLearner || len(r.Errors) != 2 || r.Errors[0] != "etcdserver: no leader" {
		t.Errorf("status of a learner without a leader on a full disk: %v, %v", r, err)
	}
	alarms, err := client.Alarm(testContext(t), &pb.AlarmRequest{})
	if err != nil || len(alarms.Alarms) != 1 || alarms.Alarms[0].Alarm != pb.AlarmType_NOSPACE {
		t.Errorf("alarms: %v, %v", alarms, err)
	}
}

func TestHashKVHashesUpToARevision(t *testing.T) {
	ts := startServer(t)
	for i := range 5 {
		ts.put(t, "k", fmt.Sprint(i))
	}
	client := pb.NewMaintenanceClient(ts.conn)
	at4, err := client.HashKV(testContext(t), &pb.HashKVRequest{Revision: 4})
	if err != nil || at4.HashRevision != 4 || at4.CompactRevision != -1 || at4.Header.Revision != 6 {
		t.Fatalf("hash: %v, %v", at4, err)
	}
	newest, err := client.HashKV(testContext(t), &pb.HashKVRequest{})
	if err != nil || newest.HashRevision != 6 || newest.Hash == at4.Hash {
		t.Errorf("hash of all: %v, %v", newest, err)
	}
	if _, err := client.HashKV(testContext(t), &pb.HashKVRequest{Revision: 99}); status.Code(err) != codes.OutOfRange {
		t.Errorf("hash of the future: %v", err)
	}
	if h, err := client.Hash(testContext(t), &pb.HashRequest{}); err != nil || h.Header.Revision != 6 {
		t.Errorf("hash of everything: %v, %v", h, err)
	}
	if _, err := client.Defragment(testContext(t), &pb.DefragmentRequest{}); err != nil {
		t.Error(err)
	}
}

func TestMoveLeaderNeedsLeaderAndVoter(t *testing.T) {
	ts := startServer(t)
	moved := uint64(0)
	ts.consensus.OnTransfer = func(to uint64) error { moved = to; return nil }
	ts.consensus.SetStatus(func(s *troupe.Status) {
		s.Members = append(s.Members, troupe.Member{ID: 2}, troupe.Member{ID: 3, IsLearner: true})
	})
	client := pb.NewMaintenanceClient(ts.conn)
	move := func(to uint64) error {
		_, err := client.MoveLeader(testContext(t), &pb.MoveLeaderRequest{TargetID: to})
		return err
	}
	if err := move(2); err != nil || moved != 2 {
		t.Errorf("moving to 2: %v, moved to %d", err, moved)
	}
	for _, to := range []uint64{3, 99} {
		if err := move(to); status.Convert(err).Message() != "etcdserver: bad leader transferee" {
			t.Errorf("moving to %d: %v", to, err)
		}
	}
	ts.consensus.SetStatus(func(s *troupe.Status) { s.LeaderID = 2 })
	if err := move(2); status.Convert(err).Message() != "etcdserver: not leader" {
		t.Errorf("moving from a follower: %v", err)
	}
}

func TestUnsupportedCallsAreRefusedByName(t *testing.T) {
	ts := startServer(t)
	ctx := testContext(t)
	_, lease := pb.NewLeaseClient(ts.conn).LeaseGrant(ctx, &pb.LeaseGrantRequest{TTL: 5})
	_, auth := pb.NewAuthClient(ts.conn).AuthEnable(ctx, &pb.AuthEnableRequest{})
	_, member := pb.NewClusterClient(ts.conn).MemberAdd(ctx, &pb.MemberAddRequest{})
	stream, snapshot := pb.NewMaintenanceClient(ts.conn).Snapshot(ctx, &pb.SnapshotRequest{})
	if snapshot == nil {
		_, snapshot = stream.Recv()
	}
	for want, err := range map[string]error{
		"troupe: leases are not supported by this version":                         lease,
		"troupe: authentication is not supported by this version":                  auth,
		"troupe: changing the membership is not supported by this version":         member,
		"troupe: snapshots over the client port are not supported by this version": snapshot,
		"troupe: the call /no.Such/Thing is not supported by this version":         ts.conn.Invoke(ctx, "/no.Such/Thing", &pb.StatusRequest{}, &pb.StatusResponse{}),
	} {
		if status.Code(err) != codes.Unimplemented || status.Convert(err).Message() != want {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	if r, err := pb.NewAuthClient(ts.conn).AuthStatus(ctx, &pb.AuthStatusRequest{}); err != nil || r.Enabled {
		t.Errorf("auth status: %v, %v", r, err)
	}
	if _, err := pb.NewAuthClient(ts.conn).Authenticate(ctx, &pb.AuthenticateRequest{}); status.Convert(err).Message() != "etcdserver: authentication is not enabled" {
		t.Errorf("authenticate: %v", err)
	}
}

func TestMemberListShowsPublishedAttributes(t *testing.T) {
	ts := startServer(t)
	list := func() *pb.Member {
		t.Helper()
		r, err := pb.NewClusterClient(ts.conn).MemberList(testContext(t), &pb.MemberListRequest{Linearizable: true})
		if err != nil || len(r.Members) != 1 || r.Header.Revision != 0 || r.Header.MemberId != kvtest.MemberID {
			t.Fatalf("members: %v, %v", r, err)
		}
		return r.Members[0]
	}
	// The name is that of the configuration, as in etcd.
	if m := list(); m.ID != kvtest.MemberID || m.Name != "one" || len(m.ClientURLs) != 0 || m.PeerURLs[0] != "http://127.0.0.1:2380" {
		t.Errorf("before: %v", m)
	}
	mustSucceed(t, ts.Publish(testContext(t)))
	if m := list(); m.Name != "one" || len(m.ClientURLs) != 1 || m.ClientURLs[0] != "http://127.0.0.1:2379" {
		t.Errorf("after: %v", m)
	}
	before := ts.consensus.Proposals()
	if err := ts.Publish(testContext(t)); err != nil || ts.consensus.Proposals() != before {
		t.Errorf("publishing the same again: %v, %d proposals", err, ts.consensus.Proposals()-before)
	}
	if r := ts.put(t, "k", "v"); r != 2 {
		t.Errorf("publishing took a revision: the first put has %d", r)
	}
}

func TestPublishRetriesUntilItSucceeds(t *testing.T) {
	ts := startServer(t)
	ts.consensus.SetFailure(troupe.ErrNoLeader)
	published := make(chan error, 1)
	go func() { published <- ts.Publish(testContext(t)) }()
	eventually(t, "a first attempt", func() bool { return ts.consensus.Reads[troupe.ReadIndex].Load() > 0 })
	ts.consensus.SetFailure(nil)
	if err := <-published; err != nil {
		t.Error(err)
	}
	ts.consensus.SetFailure(troupe.ErrNoLeader)
	ts.config.Name = "renamed"
	ctx, cancel := context.WithCancel(testContext(t))
	defer cancel()
	attempts := ts.consensus.Reads[troupe.ReadIndex].Load()
	go func() { published <- ts.Publish(ctx) }()
	eventually(t, "a second attempt", func() bool { return ts.consensus.Reads[troupe.ReadIndex].Load() > attempts+1 })
	cancel()
	if err := <-published; err == nil || !strings.Contains(err.Error(), "no leader") {
		t.Errorf("an attempt whose context ended: %v", err)
	}
}

func TestStopDrainsRequestsAndEndsWatches(t *testing.T) {
	ts := startServer(t)
	w := ts.openWatch(t)
	w.create(&pb.WatchCreateRequest{Key: []byte("k")})
	health, err := healthpb.NewHealthClient(ts.conn).Watch(testContext(t), &healthpb.HealthCheckRequest{})
	if err == nil {
		_, err = health.Recv()
	}
	mustSucceed(t, err)
	ctx := testContext(t)
	ts.Stop(ctx)
	if ctx.Err() != nil {
		t.Error("Stop waited until its context ended")
	}
	if _, err := w.stream.Recv(); status.Convert(err).Message() != "etcdserver: server stopped" {
		t.Errorf("the watch: %v", err)
	}
	brief, cancel := context.WithTimeout(testContext(t), 50*time.Millisecond)
	defer cancel()
	if _, err := ts.kv.Put(brief, &pb.PutRequest{Key: []byte("k")}); err == nil {
		t.Error("a stopped server accepts writes")
	}
}
