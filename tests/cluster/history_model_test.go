package cluster

import (
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// at returns an operation on the key k with the times of its call and its end.
func at(o operation, call, end int) operation {
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
	putA := at(operation{kind: put, value: "a", revision: 2}, 0, 10)
	putB := at(operation{kind: put, value: "b", revision: 3}, 20, 30)
	readA := operation{kind: get, seen: "a", revision: 2}
	readB := operation{kind: get, seen: "b", revision: 3}
	delA := operation{kind: del, seen: "a", before: 2, revision: 3, succeeded: true}
	setAC := operation{kind: cas, expected: "a", value: "c", revision: 4, succeeded: true}
	for _, c := range []struct {
		name    string
		history []operation
		want    bool
	}{
		{"a read after the write returns it", []operation{putA, at(readA, 11, 12)}, true},
		{"a read before the write returns it", []operation{at(readA, -5, -1), putA}, false},
		{"a read during the write returns it or not", []operation{putA, at(readA, 1, 2), at(operation{kind: get}, 1, 2)}, true},
		{"a stale read", []operation{putA, putB, at(readA, 31, 32)}, false},
		{"two reads go back in time", []operation{putA, putB, at(readB, 21, 22), at(readA, 23, 24)}, false},
		{"a lost write", []operation{putA, at(operation{kind: get}, 11, 12)}, false},
		{"a read of a value with another revision", []operation{putA, at(operation{kind: get, seen: "a", revision: 3}, 11, 12)}, false},
		{"decreasing revisions", []operation{at(operation{kind: put, value: "a", revision: 5}, 0, 10), putB}, false},
		{"a delete returns the value before", []operation{putA, at(delA, 11, 12), at(operation{kind: get}, 13, 14)}, true},
		{"a read after a delete returns the value", []operation{putA, at(delA, 11, 12), at(readA, 13, 14)}, false},
		{"a delete returns an older value", []operation{putA, putB, at(operation{kind: del, seen: "a", before: 2, revision: 4, succeeded: true}, 31, 32)}, false},
		{"a delete finds no key although there is one", []operation{putA, at(operation{kind: del}, 11, 12)}, false},
		{"a put after a delete has a lower revision", []operation{putA, at(delA, 11, 12), at(operation{kind: put, value: "b", revision: 3}, 13, 14)}, false},
		{"a compare-and-set of the expected value succeeds", []operation{putA, at(setAC, 11, 12)}, true},
		{"a compare-and-set of another value succeeds", []operation{putA, putB, at(setAC, 31, 32)}, false},
		{"a compare-and-set of the expected value fails", []operation{putA, at(operation{kind: cas, expected: "a", value: "c", seen: "a", revision: 2}, 11, 12)}, false},
		{"a compare-and-set of another value fails", []operation{putA, putB,
			at(operation{kind: cas, expected: "a", value: "c", seen: "b", revision: 3}, 31, 32)}, true},
	} {
		if got := linearizable(c.history...); got != c.want {
			t.Errorf("%s: linearizable %v, want %v", c.name, got, c.want)
		}
	}
}

func TestHistoryDecidesUnknownWrites(t *testing.T) {
	events := []event{{key: "k", value: "a", revision: 2}}
	placed, unknown, applied := placeUnknownWrites([]operation{
		at(operation{kind: put, value: "a", unknown: true}, 0, 5),
		at(operation{kind: put, value: "never", unknown: true}, 0, 5),
		at(operation{kind: get, unknown: true}, 0, 5),
		at(operation{kind: get, seen: "a", revision: 2}, 100, 101),
	}, events)
	if unknown != 3 || applied != 1 || len(placed) != 2 || placed[0].revision != 2 {
		t.Fatalf("%d unknown, %d applied: %+v", unknown, applied, placed)
	}
	if !linearizable(placed...) {
		t.Fatal("a write that took effect after its timeout was rejected")
	}
	deleted, unknown, applied := placeUnknownWrites([]operation{
		at(operation{kind: put, value: "a", revision: 2}, 0, 1), at(operation{kind: del, unknown: true}, 2, 3), at(operation{kind: get}, 200, 201),
	}, append(events, event{key: "k", revision: 3, deleted: true}))
	if unknown != 1 || applied != 1 || !linearizable(deleted...) {
		t.Fatalf("a delete of unknown outcome: %d unknown, %d applied: %+v", unknown, applied, deleted)
	}
	readOfMissing := at(operation{kind: get, seen: "never", revision: 3}, 200, 201)
	if linearizable(append(placed, readOfMissing)...) {
		t.Fatal("a value that was never written was accepted")
	}
}
