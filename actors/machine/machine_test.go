package machine

import (
	"fmt"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/internal/defaults"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
	"github.com/troupe-raft/troupe/statemachine"
)

func expectMessages(t *testing.T, what string, got []proto.Message, want ...proto.Message) {
	t.Helper()
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || !proto.Equal(got[i], want[i]) {
			t.Fatalf("%s: received\n%v\nwant\n%v", what, got, want)
		}
	}
}

func commandEntry(session, sequence, lowest uint64, data string) []byte {
	return raft.EncodeCommand(session, sequence, lowest, []byte(data))
}

// startWithSession starts an InMemory state machine; entry 1 has registered session 1 of this node.
func startWithSession(t *testing.T) (*fixture, **fakeInMemory) {
	s, state := newFixture(t), new(*fakeInMemory)
	s.start(Config{Factory: inMemoryFactory(t, state, nil)})
	s.commit(1, raft.EncodeRegisterSession([]byte("mine"), ownNodeID))
	s.takeSessionMessages()
	return s, state
}

const (
	wasApplied = messages.Outcome_OUTCOME_APPLIED
	isUnknown  = messages.Outcome_OUTCOME_UNKNOWN
)

func TestEmptyMachinePullsFromTheFirstIndex(t *testing.T) {
	var state *fakeInMemory
	s := newFixture(t).start(Config{Factory: inMemoryFactory(t, &state, nil), MaxBatchBytes: 99})
	expectMessages(t, "the Node", s.toNode,
		&messages.MachineReady{Incarnation: incarnation},
		&messages.Pull{Incarnation: incarnation, From: 1, MaxBytes: 99})
	expectMessages(t, "the Session", s.takeSessionMessages(), &messages.ReplayComplete{Incarnation: incarnation})
}

func TestOnDiskMachinePullsAfterItsAppliedIndex(t *testing.T) {
	d := &fakeDisk{states: []diskState{{last: 41}}}
	s := newFixture(t).start(Config{Factory: func() (statemachine.StateMachine, error) { return &fakeOnDisk{disk: d}, nil }, ReplayThrough: 41})
	expectMessages(t, "the Node", s.toNode,
		&messages.MachineReady{Incarnation: incarnation, Applied: 41},
		&messages.Pull{Incarnation: incarnation, From: 42, MaxBytes: defaults.MaxBatchBytes})
	expectMessages(t, "the Session", s.takeSessionMessages(), &messages.ReplayComplete{Incarnation: incarnation, Applied: 41})
}

func TestServesOnceTheReplayIsComplete(t *testing.T) {
	var state *fakeInMemory
	s := newFixture(t).start(Config{Factory: inMemoryFactory(t, &state, nil), ReplayThrough: 3})
	expectMessages(t, "before", s.takeSessionMessages())
	s.commit(1, raft.EncodeNoop(), raft.EncodeNoop())
	expectMessages(t, "at 2", s.takeSessionMessages(), &messages.CommandResults{Incarnation: incarnation, Applied: 2, Term: 1})
	if s.lastView().Serving {
		t.Fatal("the view has Serving")
	}
	s.commit(1, raft.EncodeNoop(), raft.EncodeNoop())
	expectMessages(t, "at 4", s.takeSessionMessages(), &messages.CommandResults{Incarnation: incarnation, Applied: 4, Term: 1},
		&messages.ReplayComplete{Incarnation: incarnation, Applied: 4})
	s.commit(1, raft.EncodeNoop())
	expectMessages(t, "only once", s.takeSessionMessages(), &messages.CommandResults{Incarnation: incarnation, Applied: 5, Term: 1})
	if want := (actors.MachineView{Incarnation: incarnation, Applied: 5, Serving: true}); s.lastView() != want {
		t.Fatalf("view %+v, want %+v", s.lastView(), want)
	}
}

