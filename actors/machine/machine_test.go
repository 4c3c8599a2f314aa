package machine

import (
	"fmt"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

func expect(t *testing.T, what string, got []proto.Message, want ...proto.Message) {
	t.Helper()
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || !proto.Equal(got[i], want[i]) {
			t.Fatalf("%s: heard\n%v\nwant\n%v", what, got, want)
		}
	}
}

func command(origin, sequence, lowest uint64, data string) []byte {
	return raft.EncodeCommand(origin, sequence, lowest, []byte(data))
}

// withOrigin starts an InMemory machine at which entry 1 has opened origin 1 of this node.
func withOrigin(t *testing.T) (*stage, **inMemory) {
	s, state := newStage(t), new(*inMemory)
	s.start(Config{Factory: factoryOf(t, state, nil)})
	s.commit(1, raft.EncodeOpenOrigin([]byte("mine"), ownNode))
	s.heard()
	return s, state
}

const (
	wasApplied = messages.Outcome_OUTCOME_APPLIED
	isUnknown  = messages.Outcome_OUTCOME_UNKNOWN
)

func TestAnEmptyMachineIsReadyServesAndPullsFromTheFirstIndex(t *testing.T) {
	var state *inMemory
	s := newStage(t).start(Config{Factory: factoryOf(t, &state, nil), MaxBatchBytes: 99})
	expect(t, "the Node", s.toNode,
		&messages.MachineReady{Incarnation: incarnation},
		&messages.Pull{Incarnation: incarnation, From: 1, MaxBytes: 99})
	expect(t, "the handle", s.heard(), &messages.Serving{Incarnation: incarnation})
}

func TestAMachineThatKeepsItsStateGoesOnWhereItStood(t *testing.T) {
	d := &disk{states: []diskState{{last: 41}}}
	s := newStage(t).start(Config{Factory: func() (StateMachine, error) { return &onDisk{disk: d}, nil }, ReplayThrough: 41})
	expect(t, "the Node", s.toNode,
		&messages.MachineReady{Incarnation: incarnation, Applied: 41},
		&messages.Pull{Incarnation: incarnation, From: 42, MaxBytes: defaultMaxBatchBytes})
	expect(t, "the handle", s.heard(), &messages.Serving{Incarnation: incarnation, Applied: 41})
}

func TestNothingIsServedBeforeTheReplayHasReachedWhatWasCommitted(t *testing.T) {
	var state *inMemory
	s := newStage(t).start(Config{Factory: factoryOf(t, &state, nil), ReplayThrough: 3})
	expect(t, "before", s.heard())
	s.commit(1, raft.EncodeNoop(), raft.EncodeNoop())
	expect(t, "at 2", s.heard(), &messages.Results{Incarnation: incarnation, Applied: 2, Term: 1})
	if s.lastView().Serving {
		t.Fatal("the view says serving")
	}
	s.commit(1, raft.EncodeNoop(), raft.EncodeNoop())
	expect(t, "at 4", s.heard(), &messages.Results{Incarnation: incarnation, Applied: 4, Term: 1},
		&messages.Serving{Incarnation: incarnation, Applied: 4})
	s.commit(1, raft.EncodeNoop())
	expect(t, "only once", s.heard(), &messages.Results{Incarnation: incarnation, Applied: 5, Term: 1})
	if want := (actors.MachineView{Incarnation: incarnation, Applied: 5, Serving: true}); s.lastView() != want {
		t.Fatalf("view %+v, want %+v", s.lastView(), want)
	}
}

func TestCommandsAreAppliedInOrderWithTheirTermsAndTheRestIsNotShown(t *testing.T) {
	s, state := withOrigin(t)
	e := entriesOf(2, 4, command(1, 1, 1, "a"), raft.EncodeNoop(), command(1, 2, 1, "b"), raft.EncodeConfiguration(new(messages.Configuration)))
	e.Runs = append(e.Runs, &messages.TermRun{FirstIndex: 3, Term: 5}, &messages.TermRun{FirstIndex: 4, Term: 9})
	s.send(&messages.Committed{Incarnation: incarnation, Entries: e})
	if want := []done{{2, 4, "a"}, {4, 9, "b"}}; !slices.Equal((*state).applied, want) {
		t.Fatalf("applied %v, want %v", (*state).applied, want)
	}
	if (*state).last != 5 || s.pulled() != 6 {
		t.Fatalf("the machine stands at %d, the Pull at %d", (*state).last, s.pulled())
	}
	expect(t, "the handle", s.heard(), &messages.Results{Incarnation: incarnation, Origin: 1, Applied: 5, Term: 9,
		Sequences: []uint64{1, 2}, Indexes: []uint64{2, 4}, Values: [][]byte{[]byte("2=a"), []byte("4=b")},
		Outcomes: []messages.Outcome{wasApplied, wasApplied}})
}

