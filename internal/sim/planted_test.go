package sim

import (
	"slices"
	"testing"

	"github.com/anishathalye/porcupine"
)

// What a checker is worth is what it finds. Here true histories, of worlds in which everything goes wrong, are bent after
// the fact as a bug would have bent them.

const falsifiedSeeds = 25

// plants lives the worlds of some seeds and has a bug planted in each. The checker must be content before and not after.
// plant tells whether it found a place where its bug shows.
func falsifyHistories(t *testing.T, plant func(h *history) bool) {
	t.Helper()
	planted := 0
	for seed := uint64(1); seed <= falsifiedSeeds; seed++ {
		w := runWorld(Options{Seed: seed, Profile: everything(t), Steps: 3000})
		check(t, w.result())
		if !plant(w.history) {
			continue
		}
		planted++
		if w.history.checkLinearizable(maxCheckSteps); w.failure == nil {
			t.Errorf("seed %d: not found", seed)
		}
	}
	if planted < falsifiedSeeds*3/4 {
		t.Errorf("only %d of %d worlds had a place for the bug", planted, falsifiedSeeds)
	}
}

func everything(t *testing.T) Profile {
	t.Helper()
	p, err := FindProfile("everything")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// plain is a write and an answer of the same key after it, with no other write under way from the call of the first to the
// return of the second: in every order, the second sees what the first made. A bug that is planted elsewhere may be explained
// by an order that the log does not have, and then there is nothing to find.
type adjacentPair struct{ write, next *operation }

func (h *history) adjacentPairs() (all []adjacentPair) {
	for _, key := range h.byKey() {
		var writes []porcupine.Operation
		for _, o := range key {
			if e, counts := h.porcupineOperation(o); counts && o.kind.Writes() {
				writes = append(writes, e)
			}
		}
		for _, next := range key {
			if next.outcome != Answered || !next.kind.Linearizable() {
				continue
			}
			var last *operation
			for _, e := range writes {
				o := e.Input.(*operation)
				if o.outcome == Answered && e.Return < next.called && (last == nil || e.Return > last.returned) {
					last = o
				}
			}
			if last != nil && !slices.ContainsFunc(writes, func(e porcupine.Operation) bool {
				return e.Input != last && e.Input != next && e.Call < next.returned && e.Return > last.called
			}) {
				all = append(all, adjacentPair{last, next})
			}
		}
	}
	return all
}

// A leader that was replaced answers a read by itself: the value is one that was overwritten before the read was called.
func TestAPlantedStaleReadIsFound(t *testing.T) {
	falsifyHistories(t, func(h *history) bool {
		for _, p := range h.adjacentPairs() {
			if before := p.write.result.before; !p.next.kind.Writes() && p.next.result.before != before {
				p.next.result.before = before
				return true
			}
		}
		return false
	})
}

// rewrite has everybody see what the store would have held if one effect had been another.
func (h *history) falsifyEffect(victim *operation, otherwise func(before string) string) (seen bool) {
	value := map[uint64]string{0: ""} // by index
	byIndex := map[uint64]*operation{}
	for _, o := range h.operations {
		if at := h.effectIndexes[o.number]; o.kind.Writes() && at != 0 && o.key == victim.key {
			byIndex[at] = o
		}
	}
	at, before := []uint64{0}, ""
	for _, v := range h.versions[victim.key] {
		o := byIndex[v.index]
		if o == victim {
			before = otherwise(before)
		} else {
			if o.outcome == Answered && o.result.before != before {
				o.result.before, seen = before, true
			}
			before, _ = applyWrite(o.kind, before, o.expect, o.value)
		}
		at = append(at, v.index)
		value[v.index] = before
	}
	for _, o := range h.operations {
		if o.kind.Writes() || o.key != victim.key || o.outcome != Answered || !o.kind.Linearizable() {
			continue
		}
		k, found := slices.BinarySearch(at, o.index)
		if !found {
			k--
		}
		if o.result.before != value[at[k]] {
			o.result.before, seen = value[at[k]], true
		}
	}
	return seen
}

// victims are the acknowledged writes of a kind whose effect was seen for sure.
func (h *history) falsifiable(kind Op) (all []*operation) {
	for _, p := range h.adjacentPairs() {
		if p.write.kind == kind && p.next.result.before != p.write.result.before {
			all = append(all, p.write)
		}
	}
	return all
}

// A retried proposal is applied twice.
func TestAPlantedDoubleAppendIsFound(t *testing.T) {
	falsifyHistories(t, func(h *history) bool {
		for _, o := range h.falsifiable(Append) {
			return h.falsifyEffect(o, func(before string) string { return before + o.value + o.value })
		}
		return false
	})
}

// A write that was acknowledged is lost with a leader.
func TestAPlantedLossOfAnAcknowledgedWriteIsFound(t *testing.T) {
	for _, kind := range []Op{Put, Append, CompareAndSwap} {
		t.Run(kind.String(), func(t *testing.T) {
			falsifyHistories(t, func(h *history) bool {
				for _, o := range h.falsifiable(kind) {
					return h.falsifyEffect(o, func(before string) string { return before })
				}
				return false
			})
		})
	}
}

// The end of a world is held against its history too: a state machine that differs, a write that is nowhere, an actor that
// does not work.
func TestTheEndIsComparedWithWhatWasPromised(t *testing.T) {
	for name, c := range map[string]struct {
		invariant string
		bend      func(w *World)
	}{
		"a member's value differs": {"equal state machines", func(w *World) {
			w.members[1].machine.data[w.history.operations[0].key] = "wrong"
		}},
		"a member's hash differs": {"equal state machines", func(w *World) { w.members[1].machine.hash++ }},
		"an acknowledged write is nowhere": {"nothing acknowledged is lost", func(w *World) {
			delete(w.checker.commandIndexes, w.history.falsifiable(Append)[0].number)
		}},
		"an acknowledged write is elsewhere": {"nothing acknowledged is lost", func(w *World) {
			w.checker.commandIndexes[w.history.falsifiable(Append)[0].number]++
		}},
		"an actor is suspended": {"nobody is left over", func(w *World) {
			w.members[0].newestMailboxes()["troupe/node/machine"].suspended = true
		}},
		"an actor is left over": {"nobody is left over", func(w *World) {
			for id, b := range w.members[0].newestMailboxes() {
				if id == "troupe/node/machine" {
					b.path = "somebody"
				}
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w := New(Options{Seed: 3, Nodes: 3, Profile: Profiles[0]})
			w.addClients()
			for w.steps < 2000 {
				w.step()
			}
			w.heal()
			w.runUntil("in the calm", w.converged)
			if w.checkConverged(); w.failure != nil {
				t.Fatalf("before anything was bent: %+v", w.failure)
			}
			c.bend(w)
			w.compareMachines()
			w.checkAcknowledgedWrites()
			w.checkActors()
			if w.failure == nil || w.failure.Invariant != c.invariant {
				t.Fatalf("found %+v, want %q", w.failure, c.invariant)
			}
			w.finish()
		})
	}
}

func TestClientsDoEverythingOften(t *testing.T) {
	var total Counts
	const seeds = 40
	followers, leaders := 0, 0
	for seed := uint64(1); seed <= seeds; seed++ {
		w := runWorld(Options{Seed: seed, Profile: everything(t)})
		check(t, w.result())
		total.Add(&w.counts)
		for _, o := range w.history.operations {
			switch {
			case o.kind != GetIndex || o.outcome != Answered:
			case o.atLeader:
				leaders++
			default:
				followers++
			}
		}
	}
	for kind, by := range total.Operations {
		if by[Answered] < 2*seeds {
			t.Errorf("%v: %d answered in %d seeds", Op(kind), by[Answered], seeds)
		}
		if Op(kind).Writes() && (by[Refused] == 0 || by[Unknown] < seeds/4) {
			t.Errorf("%v: %d refused and %d unknown in %d seeds", Op(kind), by[Refused], by[Unknown], seeds)
		}
	}
	if followers < seeds || leaders < seeds {
		t.Errorf("%d index reads were answered at followers, %d at leaders", followers, leaders)
	}
}

// Clients in the options decide, so that a failing history can be made smaller.
func TestTheOptionsSayHowManyClients(t *testing.T) {
	w := runWorld(Options{Seed: 5, Profile: Profiles[0], Clients: 1, Steps: 1500})
	check(t, w.result())
	for _, o := range w.history.operations {
		if o.client != 1 && o.client != scriptClient {
			t.Fatalf("client %d of one", o.client)
		}
	}
	if len(w.clients) != 1 {
		t.Fatalf("%d clients", len(w.clients))
	}
}
