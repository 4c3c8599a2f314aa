package main

import (
	"bytes"
	"context"
	"slices"
	"testing"
	"time"

	"github.com/troupe-raft/troupe/internal/sim/fault"
	"github.com/troupe-raft/troupe/internal/sim/world"
)

// fakeRunner returns a runner whose worlds fail as a test wants it.
func fakeRunner(fails func(world.Options) *world.Failure) runner {
	t := simulator()
	t.runProfile = func(o world.Options) *world.Result {
		nodes := o.Nodes
		if nodes == 0 {
			nodes = 5
		}
		clients := o.Clients
		if clients == 0 {
			clients = 4
		}
		r := &world.Result{Options: o, Nodes: nodes, Clients: clients, Steps: o.Steps, Virtual: time.Second, Hash: o.Seed * 31, Counts: world.Counts{Handled: 1000}}
		left := 10
		if o.FaultLimit > 0 {
			left = o.FaultLimit
		}
		kinds := slices.DeleteFunc(slices.Clone(o.Profile.Faults), func(k fault.Kind) bool { return slices.Contains(o.Without, k) })
		for n := 0; n < left && len(kinds) > 0; n++ {
			r.Counts.Faults[kinds[n%len(kinds)]]++
		}
		if r.Failure = fails(o); r.Failure != nil {
			r.Last = "1.5s  1/log  Append\n"
		}
		return r
	}
	return t
}

func neverFails(world.Options) *world.Failure { return nil }

// failsAt fails at these seeds.
func failsAt(seeds ...uint64) func(world.Options) *world.Failure {
	return func(o world.Options) *world.Failure {
		if slices.Contains(seeds, o.Seed) {
			return &world.Failure{Invariant: "log matching", Text: "two entries at index 3", Step: 77, At: 1500 * time.Millisecond}
		}
		return nil
	}
}

type commandResult struct {
	code      int
	out, errs string
}

func runCommand(t *testing.T, th runner, args ...string) commandResult {
	t.Helper()
	var out, errs bytes.Buffer
	code := run(t.Context(), th, args, &out, &errs)
	return commandResult{code, out.String(), errs.String()}
}

func runInterrupted(t *testing.T, th runner, args ...string) commandResult {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out, errs bytes.Buffer
	code := run(ctx, th, args, &out, &errs)
	return commandResult{code, out.String(), errs.String()}
}
