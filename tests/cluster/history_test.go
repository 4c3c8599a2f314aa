package cluster

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// kind of an operation on one key.
type kind string

const (
	put kind = "put"
	get kind = "get"
	cas kind = "compare-and-set" // Txn: If value == expected, Then put, Else get
)

// operation is what a client asked and what it was told. Values are unique in a test, so that a
// write can be recognised wherever it is seen.
type operation struct {
	client    int
	kind      kind
	key       string
	value     string // written
	expected  string // compared with
	call, end time.Duration

	// The answer. Unknown: the client got an error or none, so that a write may have happened or not.
	unknown   bool
	err       error
	succeeded bool   // of a compare-and-set
	seen      string // read by a get, or by a compare-and-set that failed
	revision  int64  // of the write, or modRevision of what was read; 0: no such key
}

func (o operation) writes() bool { return o.kind == put || o.kind == cas && o.succeeded }

// register is the state of one key in the model.
type register struct {
	value    string
	revision int64
}

// registerModel is a key with its modRevision: a read sees the latest write and its revision, and
// revisions rise.
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
		after := register{value: o.value, revision: o.revision}
		switch {
		case o.kind == put:
			return o.revision > before.revision, after
		case o.kind == cas && o.succeeded:
			return before.value == o.expected && o.revision > before.revision, after
		case o.kind == cas && before.value == o.expected:
			return false, before
		default:
			return before == register{value: o.seen, revision: o.revision}, before
		}
	},
	DescribeOperation: func(input, _ any) string {
		o := input.(operation)
		return fmt.Sprintf("%s %s expected %q value %q seen %q revision %d succeeded %v", o.kind, o.key, o.expected, o.value, o.seen,
			o.revision, o.succeeded)
	},
}

// settle decides the operations whose outcome their client never learned by what the store says
// happened: a write that is in the store's history took effect, at some time after its call; one
// that is not never did. Left open, each of them would double what porcupine has to try; and
// leaving one out hides nothing, since a read that saw its value is still there to contradict.
func placeUnknownWrites(operations []operation, events []event) (settled []operation, unknown, happened int) {
	revisions := make(map[string]int64, len(events))
	for _, e := range events {
		revisions[e.value] = e.revision
	}
	for _, o := range operations {
		if !o.unknown {
			settled = append(settled, o)
			continue
		}
		unknown++
		revision, ok := revisions[o.value]
		if o.kind == get || !ok {
			continue
		}
		happened++
		o.succeeded, o.revision, o.end = true, revision, math.MaxInt64
		settled = append(settled, o)
	}
	return settled, unknown, happened
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
		t.Errorf("porcupine finds the history of %d operations %s", len(history), result)
		if file := t.ArtifactDir() + "/history.html"; porcupine.VisualizePath(registerModel, info, file) == nil {
			t.Logf("see %s (kept with -artifacts)", file)
		}
	}
}

// checkNothingIsMissing: what was acknowledged happened, at the revision that was told.
func checkNothingIsMissing(t *testing.T, operations []operation, events []event) {
	t.Helper()
	happened := make(map[event]bool, len(events))
	for _, e := range events {
		happened[e] = true
	}
	missing := 0
	for _, o := range operations {
		if o.unknown || !o.writes() || happened[event{key: o.key, value: o.value, revision: o.revision}] {
			continue
		}
		if missing++; missing <= 5 {
			t.Errorf("acknowledged and missing: %s of %q to %s at revision %d", o.kind, o.value, o.key, o.revision)
		}
	}
	if missing > 5 {
		t.Errorf("%d acknowledged writes are missing in all", missing)
	}
}

// event is a change as a watch tells it.
type event struct {
	key, value string
	revision   int64
}

func watchEvents(response clientv3.WatchResponse) []event {
	var events []event
	for _, e := range response.Events {
		events = append(events, event{key: string(e.Kv.Key), value: string(e.Kv.Value), revision: e.Kv.ModRevision})
	}
	return events
}

// readHistory watches a prefix at one member from the first revision until it has told everything
// up to last.
func readHistory(t *testing.T, client *clientv3.Client, prefix string, last int64) []event {
	t.Helper()
	ctx := contextWithin(t, 30*time.Second)
	var events []event
	for response := range client.Watch(ctx, prefix, clientv3.WithPrefix(), clientv3.WithRev(1)) {
		if err := response.Err(); err != nil {
			t.Fatal(err)
		}
		events = append(events, watchEvents(response)...)
		if len(events) > 0 && events[len(events)-1].revision >= last {
			return events
		}
	}
	t.Fatalf("the watch ended after %d events without revision %d: %v", len(events), last, ctx.Err())
	return nil
}

// checkSameHistory compares what two watches told.
func checkSameHistory(t *testing.T, who string, got, want []event) {
	t.Helper()
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			t.Errorf("%s: event %d is %+v, not %+v", who, i, got[i], want[i])
			return
		}
	}
	if len(got) != len(want) {
		t.Errorf("%s tells %d events, not %d", who, len(got), len(want))
	}
}
