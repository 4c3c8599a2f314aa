package raft

import (
	"fmt"
	"sort"

	"github.com/troupe-raft/troupe/messages"
)

// LogTerms is a log without its bytes: its first and last index, and the term of each entry. Terms
// do not decrease along a log and seldom change, so they are stored as runs: a log of a billion
// entries from three leaders is three runs.
//
//	index   base │ base+1 … … … … … … … last
//	term    bT   │ 3  3  3  3  5  5  8  8        runs: {base+1,3} {base+5,5} {base+7,8}
//
// base is the last index that compaction removed, 0 if none. Its term is stored, because the
// consistency check of the entry after it needs the term. Everything up to base is committed, so
// every later leader has it too (Leader Completeness, Raft §5.4.3) and it agrees with any of them.
//
// Invariant: runs is empty if and only if last == base; else runs[0].first == base+1, firsts and
// terms ascend strictly, runs[0].term ≥ baseTerm, and the last run begins at or before last.
type LogTerms struct {
	base, baseTerm uint64
	last           uint64
	runs           []termRun
}

type termRun struct{ first, term uint64 }

// NewLogTerms returns the terms of a recovered log. It panics if the runs do not describe the
// indexes from baseIndex+1 to lastIndex.
func NewLogTerms(baseIndex, baseTerm, lastIndex uint64, runs []*messages.TermRun) *LogTerms {
	l := &LogTerms{base: baseIndex, baseTerm: baseTerm, last: lastIndex, runs: make([]termRun, 0, len(runs)+4)}
	for _, r := range runs {
		l.runs = append(l.runs, termRun{r.FirstIndex, r.Term})
	}
	if err := l.check(); err != nil {
		panic(fmt.Sprintf("log with base %d of term %d, last %d, runs %v: %v", baseIndex, baseTerm, lastIndex, l.runs, err))
	}
	return l
}