func TestOnlyCommandsAreAppliedInOrder(t *testing.T) {
	s, state := startWithSession(t)
	e := entriesOf(2, 4, commandEntry(1, 1, 1, "a"), raft.EncodeNoop(), commandEntry(1, 2, 1, "b"), raft.EncodeConfiguration(new(messages.Configuration)))
	e.Runs = append(e.Runs, &messages.TermRun{FirstIndex: 3, Term: 5}, &messages.TermRun{FirstIndex: 4, Term: 9})
	s.send(&messages.Committed{Incarnation: incarnation, Entries: e})
	if want := []appliedCommand{{2, 4, "a"}, {4, 9, "b"}}; !slices.Equal((*state).applied, want) {
		t.Fatalf("applied %v, want %v", (*state).applied, want)
	}
	if (*state).last != 5 || s.pullFrom() != 6 {
		t.Fatalf("applied %d, the Pull begins at %d", (*state).last, s.pullFrom())
	}
	expectMessages(t, "the Session", s.takeSessionMessages(), &messages.CommandResults{Incarnation: incarnation, SessionId: 1, Applied: 5, Term: 9,
		Sequences: []uint64{1, 2}, Indexes: []uint64{2, 4}, Values: [][]byte{[]byte("2=a"), []byte("4=b")},
		Outcomes: []messages.Outcome{wasApplied, wasApplied}})
}

func TestRepeatedCommandGetsTheCachedReply(t *testing.T) {
	s, state := startWithSession(t)
	again := commandEntry(1, 5, 4, "once")
	s.commit(1, again, again) // twice in one batch
	s.commit(2, again)        // and once more, from another leader
	for i, r := range s.takeResults() {
		for k := range r.Sequences {
			if r.Sequences[k] != 5 || r.Indexes[k] != 2 || string(r.Values[k]) != "2=once" || r.Outcomes[k] != wasApplied {
				t.Errorf("result %d of batch %d: %v", k, i, r)
			}
		}
		if len(r.Sequences) != 2-i {
			t.Errorf("batch %d: %v", i, r)
		}
	}
	if len((*state).applied) != 1 {
		t.Fatalf("applied %v", (*state).applied)
	}
}

func TestAcknowledgedCommandIsDropped(t *testing.T) {
	s, state := startWithSession(t)
	s.commit(1, commandEntry(1, 5, 5, "five"))
	s.takeSessionMessages()
	s.commit(1, commandEntry(1, 4, 4, "late"))
	expectMessages(t, "the Session", s.takeSessionMessages(), &messages.CommandResults{Incarnation: incarnation, Applied: 3, Term: 1})
	if len((*state).applied) != 1 {
		t.Fatalf("applied %v", (*state).applied)
	}
}

func TestCommandOfUnknownSessionIsNotApplied(t *testing.T) {
	s, state := startWithSession(t)
	s.commit(1, commandEntry(99, 1, 1, "whose?"), raft.EncodeExpireSession(1), commandEntry(1, 2, 2, "after the end"))
	unknown := func(session, sequence uint64, more bool) proto.Message {
		return &messages.CommandResults{Incarnation: incarnation, SessionId: session, More: more, Applied: 4, Term: 1, Sequences: []uint64{sequence},
			Indexes: []uint64{0}, Values: [][]byte{nil}, Outcomes: []messages.Outcome{isUnknown}}
	}
	expectMessages(t, "the Session", s.takeSessionMessages(), unknown(1, 2, true), unknown(99, 1, false))
	if len((*state).applied) != 0 {
		t.Fatalf("applied %v", (*state).applied)
	}
}

