package persistence

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
)

var (
	crashWorkloads = flag.Int("crash.workloads", 0, "number of random workloads in the crash enumeration; 0: a few")
	crashSeed      = flag.Uint64("crash.seed", 1, "seed of the first random workload and of all random choices")
	crashWhole     = flag.Bool("crash.whole", false, "try a kill and a failure at every operation and many more second crashes; takes minutes")
)

func defaultCrashLimits() crashLimits {
	switch {
	case *crashWhole:
		return crashLimits{maxProduct: 100_000, randomOutcomes: 500, secondMaxProduct: 60, secondRandomOutcomes: 10, secondOneIn: 50, writeOneIn: 1, killOneIn: 1, failOneIn: 1}
	case testing.Short():
		return crashLimits{maxProduct: 40, randomOutcomes: 5, secondMaxProduct: 6, secondRandomOutcomes: 1, secondOneIn: 1000, writeOneIn: 6, killOneIn: 20, failOneIn: 40}
	}
	return crashLimits{maxProduct: 4000, randomOutcomes: 100, secondMaxProduct: 20, secondRandomOutcomes: 4, secondOneIn: 400, writeOneIn: 2, killOneIn: 4, failOneIn: 7}
}

// crashTally adds up the counts of workloads that run in parallel.
type crashTally struct {
	mu        sync.Mutex
	counts    crashCounts
	workloads int
}

// runWorkload runs one workload, with crashes and failures everywhere.
func (a *crashTally) runWorkload(t *testing.T, s *crashWorkload, seed uint64) {
	t.Helper()
	t.Parallel()
	l := defaultCrashLimits()
	if len(s.steps) == 0 { // the first start runs once for all workloads
		l.killOneIn, l.failOneIn = 1, 1
	}
	e := newCrashEnumerator(s, l, seed)
	err := e.run()
	for _, did := range s.requiredOps {
		if err == nil && !e.fileOps[did] {
			err = fmt.Errorf("workload %q must cause %q, and caused only %v", s.name, did, e.fileOps)
		}
	}
	for n := 1; err == nil; n += e.limits.failOneIn {
		err = e.runWithFailure(n)
	}
	if !errors.Is(err, errNotInjected) {
		t.Errorf("seed %d: %v", seed, err)
	}
	t.Logf("%+v", e.counts)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.workloads++
	a.counts.add(e.counts)
}

func TestE7PowerCutLeavesLogBeforeOrAfterTheStep(t *testing.T) {
	var a crashTally
	t.Run("handwritten", func(t *testing.T) {
		for i, s := range handwrittenWorkloads() {
			if testing.Short() && i%2 == 1 {
				continue
			}
			t.Run(s.name, func(t *testing.T) { a.runWorkload(t, s, *crashSeed) })
		}
	})
	handwritten := a.workloads
	n := *crashWorkloads
	if n == 0 {
		if n = 4; testing.Short() {
			n = 1
		}
	}
	t.Run("random", func(t *testing.T) {
		for i := range n {
			seed := *crashSeed + uint64(i)
			t.Run(fmt.Sprint(seed), func(t *testing.T) { a.runWorkload(t, randomWorkload(seed), seed) })
		}
	})
	c := a.counts
	t.Logf("%d crash states of %d workloads (%d of them random), %d of them different, at %d points (at %d of them only a part of the outcomes); %d kills, %d failed operations; "+
		"%d second crashes; %d starts", c.states, a.workloads, a.workloads-handwritten, c.distinct, c.points, c.sampled, c.kills, c.failures, c.seconds, c.starts)
	if c.states < 1000 || c.seconds < 1000 {
		t.Errorf("too few to mean anything")
	}
}

