package sim

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// told is a history that was made by hand. Moments are as the operations say, an effect happens at its return.
type told struct{ *history }

func toldOf(operations ...operation) told {
	h := newHistory(New(Options{Seed: 1, Nodes: 1}))
	for i := range operations {
		o := &operations[i]
		o.number = uint64(i + 1)
		if o.key == 0 {
			o.key = 1
		}
		h.operations = append(h.operations, o)
		if o.kind.Writes() && o.outcome != Refused && o.returned > 0 {
			h.happened[o.number] = o.returned
		}
	}
	return told{h}
}

func (h told) verdict() string {
	h.linearizable(checkSteps)
	if f := h.world.failure; f != nil {
		return f.Invariant
	}
	return ""
}

func wrote(kind Op, called, returned int64, value, before string) operation {
	return operation{command: command{kind: kind, value: value}, called: called, returned: returned, saw: result{before: before}}
}

func saw(kind Op, called, returned int64, value string) operation {
	return operation{command: command{kind: kind}, called: called, returned: returned, saw: result{before: value}}
}

func swapped(called, returned int64, expect, value, before string, did bool) operation {
	return operation{command: command{kind: CompareAndSwap, expect: expect, value: value}, called: called, returned: returned,
		saw: result{before: before, swapped: did}}
}

func (o operation) is(outcome Outcome) operation {
	o.outcome = outcome
	return o
}

func TestWhatIsLinearizableAndWhatIsNot(t *testing.T) {
	for _, c := range []struct {
		name  string
		legal bool
		told  told
	}{
		{"one after the other", true, toldOf(wrote(Put, 1, 2, "a", ""), saw(GetIndex, 3, 4, "a"), wrote(Append, 5, 6, "b", "a"), saw(GetLog, 7, 8, "ab"))},
		{"a read at the same time sees either", true, toldOf(wrote(Put, 1, 9, "a", ""), saw(GetIndex, 2, 3, ""), saw(GetIndex, 4, 5, "a"))},
		{"a stale read", false, toldOf(wrote(Put, 1, 2, "a", ""), wrote(Put, 3, 4, "b", "a"), saw(GetIndex, 5, 6, "a"))},
		{"a stale read of a mode that may", true, toldOf(wrote(Put, 1, 2, "a", ""), wrote(Put, 3, 4, "b", "a"), saw(GetLeader, 5, 6, "a"), saw(GetLocal, 7, 8, "a"))},
		{"two reads that go back", false, toldOf(wrote(Put, 1, 9, "a", ""), saw(GetIndex, 2, 3, "a"), saw(GetIndex, 4, 5, ""))},
		{"an append twice", false, toldOf(wrote(Append, 1, 2, "a", ""), saw(GetIndex, 3, 4, "aa"))},
		{"a lost write", false, toldOf(wrote(Put, 1, 2, "a", ""), wrote(Append, 3, 4, "b", "a"), saw(GetIndex, 5, 6, "b"))},
		{"a lost write whose loss a write's answer shows", false, toldOf(wrote(Put, 1, 2, "a", ""), wrote(Append, 3, 4, "b", ""))},
		{"a refused write that is seen", false, toldOf(wrote(Put, 1, 2, "a", "").is(Refused), saw(GetIndex, 3, 4, "a"))},
		{"an unknown write that is seen", true, toldOf(wrote(Put, 1, 4, "a", "").is(Unknown), saw(GetIndex, 2, 3, ""), saw(GetIndex, 5, 6, "a"))},
		{"an unknown write that is seen and then is not", false, toldOf(wrote(Put, 1, 2, "a", "").is(Unknown), saw(GetIndex, 3, 4, "a"), saw(GetIndex, 5, 6, ""))},
		{"an unknown write that never took effect", true, toldOf(wrote(Put, 1, 0, "a", "").is(Unknown), saw(GetIndex, 3, 4, ""))},
		{"an unknown write that never took effect and is seen", false, toldOf(wrote(Put, 1, 0, "a", "").is(Unknown), saw(GetIndex, 3, 4, "a"))},
		{"two swaps of one value", false, toldOf(wrote(Put, 1, 2, "a", ""), swapped(3, 8, "a", "b", "a", true), swapped(4, 7, "a", "c", "a", true))},
		{"one of two swaps", true, toldOf(wrote(Put, 1, 2, "a", ""), swapped(3, 8, "a", "b", "a", true), swapped(4, 7, "a", "c", "b", false))},
		{"a swap that should have failed", false, toldOf(wrote(Put, 1, 2, "a", ""), swapped(3, 4, "x", "b", "a", true))},
		{"a delete", true, toldOf(wrote(Put, 1, 2, "a", ""), wrote(Delete, 3, 4, "", "a"), saw(GetIndex, 5, 6, ""))},
		{"a delete that did not", false, toldOf(wrote(Put, 1, 2, "a", ""), wrote(Delete, 3, 4, "", "a"), saw(GetIndex, 5, 6, "a"))},
	} {
		want := "linearizability"
		if c.legal {
			want = ""
		}
		if got := c.told.verdict(); got != want {
			t.Errorf("%s: told as %q, want %q", c.name, got, want)
		}
	}
}

// Keys are checked one by one: a wrong one is found among right ones, and named.
func TestTheKeyThatIsWrongIsNamed(t *testing.T) {
	var all []operation
	for key := uint32(1); key <= 5; key++ {
		put, get := wrote(Put, int64(10*key), int64(10*key+1), "a", ""), saw(GetIndex, int64(10*key+2), int64(10*key+3), "a")
		put.key, get.key = key, key
		if key == 4 {
			get.saw.before = ""
		}
		all = append(all, put, get)
	}
	h := toldOf(all...)
	if h.verdict() != "linearizability" || !strings.Contains(h.world.failure.Text, "on key 4") {
		t.Fatalf("told as %+v", h.world.failure)
	}
}

// A history that takes too long is a failure to be told, never taken for right.
func TestAHistoryThatTakesTooManyStepsIsAFailure(t *testing.T) {
	var all []operation
	for i := range int64(24) {
		all = append(all, wrote(Append, 1+i, 100+i, fmt.Sprint(i), "").is(Unknown))
	}
	h := toldOf(append(all, saw(GetIndex, 200, 201, "nobody wrote this"))...)
	h.linearizable(5000)
	if f := h.world.failure; f == nil || !strings.Contains(f.Text, "nor does another in 5000 steps") {
		t.Fatalf("told as %+v", f)
	}
}

// Appends whose outcome nobody told make another value in each of their orders, which are too many to try. The log's order
// explains what was seen at once; an order that it does not have is still told.
func TestTheOrderOfTheLogExplainsWhatCannotBeSearchedFor(t *testing.T) {
	const n = 24
	value, all := "", []operation(nil)
	for i := range int64(n) {
		all = append(all, wrote(Append, 1+i, 100+i, fmt.Sprint(i, "."), "").is(Unknown))
	}
	for i := n - 1; i >= 0; i-- { // the last one to be called took effect first
		value += all[i].value
	}
	for _, c := range []struct {
		sees string
		want string
	}{{value, ""}, {value[1:], "linearizability"}} {
		h := toldOf(append(slices.Clone(all), saw(GetIndex, 200, 201, c.sees))...)
		for i := range uint64(n) {
			h.effects[i+1], h.happened[i+1] = n-i, 100
		}
		if got := h.verdict(); got != c.want {
			t.Errorf("a read of %q is told as %q, want %q", c.sees, got, c.want)
		}
	}
}
