package main

import (
	"bytes"
	"context"
	"regexp"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/troupe-raft/troupe/internal/sim/fault"
	"github.com/troupe-raft/troupe/internal/sim/scenario"
	"github.com/troupe-raft/troupe/internal/sim/world"
)

// The world fails only with three members or more, two clients or more, kills, four faults or more
// and a hundred steps. Shrinking finds just that, and no other failure.
func TestShrinkingFindsTheSmallestWorld(t *testing.T) {
	fails := func(o world.Options) *world.Failure {
		kills := slices.Contains(o.Profile.Faults, fault.Kill) && !slices.Contains(o.Without, fault.Kill)
		switch {
		case o.Nodes == 1:
			return &world.Failure{Invariant: "no panic", Text: "another failure"}
		case (o.Nodes == 0 || o.Nodes >= 3) && (o.Clients == 0 || o.Clients >= 2) && kills && (o.FaultLimit == 0 || o.FaultLimit >= 4) && o.Steps >= 100:
			return &world.Failure{Invariant: "liveness", Text: "no leader", Step: o.Steps}
		}
		return nil
	}
	r := runCommand(t, fakeRunner(fails), "--seeds", "11..12", "--shrink", "--shrink-tries", "2")
	checkOutput(t, r, exitFailed, "SHRUNK", "3 members, 2 clients, 4 faults (kill), 100 steps", "seed 11, profile crashes, 3 members",
		"replay    go run ./cmd/troupe-sim --seeds 11 --profile crashes --nodes 3 --clients 2 --steps 100 --without", "--fault-limit 4\n")
}

// Taking something away changes the random choices: a smaller world that passes with the same seed
// may fail with the next. The smallest failing one is kept, and not the first.
func TestShrinkingKeepsTheSmallestOfManySeeds(t *testing.T) {
	fails := func(o world.Options) *world.Failure {
		f := failsAt(o.Seed)(o)
		switch {
		case o.Nodes == 0 && o.Profile.Name == "everything" && o.Steps == world.DefaultSteps:
			f.Step = 900
			return f
		case o.Nodes == 3 && o.Seed == 14:
			f.Step = 60
			return f
		case o.Nodes == 3 && o.Seed > 11:
			f.Step = 70
			return f
		}
		return nil
	}
	r := runCommand(t, fakeRunner(fails), "--seeds", "11", "--shrink", "--shrink-tries", "5")
	checkOutput(t, r, exitFailed, "3 members: fails, seed 14", "--seeds 14 ", "--nodes 3")
}

// The result does not depend on the number of workers.
func TestShrinkingDoesNotDependOnWorkers(t *testing.T) {
	fails := func(o world.Options) *world.Failure {
		if o.Seed%7 == 1 {
			return nil
		}
		f := failsAt(o.Seed)(o)
		f.Step = int(o.Seed*7919%1000) + 10*len(o.Profile.Faults) + o.Steps/100
		return f
	}
	untimed := regexp.MustCompile(`messages .*|virtual time .*`)
	var first string
	for _, workers := range []string{"1", "3", "16"} {
		r := runCommand(t, fakeRunner(fails), "--seeds", "12", "--shrink", "--shrink-tries", "6", "--workers", workers)
		checkOutput(t, r, exitFailed, "SHRUNK  in ")
		if printed := untimed.ReplaceAllString(r.out, ""); first == "" {
			first = printed
		} else if printed != first {
			t.Errorf("%s workers find\n%s\none finds\n%s", workers, printed, first)
		}
	}
}

func TestInterruptedShrinkingReportsItsBest(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var worlds atomic.Int64
	th := fakeRunner(func(o world.Options) *world.Failure {
		if worlds.Add(1) == 3 { // one by the campaign, two by the shrinker
			cancel()
		}
		return failsAt(o.Seed)(o)
	})
	var out, errs bytes.Buffer
	code := run(ctx, th, []string{"--seeds", "1", "--shrink", "--workers", "1"}, &out, &errs)
	checkOutput(t, commandResult{code, out.String(), errs.String()}, exitFailed, "SHRUNK  in 2 worlds", "interrupted: there may be smaller ones", "--profile calm --steps 78\n")
}

func TestShrinkingEndsAtItsTimeLimit(t *testing.T) {
	r := runCommand(t, fakeRunner(failsAt(1)), "--seeds", "1", "--shrink", "--shrink-for", "1ns")
	checkOutput(t, r, exitFailed, "SHRUNK  0 worlds tried", "the time limit (--shrink-for) was reached: there may be smaller ones")
}

func TestShrinkingReportsThatNothingIsSmaller(t *testing.T) {
	var worlds atomic.Int64
	th := fakeRunner(func(o world.Options) *world.Failure {
		if worlds.Add(1) == 1 {
			return failsAt(o.Seed)(o)
		}
		return nil
	})
	checkOutput(t, runCommand(t, th, "--seeds", "1", "--shrink", "--shrink-tries", "1"), exitFailed, "none is smaller and fails the same way")
	checkOutput(t, runCommand(t, fakeRunner(neverFails), "--seeds", "1", "--shrink"), exitOK, "nothing to shrink: no history failed")
}

// fakeScenarioRunner returns a runner whose scenarios fail as a test wants it.
func fakeScenarioRunner(fails func(world.Options) *world.Failure) runner {
	t := fakeRunner(fails)
	t.scenarios = slices.Clone(t.scenarios)
	t.runScenario = func(scenario.Scenario) func(world.Options) *world.Result { return t.runProfile }
	return t
}

// A script cannot be made smaller, but it may fail sooner with another seed. A failure at another
// place is another failure.
func TestShrinkingAScenarioFindsTheShortest(t *testing.T) {
	fails := func(o world.Options) *world.Failure {
		f := &world.Failure{Invariant: "script", Text: "not within 2s: member 3 leads\n  the state", Step: 500}
		switch o.Seed {
		case 3, 5, 8:
			f.Step = int(500 - 10*o.Seed)
			return f
		case 4:
			f.Text, f.Step = "not within 2s: another expectation", 5
			return f
		}
		return nil
	}
	r := runCommand(t, fakeScenarioRunner(fails), "--scenario", "transfer", "--seeds", "1..10", "--shrink", "--shrink-tries", "1")
	checkOutput(t, r, exitFailed, "so that nothing can be taken away from it", "tried were 50 other seeds, of which 2 fail the same way",
		"from seed 3, 470 steps", "to   seed 8, 420 steps", "replay    go run ./cmd/troupe-sim --seeds 8 --scenario transfer\n")
	r = runCommand(t, fakeScenarioRunner(failsAt(3)), "--scenario", "transfer", "--seeds", "1..10", "--shrink", "--shrink-tries", "1")
	checkOutput(t, r, exitFailed, "of which none fails the same way", "none of them is shorter than the one that failed")
}
