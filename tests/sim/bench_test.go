package sim_test

import (
	"testing"
	"time"

	"github.com/troupe-raft/troupe/internal/sim/fault"
	"github.com/troupe-raft/troupe/internal/sim/world"
)

// The simulator must reach on one core, with every invariant checked: 150,000 messages handled by
// actors a second, and with five members and all kinds of fault 100 virtual seconds a second.
// docs/testing.md has the figures.
func BenchmarkFiveMembersEverything(b *testing.B) {
	profile, err := fault.FindProfile("everything")
	if err != nil {
		b.Fatal(err)
	}
	var total world.Counts
	var virtual time.Duration
	seed := uint64(0)
	for b.Loop() {
		seed++
		r := world.Run(world.Options{Seed: seed, Profile: profile, Nodes: 5})
		if r.Failure != nil {
			b.Fatalf("seed %d: %+v\n%s", seed, r.Failure, r.Last)
		}
		total.Add(&r.Counts)
		virtual += r.Virtual
	}
	b.ReportMetric(float64(total.Handled)/b.Elapsed().Seconds(), "messages/s")
	b.ReportMetric(virtual.Seconds()/b.Elapsed().Seconds(), "virtual-s/s")
}