// handwrittenWorkloads returns workloads for the known cases.
func handwrittenWorkloads() []*crashWorkload {
	small := func(name string, steps ...workloadStep) *crashWorkload {
		return &crashWorkload{name: name, firstSegmentBytes: 8 << 10, segmentBytes: 16 << 10, steps: steps}
	}
	return []*crashWorkload{
		small("first start"),
		small("appends", voteStep(1, 1), appendStep(1, 20), appendStep(5, 300), appendStep(3, 700), appendStep(0, 0), appendStep(1, 0)),
		small("hard state", voteStep(1, 7), voteStep(2, 0), voteStep(2, 5), appendStep(2, 40), commitIndexStep(1), voteStep(3, 0), commitStep(addCall{term: 4, vote: 1, commit: 2, entryCount: 1, entrySize: 600})),
		small("conflict", voteStep(1, 1), appendStep(6, 90), voteStep(2, 3), conflictStep(3, 2, 200), conflictStep(5, 1, 10), voteStep(3, 0), conflictStep(2, 7, 30)),
		small("conflict into an earlier segment", voteStep(1, 1), appendStep(4, 100), fillStep(), appendStep(2, 50), fillStep(), appendStep(3, 20), voteStep(2, 2), conflictStep(2, 1, 700), appendStep(2, 60), workloadStep{reopen: true}, appendStep(1, 5)).requires(".new>.seg"),
		small("two truncations in a row", voteStep(1, 1), appendStep(9, 60), commitStep(addCall{term: 2, vote: 1, truncateFrom: 8, entryCount: 1, entrySize: 40}), commitStep(addCall{term: 3, vote: 2, truncateFrom: 5, entryCount: 2, entrySize: 40}),
			commitStep(addCall{term: 4, truncateFrom: 6, entryCount: 2, entrySize: 30}, addCall{term: 5, truncateFrom: 4, entryCount: 1, entrySize: 20}, addCall{term: 6, truncateFrom: 5, entryCount: 3, entrySize: 10}), appendStep(1, 10)),
		small("roll", voteStep(1, 1), fillStep(), appendStep(1, 50), fillStep(), appendStep(2, 900), fillToStep(8), appendStep(1, 1)).requires(".new>.seg"),
		small("roll into a spare", voteStep(1, 1), fillStep(), appendStep(1, 50), workloadStep{spareChunks: untilReady}, fillStep(), appendStep(1, 60), workloadStep{spareChunks: 1}, appendStep(1, 5), workloadStep{spareChunks: untilReady}, fillStep(), voteStep(2, 2)).requires(".making>.spare", ".spare>.seg"),
		small("a spare is used after a restart", voteStep(1, 1), fillStep(), appendStep(1, 50), workloadStep{spareChunks: untilReady}, appendStep(1, 20), workloadStep{reopen: true}, appendStep(2, 30), workloadStep{reopen: true}).requires(".spare>.seg"),
		small("a partial spare", voteStep(1, 1), fillStep(), appendStep(1, 50), workloadStep{spareChunks: 1}, workloadStep{reopen: true}, fillStep(), appendStep(1, 9), workloadStep{spareChunks: untilReady}, workloadStep{reopen: true}).requires(".making>"),
		small("roll at a hard state", voteStep(1, 1), fillToStep(40), voteStep(2, 7), fillToStep(40), voteStep(3, 0), voteStep(3, 4), fillStep(), commitStep(addCall{term: 4, vote: 4, commit: 2})).requires(".new>.seg"),
		small("roll at an idle frame", voteStep(1, 1), fillToStep(40), workloadStep{idleOnly: true}, fillToStep(40), commitIndexStep(2)).requires(".new>.seg"),
		small("a batch that needs a new segment", voteStep(1, 1), fillToStep(700), commitStep(addCall{entryCount: 1, entrySize: 300}, addCall{term: 2, vote: 2, entryCount: 2, entrySize: 400}, addCall{entryCount: 1, entrySize: 500}), appendStep(3, 9000), appendStep(1, 1)).requires(".new>.seg"),
		small("base with later entries", voteStep(1, 1), appendStep(8, 100), commitIndexStep(6), rebaseStep(4, 1, 0), appendStep(2, 30), rebaseStep(6, 1, 17), voteStep(2, 1), conflictStep(8, 1, 50)),
		small("base drops segments", voteStep(1, 1), appendStep(3, 90), fillStep(), appendStep(3, 50), fillStep(), appendStep(2, 60), commitIndexStep(7), rebaseStep(7, 1, 9), appendStep(1, 10), workloadStep{reopen: true}, appendStep(1, 10)).requires(".seg>"),
		small("base beyond the end", voteStep(1, 1), appendStep(5, 100), fillStep(), appendStep(2, 100), voteStep(5, 0), rebaseStep(40, 4, 3), appendStep(2, 70), workloadStep{reopen: true}, rebaseStep(90, 5, 4), voteStep(6, 6)).requires(".seg>"),
		small("base that conflicts", voteStep(1, 1), appendStep(5, 100), voteStep(3, 0), rebaseStep(4, 2, 0), appendStep(1, 10)),
		small("base rolls", voteStep(1, 1), appendStep(2, 10), fillToStep(60), commitIndexStep(3), fillToStep(100), rebaseStep(3, 1, 8), appendStep(1, 7)).requires(".new>.seg", ".seg>"),
		small("idle frames and probes", voteStep(1, 1), workloadStep{probe: true}, appendStep(2, 30), workloadStep{idleOnly: true}, workloadStep{idleOnly: true}, workloadStep{probe: true}, commitIndexStep(1), commitIndexStep(2), workloadStep{probe: true}, appendStep(1, 1)),
		small("restarts", voteStep(1, 1), workloadStep{reopen: true}, workloadStep{reopen: true}, appendStep(1, 30), workloadStep{reopen: true}, conflictStep(1, 2, 40), workloadStep{reopen: true}, workloadStep{reopen: true}, appendStep(1, 3)),
		small("configurations", voteStep(1, 1), commitStep(addCall{entrySize: configurationSize}), appendStep(1, 30), commitStep(addCall{entrySize: configurationSize}), voteStep(2, 2), commitStep(addCall{truncateFrom: 3, entrySize: configurationSize}),
			commitIndexStep(2), rebaseStep(1, 1, 1), fillStep(), appendStep(1, 10), workloadStep{reopen: true}, conflictStep(3, 1, 10)),
		{name: "everything", firstSegmentBytes: 8 << 10, segmentBytes: 32 << 10, requiredOps: []string{".new>.seg", ".spare>.seg", ".seg>"}, steps: []workloadStep{
			voteStep(1, 7), appendStep(1, 20), appendStep(5, 300), workloadStep{idleOnly: true}, voteStep(2, 0), conflictStep(4, 2, 100), appendStep(9, 500), appendStep(6, 600), workloadStep{reopen: true},
			appendStep(3, 10), conflictStep(2, 1, 700), commitIndexStep(2), workloadStep{spareChunks: untilReady}, appendStep(4, 900), workloadStep{spareChunks: untilReady}, appendStep(4, 900), workloadStep{spareChunks: untilReady},
			appendStep(4, 900), workloadStep{spareChunks: untilReady}, appendStep(4, 900), commitIndexStep(5), rebaseStep(5, 2, 1), appendStep(2, 40), voteStep(3, 9), rebaseStep(40, 3, 0), appendStep(2, 50), workloadStep{reopen: true},
		}},
	}
}

