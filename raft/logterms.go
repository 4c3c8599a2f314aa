package raft

import (
	"fmt"
	"sort"

	"github.com/troupe-raft/troupe/messages"
)

// LogTerms is what is known of a log without its bytes: where it begins and ends, and which term each entry is of. Terms
// never go down along a log and seldom change, so they are kept as runs: a log of a billion entries written under three
// leaders is three runs.
//
//	index   base │ base+1 … … … … … … … last
//	term    bT   │ 3  3  3  3  5  5  8  8        runs: {base+1,3} {base+5,5} {base+7,8}
//
// base is the last index that was compacted away (0 for a whole log); its term is still known, since the consistency check
// of the first entry asks for it. What lies at or below base was committed, so every later leader has it too (Leader
// Completeness, Raft §5.4.3) and it is taken to agree with any of them.
//
// Invariant: runs is empty if and only if last == base; else runs[0].first == base+1, firsts and terms ascend strictly,
// runs[0].term ≥ baseTerm, and the last run begins at or before last.
type LogTerms struct {
	base, baseTerm uint64
	last           uint64
	runs           []termRun
}

type termRun struct{ first, term uint64 }

// NewLogTerms makes the index of a log as it was recovered. It panics where the runs do not describe (baseIndex, lastIndex].
func NewLogTerms(baseIndex, baseTerm, lastIndex uint64, runs []*messages.TermRun) *LogTerms {
	l := &LogTerms{base: baseIndex, baseTerm: baseTerm, last: lastIndex, runs: make([]termRun, 0, len(runs)+4)}
	for _, r := range runs {
		l.runs = append(l.runs, termRun{r.FirstIndex, r.Term})
	}
	if err := l.check(); err != nil {
		panic(fmt.Sprintf("log index with base %d of term %d, last %d, runs %v: %v", baseIndex, baseTerm, lastIndex, l.runs, err))
	}
	return l
}

func (l *LogTerms) check() error {
	if l.last < l.base {
		return fmt.Errorf("last is before base")
	}
	if (l.last == l.base) != (len(l.runs) == 0) {
		return fmt.Errorf("runs for an empty log, or none for one that is not")
	}
	previous := termRun{l.base, l.baseTerm}
	for i, r := range l.runs {
		switch {
		case i == 0 && (r.first != l.base+1 || r.term < previous.term || r.term == 0):
			return fmt.Errorf("first run does not continue the base")
		case i > 0 && (r.first <= previous.first || r.term <= previous.term):
			return fmt.Errorf("runs do not ascend")
		case r.first > l.last:
			return fmt.Errorf("run begins after the last index")
		}
		previous = r
	}
	return nil
}

// Base is the last index that the log does not hold any more, with its term; 0, 0 for a whole log.
func (l *LogTerms) Base() (index, term uint64) { return l.base, l.baseTerm }

// First is the first index that the log holds, or would hold.
func (l *LogTerms) firstIndex() uint64 { return l.base + 1 }

// Last is the index of the last entry; the base where there is none.
func (l *LogTerms) LastIndex() uint64 { return l.last }

// LastTerm is the term of the entry at Last.
func (l *LogTerms) LastTerm() uint64 {
	if len(l.runs) == 0 {
		return l.baseTerm
	}
	return l.runs[len(l.runs)-1].term
}

// Term tells the term of the entry at index; ok is false below the base and after the last entry. The imaginary entry 0,
// before a whole log, is of term 0.
func (l *LogTerms) Term(index uint64) (term uint64, ok bool) {
	switch {
	case index < l.base || index > l.last:
		return 0, false
	case index == l.base:
		return l.baseTerm, true
	}
	return l.runs[l.findRun(index)].term, true
}

// findRun is the run that holds index, which must lie in (base, last].
func (l *LogTerms) findRun(index uint64) int {
	if n := len(l.runs) - 1; l.runs[n].first <= index {
		return n // nearly every question is about the newest term
	}
	return sort.Search(len(l.runs), func(i int) bool { return l.runs[i].first > index }) - 1
}

// lastOfRun is the last index of run i.
func (l *LogTerms) lastOfRun(i int) uint64 {
	if i+1 < len(l.runs) {
		return l.runs[i+1].first - 1
	}
	return l.last
}

// Append adds entries at the end. It panics if they leave a gap, overlap, or go back in term.
func (l *LogTerms) Append(e *messages.Entries) {
	if len(e.Data) == 0 {
		return
	}
	if e.First != l.last+1 || len(e.Runs) == 0 || e.Runs[0].FirstIndex != e.First || e.Runs[0].Term < l.LastTerm() {
		panic(fmt.Sprintf("append of entries from %d with runs %v to a log that ends at %d in term %d", e.First, e.Runs, l.last, l.LastTerm()))
	}
	for i, r := range e.Runs {
		if i == 0 && len(l.runs) > 0 && r.Term == l.LastTerm() {
			continue // goes on in the term that the log ends with
		}
		l.runs = append(l.runs, termRun{r.FirstIndex, r.Term})
	}
	l.last = EntriesLast(e)
}

