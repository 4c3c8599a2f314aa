package sim

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// checkTime is how long one key's history may take to check. The histories are kept so short that it takes well under a
// millisecond: what takes this long is told as a failure, not passed over.
const checkTime = 20 * time.Second

// register is one key of the store, as a specification: what each operation makes of a value, and what it must have seen.
// Of a write whose client does not know the outcome, only the effect counts.
var register = porcupine.Model{
	Init: func() any { return "" },
	Step: func(state, input, _ any) (bool, any) {
		o, value := input.(*operation), state.(string)
		if o.outcome == Answered && o.saw.before != value {
			return false, state
		}
		if !o.kind.Writes() {
			return true, state
		}
		after, swapped := perform(o.kind, value, o.expect, o.value)
		return o.outcome != Answered || o.saw.swapped == swapped, after
	},
}

// linearizable holds every key's history against the register. Reads of modes that promise less are left out: read holds
// them to what they do promise.
func (h *history) linearizable(within time.Duration) {
	for _, all := range h.byKey() {
		operations := make([]porcupine.Operation, 0, len(all))
		for _, o := range all {
			if event, counts := h.event(o); counts {
				operations = append(operations, event)
			}
		}
		switch porcupine.CheckOperationsTimeout(register, operations, within) {
		case porcupine.Illegal:
			h.world.fail("linearizability", "no order of the operations on key %d explains what their clients saw:%s", all[0].key, tell(all))
			return
		case porcupine.Unknown:
			h.world.fail("linearizability", "the %d operations on key %d could not be checked in %v:%s", len(all), all[0].key, within, tell(all))
			return
		}
	}
}

// event is an operation as porcupine wants it. A refused write and a read without an answer say nothing, nor does a write
// that nobody can tell from one that was never sent. One that took effect without its client's knowledge has returned when
// the first member applied it: whoever asks then must see it, as the leader does, which told that member.
func (h *history) event(o *operation) (e porcupine.Operation, counts bool) {
	e = porcupine.Operation{ClientId: o.client, Input: o, Call: o.called, Return: o.returned}
	if o.outcome == Answered {
		return e, o.kind.Linearizable()
	}
	e.Return, counts = h.happened[o.number]
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
func tell(all []*operation) string {
	var b strings.Builder
	for _, o := range all {
		fmt.Fprintf(&b, "\n  %9.3f–%9.3f s  client %d at member %d: %v %q", o.calledAt.Seconds(), o.returnedAt.Seconds(), o.client, o.member, o.kind, o.value)
		if o.kind == CompareAndSwap {
			fmt.Fprintf(&b, " for %q (%v)", o.expect, o.saw.swapped)
		}
		fmt.Fprintf(&b, ": %v", o.outcome)
		if o.outcome == Answered {
			fmt.Fprintf(&b, ", saw %q, index %d", o.saw.before, o.index)
		}
	}
	return b.String()
}
