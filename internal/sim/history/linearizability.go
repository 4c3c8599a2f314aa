package history

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/anishathalye/porcupine"

	"github.com/troupe-raft/troupe/internal/sim/hash"
)

// MaxSteps is how many steps the search for an order may take for one key. Steps are counted and
// not timed, so that a result does not depend on the machine. A search that takes more is a failure
// and not a pass.
const MaxSteps = 300_000

// CheckLinearizable checks the history of every key against a register (Herlihy and Wing; the
// search is that of porcupine, as in Jepsen's checkers). Reads in modes that guarantee less are
// left out; read checks what those guarantee.
//
// The search for an order is exponential in the writes with an unknown outcome, since appends make
// another value in each order. The log has one order, and in a correct product that order explains
// the replies. It is tried first and costs nothing. Only if it does not explain them, any other
// order is as good.
func (h *History) CheckLinearizable(steps int) {
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
			h.sim.Fail("linearizability", "the order of the log does not explain what was seen of key %d, nor does another in %d steps:%s",
				all[0].Key, steps, formatOperations(all))
			return
		case !legal:
			h.sim.Fail("linearizability", "no order of the operations on key %d explains what their clients saw:%s", all[0].Key, formatOperations(all))
			return
		}
	}
}

// registerState is the value of a register, and the number of writes that made it.
type registerState struct {
	value  string
	writes int
}

// registerStep is the specification of one key: it returns whether the reply of an operation fits
// the value, and the value after it. A write with an unknown outcome has an effect and no reply to
// check.
func registerStep(o *Operation, value string) (bool, string) {
	if o.Outcome == Answered && o.Reply.Before != value {
		return false, value
	}
	if !o.Kind.Writes() {
		return true, value
	}
	after, swapped := ApplyWrite(o.Kind, value, o.Expect, o.Value)
	return o.Outcome != Answered || o.Reply.Swapped == swapped, after
}

// inLogOrder permits the writes to a key only in the order of the log.
func (h *History) inLogOrder(operations []porcupine.Operation) func(*Operation, registerState) bool {
	var indexes []uint64
	for _, e := range operations {
		if o := e.Input.(*Operation); o.Kind.Writes() {
			indexes = append(indexes, h.effectIndexes[o.Number])
		}
	}
	slices.Sort(indexes)
	return func(o *Operation, is registerState) bool {
		return !o.Kind.Writes() || h.effectIndexes[o.Number] == indexes[is.writes]
	}
}

func inAnyOrder(*Operation, registerState) bool { return true }

// linearizationExists reports whether some permitted order is a run of the register. exhausted: the
// search ran out of steps.
func linearizationExists(operations []porcupine.Operation, permitted func(*Operation, registerState) bool, steps int) (legal, exhausted bool) {
	model := porcupine.Model{
		Init: func() any { return registerState{} },
		Step: func(state, input, _ any) (bool, any) {
			is, o := state.(registerState), input.(*Operation)
			steps--
			if steps < 0 || !permitted(o, is) { // out of steps nothing fits, and the search ends
				return false, is
			}
			fits, after := registerStep(o, is.value)
			if is.value = after; o.Kind.Writes() {
				is.writes++
			}
			return fits, is
		},
		Hash: func(state any) uint64 { return hash.String(state.(registerState).value) },
	}
	legal = porcupine.CheckOperations(model, operations)
	return legal, !legal && steps < 0
}

// porcupineOperation converts an operation. Three kinds do not count: refused writes, reads without
// a reply, and writes without an effect whose outcome is unknown. A write that took effect without
// its client's knowledge returned when the first member applied it: every later operation must see
// it, since the leader that informed that member sees it.
func (h *History) porcupineOperation(o *Operation) (e porcupine.Operation, counts bool) {
	e = porcupine.Operation{ClientId: o.ClientID, Input: o, Call: o.Called, Return: o.Returned}
	if o.Outcome == Answered {
		return e, o.Kind.Linearizable()
	}
	e.Return, counts = h.effectTimes[o.Number]
	return e, counts
}

// byKey returns one history a key, in the order of the calls.
func (h *History) byKey() [][]*Operation {
	all := slices.Clone(h.Operations)
	slices.SortStableFunc(all, func(a, b *Operation) int { return cmp.Compare(a.Key, b.Key) })
	var keys [][]*Operation
	for len(all) > 0 {
		n := 1
		for n < len(all) && all[n].Key == all[0].Key {
			n++
		}
		keys = append(keys, all[:n])
		all = all[n:]
	}
	return keys
}

// formatOperations formats the history of a key for people.
func formatOperations(all []*Operation) string {
	var b strings.Builder
	for _, o := range all {
		fmt.Fprintf(&b, "\n  %9.3f–%9.3f s  client %d at member %d: %v %q", o.CalledAt.Seconds(), o.ReturnedAt.Seconds(), o.ClientID, o.MemberID, o.Kind, o.Value)
		if o.Kind == CompareAndSwap {
			fmt.Fprintf(&b, " for %q (%v)", o.Expect, o.Reply.Swapped)
		}
		fmt.Fprintf(&b, ": %v", o.Outcome)
		if o.Outcome == Answered {
			fmt.Fprintf(&b, ", saw %q, index %d", o.Reply.Before, o.Index)
		}
	}
	return b.String()
}
