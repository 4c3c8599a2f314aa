package raft

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/troupe-raft/troupe/messages"
)

// testEntries returns noops of these terms, from index first on.
func testEntries(first uint64, terms ...uint64) *messages.Entries {
	e := &messages.Entries{First: first}
	for i, term := range terms {
		if i == 0 || terms[i-1] != term {
			e.Runs = append(e.Runs, &messages.TermRun{FirstIndex: first + uint64(i), Term: term})
		}
		e.Data = append(e.Data, EncodeNoop())
		e.Bytes++
	}
	return e
}

// logWithTerms returns a log whose entries have these terms.
func logWithTerms(terms ...uint64) *LogTerms {
	l := NewLogTerms(0, 0, 0, nil)
	l.Append(testEntries(1, terms...))
	return l
}

// modelLog is a log as a slice of terms; terms[0] is that of the base.
type modelLog struct {
	base  uint64
	terms []uint64
}

func (m *modelLog) last() uint64 { return m.base + uint64(len(m.terms)) - 1 }

func (m *modelLog) term(i uint64) (uint64, bool) {
	if i < m.base || i > m.last() {
		return 0, false
	}
	return m.terms[i-m.base], true
}

func (m *modelLog) findConflict(e *messages.Entries) uint64 {
	for i := e.First; i <= EntriesLast(e) && len(e.Data) > 0; i++ {
		if i <= m.base {
			continue
		}
		if term, ok := m.term(i); !ok || term != EntriesTerm(e, i) {
			return i
		}
	}
	return 0
}

func (m *modelLog) conflict(prev uint64) (uint64, uint64) {
	if prev > m.last() {
		return 0, m.last() + 1
	}
	term, _ := m.term(prev)
	first := prev
	for first > m.base+1 {
		if before, _ := m.term(first - 1); before != term {
			break
		}
		first--
	}
	return term, first
}

func drawTerms(t *rapid.T, from uint64) []uint64 {
	terms := make([]uint64, rapid.IntRange(0, 6).Draw(t, "entries"))
	for i := range terms {
		from += uint64(rapid.SampledFrom([]int{0, 0, 0, 1, 2}).Draw(t, "rise"))
		terms[i] = max(from, 1)
	}
	return terms
}

func TestLogTermsMatchesSliceModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		base := rapid.Uint64Range(0, 3).Draw(t, "base")
		m := &modelLog{base: base, terms: []uint64{base}}
		l := NewLogTerms(base, base, base, nil)
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) {
				terms := drawTerms(t, m.terms[len(m.terms)-1])
				l.Append(testEntries(m.last()+1, terms...))
				m.terms = append(m.terms, terms...)
			},
			"truncate": func(t *rapid.T) {
				from := rapid.Uint64Range(m.base+1, m.last()+2).Draw(t, "from")
				l.Truncate(from)
				m.terms = m.terms[:min(from-m.base, uint64(len(m.terms)))]
			},
			"recover": func(t *rapid.T) {
				l = NewLogTerms(m.base, m.terms[0], m.last(), l.Runs(l.firstIndex(), l.LastIndex()))
			},
			"reset": func(t *rapid.T) {
				if rapid.IntRange(0, 9).Draw(t, "seldom") == 0 {
					m.base, m.terms = m.last()+3, []uint64{l.LastTerm() + 1}
					l.Reset(m.base, m.terms[0])
				}
			},
			"ask about entries": func(t *rapid.T) {
				e := testEntries(rapid.Uint64Range(1, m.last()+2).Draw(t, "first"), drawTerms(t, 0)...)
				if got, want := l.FindConflict(e), m.findConflict(e); got != want {
					t.Fatalf("%v against %v: conflict at %d, want %d", e, m, got, want)
				}
			},
			"": func(t *rapid.T) { compareLogs(t, l, m) },
		})
	})
}