// randomWorkload returns some thirty random steps, in an order that Raft may ask for.
func randomWorkload(seed uint64) *crashWorkload {
	d := rand.New(rand.NewPCG(seed, 1))
	s := &crashWorkload{name: fmt.Sprintf("random %d", seed), firstSegmentBytes: 4096 << d.IntN(3), segmentBytes: 16 << 10}
	m := &logModel{}
	for range 15 + d.IntN(20) {
		s.steps = append(s.steps, randomStep(d, m))
	}
	return s
}

// randomStep draws a step and applies it to the model.
func randomStep(d *rand.Rand, m *logModel) workloadStep {
	switch d.IntN(20) {
	case 0, 1:
		return workloadStep{spareChunks: []int{1, untilReady}[d.IntN(2)]}
	case 2:
		return workloadStep{reopen: true}
	case 3:
		return workloadStep{idleOnly: true}
	case 4:
		return workloadStep{probe: true}
	case 5:
		if m.last() > m.hard.commit {
			m.hard.commit += 1 + d.Uint64N(m.last()-m.hard.commit)
		}
		return commitIndexStep(m.hard.commit)
	case 6:
		if m.hard.term > 0 && (m.hard.commit > m.base || d.IntN(3) == 0) {
			return randomBase(d, m)
		}
	case 7, 8:
		if m.hard.term > 0 {
			m.append(0, 1, 1)
			return fillToStep(1 + int64(d.IntN(3)*d.IntN(120)))
		}
	}
	var parts []addCall
	for range 1 + d.IntN(3)*d.IntN(2) {
		parts = append(parts, randomAddCall(d, m))
	}
	return commitStep(parts...)
}

// randomBase compacts committed entries, or installs a snapshot: of an uncommitted entry, which may
// conflict, or beyond the end.
func randomBase(d *rand.Rand, m *logModel) workloadStep {
	b := baseStep{configuration: d.Uint64N(3)}
	floor := max(m.base, m.hard.commit)
	switch {
	case m.hard.commit > m.base && d.IntN(3) > 0:
		b.index = m.base + 1 + d.Uint64N(m.hard.commit-m.base)
		b.term = m.terms[b.index-m.base-1]
	case m.last() > floor && d.IntN(2) == 0:
		b.index, b.term = floor+1+d.Uint64N(m.last()-floor), m.hard.term
	default:
		b.index, b.term = m.last()+1+d.Uint64N(9), m.hard.term
	}
	m.rebase(b.index, b.term)
	return workloadStep{base: &b}
}

func randomAddCall(d *rand.Rand, m *logModel) addCall {
	var p addCall
	if d.IntN(3) == 0 || m.hard.term == 0 {
		p.term, p.vote = m.hard.term+1+d.Uint64N(2), d.Uint64N(4)
		m.hard.term, m.hard.vote = p.term, p.vote
	}
	if floor := max(m.base, m.hard.commit); m.last() > floor && d.IntN(4) == 0 {
		p.truncateFrom = floor + 1 + d.Uint64N(m.last()-floor)
	}
	if p.entryCount = d.IntN(5); p.entryCount == 0 && p.truncateFrom != 0 {
		p.entryCount = 1
	}
	if p.entrySize = d.IntN(1 + 200<<d.IntN(4)); d.IntN(12) == 0 {
		p.entryCount, p.entrySize = 1, configurationSize
	}
	if p.entryCount > 0 {
		m.append(p.truncateFrom, p.entryCount, p.entrySize)
	}
	return p
}
