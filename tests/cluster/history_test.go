package cluster

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// kind is the kind of an operation on one key.
type kind string

const (
	put kind = "put"
	get kind = "get"
	cas kind = "compare-and-set" // Txn: If value == expected, Then put, Else get
	del kind = "delete"
	// oldGet may return what was there at an earlier time. It is not part of the history that must be
	// linearizable.
	oldGet kind = "get that may be old"
)

// operation is a request of a client with its response. Values are unique in a test, so that a
// value identifies its write.
type operation struct {
	client    int
	kind      kind
	key       string
	value     string // written
	expected  string // compared with
	way       int    // of the ways to do it: an index of linearizableReads, putWays or deleteWays
	call, end time.Duration

	// The response.
	unknown   bool // the request failed, so that a write may or may not have taken effect
	err       error
	succeeded bool   // of a compare-and-set, or a delete of a key that was there
	seen      string // the value that a get, a delete, or a compare-and-set that failed, has read
	revision  int64  // of the write, or the modRevision of the value that was read; 0: no such key
	before    int64  // the modRevision of the value that a delete has read
	blind     bool   // a delete whose response was lost
}

func (o operation) writes() bool { return o.kind == put || o.succeeded }

// event returns the event of a write.
func (o operation) event() event {
	return event{key: o.key, value: o.value, revision: o.revision, deleted: o.kind == del}
}

// register is the state of one key in the model.
type register struct {
	value    string
	revision int64 // 0: no such key
	last     int64 // revision of the last write
}

// registerModel is the model of a key with its modRevision: a read returns the latest write with
// its revision, and revisions increase.
var registerModel = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		byKey := make(map[string][]porcupine.Operation)
		for _, o := range history {
			key := o.Input.(operation).key
			byKey[key] = append(byKey[key], o)
		}
		var parts [][]porcupine.Operation
		for _, part := range byKey {
			parts = append(parts, part)
		}
		return parts
	},
	Init: func() any { return register{} },
	Step: func(state, input, _ any) (bool, any) {
		before, o := state.(register), input.(operation)
		after := register{value: o.value, revision: o.revision, last: o.revision}
		sees := func(value string, revision int64) bool { return before.value == value && before.revision == revision }
		switch {
		case o.kind == put:
			return o.revision > before.last, after
		case o.kind == del && o.succeeded:
			return o.revision > before.last && before.revision != 0 && (o.blind || sees(o.seen, o.before)), register{last: o.revision}
		case o.kind == cas && o.succeeded:
			return before.value == o.expected && o.revision > before.last, after
		case o.kind == cas && before.value == o.expected:
			return false, before
		default:
			return sees(o.seen, o.revision), before
		}
	},
	DescribeOperation: func(input, _ any) string {
		o := input.(operation)
		return fmt.Sprintf("%s %s expected %q value %q seen %q revision %d succeeded %v", o.kind, o.key, o.expected, o.value, o.seen,
			o.revision, o.succeeded)
	},
}

// placeUnknownWrites decides operations of unknown outcome by the events of the store. A write with
// an event took effect at some time after its call; a write without one did not, and is left out.
// Undecided, each such operation would double the search of porcupine. Leaving out a write hides no
// violation: a read of its value stays in the history and contradicts. Reads of unknown outcome are
// left out. A delete has no value; since one client alone deletes a key, and stops at the first
// outcome that it does not learn, the one delete event that nobody acknowledged is its own. The
// function returns the other operations and the decided writes, the number of unknown
// operations, and how many of them took effect.
func placeUnknownWrites(operations []operation, events []event) (placed []operation, unknown, applied int) {
	revisions := make(map[string]int64, len(events)) // of the event of a value, or of a key's delete that nobody acknowledged
	acknowledged := make(map[event]bool)
	for _, o := range operations {
		if o.kind == del && !o.unknown {
			acknowledged[o.event()] = true
		}
	}
	for _, e := range events {
		if !e.deleted {
			revisions[e.value] = e.revision
		} else if !acknowledged[e] {
			revisions["delete "+e.key] = e.revision
		}
	}
	for _, o := range operations {
		if o.kind == oldGet {
			continue
		}
		if !o.unknown {
			placed = append(placed, o)
			continue
		}
		unknown++
		identity := o.value
		if o.kind == del {
			identity = "delete " + o.key
		}
		revision, ok := revisions[identity]
		if o.kind == get || !ok {
			continue
		}
		applied++
		o.blind = true
		o.succeeded, o.revision, o.end = true, revision, math.MaxInt64
		placed = append(placed, o)
	}
	return placed, unknown, applied
}

