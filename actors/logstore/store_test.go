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

func TestARestartedLogStoreSaysWhatTheFormerOneMadeDurable(t *testing.T) {
	disk := vfs.NewMem()
	s := newFixture(t, disk)
	if r := s.nodeReceived(&messages.Recovered{}); len(r) != 1 || r[0].(*messages.Recovered).LastIndex != 0 {
		t.Fatalf("a new log: %v", s.toNode)
	}
	s.send(appendMessage(4, 0, makeEntries(1, 9, 4, 50)), voteMessage(2, 4))
	s = newFixture(t, disk.CrashClone(vfs.LoseUnsynced))
	r := s.toNode[0].(*messages.Recovered)
	if r.Incarnation != incarnation || r.LastIndex != 9 || r.HardState.Term != 4 || r.HardState.Vote != 2 || len(r.Runs) != 1 {
		t.Fatalf("recovered %v", r)
	}
}

func TestE1NoVoteIsSaidBeforeItsSync(t *testing.T) {
	s := newFixture(t, vfs.NewMem())
	s.clearRecorded()
	s.send(voteMessage(2, 1))
	want := []string{"write", "sync", "promise to ROLE_NODE of 2"}
	if !slices.Equal(s.events, want) {
		t.Fatalf("%v, not %v", s.events, want)
	}
	if v, ok := s.toPeers[0].(*messages.VoteResponse); !ok || !v.Granted || v.Term != 1 {
		t.Fatalf("peer 2 heard %v", s.toPeers)
	}
}

func TestFsyncOrderEveryPromiseLeavesAfterTheSyncOfItsBatchInOrder(t *testing.T) {
	s := newFixture(t, vfs.NewMem())
	s.clearRecorded()
	for i := range uint64(30) { // fills segments too: rolling must not let a word slip
		first := i*10 + 1
		s.send(appendMessage(1, 0, makeEntries(first, 5, 1, 900), acceptedResponse(2, first+4)), appendMessage(1, 0, makeEntries(first+5, 5, 1, 900), acceptedResponse(3, first+9)))
	}
	unsynced, last := false, ""
	for i, e := range s.events {
		switch {
		case e == "write":
			unsynced = true
		case e == "sync":
			unsynced = false
		case strings.HasPrefix(e, "promise"), strings.HasPrefix(e, "node hears"):
			if unsynced {
				t.Fatalf("event %d: %q between a write and its sync: %v", i, e, s.events[max(0, i-5):i+1])
			}
			if strings.HasPrefix(e, "promise") && e == last {
				t.Fatalf("event %d: %q again before the other", i, e)
			}
			last = e
		}
	}
	if len(s.toPeers) != 60 || len(s.nodeReceived(&messages.Durable{})) != 30 {
		t.Fatalf("%d promises, %d times durable", len(s.toPeers), len(s.nodeReceived(&messages.Durable{})))
	}
}

func TestAppendsThatQueueUpShareOneWriteAndOneSync(t *testing.T) {
	s := newFixture(t, vfs.NewMem())
	s.clearRecorded()
	var all []proto.Message
	for i := range uint64(50) {
		all = append(all, appendMessage(1, 0, makeEntries(i+1, 1, 1, 20), acceptedResponse(2, i+1)))
	}
	s.send(all...)
	if w, y := s.countEvents("write"), s.countEvents("sync"); w != 1 || y != 1 || s.syncs != 1 {
		t.Fatalf("%d writes, %d syncs, %d told to the probe", w, y, s.syncs)
	}
	durable := s.nodeReceived(&messages.Durable{})
	if len(durable) != 1 || durable[0].(*messages.Durable).Mark.Index != 50 || len(s.toPeers) != 50 {
		t.Fatalf("durable %v, %d promises", durable, len(s.toPeers))
	}
	for i, m := range s.toPeers {
		if m.(*messages.AppendResponse).Index != uint64(i+1) {
			t.Fatalf("promise %d is %v", i, m)
		}
	}
}

func TestAFullBatchDoesNotWaitForItsFlush(t *testing.T) {
	s := newFixture(t, vfs.NewMem())
	s.clearRecorded()
	s.send(appendMessage(1, 0, makeEntries(1, 9, 1, 1<<20)), appendMessage(1, 0, makeEntries(10, 9, 1, 1<<20)))
	if s.syncs != 1 {
		t.Fatalf("%d batches: the Flush that came late made one of nothing", s.syncs)
	}
	s.send(appendMessage(1, 0, makeEntries(19, 1, 1, 10)))
	durable := s.nodeReceived(&messages.Durable{})
	if len(durable) != 2 || durable[0].(*messages.Durable).Mark.Index != 18 || durable[1].(*messages.Durable).Mark.Index != 19 {
		t.Fatalf("durable %v", durable)
	}
}

