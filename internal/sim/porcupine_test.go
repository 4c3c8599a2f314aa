package sim

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// told is a history that was made by hand. Moments are as the operations say, an effect happens at its return.
type testHistory struct{ *history }

func newTestHistory(operations ...operation) testHistory {
	h := newHistory(New(Options{Seed: 1, Nodes: 1}))
	for i := range operations {
		o := &operations[i]
		o.number = uint64(i + 1)
		if o.key == 0 {
			o.key = 1
		}
		h.operations = append(h.operations, o)
		if o.kind.Writes() && o.outcome != Refused && o.returned > 0 {
			h.effectTimes[o.number] = o.returned
		}
	}
	return testHistory{h}
}

func (h testHistory) failedInvariant() string {
	h.checkLinearizable(maxCheckSteps)
	if f := h.world.failure; f != nil {
		return f.Invariant
	}
	return ""
}

func writeOperation(kind Op, called, returned int64, value, before string) operation {
	return operation{command: command{kind: kind, value: value}, called: called, returned: returned, result: result{before: before}}
}

func readOperation(kind Op, called, returned int64, value string) operation {
	return operation{command: command{kind: kind}, called: called, returned: returned, result: result{before: value}}
}

func swapOperation(called, returned int64, expect, value, before string, did bool) operation {
	return operation{command: command{kind: CompareAndSwap, expect: expect, value: value}, called: called, returned: returned,
		result: result{before: before, swapped: did}}
}

func (o operation) withOutcome(outcome Outcome) operation {
	o.outcome = outcome
	return o
}

func TestWhatIsLinearizableAndWhatIsNot(t *testing.T) {
	for _, c := range []struct {
		name  string
		legal bool
		told  testHistory
	}{
		{"one after the other", true, newTestHistory(writeOperation(Put, 1, 2, "a", ""), readOperation(GetIndex, 3, 4, "a"), writeOperation(Append, 5, 6, "b", "a"), readOperation(GetLog, 7, 8, "ab"))},
		{"a read at the same time sees either", true, newTestHistory(writeOperation(Put, 1, 9, "a", ""), readOperation(GetIndex, 2, 3, ""), readOperation(GetIndex, 4, 5, "a"))},
		{"a stale read", false, newTestHistory(writeOperation(Put, 1, 2, "a", ""), writeOperation(Put, 3, 4, "b", "a"), readOperation(GetIndex, 5, 6, "a"))},
		{"a stale read of a mode that may", true, newTestHistory(writeOperation(Put, 1, 2, "a", ""), writeOperation(Put, 3, 4, "b", "a"), readOperation(GetLeader, 5, 6, "a"), readOperation(GetLocal, 7, 8, "a"))},
		{"two reads that go back", false, newTestHistory(writeOperation(Put, 1, 9, "a", ""), readOperation(GetIndex, 2, 3, "a"), readOperation(GetIndex, 4, 5, ""))},
		{"an append twice", false, newTestHistory(writeOperation(Append, 1, 2, "a", ""), readOperation(GetIndex, 3, 4, "aa"))},
		{"a lost write", false, newTestHistory(writeOperation(Put, 1, 2, "a", ""), writeOperation(Append, 3, 4, "b", "a"), readOperation(GetIndex, 5, 6, "b"))},
		{"a lost write whose loss a write's answer shows", false, newTestHistory(writeOperation(Put, 1, 2, "a", ""), writeOperation(Append, 3, 4, "b", ""))},
		{"a refused write that is seen", false, newTestHistory(writeOperation(Put, 1, 2, "a", "").withOutcome(Refused), readOperation(GetIndex, 3, 4, "a"))},
		{"an unknown write that is seen", true, newTestHistory(writeOperation(Put, 1, 4, "a", "").withOutcome(Unknown), readOperation(GetIndex, 2, 3, ""), readOperation(GetIndex, 5, 6, "a"))},
		{"an unknown write that is seen and then is not", false, newTestHistory(writeOperation(Put, 1, 2, "a", "").withOutcome(Unknown), readOperation(GetIndex, 3, 4, "a"), readOperation(GetIndex, 5, 6, ""))},
		{"an unknown write that never took effect", true, newTestHistory(writeOperation(Put, 1, 0, "a", "").withOutcome(Unknown), readOperation(GetIndex, 3, 4, ""))},
		{"an unknown write that never took effect and is seen", false, newTestHistory(writeOperation(Put, 1, 0, "a", "").withOutcome(Unknown), readOperation(GetIndex, 3, 4, "a"))},
		{"two swaps of one value", false, newTestHistory(writeOperation(Put, 1, 2, "a", ""), swapOperation(3, 8, "a", "b", "a", true), swapOperation(4, 7, "a", "c", "a", true))},
		{"one of two swaps", true, newTestHistory(writeOperation(Put, 1, 2, "a", ""), swapOperation(3, 8, "a", "b", "a", true), swapOperation(4, 7, "a", "c", "b", false))},
		{"a swap that should have failed", false, newTestHistory(writeOperation(Put, 1, 2, "a", ""), swapOperation(3, 4, "x", "b", "a", true))},
		{"a delete", true, newTestHistory(writeOperation(Put, 1, 2, "a", ""), writeOperation(Delete, 3, 4, "", "a"), readOperation(GetIndex, 5, 6, ""))},
		{"a delete that did not", false, newTestHistory(writeOperation(Put, 1, 2, "a", ""), writeOperation(Delete, 3, 4, "", "a"), readOperation(GetIndex, 5, 6, "a"))},
	} {
		want := "linearizability"
		if c.legal {
			want = ""
		}
		if got := c.told.failedInvariant(); got != want {
			t.Errorf("%s: told as %q, want %q", c.name, got, want)
		}
	}
}

