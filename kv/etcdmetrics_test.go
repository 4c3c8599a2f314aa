package kv

import (
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/metadata"

	"github.com/troupe-raft/troupe"
	"github.com/troupe-raft/troupe/kv/internal/kvtest"
)

// The names that etcd's published alert rules and dashboard use (contrib/mixin).
var alertedMetrics = []string{
	"etcd_disk_backend_commit_duration_seconds", "etcd_disk_wal_fsync_duration_seconds",
	"etcd_mvcc_db_total_size_in_bytes", "etcd_mvcc_db_total_size_in_use_in_bytes",
	"etcd_network_client_grpc_received_bytes_total", "etcd_network_client_grpc_sent_bytes_total",
	"etcd_network_peer_received_bytes_total", "etcd_network_peer_sent_bytes_total",
	"etcd_network_peer_round_trip_time_seconds", "etcd_network_peer_sent_failures_total",
	"etcd_server_has_leader", "etcd_server_leader_changes_seen_total", "etcd_server_proposals_applied_total",
	"etcd_server_proposals_committed_total", "etcd_server_proposals_failed_total", "etcd_server_proposals_pending",
	"etcd_server_quota_backend_bytes", "grpc_server_handled_total", "grpc_server_handling_seconds", "grpc_server_started_total",
}

// family is a metric family without its series.
type family struct{ kind, labels string }

// documented is a row of the table in docs/metrics.md.
type documented struct {
	family
	served string
}

func documentedMetrics(t *testing.T) map[string]documented {
	t.Helper()
	text, err := os.ReadFile("../docs/metrics.md")
	mustSucceed(t, err)
	rows := map[string]documented{}
	for _, m := range regexp.MustCompile("(?m)^\\| `?(\\w+)`? \\| (\\w+) \\| (.*) \\| (.+) \\|$").FindAllStringSubmatch(string(text), -1) {
		if strings.Contains(m[1], "_") { // not the head of the table
			rows[m[1]] = documented{family{m[2], strings.ReplaceAll(m[3], "`", "")}, m[4]}
		}
	}
	if len(rows) < 100 {
		t.Fatalf("docs/metrics.md has a table of %d metrics", len(rows))
	}
	return rows
}

// collect adds the families of a server to all.
func (ts *testServer) collect(t *testing.T, all map[string]family) map[string]*dto.MetricFamily {
	t.Helper()
	gathered, err := ts.config.Registry.Gather()
	mustSucceed(t, err)
	byName := map[string]*dto.MetricFamily{}
	for _, f := range gathered {
		labels := map[string]bool{}
		for _, l := range f.Metric[0].GetLabel() {
			labels[l.GetName()] = true
		}
		byName[f.GetName()] = f
		all[f.GetName()] = family{strings.ToLower(f.GetType().String()), strings.Join(slices.Sorted(maps.Keys(labels)), ", ")}
	}
	return byName
}

func TestEtcdMetricsAreServedOrExplained(t *testing.T) {
	c := startMembers(t, time.Minute, func(s *ServerConfig) { s.ExtensiveMetrics = true })
	served := map[string]family{}
	for _, ts := range c.servers {
		ts.put(t, "k", "v")
		for _, path := range []string{"/readyz", "/metrics"} { // these metrics appear at first use
			if code, _ := ts.get(t, path); code != http.StatusOK {
				t.Fatalf("%s: %d", path, code)
			}
		}
		ts.collect(t, served)
	}
	table := documentedMetrics(t)
	for name, row := range table {
		got, has := served[name]
		switch {
		case strings.HasPrefix(row.served, "no: ") && has:
			t.Errorf("%s is served, and docs/metrics.md says %q", name, row.served)
		case strings.HasPrefix(row.served, "no: "):
		case row.served != "yes" && !strings.Contains(row.served, "extensive") && !strings.Contains(row.served, "Linux"):
			t.Errorf("%s: docs/metrics.md says neither yes nor why not: %q", name, row.served)
		case !has:
			t.Errorf("%s is not served", name)
		case got != row.family:
			t.Errorf("%s is a %+v, in etcd a %+v", name, got, row.family)
		}
	}
	for name := range served {
		if _, known := table[name]; !known && regexp.MustCompile("^(etcd|grpc|os)_").MatchString(name) {
			t.Errorf("%s is none of etcd's metrics", name)
		}
	}
	for _, name := range alertedMetrics {
		if _, has := served[name]; !has {
			t.Errorf("%s is not served, and etcd's alerts or its dashboard use it", name)
		}
	}
}

