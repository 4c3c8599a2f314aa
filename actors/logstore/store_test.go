package logstore

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/persistence"
	"github.com/troupe-raft/troupe/persistence/vfs"
)

func TestRestartRecoversWhatWasDurable(t *testing.T) {
	disk := vfs.NewMem()
	f := newFixture(t, disk)
	if r := received[*messages.Recovered](f); len(r) != 1 || r[0].LastIndex != 0 {
		t.Fatalf("a new log: %v", f.toNode)
	}
	f.send(appendMessage(4, 0, makeEntries(1, 9, 4, 50)), voteMessage(2, 4))
	f = newFixture(t, disk.CrashClone(vfs.LoseUnsynced))
	r := f.toNode[0].(*messages.Recovered)
	if r.Incarnation != incarnation || r.LastIndex != 9 || r.HardState.Term != 4 || r.HardState.Vote != 2 || len(r.Runs) != 1 {
		t.Fatalf("recovered %v", r)
	}
}

func TestE1VoteIsSentAfterItsSync(t *testing.T) {
	f := newFixture(t, vfs.NewMem())
	f.clearRecorded()
	f.send(voteMessage(2, 1))
	want := []string{"write", "sync", "send to RECEIVER_NODE of 2"}
	if !slices.Equal(f.events, want) {
		t.Fatalf("%v, not %v", f.events, want)
	}
	if v, ok := f.toPeers[0].(*messages.VoteResponse); !ok || !v.Granted || v.Term != 1 {
		t.Fatalf("peer 2 received %v", f.toPeers)
	}
}

func TestDeferredMessagesFollowTheirSyncInOrder(t *testing.T) {
	f := newFixture(t, vfs.NewMem())
	f.clearRecorded()
	for i := range uint64(30) { // enough to begin new segments
		first := i*10 + 1
		f.send(appendMessage(1, 0, makeEntries(first, 5, 1, 900), acceptedResponse(2, first+4)), appendMessage(1, 0, makeEntries(first+5, 5, 1, 900), acceptedResponse(3, first+9)))
	}
	unsynced, last := false, ""
	for i, e := range f.events {
		switch {
		case e == "write":
			unsynced = true
		case e == "sync":
			unsynced = false
		case strings.HasPrefix(e, "send"):
			if unsynced {
				t.Fatalf("event %d: %q between a write and its sync: %v", i, e, f.events[max(0, i-5):i+1])
			}
			if strings.HasPrefix(e, "send to") && e == last {
				t.Fatalf("event %d: %q again before the other", i, e)
			}
			last = e
		}
	}
	if len(f.toPeers) != 60 || len(received[*messages.Durable](f)) != 30 {
		t.Fatalf("%d messages to peers, %d Durable", len(f.toPeers), len(received[*messages.Durable](f)))
	}
}

func TestQueuedAppendsShareOneWriteAndSync(t *testing.T) {
	f := newFixture(t, vfs.NewMem())
	f.clearRecorded()
	var all []proto.Message
	for i := range uint64(50) {
		all = append(all, appendMessage(1, 0, makeEntries(i+1, 1, 1, 20), acceptedResponse(2, i+1)))
	}
	f.send(all...)
	if w, y := f.countEvents("write"), f.countEvents("sync"); w != 1 || y != 1 || f.Views.Syncs != 1 {
		t.Fatalf("%d writes, %d syncs, %d reported to the observer", w, y, f.Views.Syncs)
	}
	durable := received[*messages.Durable](f)
	if len(durable) != 1 || durable[0].Mark.Index != 50 || len(f.toPeers) != 50 {
		t.Fatalf("durable %v, %d messages to peers", durable, len(f.toPeers))
	}
	for i, m := range f.toPeers {
		if m.(*messages.AppendResponse).Index != uint64(i+1) {
			t.Fatalf("message %d is %v", i, m)
		}
	}
}

func TestFullBatchIsWrittenWithoutItsFlush(t *testing.T) {
	f := newFixture(t, vfs.NewMem())
	f.clearRecorded()
	f.send(appendMessage(1, 0, makeEntries(1, 9, 1, 1<<20)), appendMessage(1, 0, makeEntries(10, 9, 1, 1<<20)))
	if f.Views.Syncs != 1 {
		t.Fatalf("%d batches: the Flush that came late made one of nothing", f.Views.Syncs)
	}
	f.send(appendMessage(1, 0, makeEntries(19, 1, 1, 10)))
	durable := received[*messages.Durable](f)
	if len(durable) != 2 || durable[0].Mark.Index != 18 || durable[1].Mark.Index != 19 {
		t.Fatalf("durable %v", durable)
	}
}