func TestTooLargeReplyIsNotCached(t *testing.T) {
	s, state := startWithSession(t)
	large := commandEntry(1, 1, 1, fmt.Sprintf("big:%d", featureLevel1Limits.MaxValueBytes+1))
	fits := commandEntry(1, 2, 1, fmt.Sprintf("big:%d", featureLevel1Limits.MaxValueBytes))
	s.commit(1, large, fits)
	if r := s.takeResults()[0]; len(r.Values[0]) != featureLevel1Limits.MaxValueBytes+1 || r.Outcomes[0] != wasApplied {
		t.Fatalf("the first result has %d bytes, %v", len(r.Values[0]), r.Outcomes)
	}
	s.commit(1, large, fits)
	r := s.takeResults()[0]
	if r.Outcomes[0] != isUnknown || r.Indexes[0] != 0 || r.Values[0] != nil {
		t.Errorf("the large one again: %v at %d", r.Outcomes[0], r.Indexes[0])
	}
	if r.Outcomes[1] != wasApplied || r.Indexes[1] != 3 || len(r.Values[1]) != featureLevel1Limits.MaxValueBytes {
		t.Errorf("the other again: %v at %d", r.Outcomes[1], r.Indexes[1])
	}
	if len((*state).applied) != 2 {
		t.Fatalf("%d applied", len((*state).applied))
	}
}

func TestBarrierIsAnsweredAtItsIndex(t *testing.T) {
	s, state := startWithSession(t)
	barrier := raft.EncodeBarrier(1, 4, 4)
	s.commit(3, commandEntry(1, 3, 3, "a"), barrier, raft.EncodeBarrier(9, 1, 1), raft.EncodeRegisterSession(nil, ownNodeID+1), raft.EncodeBarrier(5, 1, 1))
	results := s.takeResults()
	if len(results) != 2 || !slices.Equal(results[0].Sequences, []uint64{3, 4}) || !slices.Equal(results[0].Indexes, []uint64{2, 3}) ||
		results[0].Values[1] != nil || results[0].Outcomes[1] != wasApplied {
		t.Fatalf("%v", results)
	}
	if results[1].SessionId != 9 || results[1].Outcomes[0] != isUnknown || results[1].Indexes[0] != 0 {
		t.Fatalf("of an unknown session: %v", results[1])
	}
	if len((*state).applied) != 1 {
		t.Fatalf("applied %v", (*state).applied)
	}
}

func TestSessionReceivesOnlyItsOwnResults(t *testing.T) {
	s, state := startWithSession(t)
	s.commit(1, raft.EncodeRegisterSession([]byte("theirs"), ownNodeID+1), commandEntry(2, 1, 1, "theirs"))
	expectMessages(t, "the Session", s.takeSessionMessages(),
		&messages.SessionRegistered{Incarnation: incarnation, Nonce: []byte("theirs"), SessionId: 2},
		&messages.CommandResults{Incarnation: incarnation, Applied: 3, Term: 1})
	if len((*state).applied) != 1 {
		t.Fatalf("applied %v", (*state).applied)
	}
}

func TestTwoSessionsOfANodeGetTheirOwnResults(t *testing.T) {
	s, _ := startWithSession(t)
	s.commit(1, raft.EncodeRegisterSession([]byte("next"), ownNodeID), commandEntry(1, 7, 7, "a"), commandEntry(2, 1, 1, "b"), commandEntry(2, 2, 1, "c"))
	results := s.takeResults()
	if len(results) != 2 || results[0].SessionId != 1 || results[1].SessionId != 2 ||
		!slices.Equal(results[0].Sequences, []uint64{7}) || !slices.Equal(results[1].Sequences, []uint64{1, 2}) ||
		string(results[1].Values[1]) != "5=c" || string(results[0].Values[0]) != "3=a" {
		t.Fatalf("%v", results)
	}
}

func TestSameNonceRegistersOneSession(t *testing.T) {
	s, _ := startWithSession(t)
	open := raft.EncodeRegisterSession([]byte("mine"), ownNodeID)
	s.commit(1, open)
	expectMessages(t, "the Session", s.takeSessionMessages(), &messages.SessionRegistered{Incarnation: incarnation, Nonce: []byte("mine"), SessionId: 1},
		&messages.CommandResults{Incarnation: incarnation, Applied: 2, Term: 1})
	if s.lastView().Sessions != 1 {
		t.Fatalf("%d sessions", s.lastView().Sessions)
	}
}