func checkLinearizable(t *testing.T, operations []operation) {
	t.Helper()
	var history []porcupine.Operation
	for _, o := range operations {
		history = append(history, porcupine.Operation{
			ClientId: o.client, Input: o, Output: o, Call: int64(o.call), Return: int64(o.end),
		})
	}
	if result, info := porcupine.CheckOperationsVerbose(registerModel, history, time.Minute); result != porcupine.Ok {
		t.Errorf("porcupine reports %s for the history of %d operations", result, len(history))
		if file := t.ArtifactDir() + "/history.html"; porcupine.VisualizePath(registerModel, info, file) == nil {
			t.Logf("see %s (kept with -artifacts)", file)
		}
	}
}

// checkAcknowledgedWrites checks that each acknowledged write has an event with its revision.
func checkAcknowledgedWrites(t *testing.T, operations []operation, events []event) {
	t.Helper()
	exists := make(map[event]bool, len(events))
	for _, e := range events {
		exists[e] = true
	}
	missing := 0
	for _, o := range operations {
		if o.unknown || !o.writes() || exists[o.event()] {
			continue
		}
		if missing++; missing <= 5 {
			t.Errorf("acknowledged write is missing: %s of %q to %s at revision %d", o.kind, o.value, o.key, o.revision)
		}
	}
	if missing > 5 {
		t.Errorf("%d acknowledged writes are missing", missing)
	}
}

// checkOldReads checks that each value that a read returned, which may be old, was there once.
func checkOldReads(t *testing.T, operations []operation, events []event) {
	t.Helper()
	exists := make(map[event]bool, len(events))
	for _, e := range events {
		exists[e] = true
	}
	for _, o := range operations {
		if o.kind == oldGet && !o.unknown && o.revision != 0 && !exists[event{key: o.key, value: o.seen, revision: o.revision}] {
			t.Errorf("a read of %s returned %q of revision %d, which was never there", o.key, o.seen, o.revision)
		}
	}
}

// event is an event of a watch.
type event struct {
	key, value string
	revision   int64
	deleted    bool
}

func watchEvents(response clientv3.WatchResponse) []event {
	var events []event
	for _, e := range response.Events {
		events = append(events, event{
			key: string(e.Kv.Key), value: string(e.Kv.Value), revision: e.Kv.ModRevision, deleted: e.Type == clientv3.EventTypeDelete,
		})
	}
	return events
}

// readHistory watches a prefix from the first revision and returns the events up to the revision
// last.
func readHistory(t *testing.T, client *clientv3.Client, prefix string, last int64) []event {
	t.Helper()
	ctx := contextWithin(t, 30*time.Second)
	var events []event
	for response := range client.Watch(ctx, prefix, clientv3.WithPrefix(), clientv3.WithRev(1)) {
		mustSucceed(t, response.Err())
		events = append(events, watchEvents(response)...)
		if len(events) > 0 && events[len(events)-1].revision >= last {
			return events
		}
	}
	t.Fatalf("the watch ended after %d events without revision %d: %v", len(events), last, ctx.Err())
	return nil
}

// checkSameHistory compares the events of two watches.
func checkSameHistory(t *testing.T, watch string, got, want []event) {
	t.Helper()
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			t.Errorf("%s: event %d is %+v, want %+v", watch, i, got[i], want[i])
			return
		}
	}
	if len(got) != len(want) {
		t.Errorf("%s: %d events, want %d", watch, len(got), len(want))
	}
}
