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
	s := newStage(t, disk)
	if r := s.heard(&messages.Recovered{}); len(r) != 1 || r[0].(*messages.Recovered).LastIndex != 0 {
		t.Fatalf("a new log: %v", s.toNode)
	}
	s.send(appendOf(4, 0, entries(1, 9, 4, 50)), voteFor(2, 4))
	s = newStage(t, disk.Crash(vfs.LoseAll))
	r := s.toNode[0].(*messages.Recovered)
	if r.Incarnation != incarnation || r.LastIndex != 9 || r.HardState.Term != 4 || r.HardState.Vote != 2 || len(r.Runs) != 1 {
		t.Fatalf("recovered %v", r)
	}
}

func TestE1NoVoteIsSaidBeforeItsSync(t *testing.T) {
	s := newStage(t, vfs.NewMem())
	s.forget()
	s.send(voteFor(2, 1))
	want := []string{"write", "sync", "promise to ROLE_NODE of 2"}
	if !slices.Equal(s.events, want) {
		t.Fatalf("%v, not %v", s.events, want)
	}
	if v, ok := s.toPeers[0].(*messages.VoteAnswer); !ok || !v.Granted || v.Term != 1 {
		t.Fatalf("peer 2 heard %v", s.toPeers)
	}
}

func TestFsyncOrderEveryPromiseLeavesAfterTheSyncOfItsBatchInOrder(t *testing.T) {
	s := newStage(t, vfs.NewMem())
	s.forget()
	for i := range uint64(30) { // fills segments too: rolling must not let a word slip
		first := i*10 + 1
		s.send(appendOf(1, 0, entries(first, 5, 1, 900), accepted(2, first+4)), appendOf(1, 0, entries(first+5, 5, 1, 900), accepted(3, first+9)))
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
	if len(s.toPeers) != 60 || len(s.heard(&messages.Durable{})) != 30 {
		t.Fatalf("%d promises, %d times durable", len(s.toPeers), len(s.heard(&messages.Durable{})))
	}
}

func TestAppendsThatQueueUpShareOneWriteAndOneSync(t *testing.T) {
	s := newStage(t, vfs.NewMem())
	s.forget()
	var all []proto.Message
	for i := range uint64(50) {
		all = append(all, appendOf(1, 0, entries(i+1, 1, 1, 20), accepted(2, i+1)))
	}
	s.send(all...)
	if w, y := s.count("write"), s.count("sync"); w != 1 || y != 1 || s.synced != 1 {
		t.Fatalf("%d writes, %d syncs, %d told to the probe", w, y, s.synced)
	}
	durable := s.heard(&messages.Durable{})
	if len(durable) != 1 || durable[0].(*messages.Durable).Mark.Index != 50 || len(s.toPeers) != 50 {
		t.Fatalf("durable %v, %d promises", durable, len(s.toPeers))
	}
	for i, m := range s.toPeers {
		if m.(*messages.AppendAnswer).Index != uint64(i+1) {
			t.Fatalf("promise %d is %v", i, m)
		}
	}
}

func TestAFullBatchDoesNotWaitForItsFlush(t *testing.T) {
	s := newStage(t, vfs.NewMem())
	s.forget()
	s.send(appendOf(1, 0, entries(1, 9, 1, 1<<20)), appendOf(1, 0, entries(10, 9, 1, 1<<20)))
	if s.synced != 1 {
		t.Fatalf("%d batches: the Flush that came late made one of nothing", s.synced)
	}
	s.send(appendOf(1, 0, entries(19, 1, 1, 10)))
	durable := s.heard(&messages.Durable{})
	if len(durable) != 2 || durable[0].(*messages.Durable).Mark.Index != 18 || durable[1].(*messages.Durable).Mark.Index != 19 {
		t.Fatalf("durable %v", durable)
	}
}

func TestE12APromiseAboutTruncatedEntriesIsDropped(t *testing.T) {
	s := newStage(t, vfs.NewMem())
	s.send(appendOf(1, 0, entries(1, 3, 1, 10)))
	s.forget()
	s.send(
		appendOf(1, 0, entries(4, 3, 1, 10), accepted(2, 6)),
		appendOf(1, 0, nil, accepted(2, 3)),
		voteFor(2, 2),
		appendOf(2, 5, entries(5, 1, 2, 10), accepted(3, 5)),
	)
	var said []uint64
	for _, m := range s.toPeers {
		if a, ok := m.(*messages.AppendAnswer); ok {
			said = append(said, a.Index)
		}
	}
	if !slices.Equal(said, []uint64{3, 5}) || len(s.toPeers) != 3 {
		t.Fatalf("acknowledged %v; all promises %v", said, s.toPeers)
	}
	// What was truncated is not reported durable either.
	durable := s.heard(&messages.Durable{})
	if len(durable) != 1 || durable[0].(*messages.Durable).Mark.Index != 5 || durable[0].(*messages.Durable).Mark.Term != 2 {
		t.Fatalf("durable %v", durable)
	}
}

func TestE12MarksAreNeitherMergedNorLost(t *testing.T) {
	var b batch
	mark := func(term, index, truncateFrom uint64) {
		b.add(&messages.Append{Mark: &messages.Mark{Term: term, Index: index}, TruncateFrom: truncateFrom, Tell: true})
	}
	told := func() (all [][2]uint64) {
		for _, m := range b.told {
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
	b.add(&messages.Append{Mark: &messages.Mark{Term: 4, Index: 6}, TruncateFrom: 6})
	if got := told(); !slices.Equal(got, [][2]uint64{{3, 5}}) {
		t.Fatal(got)
	}
}

func TestE3HardStateAndEntriesOfABatchSurviveTogetherOrNotAtAll(t *testing.T) {
	disk := vfs.NewMem()
	s := newStage(t, disk)
	// The power fails after the write and before its sync; any sectors of it may be on the disk.
	var after []*vfs.Mem
	disk.Inject(func(op vfs.Op) error {
		for outcome, outcomes := 0, 1; op.Kind == vfs.OpSync && outcome < outcomes; outcome++ {
			after = append(after, disk.Crash(func(n int) int { outcomes = n; return outcome }))
		}
		return nil
	})
	s.send(appendOf(1, 0, entries(1, 2, 1, 800)), voteFor(2, 3), appendOf(3, 2, entries(2, 2, 3, 800)))
	if len(after) < 5 {
		t.Fatalf("only %d outcomes", len(after))
	}
	whole := 0
	for i, disk := range after {
		s := newStage(t, disk)
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
			s := newStage(t, disk)
			s.send(appendOf(1, 0, entries(1, 2, 1, 10)))
			s.forget()
			disk.Inject(vfs.FailNth(kind, ".seg", 1, nil))
			s.send(appendOf(1, 0, entries(3, 2, 1, 10), accepted(2, 4)), voteFor(2, 2))
			var fault *actors.StorageFault
			if len(s.Failures) != 1 {
				t.Fatalf("failures %v", s.Failures)
			}
			if err, ok := s.Failures[0].(error); !ok || !errors.As(err, &fault) || !errors.Is(fault, vfs.ErrInjected) || !errors.Is(fault, persistence.ErrLatched) {
				t.Fatalf("failed with %v", s.Failures[0])
			}
			if len(s.toPeers) != 0 || len(s.toNode) != 0 {
				t.Fatalf("said after the failure: %v %v", s.toPeers, s.toNode)
			}
			s.send(appendOf(2, 0, entries(3, 1, 2, 10), accepted(2, 3)))
			if len(s.toPeers) != 0 || s.count("write") > 1 {
				t.Fatalf("it went on: %v, %v", s.toPeers, s.events)
			}
		})
	}
}

func TestE7ACorruptLogIsToldWithFileAndAdvice(t *testing.T) {
	disk := vfs.NewMem()
	s := newStage(t, disk)
	s.send(appendOf(1, 0, entries(1, 2, 1, 10)))
	s.Pass(time.Second)
	if err := disk.FlipBit("/data/log/0000000000000001.seg", 4200*8); err != nil {
		t.Fatal(err)
	}
	s = newStage(t, disk.Crash(vfs.LoseAll))
	if len(s.Failures) != 1 || len(s.toNode) != 0 {
		t.Fatalf("failures %v, node heard %v", s.Failures, s.toNode)
	}
	var corrupt *persistence.CorruptError
	if err, ok := s.Failures[0].(*actors.StorageFault); !ok || !errors.As(err, &corrupt) || !errors.Is(err, persistence.ErrCorrupt) {
		t.Fatalf("failed with %v", s.Failures[0])
	}
	if text := s.Failures[0].(error).Error(); !strings.Contains(text, "0000000000000001.seg at offset") || !strings.Contains(text, "keep the directory") {
		t.Fatalf("it says: %s", text)
	}
}

func TestAPromiseToItselfGoesToItsNode(t *testing.T) {
	s := newStage(t, vfs.NewMem())
	s.forget()
	a := appendOf(1, 0, entries(1, 1, 1, 10), accepted(ownNode, 1))
	s.send(a)
	if got := s.heard(&messages.AppendAnswer{}); len(got) != 1 || len(s.toPeers) != 0 {
		t.Fatalf("node heard %v, peers %v", s.toNode, s.toPeers)
	}
}

// firstIdle is what the disk does at the first idle moment of a segment: the idle frame, and the segment's mark.
var firstIdle = []string{"write", "sync", "syncdir"}

func TestACommitIndexAloneWaitsForTheNextWriteOrForAnIdleMoment(t *testing.T) {
	disk := vfs.NewMem()
	s := newStage(t, disk)
	s.send(appendOf(1, 0, entries(1, 5, 1, 10)))
	s.forget()
	commit := func(index uint64) *messages.Append {
		return &messages.Append{Incarnation: incarnation, Mark: &messages.Mark{Term: 1, Index: 5}, HardState: &messages.HardState{Term: 1, Vote: 2, Commit: index}}
	}
	s.send(commit(1), commit(2))
	if len(s.events) != 0 {
		t.Fatalf("a commit index alone made the disk work: %v", s.events)
	}
	s.Pass(9 * time.Millisecond)
	if len(s.events) != 0 {
		t.Fatalf("too early: %v", s.events)
	}
	s.Pass(2 * time.Millisecond)
	if !slices.Equal(s.events, firstIdle) {
		t.Fatalf("the idle moment brought %v", s.events)
	}
	s.Pass(time.Second)
	if len(s.events) != len(firstIdle) {
		t.Fatalf("it goes on writing: %v", s.events)
	}
	s.send(commit(3), appendOf(1, 0, entries(6, 1, 1, 10)))
	s = newStage(t, disk.Crash(vfs.LoseAll))
	if r := s.toNode[0].(*messages.Recovered); r.HardState.Commit != 3 {
		t.Fatalf("recovered %v", r.HardState)
	}
}

func TestAnIdleMomentIsCountedFromTheLastWrite(t *testing.T) {
	s := newStage(t, vfs.NewMem())
	s.send(appendOf(1, 0, entries(1, 1, 1, 10)))
	s.Pass(8 * time.Millisecond)
	s.send(appendOf(1, 0, entries(2, 1, 1, 10)))
	s.forget()
	s.Pass(9 * time.Millisecond)
	if len(s.events) != 0 {
		t.Fatalf("9 ms after the last write: %v", s.events)
	}
	s.Pass(time.Millisecond)
	if !slices.Equal(s.events, firstIdle) {
		t.Fatalf("10 ms after it: %v", s.events)
	}
}

func TestSparesAreMadeInIdleMomentsInPieces(t *testing.T) {
	disk := vfs.NewMem()
	s := newStage(t, disk)
	for i := range uint64(12) {
		s.send(appendOf(1, 0, entries(i+1, 1, 1, 10<<10)))
	}
	s.Pass(time.Second)
	names, err := disk.List("/data/log")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(names, func(name string) bool { return strings.HasSuffix(name, ".spare") }) {
		t.Fatalf("no spare among %v", names)
	}
}

func TestMessagesOfAnotherIncarnationAreDropped(t *testing.T) {
	s := newStage(t, vfs.NewMem())
	s.forget()
	a, f, k := appendOf(1, 0, entries(1, 1, 1, 10), accepted(2, 1)), &messages.Flush{Incarnation: 2}, &messages.Tick{Incarnation: 2, Timer: idleTimer}
	a.Incarnation = 2
	s.send(a, f, k)
	if len(s.events) != 0 || len(s.toNode) != 0 || len(s.Failures) != 0 {
		t.Fatalf("%v %v %v", s.events, s.toNode, s.Failures)
	}
}

func TestE8ALowDiskIsToldAndSoIsItsRecovery(t *testing.T) {
	disk := vfs.NewMem()
	s := newStage(t, disk)
	s.send(appendOf(1, 0, entries(1, 1, 1, 10)))
	s.Pass(time.Second)
	s.forget()
	disk.SetCapacity(disk.Used() + 1000)
	s.send(appendOf(1, 0, entries(2, 1, 1, 10)))
	s.Pass(100 * time.Millisecond)
	durable := s.heard(&messages.Durable{})
	last := durable[len(durable)-1].(*messages.Durable)
	if !last.DiskLow || last.Mark.Index != 2 || !s.views[len(s.views)-1].DiskLow {
		t.Fatalf("durable %v", durable)
	}
	disk.SetCapacity(-1)
	s.Pass(2 * time.Second)
	durable = s.heard(&messages.Durable{})
	if last := durable[len(durable)-1].(*messages.Durable); last.DiskLow || last.Mark.Index != 2 {
		t.Fatalf("durable %v", durable)
	}
}

func TestABrokenInvariantIsABugAndNotAFaultOfTheDisk(t *testing.T) {
	s := newStage(t, vfs.NewMem())
	s.send(appendOf(1, 0, entries(5, 1, 1, 10)))
	if len(s.Failures) != 1 {
		t.Fatalf("failures %v", s.Failures)
	}
	if text, ok := s.Failures[0].(string); !ok || !strings.Contains(text, "entries from 5") {
		t.Fatalf("failed with %v", s.Failures[0])
	}
}

func TestE13AnOrderlyEndKeepsTheCommitIndex(t *testing.T) {
	disk := vfs.NewMem()
	s := newStage(t, disk)
	s.send(appendOf(1, 0, entries(1, 5, 1, 10)))
	s.send(&messages.Append{Incarnation: incarnation, Mark: &messages.Mark{Term: 1, Index: 5}, HardState: &messages.HardState{Term: 1, Vote: 2, Commit: 5}})
	s.System.Root.Stop(s.node)
	s.Run()
	s = newStage(t, disk.Crash(vfs.LoseAll))
	if r := s.toNode[0].(*messages.Recovered); r.HardState.Commit != 5 {
		t.Fatalf("recovered %v", r.HardState)
	}
}