func TestE45MemberEvictsOnlyItsOwnSessions(t *testing.T) {
	s, _ := startWithSession(t)
	for i := range 100 {
		s.commit(1, raft.EncodeRegisterSession(fmt.Appendf(nil, "start %d", i), ownNodeID+1))
	}
	if got, want := s.lastView().Sessions, 1+featureLevel1Limits.SessionsPerNode; got != want {
		t.Errorf("%d sessions, want %d", got, want)
	}
	s.takeSessionMessages()
	s.commit(1, commandEntry(1, 1, 1, "still known"))
	if r := s.takeResults()[0]; len(r.Outcomes) != 1 || r.Outcomes[0] != wasApplied {
		t.Errorf("the idle session was evicted: %v", r)
	}
	for i := range uint64(2 * featureLevel1Limits.Sessions) {
		s.commit(1, raft.EncodeRegisterSession([]byte("x"), 1000+i))
	}
	if got := s.lastView().Sessions; got != featureLevel1Limits.Sessions {
		t.Errorf("%d sessions, want %d", got, featureLevel1Limits.Sessions)
	}
}

func TestE45SessionTableIsBounded(t *testing.T) {
	s, state := startWithSession(t)
	sequence := uint64(0)
	for range 70 {
		var batch [][]byte
		for range 1000 {
			sequence++
			batch = append(batch, commandEntry(1, sequence, 1, "0123456789012345678901234567890123456789012345678901234567890123456789"))
		}
		s.commit(1, batch...)
	}
	if got, bound := s.lastView().SessionBytes, uint64(featureLevel1Limits.ValueBytesPerSession+featureLevel1Limits.RepliesPerSession*replyOverheadBytes); got > bound {
		t.Errorf("the table takes %d bytes, limit %d", got, bound)
	}
	s.takeSessionMessages()
	s.commit(1, commandEntry(1, 1, 1, "evicted"), commandEntry(1, sequence, 1, "cached"))
	r := s.takeResults()[0]
	if r.Outcomes[0] != isUnknown || r.Outcomes[1] != wasApplied {
		t.Errorf("%v", r.Outcomes)
	}
	if len((*state).applied) != 70000 {
		t.Errorf("%d applied", len((*state).applied))
	}
}

func TestMessagesOfAnotherIncarnationAreDropped(t *testing.T) {
	s, state := startWithSession(t)
	s.send(&messages.Committed{Incarnation: incarnation - 1, Entries: entriesOf(2, 1, commandEntry(1, 1, 1, "old"))})
	s.send(&messages.Committed{Incarnation: incarnation - 1, OnDiskThrough: 9})
	s.send(&messages.ReadLogResponse{Incarnation: incarnation - 1, Entries: entriesOf(2, 1, raft.EncodeNoop())})
	s.send(&messages.Tick{Incarnation: incarnation - 1})
	if len((*state).applied) > 0 || len(s.toReader) > 0 || len(s.takeSessionMessages()) > 0 {
		t.Fatalf("applied %v, asked the reader %v", (*state).applied, s.toReader)
	}
}

func TestResponseToAnEarlierPullIsDropped(t *testing.T) {
	s, state := startWithSession(t)
	for _, first := range []uint64{1, 3} {
		s.send(&messages.Committed{Incarnation: incarnation, Entries: entriesOf(first, 1, commandEntry(1, 1, 1, "elsewhere"))})
	}
	s.send(&messages.Committed{Incarnation: incarnation, OnDiskThrough: 1})
	s.send(&messages.Committed{Incarnation: incarnation})
	if len((*state).applied) > 0 || len(s.Failures) > 0 || len(s.toReader) > 0 {
		t.Fatalf("applied %v, failures %v", (*state).applied, s.Failures)
	}
	s.commit(1, commandEntry(1, 1, 1, "here"))
	if len((*state).applied) != 1 {
		t.Fatalf("applied %v", (*state).applied)
	}
}