func TestARepeatedCommandGetsTheFirstAnswerAndIsNotAppliedAgain(t *testing.T) {
	s, state := withOrigin(t)
	again := command(1, 5, 4, "once")
	s.commit(1, again, again) // twice in one batch
	s.commit(2, again)        // and once more, from another leader
	for i, r := range s.results() {
		for k := range r.Sequences {
			if r.Sequences[k] != 5 || r.Indexes[k] != 2 || string(r.Values[k]) != "2=once" || r.Outcomes[k] != wasApplied {
				t.Errorf("answer %d of batch %d: %v", k, i, r)
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

func TestACommandThatNobodyWaitsForAnyMoreIsIgnored(t *testing.T) {
	s, state := withOrigin(t)
	s.commit(1, command(1, 5, 5, "five"))
	s.heard()
	s.commit(1, command(1, 4, 4, "late"))
	expect(t, "the handle", s.heard(), &messages.Results{Incarnation: incarnation, Applied: 3, Term: 1})
	if len((*state).applied) != 1 {
		t.Fatalf("applied %v", (*state).applied)
	}
}

func TestACommandOfAnUnknownOriginIsNotAppliedAndItsOutcomeIsUnknown(t *testing.T) {
	s, state := withOrigin(t)
	s.commit(1, command(99, 1, 1, "whose?"), raft.EncodeCloseOrigin(1), command(1, 2, 2, "after the end"))
	unknown := func(origin, sequence uint64) proto.Message {
		return &messages.Results{Incarnation: incarnation, Origin: origin, Applied: 4, Term: 1, Sequences: []uint64{sequence},
			Indexes: []uint64{0}, Values: [][]byte{nil}, Outcomes: []messages.Outcome{isUnknown}}
	}
	expect(t, "the handle", s.heard(), unknown(1, 2), unknown(99, 1))
	if len((*state).applied) != 0 {
		t.Fatalf("applied %v", (*state).applied)
	}
}

func TestAnAnswerTooLargeToBeKeptMakesTheRepeatsOutcomeUnknown(t *testing.T) {
	s, state := withOrigin(t)
	large := command(1, 1, 1, fmt.Sprintf("big:%d", featureLevel1.answerBytes+1))
	fits := command(1, 2, 1, fmt.Sprintf("big:%d", featureLevel1.answerBytes))
	s.commit(1, large, fits)
	if r := s.results()[0]; len(r.Values[0]) != featureLevel1.answerBytes+1 || r.Outcomes[0] != wasApplied {
		t.Fatalf("the first time the answer is there: %d bytes, %v", len(r.Values[0]), r.Outcomes)
	}
	s.commit(1, large, fits)
	r := s.results()[0]
	if r.Outcomes[0] != isUnknown || r.Indexes[0] != 0 || r.Values[0] != nil {
		t.Errorf("the large one again: %v at %d", r.Outcomes[0], r.Indexes[0])
	}
	if r.Outcomes[1] != wasApplied || r.Indexes[1] != 3 || len(r.Values[1]) != featureLevel1.answerBytes {
		t.Errorf("the other again: %v at %d", r.Outcomes[1], r.Indexes[1])
	}
	if len((*state).applied) != 2 {
		t.Fatalf("%d applied", len((*state).applied))
	}
}

func TestABarrierIsAnsweredWhereItStandsAndShownToNobody(t *testing.T) {
	s, state := withOrigin(t)
	barrier := raft.EncodeBarrier(1, 4, 4)
	s.commit(3, command(1, 3, 3, "a"), barrier, raft.EncodeBarrier(9, 1, 1), raft.EncodeOpenOrigin(nil, ownNode+1), raft.EncodeBarrier(5, 1, 1))
	results := s.results()
	if len(results) != 2 || !slices.Equal(results[0].Sequences, []uint64{3, 4}) || !slices.Equal(results[0].Indexes, []uint64{2, 3}) ||
		results[0].Values[1] != nil || results[0].Outcomes[1] != wasApplied {
		t.Fatalf("%v", results)
	}
	if results[1].Origin != 9 || results[1].Outcomes[0] != isUnknown || results[1].Indexes[0] != 0 {
		t.Fatalf("of an unknown origin: %v", results[1])
	}
	if len((*state).applied) != 1 {
		t.Fatalf("applied %v", (*state).applied)
	}
}

func TestOnlyTheCommandsOfThisNodesHandleAreToldToIt(t *testing.T) {
	s, state := withOrigin(t)
	s.commit(1, raft.EncodeOpenOrigin([]byte("theirs"), ownNode+1), command(2, 1, 1, "theirs"))
	expect(t, "the handle", s.heard(),
		&messages.OriginOpened{Incarnation: incarnation, Nonce: []byte("theirs"), Origin: 2},
		&messages.Results{Incarnation: incarnation, Applied: 3, Term: 1})
	if len((*state).applied) != 1 {
		t.Fatalf("applied %v", (*state).applied)
	}
}

func TestTwoOriginsOfOneNodeInABatchAreToldApart(t *testing.T) {
	s, _ := withOrigin(t)
	s.commit(1, raft.EncodeOpenOrigin([]byte("next"), ownNode), command(2, 1, 1, "a"), command(1, 7, 7, "b"), command(2, 2, 1, "c"))
	results := s.results()
	if len(results) != 2 || results[0].Origin != 1 || results[1].Origin != 2 ||
		!slices.Equal(results[0].Sequences, []uint64{7}) || !slices.Equal(results[1].Sequences, []uint64{1, 2}) ||
		string(results[1].Values[1]) != "5=c" || string(results[0].Values[0]) != "4=b" {
		t.Fatalf("%v", results)
	}
}

func TestAnOriginOpenedTwiceWithOneNonceIsOneOrigin(t *testing.T) {
	s, _ := withOrigin(t)
	open := raft.EncodeOpenOrigin([]byte("mine"), ownNode)
	s.commit(1, open)
	expect(t, "the handle", s.heard(), &messages.OriginOpened{Incarnation: incarnation, Nonce: []byte("mine"), Origin: 1},
		&messages.Results{Incarnation: incarnation, Applied: 2, Term: 1})
	if s.lastView().Origins != 1 {
		t.Fatalf("%d origins", s.lastView().Origins)
	}
}

func TestE45AMemberThatStartsOverAndOverDisplacesOnlyItsOwnOrigins(t *testing.T) {
	s, _ := withOrigin(t)
	for i := range 100 {
		s.commit(1, raft.EncodeOpenOrigin(fmt.Appendf(nil, "life %d", i), ownNode+1))
	}
	if got, want := s.lastView().Origins, 1+featureLevel1.originsOfANode; got != want {
		t.Errorf("%d origins, want %d", got, want)
	}
	s.heard()
	s.commit(1, command(1, 1, 1, "still known"))
	if r := s.results()[0]; len(r.Outcomes) != 1 || r.Outcomes[0] != wasApplied {
		t.Errorf("the idle handle's origin was displaced: %v", r)
	}
	for i := range uint64(2 * featureLevel1.origins) {
		s.commit(1, raft.EncodeOpenOrigin([]byte("x"), 1000+i))
	}
	if got := s.lastView().Origins; got != featureLevel1.origins {
		t.Errorf("%d origins, want %d", got, featureLevel1.origins)
	}
}

func TestE45TheLedgerIsBoundedWhateverAHandleLeavesOutstanding(t *testing.T) {
	s, state := withOrigin(t)
	sequence := uint64(0)
	for range 70 {
		var batch [][]byte
		for range 1000 {
			sequence++
			batch = append(batch, command(1, sequence, 1, "0123456789012345678901234567890123456789012345678901234567890123456789"))
		}
		s.commit(1, batch...)
	}
	if got, bound := s.lastView().LedgerBytes, uint64(featureLevel1.bytes+featureLevel1.answers*answerOverhead); got > bound {
		t.Errorf("the ledger takes %d bytes, bound %d", got, bound)
	}
	s.heard()
	s.commit(1, command(1, 1, 1, "forgotten"), command(1, sequence, 1, "kept"))
	r := s.results()[0]
	if r.Outcomes[0] != isUnknown || r.Outcomes[1] != wasApplied {
		t.Errorf("%v", r.Outcomes)
	}
	if len((*state).applied) != 70000 {
		t.Errorf("%d applied", len((*state).applied))
	}
}

func TestMessagesOfAnotherIncarnationAreDropped(t *testing.T) {
	s, state := withOrigin(t)
	s.send(&messages.Committed{Incarnation: incarnation - 1, Entries: entriesOf(2, 1, command(1, 1, 1, "old"))})
	s.send(&messages.Committed{Incarnation: incarnation - 1, ColdTo: 9})
	s.send(&messages.LogPiece{Incarnation: incarnation - 1, Entries: entriesOf(2, 1, raft.EncodeNoop())})
	s.send(&messages.Tick{Incarnation: incarnation - 1})
	if len((*state).applied) > 0 || len(s.toReader) > 0 || len(s.heard()) > 0 {
		t.Fatalf("applied %v, asked the reader %v", (*state).applied, s.toReader)
	}
}

func TestAnAnswerToAnEarlierPullIsDropped(t *testing.T) {
	s, state := withOrigin(t)
	for _, first := range []uint64{1, 3} {
		s.send(&messages.Committed{Incarnation: incarnation, Entries: entriesOf(first, 1, command(1, 1, 1, "elsewhere"))})
	}
	s.send(&messages.Committed{Incarnation: incarnation, ColdTo: 1})
	s.send(&messages.Committed{Incarnation: incarnation})
	if len((*state).applied) > 0 || len(s.Failures) > 0 || len(s.toReader) > 0 {
		t.Fatalf("applied %v, failures %v", (*state).applied, s.Failures)
	}
	s.commit(1, command(1, 1, 1, "here"))
	if len((*state).applied) != 1 {
		t.Fatalf("applied %v", (*state).applied)
	}
}

func TestAMachineIsClosedWhenItsActorStops(t *testing.T) {
	s, state := withOrigin(t)
	if *(*state).open != 1 {
		t.Fatalf("%d open", *(*state).open)
	}
	s.stop()
	if *(*state).open != 0 {
		t.Fatalf("%d still open", *(*state).open)
	}
}

func TestAMachineIsClosedBeforeItsSuccessorIsOpened(t *testing.T) {
	s, state := withOrigin(t) // its factory counts
	s.Restart = true
	former := *state
	s.send(&messages.Committed{Incarnation: incarnation, ColdTo: 5})
	s.send(&messages.LogPiece{Incarnation: incarnation, Token: 1, Entries: entriesOf(4, 1, raft.EncodeNoop())}) // not what was asked for
	if len(s.Failures) != 1 || *state == former || *(*state).open != 1 {
		t.Fatalf("failures %v, %d open", s.Failures, *(*state).open)
	}
	if s.pulled() != 1 {
		t.Fatalf("the successor pulls from %d", s.pulled())
	}
}

// The answers of a batch are the only things made anew for it: however many commands it holds, what they cost is a few
// slices a batch.
func TestABatchCostsAFewAllocationsHoweverManyCommandsItHolds(t *testing.T) {
	results := make([][]byte, 300)
	var state *inMemory
	s := newStage(t)
	s.start(Config{Factory: factoryOf(t, &state, func(b *Batch) ([][]byte, error) { return results[:len(b.Commands)], nil })})
	s.commit(1, raft.EncodeOpenOrigin([]byte("mine"), ownNode))
	index, sequence := uint64(1), uint64(0)
	measure := func(n int) float64 {
		batches := make([]*messages.Committed, 101)
		for i := range batches {
			data := make([][]byte, n)
			for k := range data {
				sequence++
				data[k] = command(1, sequence, sequence-min(sequence, 300), "x")
			}
			batches[i] = &messages.Committed{Incarnation: incarnation, Entries: entriesOf(index+1, 1, data...)}
			index += uint64(n)
		}
		s.toHandle, s.toNode, s.views = make([]proto.Message, 0, 200), make([]proto.Message, 0, 200), make([]actors.MachineView, 0, 200)
		i := 0
		return testing.AllocsPerRun(100, func() { s.send(batches[i]); i++ })
	}
	measure(300) // the slices grow to their size
	one, many := measure(1), measure(300)
	t.Logf("%v allocations for a batch of 1, %v for one of 300", one, many)
	if one > 12 || many > one+1 {
		t.Errorf("%v allocations for a batch of 1, %v for one of 300", one, many)
	}
	if len(s.Failures) > 0 {
		t.Fatal(s.Failures)
	}
}

// What one command costs in the machine itself, alone and in a batch.
func BenchmarkApply(b *testing.B) {
	for _, n := range []int{1, 256} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s, state, answers := newStage(b), new(*inMemory), make([][]byte, n)
			s.start(Config{Factory: factoryOf(b, state, func(b *Batch) ([][]byte, error) { return answers[:len(b.Commands)], nil })})
			s.commit(1, raft.EncodeOpenOrigin([]byte("mine"), ownNode))
			index, sequence, data := uint64(1), uint64(0), make([][]byte, n)
			b.ReportAllocs()
			for b.Loop() {
				for i := range data {
					sequence++
					data[i] = command(1, sequence, sequence-min(sequence, 1000), "x")
				}
				e := &messages.Entries{First: index + 1, Runs: []*messages.TermRun{{FirstIndex: index + 1, Term: 1}}, Data: data}
				s.toHandle, s.toNode, s.views = s.toHandle[:0], s.toNode[:0], s.views[:0]
				s.send(&messages.Committed{Incarnation: incarnation, Entries: e})
				index += uint64(n)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/command")
		})
	}
}