func TestE3BatchSurvivesWholeOrNotAtAll(t *testing.T) {
	disk := vfs.NewMem()
	f := newFixture(t, disk)
	// The power fails after the write and before its sync; any sectors of it may be on the disk.
	var after []*vfs.MemFS
	disk.Inject(func(op vfs.Op) error {
		for outcome, outcomes := 0, 1; op.Kind == vfs.OpSync && outcome < outcomes; outcome++ {
			after = append(after, disk.CrashClone(func(n int) int { outcomes = n; return outcome }))
		}
		return nil
	})
	f.send(appendMessage(1, 0, makeEntries(1, 2, 1, 800)), voteMessage(2, 3), appendMessage(3, 2, makeEntries(2, 2, 3, 800)))
	if len(after) < 5 {
		t.Fatalf("only %d outcomes", len(after))
	}
	whole := 0
	for i, disk := range after {
		f := newFixture(t, disk)
		r := f.toNode[0].(*messages.Recovered)
		all := r.LastIndex == 3 && r.HardState.Term == 3 && r.HardState.Vote == 2
		none := r.LastIndex == 0 && r.HardState.Term == 0 && r.HardState.Vote == 0
		if !all && !none {
			t.Fatalf("outcome %d: recovered %v", i, r)
		}
		if all {
			whole++
		}
	}
	if whole == 0 || whole == len(after) {
		t.Fatalf("%d of %d outcomes kept the write", whole, len(after))
	}
}

func TestE5NothingIsSentAfterAFailedWriteOrSync(t *testing.T) {
	for _, kind := range []vfs.OpKind{vfs.OpWrite, vfs.OpSync} {
		t.Run(kind.String(), func(t *testing.T) {
			disk := vfs.NewMem()
			f := newFixture(t, disk)
			f.send(appendMessage(1, 0, makeEntries(1, 2, 1, 10)))
			f.clearRecorded()
			disk.Inject(vfs.FailNth(kind, ".seg", 1, nil))
			f.send(appendMessage(1, 0, makeEntries(3, 2, 1, 10), acceptedResponse(2, 4)), voteMessage(2, 2))
			var storage *actors.StorageError
			if len(f.Failures) != 1 {
				t.Fatalf("failures %v", f.Failures)
			}
			if err, ok := f.Failures[0].(error); !ok || !errors.As(err, &storage) || !errors.Is(storage, vfs.ErrInjected) || !errors.Is(storage, persistence.ErrLogFailed) {
				t.Fatalf("failed with %v", f.Failures[0])
			}
			if len(f.toPeers) != 0 || len(f.toNode) != 0 {
				t.Fatalf("sent after the failure: %v %v", f.toPeers, f.toNode)
			}
			f.send(appendMessage(2, 0, makeEntries(3, 1, 2, 10), acceptedResponse(2, 3)))
			if len(f.toPeers) != 0 || f.countEvents("write") > 1 {
				t.Fatalf("sent %v after a failure; %v", f.toPeers, f.events)
			}
		})
	}
}

func TestE7CorruptLogErrorHasFileAndAdvice(t *testing.T) {
	disk := vfs.NewMem()
	f := newFixture(t, disk)
	f.send(appendMessage(1, 0, makeEntries(1, 2, 1, 10)))
	f.Advance(time.Second)
	if err := disk.FlipBit("/data/log/0000000000000001.seg", 4200*8); err != nil {
		t.Fatal(err)
	}
	f = newFixture(t, disk.CrashClone(vfs.LoseUnsynced))
	if len(f.Failures) != 1 || len(f.toNode) != 0 {
		t.Fatalf("failures %v, the Node received %v", f.Failures, f.toNode)
	}
	var corrupt *persistence.CorruptError
	if err, ok := f.Failures[0].(*actors.StorageError); !ok || !errors.As(err, &corrupt) || !errors.Is(err, persistence.ErrCorrupt) {
		t.Fatalf("failed with %v", f.Failures[0])
	}
	if text := f.Failures[0].(error).Error(); !strings.Contains(text, "0000000000000001.seg at offset") || !strings.Contains(text, "keep the directory") {
		t.Fatalf("the error is: %s", text)
	}
}

func TestDeferredMessageToSelfGoesToTheNode(t *testing.T) {
	f := newFixture(t, vfs.NewMem())
	f.clearRecorded()
	a := appendMessage(1, 0, makeEntries(1, 1, 1, 10), acceptedResponse(ownNodeID, 1))
	f.send(a)
	if got := received[*messages.AppendResponse](f); len(got) != 1 || len(f.toPeers) != 0 {
		t.Fatalf("the Node received %v, peers %v", f.toNode, f.toPeers)
	}
}