func TestStopClosesTheStateMachine(t *testing.T) {
	s, state := startWithSession(t)
	if *(*state).open != 1 {
		t.Fatalf("%d open", *(*state).open)
	}
	s.stop()
	if *(*state).open != 0 {
		t.Fatalf("%d still open", *(*state).open)
	}
}

func TestRestartClosesBeforeItOpens(t *testing.T) {
	s, state := startWithSession(t) // its factory counts the open state machines
	s.RestartFailed = true
	former := *state
	s.send(&messages.Committed{Incarnation: incarnation, OnDiskThrough: 5})
	// Entries that were not requested.
	s.send(&messages.ReadLogResponse{Incarnation: incarnation, Token: 1, Entries: entriesOf(4, 1, raft.EncodeNoop())})
	if len(s.Failures) != 1 || *state == former || *(*state).open != 1 {
		t.Fatalf("failures %v, %d open", s.Failures, *(*state).open)
	}
	if s.pullFrom() != 1 {
		t.Fatalf("after the restart it pulls from %d", s.pullFrom())
	}
}

// Only the results of a batch are allocated: a few slices for each batch, however many commands it
// has.
func TestAllocationsDoNotGrowWithTheBatch(t *testing.T) {
	results := make([][]byte, 300)
	var state *fakeInMemory
	s := newFixture(t)
	s.start(Config{Factory: inMemoryFactory(t, &state, func(b *statemachine.Batch) ([][]byte, error) { return results[:len(b.Commands)], nil })})
	s.commit(1, raft.EncodeRegisterSession([]byte("mine"), ownNodeID))
	index, sequence := uint64(1), uint64(0)
	measure := func(n int) float64 {
		batches := make([]*messages.Committed, 101)
		for i := range batches {
			data := make([][]byte, n)
			for k := range data {
				sequence++
				data[k] = commandEntry(1, sequence, sequence-min(sequence, 300), "x")
			}
			batches[i] = &messages.Committed{Incarnation: incarnation, Entries: entriesOf(index+1, 1, data...)}
			index += uint64(n)
		}
		s.toSession, s.toNode, s.Views.Machines = make([]proto.Message, 0, 200), make([]proto.Message, 0, 200), make([]actors.MachineView, 0, 200)
		i := 0
		return testing.AllocsPerRun(100, func() { s.send(batches[i]); i++ })
	}
	measure(300) // grows the slices
	one, many := measure(1), measure(300)
	t.Logf("%v allocations for a batch of 1, %v for one of 300", one, many)
	if one > 12 || many > one+1 {
		t.Errorf("%v allocations for a batch of 1, %v for one of 300", one, many)
	}
	if len(s.Failures) > 0 {
		t.Fatal(s.Failures)
	}
}

// BenchmarkApply measures a command alone and in a batch.
func BenchmarkApply(b *testing.B) {
	for _, n := range []int{1, 256} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s, state, results := newFixture(b), new(*fakeInMemory), make([][]byte, n)
			s.start(Config{Factory: inMemoryFactory(b, state, func(b *statemachine.Batch) ([][]byte, error) { return results[:len(b.Commands)], nil })})
			s.commit(1, raft.EncodeRegisterSession([]byte("mine"), ownNodeID))
			index, sequence, data := uint64(1), uint64(0), make([][]byte, n)
			b.ReportAllocs()
			for b.Loop() {
				for i := range data {
					sequence++
					data[i] = commandEntry(1, sequence, sequence-min(sequence, 1000), "x")
				}
				e := &messages.Entries{First: index + 1, Runs: []*messages.TermRun{{FirstIndex: index + 1, Term: 1}}, Data: data}
				s.toSession, s.toNode, s.Views.Machines = s.toSession[:0], s.toNode[:0], s.Views.Machines[:0]
				s.send(&messages.Committed{Incarnation: incarnation, Entries: e})
				index += uint64(n)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/command")
		})
	}
}
