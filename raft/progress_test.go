package raft

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestE42NextIndexStaysAboveMatchIndex(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := NewProgress(rapid.Uint64Range(0, 10).Draw(t, "last"))
		index := rapid.Uint64Range(0, 15)
		t.Repeat(map[string]func(*rapid.T){
			"accepted": func(t *rapid.T) {
				before, i := p, index.Draw(t, "index")
				if p.RecordAccepted(i) != (i > before.Match) {
					t.Fatalf("%+v after acknowledgement of %d: wrong result", before, i)
				}
				if p.Match != max(before.Match, i) || p.Next < before.Next {
					t.Fatalf("%+v becomes %+v by acknowledgement of %d", before, p, i)
				}
			},
			"refused": func(t *rapid.T) {
				before, prev := p, index.Draw(t, "prev")
				moved := p.RecordRefused(prev, index.Draw(t, "hint"))
				if moved != (p != before) || p.Match != before.Match || moved && p.Next >= before.Next {
					t.Fatalf("%+v becomes %+v by refusal of %d", before, p, prev)
				}
				if moved && prev != before.Next-1 {
					t.Fatalf("an old refusal of %d moved %+v", prev, before)
				}
			},
			"sent":   func(t *rapid.T) { p.RecordSent(index.Draw(t, "through")) },
			"rewind": func(t *rapid.T) { p.Rewind(index.Draw(t, "next")) },
			"": func(t *rapid.T) {
				if p.Next <= p.Match {
					t.Fatalf("%+v", p)
				}
			},
		})
	})
}

func TestE42OldResponsesChangeNothing(t *testing.T) {
	p := NewProgress(10)
	if p != (Progress{Match: 0, Next: 11}) {
		t.Fatalf("a new leader begins with %+v (Figure 2: nextIndex is last log index + 1, matchIndex 0)", p)
	}
	step := func(what string, moved, wantMoved bool, want Progress) {
		t.Helper()
		if moved != wantMoved || p != want {
			t.Fatalf("%s: %v, %+v; want %v, %+v", what, moved, p, wantMoved, want)
		}
	}
	step("refusal of 10", p.RecordRefused(10, 6), true, Progress{0, 6})
	step("the same again", p.RecordRefused(10, 6), false, Progress{0, 6})
	step("a hint upwards", p.RecordRefused(5, 9), true, Progress{0, 5})
	step("acknowledgement of 7", p.RecordAccepted(7), true, Progress{7, 8})
	step("the same again", p.RecordAccepted(7), false, Progress{7, 8})
	step("an older one", p.RecordAccepted(3), false, Progress{7, 8})
	step("refusal of what is acknowledged", p.RecordRefused(7, 2), false, Progress{7, 8})
	p.RecordSent(12)
	step("sent optimistically", true, true, Progress{7, 13})
	p.RecordSent(9)
	step("an older one sent again", true, true, Progress{7, 13})
	step("acknowledgement of 9 keeps next", p.RecordAccepted(9), true, Progress{9, 13})
	p.Rewind(11)
	step("rewound", true, true, Progress{9, 11})
	p.Rewind(20)
	step("not forward", true, true, Progress{9, 11})
	p.Rewind(1)
	step("not before what is acknowledged", true, true, Progress{9, 10})
}

func TestE43InflightWindowMatchesListModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		messages, maxBytes := rapid.IntRange(1, 5).Draw(t, "messages"), rapid.Uint64Range(0, 40).Draw(t, "bytes")
		w := NewInflightWindow(messages, maxBytes)
		var list []inflightMessage
		last := uint64(0)
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				if w.Full() {
					t.Skip("full")
				}
				last += rapid.Uint64Range(0, 3).Draw(t, "entries")
				bytes := rapid.Uint64Range(0, 20).Draw(t, "bytes")
				w.Add(last, bytes)
				list = append(list, inflightMessage{last, bytes})
			},
			"free": func(t *rapid.T) {
				index := rapid.Uint64Range(0, last+2).Draw(t, "index")
				w.FreeThrough(index)
				for len(list) > 0 && list[0].lastIndex <= index {
					list = list[1:]
				}
			},
			"reset": func(t *rapid.T) {
				w.Reset()
				list, last = nil, 0
			},
			"": func(t *rapid.T) {
				sum := uint64(0)
				for _, f := range list {
					sum += f.bytes
				}
				full := len(list) == messages || len(list) > 0 && sum >= maxBytes
				if w.Len() != len(list) || w.Bytes() != sum || w.Full() != full {
					t.Fatalf("%d messages of %d bytes, full %v; want %v", w.Len(), w.Bytes(), w.Full(), list)
				}
			},
		})
	})
}