func (l *LogTerms) check() error {
	if l.last < l.base {
		return fmt.Errorf("last is before base")
	}
	if (l.last == l.base) != (len(l.runs) == 0) {
		return fmt.Errorf("runs for an empty log, or none for another")
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

// Base returns the last index that compaction removed, and its term; 0, 0 if none.
func (l *LogTerms) Base() (index, term uint64) { return l.base, l.baseTerm }

// firstIndex returns the index of the first entry; of the next one if the log is empty.
func (l *LogTerms) firstIndex() uint64 { return l.base + 1 }

// LastIndex returns the index of the last entry, the base if the log is empty.
func (l *LogTerms) LastIndex() uint64 { return l.last }

// LastTerm returns the term of the entry at LastIndex.
func (l *LogTerms) LastTerm() uint64 {
	if len(l.runs) == 0 {
		return l.baseTerm
	}
	return l.runs[len(l.runs)-1].term
}

// Term returns the term of the entry at index; ok is false below the base and above the last index.
// The term at index 0 is 0.
func (l *LogTerms) Term(index uint64) (term uint64, ok bool) {
	switch {
	case index < l.base || index > l.last:
		return 0, false
	case index == l.base:
		return l.baseTerm, true
	}
	return l.runs[l.findRun(index)].term, true
}

// findRun returns the run of index, which must be above the base and at most the last index.
func (l *LogTerms) findRun(index uint64) int {
	if n := len(l.runs) - 1; l.runs[n].first <= index {
		return n // the frequent case
	}
	return sort.Search(len(l.runs), func(i int) bool { return l.runs[i].first > index }) - 1
}

// lastOfRun returns the last index of run i.
func (l *LogTerms) lastOfRun(i int) uint64 {
	if i+1 < len(l.runs) {
		return l.runs[i+1].first - 1
	}
	return l.last
}

// Append adds entries at the end. It panics if they do not begin after the last index, or in a
// lower term.
func (l *LogTerms) Append(e *messages.Entries) {
	if len(e.Data) == 0 {
		return
	}
	if e.First != l.last+1 || len(e.Runs) == 0 || e.Runs[0].FirstIndex != e.First || e.Runs[0].Term < l.LastTerm() {
		panic(fmt.Sprintf("append of entries from %d with runs %v to a log that ends at %d in term %d", e.First, e.Runs, l.last, l.LastTerm()))
	}
	for i, r := range e.Runs {
		if i == 0 && len(l.runs) > 0 && r.Term == l.LastTerm() {
			continue // continues the last run
		}
		l.runs = append(l.runs, termRun{r.FirstIndex, r.Term})
	}
	l.last = EntriesLast(e)
}

// Truncate removes the entries from index `from` on. It panics at or below the base, which is
// committed.
func (l *LogTerms) Truncate(from uint64) {
	if from <= l.base {
		panic(fmt.Sprintf("truncation from %d of a log whose base is %d, which is committed", from, l.base))
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

// Reset makes the log empty, with another base.
func (l *LogTerms) Reset(baseIndex, baseTerm uint64) {
	l.base, l.baseTerm, l.last, l.runs = baseIndex, baseTerm, baseIndex, l.runs[:0]
}

// Runs returns the terms from index `from` to `to`, which must be in the log, as a new slice.
func (l *LogTerms) Runs(from, to uint64) []*messages.TermRun {
	if from > to {
		return nil
	}
	if from <= l.base || to > l.last {
		panic(fmt.Sprintf("terms of [%d, %d], which are not all in the log [%d, %d]", from, to, l.firstIndex(), l.last))
	}
	i, j := l.findRun(from), l.findRun(to)
	runs := make([]*messages.TermRun, 0, j-i+1)
	for ; i <= j; i++ {
		runs = append(runs, &messages.TermRun{FirstIndex: max(from, l.runs[i].first), Term: l.runs[i].term})
	}
	return runs
}

// Matches is the consistency check of AppendEntries: whether the log has an entry with prevTerm at
// prevIndex (Raft §5.3). Below the base it always has: those entries are committed, so the leader
// has the same.
func (l *LogTerms) Matches(prevIndex, prevTerm uint64) bool {
	if prevIndex < l.base {
		return true
	}
	term, ok := l.Term(prevIndex)
	return ok && term == prevTerm
}

// FindConflict returns the first index of e at which the log has another term or no entry, 0 if it
// has all of e. A follower truncates and appends from there on. Without a conflict it must not
// truncate: an older AppendEntries that arrives late has fewer entries than the log (Raft §5.3: "if
// an existing entry conflicts with a new one").
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

// ConflictHint returns what a follower adds to a refusal: the term of its entry at prevIndex and
// the first index of that term; if it has no entry there, 0 and the index after its last one (end
// of Raft §5.3).
func (l *LogTerms) ConflictHint(prevIndex uint64) (conflictTerm, conflictIndex uint64) {
	switch {
	case prevIndex > l.last:
		return 0, l.last + 1
	case prevIndex <= l.base:
		return l.baseTerm, prevIndex // refused only if the base is of another log
	}
	r := l.runs[l.findRun(prevIndex)]
	return r.term, r.first
}

// NextAfterConflict returns the leader's nextIndex after a refusal with this hint, at least the
// first index of the log.
//
// The hint means: at the index of the request the follower has term T, from index F on. One leader
// made all entries of T in sequence, so T begins at the same index in every log that has it (Log
// Matching).
//
//	             F           K
//	follower  …  T T T T T T T T        the leader's log has T up to K: both agree up to K,
//	leader    …  T T T T T T T V V      nextIndex is K+1
//
//	             F
//	follower  S  T T T                  the leader's log does not have T: no entry from F on agrees,
//	leader    S  S V V                  nor one before F of a term above T; nextIndex is after the
//	                                    last entry before F of a term below T
//
// So each refusal excludes one term of the follower's log, and one more is necessary if that log is
// shorter: at most one round trip for each conflicting term, and one.
func (l *LogTerms) NextAfterConflict(conflictTerm, conflictIndex uint64) uint64 {
	if conflictTerm == 0 { // the follower has no entry there
		return l.clampNext(conflictIndex)
	}
	// above is the first run of a term above T.
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

// isUpToDate reports whether a log with this last index and term is at least as up to date as l:
// the later term is, and of two logs with the same last term the longer one (Raft §5.4.1).
func (l *LogTerms) isUpToDate(lastIndex, lastTerm uint64) bool {
	if lastTerm != l.LastTerm() {
		return lastTerm > l.LastTerm()
	}
	return lastIndex >= l.last
}