// Truncate drops the entries from index `from` on. Nothing at or below the base can be dropped: it was committed.
func (l *LogTerms) Truncate(from uint64) {
	if from <= l.base {
		panic(fmt.Sprintf("truncation from %d of a log whose base is %d: what is compacted was committed", from, l.base))
	}
	if from > l.last {
		return
	}
	keep := l.findRun(from)
	if l.runs[keep].first < from {
		keep++
	}
	l.runs, l.last = l.runs[:keep], from-1
}

// Reset makes the log empty, to go on after an installed snapshot.
func (l *LogTerms) Reset(baseIndex, baseTerm uint64) {
	l.base, l.baseTerm, l.last, l.runs = baseIndex, baseTerm, baseIndex, l.runs[:0]
}

// Runs describes the terms of [from, to], which must lie in the log, as a new slice whose first run begins at from.
func (l *LogTerms) Runs(from, to uint64) []*messages.TermRun {
	if from > to {
		return nil
	}
	if from <= l.base || to > l.last {
		panic(fmt.Sprintf("terms of [%d, %d] asked of a log that holds [%d, %d]", from, to, l.firstIndex(), l.last))
	}
	i, j := l.findRun(from), l.findRun(to)
	runs := make([]*messages.TermRun, 0, j-i+1)
	for ; i <= j; i++ {
		runs = append(runs, &messages.TermRun{FirstIndex: max(from, l.runs[i].first), Term: l.runs[i].term})
	}
	return runs
}

// Matches is the consistency check of AppendEntries: does the log contain an entry at prevIndex with prevTerm (Raft §5.3)?
// Below the base the question is settled: those entries were committed, and the leader that asks has them.
func (l *LogTerms) Matches(prevIndex, prevTerm uint64) bool {
	if prevIndex < l.base {
		return true
	}
	term, ok := l.Term(prevIndex)
	return ok && term == prevTerm
}

// FindConflict is the first index of e at which the log has another term or nothing at all, 0 if it has all of e: only from
// there on may a follower truncate and append. Truncating without a conflict would lose entries that a reordered, older
// AppendEntries does not know of (Raft §5.3: "if an existing entry conflicts with a new one").
func (l *LogTerms) FindConflict(e *messages.Entries) uint64 {
	if len(e.Data) == 0 {
		return 0
	}
	last := EntriesLast(e)
	index := max(e.First, l.base+1)
	for i := 0; i < len(e.Runs) && index <= last; {
		end := last // of the run of e
		if i+1 < len(e.Runs) {
			end = e.Runs[i+1].FirstIndex - 1
		}
		if index > end {
			i++
			continue
		}
		if index > l.last {
			return index
		}
		own := l.findRun(index)
		if l.runs[own].term != e.Runs[i].Term {
			return index
		}
		index = min(end, l.lastOfRun(own)) + 1
	}
	return 0
}

// Conflict is the hint that a follower gives with a refusal: the term of its entry at prevIndex and the first index it has
// of that term; 0 and one past its last index where it has no entry there (Raft §5.3, end).
func (l *LogTerms) ConflictHint(prevIndex uint64) (conflictTerm, conflictIndex uint64) {
	switch {
	case prevIndex > l.last:
		return 0, l.last + 1
	case prevIndex <= l.base:
		return l.baseTerm, prevIndex // cannot be refused by Matches but with a base of another history
	}
	r := l.runs[l.findRun(prevIndex)]
	return r.term, r.first
}

// NextAfterConflict is where the leader's nextIndex goes after a refusal with this hint. It is at least First.
//
// The follower says: at the index you asked about I have term T, beginning at F (conflictIndex). All entries of T were made
// by one leader one after the other, so T begins at the same index in every log that has any of it (Log Matching).
//
//   - If this log has T too, ending at K, then both logs have T on [F, K], and they agree up to K: next is K+1, and the
//     next request is accepted.
//   - If it has not, nothing from F on can agree, and below F the follower has only terms below T: entries of this log
//     before F with terms above T cannot agree either. Next is one past the last entry before F whose term is below T.
//
// Each refusal therefore disposes of one whole term of the follower, and one more is needed when its log is too short: at
// most one round trip per conflicting term, and one.
func (l *LogTerms) NextAfterConflict(conflictTerm, conflictIndex uint64) uint64 {
	if conflictTerm == 0 { // the follower has no entry there
		return l.clampNext(conflictIndex)
	}
	// The runs of terms up to T end before `above`.
	above := sort.Search(len(l.runs), func(i int) bool { return l.runs[i].term > conflictTerm })
	if above == 0 {
		return l.firstIndex()
	}
	next := l.lastOfRun(above-1) + 1
	if l.runs[above-1].term < conflictTerm {
		next = min(next, conflictIndex)
	}
	return l.clampNext(next)
}

func (l *LogTerms) clampNext(next uint64) uint64 {
	return min(max(next, l.firstIndex()), l.last+1)
}

// isUpToDate tells whether a log that ends with (lastIndex, lastTerm) is at least as up to date as this one: the later term
// wins, at equal terms the longer log (Raft §5.4.1).
func (l *LogTerms) isUpToDate(lastIndex, lastTerm uint64) bool {
	if lastTerm != l.LastTerm() {
		return lastTerm > l.LastTerm()
	}
	return lastIndex >= l.last
}