func TestE12APromiseAboutTruncatedEntriesIsDropped(t *testing.T) {
	s := newFixture(t, vfs.NewMem())
	s.send(appendMessage(1, 0, makeEntries(1, 3, 1, 10)))
	s.clearRecorded()
	s.send(
		appendMessage(1, 0, makeEntries(4, 3, 1, 10), acceptedResponse(2, 6)),
		appendMessage(1, 0, nil, acceptedResponse(2, 3)),
		voteMessage(2, 2),
		appendMessage(2, 5, makeEntries(5, 1, 2, 10), acceptedResponse(3, 5)),
	)
	var said []uint64
	for _, m := range s.toPeers {
		if a, ok := m.(*messages.AppendResponse); ok {
			said = append(said, a.Index)
		}
	}
	if !slices.Equal(said, []uint64{3, 5}) || len(s.toPeers) != 3 {
		t.Fatalf("acknowledged %v; all promises %v", said, s.toPeers)
	}
	// What was truncated is not reported durable either.
	durable := s.nodeReceived(&messages.Durable{})
	if len(durable) != 1 || durable[0].(*messages.Durable).Mark.Index != 5 || durable[0].(*messages.Durable).Mark.Term != 2 {
		t.Fatalf("durable %v", durable)
	}
}

func TestE12MarksAreNeitherMergedNorLost(t *testing.T) {
	var b batch
	mark := func(term, index, truncateFrom uint64) {
		b.add(&messages.Append{Mark: &messages.AppendMark{Term: term, Index: index}, TruncateFrom: truncateFrom, Notify: true})
	}
	told := func() (all [][2]uint64) {
		for _, m := range b.marks {
			all = append(all, [2]uint64{m.Term, m.Index})
		}
		return all
	}
	mark(3, 10, 0) // a follower of term 3 …
	mark(4, 0, 0)  // … campaigns in the same batch: both are told, each under its own term
	if got := told(); !slices.Equal(got, [][2]uint64{{3, 10}, {4, 0}}) {
		t.Fatal(got)
	}
	mark(5, 8, 7) // … and follows again, and truncates
	if got := told(); !slices.Equal(got, [][2]uint64{{5, 8}}) {
		t.Fatal(got)
	}
	b.reset()
	mark(3, 10, 0)
	b.add(&messages.Append{Mark: &messages.AppendMark{Term: 4, Index: 6}, TruncateFrom: 6})
	if got := told(); !slices.Equal(got, [][2]uint64{{3, 5}}) {
		t.Fatal(got)
	}
}

