package raft

import (
	"testing"

	"pgregory.net/rapid"
)

// Figure 8: S1 leads term 4, and the entry of term 2 is on a majority, which does not commit it
// (c). An entry of term 4 on a majority commits both (e).
func TestE44Figure8OldTermNotCommittedByCounting(t *testing.T) {
	q := Quorum{Incoming: Majority{1, 2, 3, 4, 5}}
	log := logWithTerms(1, 2, 4)
	c := map[uint64]uint64{1: 3, 2: 2, 3: 2, 4: 1, 5: 1}
	if got := CommitIndex(q, func(id uint64) uint64 { return c[id] }, 1, 4, log); got != 1 {
		t.Errorf("(c): commit %d, want 1", got)
	}
	e := map[uint64]uint64{1: 3, 2: 3, 3: 3, 4: 1, 5: 1}
	if got := CommitIndex(q, func(id uint64) uint64 { return e[id] }, 1, 4, log); got != 3 {
		t.Errorf("(e): commit %d, want 3", got)
	}
}

// Raft, Figure 2: "If there exists an N such that N > commitIndex, a majority of matchIndex[i] ≥ N,
// and log[N].term == currentTerm: set commitIndex = N." CommitIndex returns the highest such N.
func TestCommitIndexIsHighestNOfFigure2(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		terms := append([]uint64{1}, drawTerms(t, 1)...)
		log := logWithTerms(terms...)
		term := log.LastTerm() + rapid.Uint64Range(0, 1).Draw(t, "noEntryYet")
		q := Quorum{Incoming: Majority{1, 2, 3}, Outgoing: rapid.SampledFrom([]Majority{nil, {1}, {3, 4}, {2, 3, 4}}).Draw(t, "outgoing")}
		match := rapid.SliceOfN(rapid.Uint64Range(0, log.LastIndex()), 5, 5).Draw(t, "match")
		acked := func(id uint64) uint64 { return match[id] }
		current := rapid.Uint64Range(0, log.LastIndex()).Draw(t, "current")

		want := current
		for n := current + 1; n <= log.LastIndex(); n++ {
			has := func(id uint64) bool { return match[id] >= n }
			if entryTerm, _ := log.Term(n); entryTerm == term && q.Incoming.isSatisfied(has) && q.Outgoing.isSatisfied(has) {
				want = n
			}
		}
		if got := CommitIndex(q, acked, current, term, log); got != want {
			t.Fatalf("commit %d, want %d: match %v, terms %v, term %d, current %d, %v", got, want, match, terms, term, current, q)
		}
	})
}

func TestE32RemovedLeaderDoesNotCountItself(t *testing.T) {
	log := logWithTerms(1, 1)
	match := map[uint64]uint64{1: 2, 2: 2, 3: 1, 4: 1}
	q := Quorum{Incoming: Majority{2, 3, 4}} // 1 leads
	if got := CommitIndex(q, func(id uint64) uint64 { return match[id] }, 0, 1, log); got != 1 {
		t.Errorf("commit %d, want 1", got)
	}
}
