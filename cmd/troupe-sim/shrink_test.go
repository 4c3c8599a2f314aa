package main

import (
	"bytes"
	"context"
	"slices"
	"testing"

	"github.com/troupe-raft/troupe/tests/sim"
)

// A world that fails only with three members or more, two clients or more, kills, four faults or more and a hundred steps: shrinking finds just
// that, and nothing that fails otherwise.
func TestShrinkingFindsTheSmallestWorldThatFailsTheSameWay(t *testing.T) {
	fails := func(o sim.Options) *sim.Failure {
		kills := slices.Contains(o.Profile.Faults, sim.Kill) && !slices.Contains(o.Without, sim.Kill)
		switch {
		case o.Nodes == 1:
			return &sim.Failure{Invariant: "no panic", Text: "another way to fail"}
		case (o.Nodes == 0 || o.Nodes >= 3) && (o.Clients == 0 || o.Clients >= 2) && kills && (o.FaultLimit == 0 || o.FaultLimit >= 4) && o.Steps >= 100:
			return &sim.Failure{Invariant: "liveness", Text: "no leader", Step: o.Steps}
		}
		return nil
	}
	r := command(t, stage(fails), "--seeds", "11..12", "--shrink", "--shrink-tries", "2")
	mustHold(t, r, exitFailed, "SHRUNK", "3 members, 2 clients, 4 faults", "seed 11, profile crashes, 3 members",
		"replay    go run ./cmd/troupe-sim --seeds 11 --profile crashes --nodes 3 --clients 2 --steps 125 --without", "--fault-limit 4\n")
}

// What is taken away changes what the seed draws: a smaller world that does not fail with the same seed may with the next.
func TestShrinkingTriesOtherSeedsToo(t *testing.T) {
	fails := func(o sim.Options) *sim.Failure {
		if o.Nodes == 0 || o.Nodes == 3 && o.Seed == 14 {
			return at(o.Seed)(o)
		}
		return nil
	}
	r := command(t, stage(fails), "--seeds", "11", "--shrink", "--shrink-tries", "5")
	mustHold(t, r, exitFailed, "3 members: fails, seed 14", "--seeds 14 ", "--nodes 3")
}

func TestShrinkingThatIsInterruptedTellsTheSmallestSoFar(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	worlds := 0
	th := stage(func(o sim.Options) *sim.Failure {
		if worlds++; worlds == 3 { // one by the campaign, two by the shrinker
			cancel()
		}
		return at(o.Seed)(o)
	})
	var out, errs bytes.Buffer
	code := run(ctx, th, []string{"--seeds", "1", "--shrink"}, &out, &errs)
	mustHold(t, ran{code, out.String(), errs.String()}, exitFailed, "SHRUNK  in 2 worlds", "interrupted: there may be smaller ones", "--profile calm --nodes 1\n")
}

func TestWhatCannotBeMadeSmallerIsTold(t *testing.T) {
	worlds := 0
	th := stage(func(o sim.Options) *sim.Failure {
		if worlds++; worlds == 1 {
			return at(o.Seed)(o)
		}
		return nil
	})
	mustHold(t, command(t, th, "--seeds", "1", "--shrink", "--shrink-tries", "1"), exitFailed, "none is smaller and fails the same way")
}
