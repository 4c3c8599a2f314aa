package history

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// testSimulation is a Simulation in which only the first failure matters.
type testSimulation struct {
	invariant, text string
}

func (s *testSimulation) Now() time.Duration  { return 0 }
func (s *testSimulation) Called(*Operation)   {}
func (s *testSimulation) Returned(*Operation) {}

func (s *testSimulation) Fail(invariant, format string, values ...any) {
	if s.invariant == "" {
		s.invariant, s.text = invariant, fmt.Sprintf(format, values...)
	}
}

// testHistory is a history that a test wrote. Its writes take effect at their return.
type testHistory struct {
	*History
	sim *testSimulation
}

func newTestHistory(operations ...Operation) testHistory {
	sim := &testSimulation{}
	h := New(sim)
	for i := range operations {
		o := &operations[i]
		o.Number = uint64(i + 1)
		if o.Key == 0 {
			o.Key = 1
		}
		h.Operations = append(h.Operations, o)
		if o.Kind.Writes() && o.Outcome != Refused && o.Returned > 0 {
			h.effectTimes[o.Number] = o.Returned
		}
	}
	return testHistory{h, sim}
}

func (h testHistory) failedInvariant() string {
	h.CheckLinearizable(MaxSteps)
	return h.sim.invariant
}

func writeOperation(kind Op, called, returned int64, value, before string) Operation {
	return Operation{Command: Command{Kind: kind, Value: value}, Called: called, Returned: returned, Reply: Reply{Before: before}}
}

func readOperation(kind Op, called, returned int64, value string) Operation {
	return Operation{Command: Command{Kind: kind}, Called: called, Returned: returned, Reply: Reply{Before: value}}
}

func swapOperation(called, returned int64, expect, value, before string, did bool) Operation {
	return Operation{Command: Command{Kind: CompareAndSwap, Expect: expect, Value: value}, Called: called, Returned: returned,
		Reply: Reply{Before: before, Swapped: did}}
}

func (o Operation) withOutcome(outcome Outcome) Operation {
	o.Outcome = outcome
	return o
}

func TestLinearizableHistoriesPassOthersFail(t *testing.T) {
	for _, c := range []struct {
		name  string
		legal bool
		h     testHistory
	}{
		{"one after the other", true, newTestHistory(writeOperation(Put, 1, 2, "a", ""), readOperation(GetIndex, 3, 4, "a"), writeOperation(Append, 5, 6, "b", "a"), readOperation(GetLog, 7, 8, "ab"))},
		{"a read at the same time sees either", true, newTestHistory(writeOperation(Put, 1, 9, "a", ""), readOperation(GetIndex, 2, 3, ""), readOperation(GetIndex, 4, 5, "a"))},
		{"a stale read", false, newTestHistory(writeOperation(Put, 1, 2, "a", ""), writeOperation(Put, 3, 4, "b", "a"), readOperation(GetIndex, 5, 6, "a"))},
		{"a stale read of a mode that may", true, newTestHistory(writeOperation(Put, 1, 2, "a", ""), writeOperation(Put, 3, 4, "b", "a"), readOperation(GetLeader, 5, 6, "a"), readOperation(GetLocal, 7, 8, "a"))},
		{"two reads that go back", false, newTestHistory(writeOperation(Put, 1, 9, "a", ""), readOperation(GetIndex, 2, 3, "a"), readOperation(GetIndex, 4, 5, ""))},
		{"an append twice", false, newTestHistory(writeOperation(Append, 1, 2, "a", ""), readOperation(GetIndex, 3, 4, "aa"))},
		{"a lost write", false, newTestHistory(writeOperation(Put, 1, 2, "a", ""), writeOperation(Append, 3, 4, "b", "a"), readOperation(GetIndex, 5, 6, "b"))},
		{"a lost write, shown by the reply of a write", false, newTestHistory(writeOperation(Put, 1, 2, "a", ""), writeOperation(Append, 3, 4, "b", ""))},
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
		if got := c.h.failedInvariant(); got != want {
			t.Errorf("%s: failed %q, want %q", c.name, got, want)
		}
	}
}

// Each key is checked alone, so one wrong key is found among right ones.
func TestLinearizabilityFailureNamesTheKey(t *testing.T) {
	var all []Operation
	for key := uint32(1); key <= 5; key++ {
		put, get := writeOperation(Put, int64(10*key), int64(10*key+1), "a", ""), readOperation(GetIndex, int64(10*key+2), int64(10*key+3), "a")
		put.Key, get.Key = key, key
		if key == 4 {
			get.Reply.Before = ""
		}
		all = append(all, put, get)
	}
	h := newTestHistory(all...)
	if h.failedInvariant() != "linearizability" || !strings.Contains(h.sim.text, "on key 4") {
		t.Fatalf("the failure is %+v", h.sim)
	}
}

func TestLinearizabilitySearchIsBounded(t *testing.T) {
	var all []Operation
	for i := range int64(24) {
		all = append(all, writeOperation(Append, 1+i, 100+i, fmt.Sprint(i), "").withOutcome(Unknown))
	}
	h := newTestHistory(append(all, readOperation(GetIndex, 200, 201, "never written"))...)
	h.CheckLinearizable(5000)
	if !strings.Contains(h.sim.text, "nor does another in 5000 steps") {
		t.Fatalf("the failure is %+v", h.sim)
	}
}

// Appends with an unknown outcome make another value in each of their orders, and there are too
// many orders to try. The order of the log explains the replies at once; replies that it does not
// explain still fail.
func TestLinearizabilityTriesTheLogOrderFirst(t *testing.T) {
	const n = 24
	value, all := "", []Operation(nil)
	for i := range int64(n) {
		all = append(all, writeOperation(Append, 1+i, 100+i, fmt.Sprint(i, "."), "").withOutcome(Unknown))
	}
	for i := n - 1; i >= 0; i-- { // the last one called took effect first
		value += all[i].Value
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
			t.Errorf("a read of %q failed %q, want %q", c.sees, got, c.want)
		}
	}
}