// sum returns the sum of a family's series that have all the labels, given as pairs: the value, or
// the number of observations.
func sum(f *dto.MetricFamily, labels ...string) (total float64) {
series:
	for _, m := range f.GetMetric() {
		for i := 0; i < len(labels); i += 2 {
			if !slices.ContainsFunc(m.Label, func(l *dto.LabelPair) bool { return l.GetName() == labels[i] && l.GetValue() == labels[i+1] }) {
				continue series
			}
		}
		total += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
	}
	return total
}

func TestMetricsCountRequests(t *testing.T) {
	ts := startServer(t)
	ctx := metadata.AppendToOutgoingContext(testContext(t), rpctypes.MetadataClientAPIVersionKey, "3.7")
	calls := []func() error{
		func() error {
			_, err := ts.kv.Put(ctx, &pb.PutRequest{Key: []byte("a"), Value: []byte("1234")})
			return err
		},
		func() error { _, err := ts.kv.Put(ctx, &pb.PutRequest{Key: []byte("a")}); return err },
		func() error { _, err := ts.kv.Range(ctx, &pb.RangeRequest{Key: []byte("a")}); return err },
		func() error { _, err := ts.kv.DeleteRange(ctx, &pb.DeleteRangeRequest{Key: []byte("a")}); return err },
		func() error {
			_, err := ts.kv.Txn(ctx, &pb.TxnRequest{Success: []*pb.RequestOp{kvtest.PutOp("b", "1"), opRange("b", "")}})
			return err
		},
		func() error {
			_, err := ts.kv.Txn(ctx, &pb.TxnRequest{Success: []*pb.RequestOp{opRange("a", ""), opRange("b", "")}})
			return err
		},
		func() error {
			_, err := ts.kv.Compact(ctx, &pb.CompactionRequest{Revision: 4, Physical: true})
			return err
		},
		func() error { _, err := pb.NewMaintenanceClient(ts.conn).HashKV(ctx, &pb.HashKVRequest{}); return err },
		func() error { _, err := pb.NewMaintenanceClient(ts.conn).Hash(ctx, &pb.HashRequest{}); return err },
		func() error {
			_, err := pb.NewMaintenanceClient(ts.conn).Defragment(ctx, &pb.DefragmentRequest{})
			return err
		},
	}
	for _, call := range calls {
		mustSucceed(t, call())
	}
	got := ts.collect(t, map[string]family{})
	for _, c := range []struct {
		name   string
		want   float64
		labels []string
	}{
		{"etcd_mvcc_put_total", 3, nil}, {"etcd_mvcc_delete_total", 1, nil}, {"etcd_mvcc_range_total", 4, nil}, {"etcd_mvcc_txn_total", 2, nil},
		{"etcd_debugging_mvcc_total_put_size_in_bytes", 8, nil}, // a1234, a, b1
		{"etcd_server_request_duration_seconds", 2, []string{"type", "Put", "success", "true"}},
		{"etcd_server_request_duration_seconds", 1, []string{"type", "Txn"}}, {"etcd_server_request_duration_seconds", 1, []string{"type", "ReadonlyTxn"}},
		{"etcd_server_request_duration_seconds", 1, []string{"type", "Range"}}, {"etcd_server_request_duration_seconds", 1, []string{"type", "Compaction"}},
		{"etcd_server_range_duration_seconds", 1, []string{"success", "true"}},
		{"etcd_server_apply_duration_seconds", 2, []string{"op", "Put", "success", "true"}},
		{"etcd_server_apply_duration_seconds", 1, []string{"op", "Compaction"}}, {"etcd_disk_backend_commit_duration_seconds", 5, nil},
		{"etcd_debugging_mvcc_db_compaction_keys_total", 2, nil}, // both puts of a
		{"etcd_debugging_mvcc_db_compaction_total_duration_milliseconds", 1, nil},
		{"etcd_mvcc_hash_duration_seconds", 1, nil}, {"etcd_mvcc_hash_rev_duration_seconds", 1, nil},
		{"etcd_disk_backend_defrag_duration_seconds", 1, nil}, {"etcd_disk_defrag_inflight", 0, nil},
		{"etcd_server_client_requests_total", 10, []string{"type", "unary", "client_api_version", "3.7"}},
		{"grpc_server_msg_received_total", 2, []string{"grpc_method", "Put"}}, {"grpc_server_msg_sent_total", 2, []string{"grpc_method", "Put"}},
		{"etcd_server_proposals_failed_total", 0, nil},
	} {
		if n := sum(got[c.name], c.labels...); n != c.want {
			t.Errorf("%s%v is %v, want %v", c.name, c.labels, n, c.want)
		}
	}
	for _, name := range []string{"etcd_network_client_grpc_received_bytes_total", "etcd_network_client_grpc_sent_bytes_total"} {
		if n := sum(got[name]); n < 50 || n > 5000 {
			t.Errorf("%s is %v after ten small calls", name, n)
		}
	}
	if got["grpc_server_handling_seconds"] != nil {
		t.Error("the handling time is measured without extensive metrics")
	}
}

