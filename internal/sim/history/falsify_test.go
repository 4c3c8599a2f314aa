package history_test

import (
	"slices"
	"testing"

	"github.com/anishathalye/porcupine"

	"github.com/troupe-raft/troupe/internal/sim/fault"
	"github.com/troupe-raft/troupe/internal/sim/history"
	"github.com/troupe-raft/troupe/internal/sim/world"
)

// A checker is worth what it finds. These tests change true histories as a bug would have, and
// expect that it is found. The histories are of worlds with all kinds of faults.

const falsifiedSeeds = 25

// falsifyHistories runs worlds from some seeds and falsifies the history of each. The check must
// pass before and fail after that. falsify reports whether it found a place where its bug shows.
func falsifyHistories(t *testing.T, falsify func(h *history.History) bool) {
	t.Helper()
	profile, err := fault.FindProfile("everything")
	if err != nil {
		t.Fatal(err)
	}
	falsified := 0
	for seed := uint64(1); seed <= falsifiedSeeds; seed++ {
		w := world.RunWorld(world.Options{Seed: seed, Profile: profile, Steps: 4000})
		if err := w.Result().Err(); err != nil {
			t.Fatal(err)
		}
		if !falsify(w.History) {
			continue
		}
		falsified++
		if w.History.CheckLinearizable(history.MaxSteps); w.Failure == nil {
			t.Errorf("seed %d: the bug is not found", seed)
		}
	}
	if falsified < falsifiedSeeds*3/4 {
		t.Errorf("only %d of %d histories had a place for the bug", falsified, falsifiedSeeds)
	}
}

// adjacentPair is a write and a later answered operation on the same key, with no other write
// pending from the call of the first to the return of the second: in every order, the second sees
// what the first made. A bug at another place may be explained by an order that the log does not
// have, and then there is nothing to find.
type adjacentPair struct{ write, next *history.Operation }

func adjacentPairs(h *history.History) (all []adjacentPair) {
	for _, key := range history.ByKey(h) {
		var writes []porcupine.Operation
		for _, o := range key {
			if e, counts := history.PorcupineOperation(h, o); counts && o.Kind.Writes() {
				writes = append(writes, e)
			}
		}
		for _, next := range key {
			if next.Outcome != history.Answered || !next.Kind.Linearizable() {
				continue
			}
			var last *history.Operation
			for _, e := range writes {
				o := e.Input.(*history.Operation)
				if o.Outcome == history.Answered && e.Return < next.Called && (last == nil || e.Return > last.Returned) {
					last = o
				}
			}
			if last != nil && !slices.ContainsFunc(writes, func(e porcupine.Operation) bool {
				return e.Input != last && e.Input != next && e.Call < next.Returned && e.Return > last.Called
			}) {
				all = append(all, adjacentPair{last, next})
			}
		}
	}
	return all
}

// A replaced leader answers a read by itself: the value was overwritten before the call of the
// read.
func TestStaleReadIsFound(t *testing.T) {
	falsifyHistories(t, func(h *history.History) bool {
		for _, p := range adjacentPairs(h) {
			if before := p.write.Reply.Before; !p.next.Kind.Writes() && p.next.Reply.Before != before {
				p.next.Reply.Before = before
				return true
			}
		}
		return false
	})
}

// falsifyEffect changes all replies to what they would be if one effect had been another.
func falsifyEffect(h *history.History, target *history.Operation, effect func(before string) string) (seen bool) {
	value := map[uint64]string{0: ""} // by index
	byIndex := map[uint64]*history.Operation{}
	for _, o := range h.Operations {
		if at := history.EffectIndex(h, o.Number); o.Kind.Writes() && at != 0 && o.Key == target.Key {
			byIndex[at] = o
		}
	}
	at, before := []uint64{0}, ""
	for _, index := range history.EffectsOf(h, target.Key) {
		o := byIndex[index]
		if o == target {
			before = effect(before)
		} else {
			if o.Outcome == history.Answered && o.Reply.Before != before {
				o.Reply.Before, seen = before, true
			}
			before, _ = history.ApplyWrite(o.Kind, before, o.Expect, o.Value)
		}
		at = append(at, index)
		value[index] = before
	}
	for _, o := range h.Operations {
		if o.Kind.Writes() || o.Key != target.Key || o.Outcome != history.Answered || !o.Kind.Linearizable() {
			continue
		}
		k, found := slices.BinarySearch(at, o.Index)
		if !found {
			k--
		}
		if o.Reply.Before != value[at[k]] {
			o.Reply.Before, seen = value[at[k]], true
		}
	}
	return seen
}

// falsifiable returns the first acknowledged write of a kind whose effect another operation saw;
// nil: there is none.
func falsifiable(h *history.History, kind history.Op) *history.Operation {
	for _, p := range adjacentPairs(h) {
		if p.write.Kind == kind && p.next.Reply.Before != p.write.Reply.Before {
			return p.write
		}
	}
	return nil
}

// A retried proposal is applied twice.
func TestDoubleAppendIsFound(t *testing.T) {
	falsifyHistories(t, func(h *history.History) bool {
		o := falsifiable(h, history.Append)
		return o != nil && falsifyEffect(h, o, func(before string) string { return before + o.Value + o.Value })
	})
}

// An acknowledged write is lost with a leader.
func TestLostAcknowledgedWriteIsFound(t *testing.T) {
	for _, kind := range []history.Op{history.Put, history.Append, history.CompareAndSwap} {
		t.Run(kind.String(), func(t *testing.T) {
			falsifyHistories(t, func(h *history.History) bool {
				o := falsifiable(h, kind)
				return o != nil && falsifyEffect(h, o, func(before string) string { return before })
			})
		})
	}
}