func compareLogs(t *rapid.T, l *LogTerms, m *modelLog) {
	if err := l.check(); err != nil {
		t.Fatalf("%+v: %v", l, err)
	}
	lastTerm, _ := m.term(m.last())
	if l.LastIndex() != m.last() || l.LastTerm() != lastTerm || l.firstIndex() != m.base+1 {
		t.Fatalf("[%d, %d] ending in term %d, want %+v", l.firstIndex(), l.LastIndex(), l.LastTerm(), m)
	}
	for i := uint64(0); i <= m.last()+2; i++ {
		term, ok := l.Term(i)
		if wantTerm, want := m.term(i); term != wantTerm || ok != want {
			t.Fatalf("term of %d is %d, %v; want %d, %v", i, term, ok, wantTerm, want)
		}
		for candidate := uint64(0); candidate <= lastTerm+1; candidate++ {
			want := i < m.base || ok && candidate == term
			if l.Matches(i, candidate) != want {
				t.Fatalf("Matches(%d, %d) is not %v in %+v", i, candidate, want, m)
			}
			want = candidate > lastTerm || candidate == lastTerm && i >= m.last()
			if l.isUpToDate(i, candidate) != want {
				t.Fatalf("UpToDate(%d, %d) is not %v with %+v", i, candidate, want, m)
			}
		}
		if i > m.base {
			ct, ci := l.ConflictHint(i)
			if wt, wi := m.conflict(i); ct != wt || ci != wi {
				t.Fatalf("Conflict(%d) is %d, %d; want %d, %d in %+v", i, ct, ci, wt, wi, m)
			}
		}
		for j := i; i > m.base && j <= m.last(); j++ {
			runs := l.Runs(i, j)
			piece := &messages.Entries{First: i, Runs: runs, Data: make([][]byte, j-i+1)}
			for k := i; k <= j; k++ {
				if want, _ := m.term(k); EntriesTerm(piece, k) != want {
					t.Fatalf("Runs(%d, %d) is %v, which gives %d another term than %d", i, j, runs, k, want)
				}
			}
			if err := checkRuns(piece); err != nil {
				t.Fatalf("Runs(%d, %d): %v", i, j, err)
			}
		}
	}
}

// Raft §5.3: "If the follower does not find an entry in its log with the same index and term, then
// it refuses the new entries." The followers are those of Figure 7.
func TestFigure7ConflictHints(t *testing.T) {
	leader := logWithTerms(1, 1, 1, 4, 4, 5, 5, 6, 6, 6)
	for _, c := range []struct {
		name                        string
		log                         *LogTerms
		matches                     bool // (10, 6)
		conflictTerm, conflictIndex uint64
		next                        uint64
	}{
		{"a: one entry missing", logWithTerms(1, 1, 1, 4, 4, 5, 5, 6, 6), false, 0, 10, 10},
		{"b: many missing", logWithTerms(1, 1, 1, 4), false, 0, 5, 5},
		{"c: one more", logWithTerms(1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6), true, 0, 0, 0},
		{"d: a later term", logWithTerms(1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7), true, 0, 0, 0},
		{"e: a longer common term", logWithTerms(1, 1, 1, 4, 4, 4, 4), false, 0, 8, 8},
		{"f: two terms of its own", logWithTerms(1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3), false, 3, 7, 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := c.log.Matches(10, 6); got != c.matches {
				t.Fatalf("matches: %v", got)
			}
			if c.matches {
				return
			}
			term, index := c.log.ConflictHint(10)
			if term != c.conflictTerm || index != c.conflictIndex {
				t.Fatalf("hint %d, %d; want %d, %d", term, index, c.conflictTerm, c.conflictIndex)
			}
			if next := leader.NextAfterConflict(term, index); next != c.next {
				t.Fatalf("nextIndex %d, want %d", next, c.next)
			}
		})
	}
	// The second request to e, at (7, 5): it has term 4 there, which the leader has up to 5.
	e := logWithTerms(1, 1, 1, 4, 4, 4, 4)
	if term, index := e.ConflictHint(7); leader.NextAfterConflict(term, index) != 6 {
		t.Fatalf("after the hint %d, %d: nextIndex %d", term, index, leader.NextAfterConflict(term, index))
	}
}

// Raft §5.3: "If an existing entry conflicts with a new one (same index but different terms),
// delete the existing entry and all that follow it." An older, shorter AppendEntries that arrives
// late does not conflict.
func TestOldAppendEntriesHasNoConflict(t *testing.T) {
	log := logWithTerms(1, 1, 2, 2, 2)
	for _, c := range []struct {
		e    *messages.Entries
		want uint64
	}{
		{testEntries(2, 1, 2), 0},
		{testEntries(1, 1, 1, 2, 2, 2), 0},
		{testEntries(6, 2), 6},
		{testEntries(4, 2, 2, 2), 6},
		{testEntries(4, 2, 3), 5},
		{testEntries(3, 3, 3), 3},
		{&messages.Entries{First: 9}, 0},
	} {
		if got := log.FindConflict(c.e); got != c.want {
			t.Errorf("%v: conflict at %d, want %d", c.e, got, c.want)
		}
	}
}

