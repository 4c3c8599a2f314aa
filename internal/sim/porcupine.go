package sim

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/anishathalye/porcupine"
)

// maxCheckSteps is how many steps the search for an order may take for one key. They are counted, not timed: a verdict that
// depends on the machine would be another history on another day. What takes more is told as a failure, not passed over.
const maxCheckSteps = 300_000

// register is one key of the store, as a specification: what each operation makes of a value, and what it must have seen.
// Of a write whose client does not know the outcome, only the effect counts.
func registerStep(o *operation, value string) (bool, string) {
	if o.outcome == Answered && o.result.before != value {
		return false, value
	}
	if !o.kind.Writes() {
		return true, value
	}
	after, swapped := applyWrite(o.kind, value, o.expect, o.value)
	return o.outcome != Answered || o.result.swapped == swapped, after
}

// linearizable holds every key's history against the register. Reads of modes that promise less are left out: read holds
// them to what they do promise.
//
// The search for an order is exponential in the writes whose outcome nobody told, since appends make another value in each
// order. The log knows one order, and where the product is right that one explains what the clients saw: it is tried first,
// and costs nothing. Only if it does not is any other order as good.
func (h *history) checkLinearizable(steps int) {
	for _, all := range h.byKey() {
		operations := make([]porcupine.Operation, 0, len(all))
		for _, o := range all {
			if event, counts := h.porcupineOperation(o); counts {
				operations = append(operations, event)
			}
		}
		if legal, _ := linearizationExists(operations, h.inLogOrder(operations), steps); legal {
			continue
		}
		switch legal, exhausted := linearizationExists(operations, inAnyOrder, steps); {
		case exhausted:
			h.world.fail("linearizability", "the order of the log does not explain what was seen of key %d, nor does another in %d steps:%s",
				all[0].key, steps, formatOperations(all))
			return
		case !legal:
			h.world.fail("linearizability", "no order of the operations on key %d explains what their clients saw:%s", all[0].key, formatOperations(all))
			return
		}
	}
}

// standing is a register's value, and how many writes made it.
type registerState struct {
	value  string
	writes int
}

// inLogOrder lets the writes to a key take effect only one after the other as the log has them.
func (h *history) inLogOrder(operations []porcupine.Operation) func(*operation, registerState) bool {
	var indexes []uint64
	for _, e := range operations {
		if o := e.Input.(*operation); o.kind.Writes() {
			indexes = append(indexes, h.effectIndexes[o.number])
		}
	}
	slices.Sort(indexes)
	return func(o *operation, is registerState) bool {
		return !o.kind.Writes() || h.effectIndexes[o.number] == indexes[is.writes]
	}
}

func inAnyOrder(*operation, registerState) bool { return true }

// explained tells whether some order that may be is what the register would do, unless that takes too many steps.
func linearizationExists(operations []porcupine.Operation, may func(*operation, registerState) bool, steps int) (legal, exhausted bool) {
	model := porcupine.Model{
		Init: func() any { return registerState{} },
		Step: func(state, input, _ any) (bool, any) {
			is, o := state.(registerState), input.(*operation)
			steps--
			if steps < 0 || !may(o, is) { // out of steps nothing fits any more, and the search ends
				return false, is
			}
			fits, after := registerStep(o, is.value)
			if is.value = after; o.kind.Writes() {
				is.writes++
			}
			return fits, is
		},
		Hash: func(state any) uint64 { return hashString(state.(registerState).value) },
	}
	legal = porcupine.CheckOperations(model, operations)
	return legal, !legal && steps < 0
}

// event is an operation as porcupine wants it. A refused write and a read without an answer say nothing, nor does a write
// that nobody can tell from one that was never sent. One that took effect without its client's knowledge has returned when
// the first member applied it: whoever asks then must see it, as the leader does, which told that member.
func (h *history) porcupineOperation(o *operation) (e porcupine.Operation, counts bool) {
	e = porcupine.Operation{ClientId: o.client, Input: o, Call: o.called, Return: o.returned}
	if o.outcome == Answered {
		return e, o.kind.Linearizable()
	}
	e.Return, counts = h.effectTimes[o.number]
	return e, counts
}

// byKey sorts the operations into one history a key, in the order of the calls.
func (h *history) byKey() [][]*operation {
	all := slices.Clone(h.operations)
	slices.SortStableFunc(all, func(a, b *operation) int { return cmp.Compare(a.key, b.key) })
	var keys [][]*operation
	for len(all) > 0 {
		n := 1
		for n < len(all) && all[n].key == all[0].key {
			n++
		}
		keys = append(keys, all[:n])
		all = all[n:]
	}
	return keys
}

// tell is a key's history for people.
func formatOperations(all []*operation) string {
	var b strings.Builder
	for _, o := range all {
		fmt.Fprintf(&b, "\n  %9.3f–%9.3f s  client %d at member %d: %v %q", o.calledAt.Seconds(), o.returnedAt.Seconds(), o.client, o.member, o.kind, o.value)
		if o.kind == CompareAndSwap {
			fmt.Fprintf(&b, " for %q (%v)", o.expect, o.result.swapped)
		}
		fmt.Fprintf(&b, ": %v", o.outcome)
		if o.outcome == Answered {
			fmt.Fprintf(&b, ", saw %q, index %d", o.result.before, o.index)
		}
	}
	return b.String()
}
