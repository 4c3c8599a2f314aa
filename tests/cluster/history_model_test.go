package cluster

import (
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// The checkers themselves are checked: each kind of lie must be found.

func ok(o operation, call, end int) operation {
	o.key, o.call, o.end = "k", time.Duration(call), time.Duration(end)
	return o
}

func linearizable(operations ...operation) bool {
	var history []porcupine.Operation
	for _, o := range operations {
		history = append(history, porcupine.Operation{Input: o, Output: o, Call: int64(o.call), Return: int64(o.end)})
	}
	return porcupine.CheckOperations(registerModel, history)
}

func TestRegisterModelDetectsViolations(t *testing.T) {
	putA := ok(operation{kind: put, value: "a", revision: 2}, 0, 10)
	putB := ok(operation{kind: put, value: "b", revision: 3}, 20, 30)
	readA := operation{kind: get, seen: "a", revision: 2}
	readB := operation{kind: get, seen: "b", revision: 3}
	setAC := operation{kind: cas, expected: "a", value: "c", revision: 4, succeeded: true}
	for _, c := range []struct {
		name    string
		history []operation
		want    bool
	}{
		{"a read after the write sees it", []operation{putA, ok(readA, 11, 12)}, true},
		{"a read before the write sees it", []operation{ok(readA, -5, -1), putA}, false},
		{"a read during the write may see it or not", []operation{putA, ok(readA, 1, 2), ok(operation{kind: get}, 1, 2)}, true},
		{"a stale read", []operation{putA, putB, ok(readA, 31, 32)}, false},
		{"two reads go back in time", []operation{putA, putB, ok(readB, 21, 22), ok(readA, 23, 24)}, false},
		{"a lost write", []operation{putA, ok(operation{kind: get}, 11, 12)}, false},
		{"a read of the right value with the wrong revision", []operation{putA, ok(operation{kind: get, seen: "a", revision: 3}, 11, 12)}, false},
		{"revisions fall", []operation{ok(operation{kind: put, value: "a", revision: 5}, 0, 10), putB}, false},
		{"a compare-and-set that finds what it expects", []operation{putA, ok(setAC, 11, 12)}, true},
		{"a compare-and-set that could not succeed", []operation{putA, putB, ok(setAC, 31, 32)}, false},
		{"a compare-and-set that had to succeed", []operation{putA, ok(operation{kind: cas, expected: "a", value: "c", seen: "a", revision: 2}, 11, 12)}, false},
		{"a compare-and-set that fails and tells what is there", []operation{putA, putB,
			ok(operation{kind: cas, expected: "a", value: "c", seen: "b", revision: 3}, 31, 32)}, true},
	} {
		if got := linearizable(c.history...); got != c.want {
			t.Errorf("%s: linearizable %v", c.name, got)
		}
	}
}

func TestHistoryDecidesUnknownWrites(t *testing.T) {
	events := []event{{key: "k", value: "a", revision: 2}}
	settled, unknown, happened := placeUnknownWrites([]operation{
		ok(operation{kind: put, value: "a", unknown: true}, 0, 5),
		ok(operation{kind: put, value: "never", unknown: true}, 0, 5),
		ok(operation{kind: get, unknown: true}, 0, 5),
		ok(operation{kind: get, seen: "a", revision: 2}, 100, 101),
	}, events)
	if unknown != 3 || happened != 1 || len(settled) != 2 || settled[0].revision != 2 {
		t.Fatalf("%d unknown, %d happened: %+v", unknown, happened, settled)
	}
	if !linearizable(settled...) {
		t.Fatal("a write that took effect after its client had given up is no contradiction")
	}
	seenNever := ok(operation{kind: get, seen: "never", revision: 3}, 200, 201)
	if linearizable(append(settled, seenNever)...) {
		t.Fatal("a value from nowhere was accepted")
	}
}