func TestLogTermsPanicsOnBrokenInvariants(t *testing.T) {
	runs := func(pairs ...uint64) (runs []*messages.TermRun) {
		for i := 0; i < len(pairs); i += 2 {
			runs = append(runs, &messages.TermRun{FirstIndex: pairs[i], Term: pairs[i+1]})
		}
		return runs
	}
	for name, f := range map[string]func(){
		"a gap":                         func() { logWithTerms(1).Append(testEntries(3, 1)) },
		"an overlap":                    func() { logWithTerms(1, 1).Append(testEntries(2, 1)) },
		"a lower term":                  func() { logWithTerms(1, 2).Append(testEntries(3, 1)) },
		"runs of other entries":         func() { logWithTerms(1).Append(&messages.Entries{First: 2, Data: [][]byte{{2}}, Runs: runs(3, 1)}) },
		"truncation of the base":        func() { NewLogTerms(4, 2, 4, nil).Truncate(4) },
		"last before base":              func() { NewLogTerms(4, 2, 3, nil) },
		"no runs for entries":           func() { NewLogTerms(0, 0, 3, nil) },
		"runs for no entries":           func() { NewLogTerms(3, 1, 3, runs(4, 1)) },
		"a run after the first index":   func() { NewLogTerms(0, 0, 3, runs(2, 1)) },
		"a first run below the base":    func() { NewLogTerms(4, 3, 5, runs(5, 2)) },
		"a run of term 0":               func() { NewLogTerms(0, 0, 1, runs(1, 0)) },
		"runs that do not ascend":       func() { NewLogTerms(0, 0, 5, runs(1, 2, 3, 2)) },
		"runs at the same index":        func() { NewLogTerms(0, 0, 5, runs(1, 2, 1, 3)) },
		"a run after the last":          func() { NewLogTerms(0, 0, 5, runs(1, 2, 6, 3)) },
		"terms above the last index":    func() { logWithTerms(1, 1).Runs(2, 3) },
		"a slice above the last index":  func() { SliceEntries(testEntries(2, 1), 3, 1) },
		"a term below the first index":  func() { EntriesTerm(testEntries(2, 1), 1) },
		"a commit above the last index": func() { CommitIndex(Quorum{Incoming: Majority{1}}, constant(3), 0, 1, logWithTerms(1)) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Fatal("no panic")
				}
			}()
			f()
		})
	}
}

func drawCompactedLog(t *rapid.T, terms []uint64, agree int) *LogTerms {
	return compactLog(terms, rapid.IntRange(0, agree).Draw(t, "base"))
}

func compactLog(terms []uint64, base int) *LogTerms {
	l := NewLogTerms(uint64(base), append([]uint64{0}, terms...)[base], uint64(base), nil)
	l.Append(testEntries(uint64(base)+1, terms[base:]...))
	return l
}

// A wrong hint does not lead out of the log.
func TestNextAfterConflictStaysInTheLog(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		terms := drawTerms(t, 1)
		l := drawCompactedLog(t, terms, len(terms))
		next := l.NextAfterConflict(rapid.Uint64Range(0, 20).Draw(t, "term"), rapid.OneOf(rapid.Uint64Range(0, 12), rapid.Uint64()).Draw(t, "index"))
		if next < l.firstIndex() || next > l.LastIndex()+1 {
			t.Fatalf("next %d of a log [%d, %d]", next, l.firstIndex(), l.LastIndex())
		}
	})
}

// Raft §5.4.1: "If the logs have last entries with different terms, then the log with the later
// term is more up-to-date. If the logs end with the same term, then whichever log is longer is more
// up-to-date."
func TestUpToDateComparesTermThenLength(t *testing.T) {
	l := logWithTerms(1, 2, 2)
	for _, c := range []struct {
		index, term uint64
		want        bool
	}{{3, 2, true}, {4, 2, true}, {2, 2, false}, {1, 3, true}, {9, 1, false}} {
		if l.isUpToDate(c.index, c.term) != c.want {
			t.Errorf("(%d, %d): not %v", c.index, c.term, c.want)
		}
	}
}

func TestAppendInSameTermAllocatesNothing(t *testing.T) {
	l := logWithTerms(1, 1)
	e := testEntries(3, 1, 1)
	if n := testing.AllocsPerRun(100, func() {
		l.Append(e)
		l.Truncate(3)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
