package troupe_test

import (
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/troupe-raft/troupe"
)

// nullMachine is a state machine without state.
type nullMachine struct{ results [][]byte }

func (e *nullMachine) Apply(b *troupe.Batch) ([][]byte, error) {
	for len(e.results) < len(b.Commands) {
		e.results = append(e.results, nil)
	}
	return e.results[:len(b.Commands)], nil
}
func (e *nullMachine) Close() error             { return nil }
func (e *nullMachine) Snapshot(io.Writer) error { return nil }
func (e *nullMachine) Restore(io.Reader) error  { return nil }

// BenchmarkProposal proposes commands of 128 bytes at the leader of three nodes in one process,
// with files and syncs of the operating system:
//
//	go test -run '^$' -bench Proposal -benchmem .
func BenchmarkProposal(b *testing.B) {
	for _, clients := range []int{1, 64, 1024} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			ctx := context.Background()
			cluster, err := troupe.StartCluster(ctx, troupe.ClusterOptions{
				Size: 3, Dir: b.TempDir(),
				StateMachine: func(uint64) troupe.Factory {
					return func() (troupe.StateMachine, error) { return &nullMachine{}, nil }
				},
			})
			if err != nil {
				b.Fatal(err)
			}
			defer cluster.Stop(ctx)
			leader, err := cluster.WaitForLeader(ctx)
			if err != nil {
				b.Fatal(err)
			}
			command := make([]byte, 128)
			if _, err := leader.Propose(ctx, command); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			b.ResetTimer()
			var left atomic.Int64
			left.Store(int64(b.N))
			var running sync.WaitGroup
			for range clients {
				running.Go(func() {
					for left.Add(-1) >= 0 {
						if _, err := leader.Propose(ctx, command); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			running.Wait()
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "proposals/s")
		})
	}
}
