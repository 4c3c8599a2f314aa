package machine

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
	"github.com/troupe-raft/troupe/statemachine"
)

// sizedMachine records the batches that it applies.
type sizedMachine struct {
	fakeInMemory
	batches [][]int // sizes of the results
	bound   func(command []byte) int
}

func (s *sizedMachine) MaxResultBytes(command []byte) int { return s.bound(command) }

func (s *sizedMachine) Apply(b *statemachine.Batch) ([][]byte, error) {
	results, err := s.fakeInMemory.Apply(b)
	var sizes []int
	for _, r := range results {
		sizes = append(sizes, len(r))
	}
	s.batches = append(s.batches, sizes)
	return results, err
}

// Small commands with large results are applied a few at a time, and each batch hands its results
// on before the next one is applied.
func TestE45ResultsOfABatchAreBounded(t *testing.T) {
	const limit = 250
	state := &sizedMachine{bound: replyBound}
	s := newFixture(t).start(Config{MaxResultBytes: limit, Factory: func() (statemachine.StateMachine, error) { return state, nil }})
	s.commit(1, raft.EncodeRegisterSession(nil, ownNodeID))
	state.batches = nil
	s.takeSessionMessages()
	var log [][]byte
	for i := range uint64(10) {
		log = append(log, commandEntry(1, i+1, 1, "big:100"), commandEntry(1, i+100, 1, "big:0"))
	}
	s.commit(1, log...)
	if n := len(state.batches); n < 4 || n > 7 {
		t.Errorf("%d batches: %v", n, state.batches)
	}
	for _, sizes := range state.batches {
		sum := 0
		for _, n := range sizes {
			sum += n
		}
		if sum > limit+100 {
			t.Errorf("a batch has results of %d bytes: %v", sum, sizes)
		}
	}
	results := s.takeResults()
	if len(results) != len(state.batches) {
		t.Errorf("%d messages with results of %d batches", len(results), len(state.batches))
	}
	var sequences []uint64
	for _, r := range results {
		sequences = append(sequences, r.Sequences...)
	}
	slices.Sort(sequences)
	if fmt.Sprint(sequences) != "[1 2 3 4 5 6 7 8 9 10 100 101 102 103 104 105 106 107 108 109]" {
		t.Errorf("results of the commands %v", sequences)
	}
	// Commands with small results, and copies of applied ones, do not divide a batch.
	state.batches = nil
	s.commit(1, append(log, commandEntry(1, 200, 1, "big:0"), commandEntry(1, 201, 1, "big:0"))...)
	if n := len(state.batches); n != 1 {
		t.Errorf("%d batches: %v", n, state.batches)
	}
}

func TestPanicOfAResultSizerStopsTheNode(t *testing.T) {
	state := &sizedMachine{bound: func([]byte) int { panic("cannot tell") }}
	s := newFixture(t).start(Config{Factory: func() (statemachine.StateMachine, error) { return state, nil }})
	s.send(&messages.Committed{Incarnation: incarnation, Entries: entriesOf(1, 1, raft.EncodeRegisterSession(nil, ownNodeID), commandEntry(1, 1, 1, "this"))})
	if f := applicationFailure(t, s); f.Index != 2 || !strings.Contains(f.Error(), "cannot tell") {
		t.Errorf("%v", f)
	}
}