func TestE3HardStateAndEntriesOfABatchSurviveTogetherOrNotAtAll(t *testing.T) {
	disk := vfs.NewMem()
	s := newFixture(t, disk)
	// The power fails after the write and before its sync; any sectors of it may be on the disk.
	var after []*vfs.MemFS
	disk.Inject(func(op vfs.Op) error {
		for outcome, outcomes := 0, 1; op.Kind == vfs.OpSync && outcome < outcomes; outcome++ {
			after = append(after, disk.CrashClone(func(n int) int { outcomes = n; return outcome }))
		}
		return nil
	})
	s.send(appendMessage(1, 0, makeEntries(1, 2, 1, 800)), voteMessage(2, 3), appendMessage(3, 2, makeEntries(2, 2, 3, 800)))
	if len(after) < 5 {
		t.Fatalf("only %d outcomes", len(after))
	}
	whole := 0
	for i, disk := range after {
		s := newFixture(t, disk)
		r := s.toNode[0].(*messages.Recovered)
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

func TestE5AFailingDiskEndsTheStoreAndNothingIsSaid(t *testing.T) {
	for _, kind := range []vfs.OpKind{vfs.OpWrite, vfs.OpSync} {
		t.Run(kind.String(), func(t *testing.T) {
			disk := vfs.NewMem()
			s := newFixture(t, disk)
			s.send(appendMessage(1, 0, makeEntries(1, 2, 1, 10)))
			s.clearRecorded()
			disk.Inject(vfs.FailNth(kind, ".seg", 1, nil))
			s.send(appendMessage(1, 0, makeEntries(3, 2, 1, 10), acceptedResponse(2, 4)), voteMessage(2, 2))
			var fault *actors.StorageError
			if len(s.Failures) != 1 {
				t.Fatalf("failures %v", s.Failures)
			}
			if err, ok := s.Failures[0].(error); !ok || !errors.As(err, &fault) || !errors.Is(fault, vfs.ErrInjected) || !errors.Is(fault, persistence.ErrLogFailed) {
				t.Fatalf("failed with %v", s.Failures[0])
			}
			if len(s.toPeers) != 0 || len(s.toNode) != 0 {
				t.Fatalf("said after the failure: %v %v", s.toPeers, s.toNode)
			}
			s.send(appendMessage(2, 0, makeEntries(3, 1, 2, 10), acceptedResponse(2, 3)))
			if len(s.toPeers) != 0 || s.countEvents("write") > 1 {
				t.Fatalf("it went on: %v, %v", s.toPeers, s.events)
			}
		})
	}
}

func TestE7ACorruptLogIsToldWithFileAndAdvice(t *testing.T) {
	disk := vfs.NewMem()
	s := newFixture(t, disk)
	s.send(appendMessage(1, 0, makeEntries(1, 2, 1, 10)))
	s.Advance(time.Second)
	if err := disk.FlipBit("/data/log/0000000000000001.seg", 4200*8); err != nil {
		t.Fatal(err)
	}
	s = newFixture(t, disk.CrashClone(vfs.LoseUnsynced))
	if len(s.Failures) != 1 || len(s.toNode) != 0 {
		t.Fatalf("failures %v, node heard %v", s.Failures, s.toNode)
	}
	var corrupt *persistence.CorruptError
	if err, ok := s.Failures[0].(*actors.StorageError); !ok || !errors.As(err, &corrupt) || !errors.Is(err, persistence.ErrCorrupt) {
		t.Fatalf("failed with %v", s.Failures[0])
	}
	if text := s.Failures[0].(error).Error(); !strings.Contains(text, "0000000000000001.seg at offset") || !strings.Contains(text, "keep the directory") {
		t.Fatalf("it says: %s", text)
	}
}

func TestAPromiseToItselfGoesToItsNode(t *testing.T) {
	s := newFixture(t, vfs.NewMem())
	s.clearRecorded()
	a := appendMessage(1, 0, makeEntries(1, 1, 1, 10), acceptedResponse(ownNodeID, 1))
	s.send(a)
	if got := s.nodeReceived(&messages.AppendResponse{}); len(got) != 1 || len(s.toPeers) != 0 {
		t.Fatalf("node heard %v, peers %v", s.toNode, s.toPeers)
	}
}

// firstIdleOps is what the disk does at the first idle moment of a segment: the idle frame, and the
// segment's mark.
var firstIdleOps = []string{"write", "sync", "syncdir"}

func TestACommitIndexAloneWaitsForTheNextWriteOrForAnIdleMoment(t *testing.T) {
	disk := vfs.NewMem()
	s := newFixture(t, disk)
	s.send(appendMessage(1, 0, makeEntries(1, 5, 1, 10)))
	s.clearRecorded()
	commit := func(index uint64) *messages.Append {
		return &messages.Append{Incarnation: incarnation, Mark: &messages.AppendMark{Term: 1, Index: 5}, HardState: &messages.HardState{Term: 1, Vote: 2, Commit: index}}
	}
	s.send(commit(1), commit(2))
	if len(s.events) != 0 {
		t.Fatalf("a commit index alone made the disk work: %v", s.events)
	}
	s.Advance(9 * time.Millisecond)
	if len(s.events) != 0 {
		t.Fatalf("too early: %v", s.events)
	}
	s.Advance(2 * time.Millisecond)
	if !slices.Equal(s.events, firstIdleOps) {
		t.Fatalf("the idle moment brought %v", s.events)
	}
	s.Advance(time.Second)
	if len(s.events) != len(firstIdleOps) {
		t.Fatalf("it goes on writing: %v", s.events)
	}
	s.send(commit(3), appendMessage(1, 0, makeEntries(6, 1, 1, 10)))
	s = newFixture(t, disk.CrashClone(vfs.LoseUnsynced))
	if r := s.toNode[0].(*messages.Recovered); r.HardState.Commit != 3 {
		t.Fatalf("recovered %v", r.HardState)
	}
}

func TestAnIdleMomentIsCountedFromTheLastWrite(t *testing.T) {
	s := newFixture(t, vfs.NewMem())
	s.send(appendMessage(1, 0, makeEntries(1, 1, 1, 10)))
	s.Advance(8 * time.Millisecond)
	s.send(appendMessage(1, 0, makeEntries(2, 1, 1, 10)))
	s.clearRecorded()
	s.Advance(9 * time.Millisecond)
	if len(s.events) != 0 {
		t.Fatalf("9 ms after the last write: %v", s.events)
	}
	s.Advance(time.Millisecond)
	if !slices.Equal(s.events, firstIdleOps) {
		t.Fatalf("10 ms after it: %v", s.events)
	}
}

func TestSparesAreMadeInIdleMomentsInPieces(t *testing.T) {
	disk := vfs.NewMem()
	s := newFixture(t, disk)
	for i := range uint64(12) {
		s.send(appendMessage(1, 0, makeEntries(i+1, 1, 1, 10<<10)))
	}
	s.Advance(time.Second)
	names, err := disk.List("/data/log")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(names, func(name string) bool { return strings.HasSuffix(name, ".spare") }) {
		t.Fatalf("no spare among %v", names)
	}
}

func TestMessagesOfAnotherIncarnationAreDropped(t *testing.T) {
	s := newFixture(t, vfs.NewMem())
	s.clearRecorded()
	a, f, k := appendMessage(1, 0, makeEntries(1, 1, 1, 10), acceptedResponse(2, 1)), &messages.Flush{Incarnation: 2}, &messages.Tick{Incarnation: 2, Timer: idleTimer}
	a.Incarnation = 2
	s.send(a, f, k)
	if len(s.events) != 0 || len(s.toNode) != 0 || len(s.Failures) != 0 {
		t.Fatalf("%v %v %v", s.events, s.toNode, s.Failures)
	}
}

func TestE8ALowDiskIsToldAndSoIsItsRecovery(t *testing.T) {
	disk := vfs.NewMem()
	s := newFixture(t, disk)
	s.send(appendMessage(1, 0, makeEntries(1, 1, 1, 10)))
	s.Advance(time.Second)
	s.clearRecorded()
	disk.SetCapacity(disk.UsedBytes() + 1000)
	s.send(appendMessage(1, 0, makeEntries(2, 1, 1, 10)))
	s.Advance(100 * time.Millisecond)
	durable := s.nodeReceived(&messages.Durable{})
	last := durable[len(durable)-1].(*messages.Durable)
	if !last.DiskLow || last.Mark.Index != 2 || !s.views[len(s.views)-1].DiskLow {
		t.Fatalf("durable %v", durable)
	}
	disk.SetCapacity(-1)
	s.Advance(2 * time.Second)
	durable = s.nodeReceived(&messages.Durable{})
	if last := durable[len(durable)-1].(*messages.Durable); last.DiskLow || last.Mark.Index != 2 {
		t.Fatalf("durable %v", durable)
	}
}

func TestABrokenInvariantIsABugAndNotAFaultOfTheDisk(t *testing.T) {
	s := newFixture(t, vfs.NewMem())
	s.send(appendMessage(1, 0, makeEntries(5, 1, 1, 10)))
	if len(s.Failures) != 1 {
		t.Fatalf("failures %v", s.Failures)
	}
	if text, ok := s.Failures[0].(string); !ok || !strings.Contains(text, "entries from 5") {
		t.Fatalf("failed with %v", s.Failures[0])
	}
}

func TestE13AnOrderlyEndKeepsTheCommitIndex(t *testing.T) {
	disk := vfs.NewMem()
	s := newFixture(t, disk)
	s.send(appendMessage(1, 0, makeEntries(1, 5, 1, 10)))
	s.send(&messages.Append{Incarnation: incarnation, Mark: &messages.AppendMark{Term: 1, Index: 5}, HardState: &messages.HardState{Term: 1, Vote: 2, Commit: 5}})
	s.System.Root.Stop(s.node)
	s.Run()
	s = newFixture(t, disk.CrashClone(vfs.LoseUnsynced))
	if r := s.toNode[0].(*messages.Recovered); r.HardState.Commit != 5 {
		t.Fatalf("recovered %v", r.HardState)
	}
}
