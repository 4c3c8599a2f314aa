package nodemetrics_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/troupe-raft/troupe"
	"github.com/troupe-raft/troupe/nodemetrics"
)

// nothing is a state machine without state.
type nothing struct{}

func (*nothing) Apply(b *troupe.Batch) ([][]byte, error) { return make([][]byte, len(b.Commands)), nil }
func (*nothing) Snapshot(io.Writer) error                { return nil }
func (*nothing) Restore(io.Reader) error                 { return nil }
func (*nothing) Close() error                            { return nil }

func startCluster(ctx context.Context, size int) (*troupe.Cluster, error) {
	return troupe.StartCluster(ctx, troupe.ClusterOptions{
		Size:         size,
		StateMachine: func(uint64) troupe.Factory { return func() (troupe.StateMachine, error) { return &nothing{}, nil } },
	})
}

// The metrics of a node in a registry.
func ExampleNew() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	cluster, err := startCluster(ctx, 1)
	if err != nil {
		log.Fatal(err)
	}
	defer cluster.Stop(ctx)
	if _, err := cluster.WaitForLeader(ctx); err != nil {
		log.Fatal(err)
	}

	registry := prometheus.NewRegistry()
	registry.MustRegister(nodemetrics.New(cluster.Node(1)))
	families, err := registry.Gather()
	if err != nil {
		log.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "troupe_has_leader" {
			fmt.Println(f.GetName(), f.GetMetric()[0].GetGauge().GetValue())
		}
	}
	// Output: troupe_has_leader 1
}

// Every scrape of a running cluster is consistent for Prometheus, and a pedantic registry finds
// metrics of one name with different labels or kinds.
func TestScrapeOfEveryMemberIsValid(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cluster, err := startCluster(ctx, 3)
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Stop(ctx)
	leader, err := cluster.WaitForLeader(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		if _, err := leader.Propose(ctx, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	registry := prometheus.NewPedanticRegistry()
	for _, n := range cluster.Nodes() {
		prometheus.WrapRegistererWith(prometheus.Labels{"member": fmt.Sprint(n.ID())}, registry).MustRegister(nodemetrics.New(n))
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	samples := map[string]int{}
	for _, f := range families {
		samples[f.GetName()] = len(f.GetMetric())
	}
	for name, want := range map[string]int{
		"troupe_applied_index": 3, "troupe_log_sync_duration_seconds": 3, "troupe_peer_up": 6, "troupe_peer_match_index": 2,
		"troupe_events_dropped_total": 3, "troupe_sessions": 3,
	} {
		if samples[name] != want && leader.Status().Role == "leader" {
			t.Errorf("%d samples of %s, want %d", samples[name], name, want)
		}
	}
}