// firstIdleOps are the operations when a segment is idle for the first time: the frame with the
// commit index, and the segment's marker.
var firstIdleOps = []string{"write", "sync", "syncdir"}

func TestCommitIndexAloneCausesNoSync(t *testing.T) {
	disk := vfs.NewMem()
	f := newFixture(t, disk)
	f.send(appendMessage(1, 0, makeEntries(1, 5, 1, 10)))
	f.clearRecorded()
	f.send(commitMessage(1), commitMessage(2))
	if len(f.events) != 0 {
		t.Fatalf("a commit index alone made the disk work: %v", f.events)
	}
	f.Advance(9 * time.Millisecond)
	if len(f.events) != 0 {
		t.Fatalf("too early: %v", f.events)
	}
	f.Advance(2 * time.Millisecond)
	if !slices.Equal(f.events, firstIdleOps) {
		t.Fatalf("after 11 ms without a write: %v", f.events)
	}
	f.Advance(time.Second)
	if len(f.events) != len(firstIdleOps) {
		t.Fatalf("more writes follow: %v", f.events)
	}
	f.send(commitMessage(3), appendMessage(1, 0, makeEntries(6, 1, 1, 10)))
	f = newFixture(t, disk.CrashClone(vfs.LoseUnsynced))
	if r := f.toNode[0].(*messages.Recovered); r.HardState.Commit != 3 {
		t.Fatalf("recovered %v", r.HardState)
	}
}

func TestIdleTimeCountsFromTheLastWrite(t *testing.T) {
	f := newFixture(t, vfs.NewMem())
	f.send(appendMessage(1, 0, makeEntries(1, 1, 1, 10)))
	f.Advance(8 * time.Millisecond)
	f.send(appendMessage(1, 0, makeEntries(2, 1, 1, 10)))
	f.clearRecorded()
	f.Advance(9 * time.Millisecond)
	if len(f.events) != 0 {
		t.Fatalf("9 ms after the last write: %v", f.events)
	}
	f.Advance(time.Millisecond)
	if !slices.Equal(f.events, firstIdleOps) {
		t.Fatalf("10 ms after it: %v", f.events)
	}
}

func TestSparesAreMadeWhileTheLogIsIdle(t *testing.T) {
	disk := vfs.NewMem()
	f := newFixture(t, disk)
	for i := range uint64(12) {
		f.send(appendMessage(1, 0, makeEntries(i+1, 1, 1, 10<<10)))
	}
	f.Advance(time.Second)
	names, err := disk.List("/data/log")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(names, func(name string) bool { return strings.HasSuffix(name, ".spare") }) {
		t.Fatalf("no spare among %v", names)
	}
}

func TestMessagesOfAnotherIncarnationAreDropped(t *testing.T) {
	f := newFixture(t, vfs.NewMem())
	f.clearRecorded()
	a, flush, tick := appendMessage(1, 0, makeEntries(1, 1, 1, 10), acceptedResponse(2, 1)), &messages.Flush{Incarnation: 2}, &messages.Tick{Incarnation: 2, Timer: idleTimer}
	a.Incarnation = 2
	f.send(a, flush, tick)
	if len(f.events) != 0 || len(f.toNode) != 0 || len(f.Failures) != 0 {
		t.Fatalf("%v %v %v", f.events, f.toNode, f.Failures)
	}
}

func TestBrokenInvariantIsNoStorageError(t *testing.T) {
	f := newFixture(t, vfs.NewMem())
	f.send(appendMessage(1, 0, makeEntries(5, 1, 1, 10)))
	if len(f.Failures) != 1 {
		t.Fatalf("failures %v", f.Failures)
	}
	if text, ok := f.Failures[0].(string); !ok || !strings.Contains(text, "entries from 5") {
		t.Fatalf("failed with %v", f.Failures[0])
	}
}

func TestE13OrderlyStopKeepsTheCommitIndex(t *testing.T) {
	disk := vfs.NewMem()
	f := newFixture(t, disk)
	f.send(appendMessage(1, 0, makeEntries(1, 5, 1, 10)))
	f.send(commitMessage(5))
	f.System.Root.Stop(f.node)
	f.Run()
	f = newFixture(t, disk.CrashClone(vfs.LoseUnsynced))
	if r := f.toNode[0].(*messages.Recovered); r.HardState.Commit != 5 {
		t.Fatalf("recovered %v", r.HardState)
	}
}