// Keys are checked one by one: a wrong one is found among right ones, and named.
func TestTheKeyThatIsWrongIsNamed(t *testing.T) {
	var all []operation
	for key := uint32(1); key <= 5; key++ {
		put, get := writeOperation(Put, int64(10*key), int64(10*key+1), "a", ""), readOperation(GetIndex, int64(10*key+2), int64(10*key+3), "a")
		put.key, get.key = key, key
		if key == 4 {
			get.result.before = ""
		}
		all = append(all, put, get)
	}
	h := newTestHistory(all...)
	if h.failedInvariant() != "linearizability" || !strings.Contains(h.world.failure.Text, "on key 4") {
		t.Fatalf("told as %+v", h.world.failure)
	}
}

// A history that takes too long is a failure to be told, never taken for right.
func TestAHistoryThatTakesTooManyStepsIsAFailure(t *testing.T) {
	var all []operation
	for i := range int64(24) {
		all = append(all, writeOperation(Append, 1+i, 100+i, fmt.Sprint(i), "").withOutcome(Unknown))
	}
	h := newTestHistory(append(all, readOperation(GetIndex, 200, 201, "nobody wrote this"))...)
	h.checkLinearizable(5000)
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
		all = append(all, writeOperation(Append, 1+i, 100+i, fmt.Sprint(i, "."), "").withOutcome(Unknown))
	}
	for i := n - 1; i >= 0; i-- { // the last one to be called took effect first
		value += all[i].value
	}
	for _, c := range []struct {
		sees string
		want string
	}{{value, ""}, {value[1:], "linearizability"}} {
		h := newTestHistory(append(slices.Clone(all), readOperation(GetIndex, 200, 201, c.sees))...)
		for i := range uint64(n) {
			h.effectIndexes[i+1], h.effectTimes[i+1] = n-i, 100
		}
		if got := h.failedInvariant(); got != c.want {
			t.Errorf("a read of %q is told as %q, want %q", c.sees, got, c.want)
		}
	}
}