func TestInflightWindowAllocationsAndPanics(t *testing.T) {
	w := NewInflightWindow(4, 1000)
	index := uint64(0)
	if n := testing.AllocsPerRun(100, func() {
		index++
		w.Add(index, 10)
		w.FreeThrough(index - 2)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	for name, f := range map[string]func(){
		"too many messages": func() {
			w := NewInflightWindow(1, 1)
			w.Add(1, 1)
			w.Add(2, 1)
		},
		"a descending index": func() {
			w := NewInflightWindow(2, 9)
			w.Add(2, 1)
			w.Add(1, 1)
		},
		"a size of 0": func() { NewInflightWindow(0, 1) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			f()
		}()
	}
}

// drawReplicatedLogs draws logs as replication makes them: in each term one leader appends to its
// log, and others copy a prefix of it. Log Matching holds whether or not the elections were
// correct.
func drawReplicatedLogs(t *rapid.T) [][]uint64 {
	logs := make([][]uint64, 4)
	term := uint64(0)
	for range rapid.IntRange(1, 12).Draw(t, "terms") {
		term++
		leader := rapid.IntRange(0, len(logs)-1).Draw(t, "leader")
		for range rapid.IntRange(1, 4).Draw(t, "appended") {
			logs[leader] = append(slices.Clip(logs[leader]), term)
		}
		for follower := range logs {
			if rapid.Bool().Draw(t, "copies") {
				through := rapid.IntRange(0, len(logs[leader])).Draw(t, "through")
				if through > commonPrefix(logs[leader], logs[follower]) {
					logs[follower] = slices.Clone(logs[leader][:through])
				}
			}
		}
	}
	return logs
}

func commonPrefix(a, b []uint64) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

func TestProbingTakesOneRoundTripPerTerm(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		logs := drawReplicatedLogs(t)
		leaderTerms, followerTerms := logs[0], logs[1]
		agree := commonPrefix(leaderTerms, followerTerms)
		// Each log may have been compacted, up to what both have.
		leader, follower := drawCompactedLog(t, leaderTerms, agree), drawCompactedLog(t, followerTerms, agree)
		conflicting := len(slices.Compact(slices.Clone(followerTerms[agree:])))

		p := NewProgress(leader.LastIndex())
		refusals := probeUntilMatch(t, &p, leader, follower)
		if int(p.Next-1) > agree {
			t.Fatalf("agreement found at %d, but the logs agree only up to %d", p.Next-1, agree)
		}
		if refusals > conflicting+1 {
			t.Fatalf("%d refusals for %d conflicting terms\nleader   %v\nfollower %v", refusals, conflicting, leaderTerms, followerTerms)
		}
	})
}

// The bound above is reached if the terms of the two logs interleave: a hint about one term
// contains nothing about the term before. If all terms of the leader are later, one refusal is
// enough.
func TestProbingRoundTripsOfInterleavedTerms(t *testing.T) {
	for _, c := range []struct {
		leader, follower []uint64
		refusals         int
	}{
		{[]uint64{1, 1, 1}, []uint64{1, 1, 1}, 0},
		{[]uint64{1, 9, 9, 9, 9}, []uint64{1, 2, 3, 4, 5}, 1},
		{[]uint64{1, 9, 9, 9, 9}, []uint64{1, 3, 3, 3, 3}, 1},
		{[]uint64{1, 2, 2, 4, 4, 6, 6}, []uint64{1, 3, 3, 5, 5, 7, 7}, 3},
		{[]uint64{1, 2, 2, 4, 4, 6, 6, 8, 8}, []uint64{1, 3, 3, 5, 5, 7}, 4}, // one more, for the shorter log
	} {
		leader, follower := compactLog(c.leader, 0), compactLog(c.follower, 0)
		p := NewProgress(leader.LastIndex())
		if got := probeUntilMatch(t, &p, leader, follower); got != c.refusals {
			t.Errorf("%d refusals, not %d\nleader   %v\nfollower %v", got, c.refusals, c.leader, c.follower)
		}
	}
}

// probeUntilMatch sends requests as a Replicator does until one matches, and returns the number of
// refusals.
func probeUntilMatch(t interface{ Fatalf(string, ...any) }, p *Progress, leader, follower *LogTerms) (refusals int) {
	for {
		prev := p.Next - 1
		prevTerm, ok := leader.Term(prev)
		if !ok {
			t.Fatalf("nextIndex %d, below the leader's first index %d", p.Next, leader.firstIndex())
		}
		if follower.Matches(prev, prevTerm) {
			return refusals
		}
		refusals++
		hintTerm, hintIndex := follower.ConflictHint(prev)
		if !p.RecordRefused(prev, leader.NextAfterConflict(hintTerm, hintIndex)) {
			t.Fatalf("the refusal of %d did not change nextIndex", prev)
		}
	}
}