func TestMetricsCountFailures(t *testing.T) {
	ts := startServer(t, func(c *ServerConfig) { c.RequestTimeout = time.Millisecond })
	ts.consensus.SetFailure(kvtest.ErrHangUntilDeadline)
	_, putErr := ts.kv.Put(testContext(t), &pb.PutRequest{Key: []byte("a")})
	_, getErr := ts.kv.Range(testContext(t), &pb.RangeRequest{Key: []byte("a")})
	ts.consensus.SetFailure(troupe.ErrNoLeader)
	_, noLeaderErr := ts.kv.Range(testContext(t), &pb.RangeRequest{Key: []byte("a")})
	if putErr == nil || getErr == nil || noLeaderErr == nil {
		t.Fatalf("put: %v, range: %v, %v", putErr, getErr, noLeaderErr)
	}
	got := ts.collect(t, map[string]family{})
	for _, name := range []string{"etcd_server_proposals_failed_total", "etcd_server_slow_read_indexes_total", "etcd_server_read_indexes_failed_total"} {
		if n := sum(got[name]); n != 1 {
			t.Errorf("%s is %v, want 1", name, n)
		}
	}
	if n := sum(got["etcd_server_request_duration_seconds"], "success", "false"); n != 3 {
		t.Errorf("%v failed requests are measured, want 3", n)
	}
}

// A client may state any version, so the number of series is bounded.
func TestClientVersionsAreBounded(t *testing.T) {
	ts := startServer(t)
	version := func(v string) error {
		ctx := metadata.AppendToOutgoingContext(testContext(t), rpctypes.MetadataClientAPIVersionKey, v)
		_, err := ts.kv.Range(ctx, &pb.RangeRequest{Key: []byte("a")})
		return err
	}
	for i := range 2 * maxClientVersions {
		mustSucceed(t, version(strings.Repeat("1", 1+i%20)+strings.Repeat("2", i/20)))
	}
	mustSucceed(t, version(strings.Repeat("long", 100)))
	got := ts.collect(t, map[string]family{})["etcd_server_client_requests_total"]
	if n := len(got.Metric) / 2; n > maxClientVersions+1 {
		t.Errorf("%d versions have series", n)
	}
	if n := sum(got); n != 2*maxClientVersions+1 {
		t.Errorf("%v requests are counted, want %d", n, 2*maxClientVersions+1)
	}
	if err := version("3.7\xff"); err == nil {
		t.Error("a version that is no text is accepted")
	}
}
