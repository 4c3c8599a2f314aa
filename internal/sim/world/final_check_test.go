package world

import (
	"testing"

	"github.com/troupe-raft/troupe/internal/sim/fault"
	"github.com/troupe-raft/troupe/internal/sim/history"
)

func profile(t *testing.T, name string) fault.Profile {
	t.Helper()
	p, err := fault.FindProfile(name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// acknowledgedWrite returns a write that was answered.
func acknowledgedWrite(w *World) *history.Operation {
	for _, o := range w.History.Operations {
		if o.Kind.Writes() && o.Outcome == history.Answered {
			return o
		}
	}
	return nil
}

// The final check finds a state machine that differs, a lost write and an actor that does not work.
func TestFinalCheckFindsDifferences(t *testing.T) {
	for name, c := range map[string]struct {
		invariant string
		bend      func(w *World)
	}{
		"a member's value differs": {"equal state machines", func(w *World) {
			w.Members[1].replica.State.Data[w.History.Operations[0].Key] = "wrong"
		}},
		"a member's hash differs": {"equal state machines", func(w *World) { w.Members[1].replica.State.Hash++ }},
		"an acknowledged write is lost": {"no acknowledged write lost", func(w *World) {
			acknowledgedWrite(w).Number = 1 << 40
		}},
		"an acknowledged write is elsewhere": {"no acknowledged write lost", func(w *World) {
			acknowledgedWrite(w).Index++
		}},
		"an actor is suspended": {"no actor left over", func(w *World) {
			w.Members[0].newestMailboxes()["troupe/node/machine"].suspended = true
		}},
		"an actor is left over": {"no actor left over", func(w *World) {
			for id, b := range w.Members[0].newestMailboxes() {
				if id == "troupe/node/machine" {
					b.path = "unknown"
				}
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w := New(Options{Seed: 3, Nodes: 3, Profile: fault.Profiles[0]})
			w.AddClients()
			for w.steps < 2000 {
				w.Step()
			}
			w.Heal()
			if !w.runUntil("after the last fault", w.Converged) {
				t.Fatalf("not converged: %+v", w.Failure)
			}
			if w.CheckConverged(); w.Failure != nil {
				t.Fatalf("before any change: %+v", w.Failure)
			}
			c.bend(w)
			w.CompareMachines()
			w.checkAcknowledgedWrites()
			w.checkActors()
			if w.Failure == nil || w.Failure.Invariant != c.invariant {
				t.Fatalf("found %+v, want %q", w.Failure, c.invariant)
			}
			w.Finish()
		})
	}
}

func TestClientsCallAllOperations(t *testing.T) {
	var total Counts
	const seeds = 40
	followers, leaders := 0, 0
	for seed := uint64(1); seed <= seeds; seed++ {
		w := RunWorld(Options{Seed: seed, Profile: profile(t, "everything")})
		check(t, w.Result())
		total.Add(&w.Counts)
		for _, o := range w.History.Operations {
			switch {
			case o.Kind != history.GetIndex || o.Outcome != history.Answered:
			case o.AtLeader:
				leaders++
			default:
				followers++
			}
		}
	}
	for kind, by := range total.Operations {
		if by[history.Answered] < 2*seeds {
			t.Errorf("%v: %d answered in %d seeds", history.Op(kind), by[history.Answered], seeds)
		}
		if history.Op(kind).Writes() && (by[history.Refused] == 0 || by[history.Unknown] < seeds/4) {
			t.Errorf("%v: %d refused and %d unknown in %d seeds", history.Op(kind), by[history.Refused], by[history.Unknown], seeds)
		}
	}
	if followers < seeds || leaders < seeds {
		t.Errorf("%d index reads were answered at followers, %d at leaders", followers, leaders)
	}
}

// Clients in the options decide, so that a failing history can be made smaller.
func TestOptionsSetTheNumberOfClients(t *testing.T) {
	w := RunWorld(Options{Seed: 5, Profile: fault.Profiles[0], Clients: 1, Steps: 1500})
	check(t, w.Result())
	for _, o := range w.History.Operations {
		if o.ClientID != 1 && o.ClientID != history.ScriptClient {
			t.Fatalf("client %d of one", o.ClientID)
		}
	}
	if len(w.Clients) != 1 {
		t.Fatalf("%d clients", len(w.Clients))
	}
}
