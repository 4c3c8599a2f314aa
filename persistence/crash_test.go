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
	crashStories = flag.Int("crash.stories", 0, "random stories in the crash enumeration; 0: a few")
	crashSeed    = flag.Uint64("crash.seed", 1, "of the first random story, and of what is drawn in all of them")
	crashWhole   = flag.Bool("crash.whole", false, "a kill and a failure at every operation, many more second crashes; takes minutes")
)

func crashLimits() limits {
	switch {
	case *crashWhole:
		return limits{all: 100_000, random: 500, secondAll: 60, secondRandom: 10, oneIn: 50, write: 1, kill: 1, fail: 1}
	case testing.Short():
		return limits{all: 40, random: 5, secondAll: 6, secondRandom: 1, oneIn: 1000, write: 6, kill: 20, fail: 40}
	}
	return limits{all: 4000, random: 100, secondAll: 20, secondRandom: 4, oneIn: 400, write: 2, kill: 4, fail: 7}
}

// tally gathers the counts of stories that are told beside each other.
type tally struct {
	mu      sync.Mutex
	counts  crashCounts
	stories int
}

// explore tells one story, with crashes and failures everywhere.
func (a *tally) explore(t *testing.T, s *story, seed uint64) {
	t.Helper()
	t.Parallel()
	l := crashLimits()
	if len(s.steps) == 0 { // the first start is told once for all
		l.kill, l.fail = 1, 1
	}
	e := newEnumerator(s, l, seed)
	err := e.run()
	for _, did := range s.does {
		if err == nil && !e.did[did] {
			err = fmt.Errorf("story %q was to do %q, and did only %v", s.name, did, e.did)
		}
	}
	for n := 1; err == nil; n += e.limits.fail {
		err = e.failure(n)
	}
	if !errors.Is(err, errNotInjected) {
		t.Errorf("seed %d: %v", seed, err)
	}
	t.Logf("%+v", e.counts)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stories++
	a.counts.add(e.counts)
}

func TestE7EveryPowerCutLeavesTheLogBeforeOrAfterTheStepInHand(t *testing.T) {
	var a tally
	t.Run("told", func(t *testing.T) {
		for i, s := range crashCases() {
			if testing.Short() && i%2 == 1 {
				continue
			}
			t.Run(s.name, func(t *testing.T) { a.explore(t, s, *crashSeed) })
		}
	})
	told := a.stories
	n := *crashStories
	if n == 0 {
		if n = 4; testing.Short() {
			n = 1
		}
	}
	t.Run("random", func(t *testing.T) {
		for i := range n {
			seed := *crashSeed + uint64(i)
			t.Run(fmt.Sprint(seed), func(t *testing.T) { a.explore(t, randomStory(seed), seed) })
		}
	})
	c := a.counts
	t.Logf("%d crash states of %d stories (%d of them random), %d of them different, at %d points (at %d of them only a part of the outcomes); %d kills, %d failed operations; "+
		"%d second crashes; %d starts", c.states, a.stories, a.stories-told, c.distinct, c.points, c.sampled, c.kills, c.failures, c.seconds, c.starts)
	if c.states < 1000 || c.seconds < 1000 {
		t.Errorf("too few to mean anything")
	}
}

// crashCases are the stories that somebody thought of.
func crashCases() []*story {
	small := func(name string, steps ...step) *story {
		return &story{name: name, first: 8 << 10, segment: 16 << 10, steps: steps}
	}
	return []*story{
		small("first start"),
		small("appends", vote(1, 1), put(1, 20), put(5, 300), put(3, 700), put(0, 0), put(1, 0)),
		small("hard state", vote(1, 7), vote(2, 0), vote(2, 5), put(2, 40), committed(1), vote(3, 0), commit(part{term: 4, vote: 1, commit: 2, n: 1, size: 600})),
		small("conflict", vote(1, 1), put(6, 90), vote(2, 3), conflict(3, 2, 200), conflict(5, 1, 10), vote(3, 0), conflict(2, 7, 30)),
		small("conflict into an earlier segment", vote(1, 1), put(4, 100), full(), put(2, 50), full(), put(3, 20), vote(2, 2), conflict(2, 1, 700), put(2, 60), step{reopen: true}, put(1, 5)).that(".new>.seg"),
		small("two truncations behind each other", vote(1, 1), put(9, 60), commit(part{term: 2, vote: 1, from: 8, n: 1, size: 40}), commit(part{term: 3, vote: 2, from: 5, n: 2, size: 40}),
			commit(part{term: 4, from: 6, n: 2, size: 30}, part{term: 5, from: 4, n: 1, size: 20}, part{term: 6, from: 5, n: 3, size: 10}), put(1, 10)),
		small("roll", vote(1, 1), full(), put(1, 50), full(), put(2, 900), leave(8), put(1, 1)).that(".new>.seg"),
		small("roll into a spare", vote(1, 1), full(), put(1, 50), step{spare: allOfIt}, full(), put(1, 60), step{spare: 1}, put(1, 5), step{spare: allOfIt}, full(), vote(2, 2)).that(".making>.spare", ".spare>.seg"),
		small("a spare outlives a restart and is taken", vote(1, 1), full(), put(1, 50), step{spare: allOfIt}, put(1, 20), step{reopen: true}, put(2, 30), step{reopen: true}).that(".spare>.seg"),
		small("a spare half made", vote(1, 1), full(), put(1, 50), step{spare: 1}, step{reopen: true}, full(), put(1, 9), step{spare: allOfIt}, step{reopen: true}).that(".making>"),
		small("roll at a hard state", vote(1, 1), leave(40), vote(2, 7), leave(40), vote(3, 0), vote(3, 4), full(), commit(part{term: 4, vote: 4, commit: 2})).that(".new>.seg"),
		small("roll at a sign of idleness", vote(1, 1), leave(40), step{rest: true}, leave(40), committed(2)).that(".new>.seg"),
		small("a batch that needs a new segment", vote(1, 1), leave(700), commit(part{n: 1, size: 300}, part{term: 2, vote: 2, n: 2, size: 400}, part{n: 1, size: 500}), put(3, 9000), put(1, 1)).that(".new>.seg"),
		small("base with later entries", vote(1, 1), put(8, 100), committed(6), rebase(4, 1, 0), put(2, 30), rebase(6, 1, 17), vote(2, 1), conflict(8, 1, 50)),
		small("base drops segments", vote(1, 1), put(3, 90), full(), put(3, 50), full(), put(2, 60), committed(7), rebase(7, 1, 9), put(1, 10), step{reopen: true}, put(1, 10)).that(".seg>"),
		small("base beyond the end", vote(1, 1), put(5, 100), full(), put(2, 100), vote(5, 0), rebase(40, 4, 3), put(2, 70), step{reopen: true}, rebase(90, 5, 4), vote(6, 6)).that(".seg>"),
		small("base that conflicts", vote(1, 1), put(5, 100), vote(3, 0), rebase(4, 2, 0), put(1, 10)),
		small("base rolls", vote(1, 1), put(2, 10), leave(60), committed(3), leave(100), rebase(3, 1, 8), put(1, 7)).that(".new>.seg", ".seg>"),
		small("idle and signs of life", vote(1, 1), step{probe: true}, put(2, 30), step{rest: true}, step{rest: true}, step{probe: true}, committed(1), committed(2), step{probe: true}, put(1, 1)),
		small("restarts", vote(1, 1), step{reopen: true}, step{reopen: true}, put(1, 30), step{reopen: true}, conflict(1, 2, 40), step{reopen: true}, step{reopen: true}, put(1, 3)),
		small("configurations", vote(1, 1), commit(part{size: configurationSize}), put(1, 30), commit(part{size: configurationSize}), vote(2, 2), commit(part{from: 3, size: configurationSize}),
			committed(2), rebase(1, 1, 1), full(), put(1, 10), step{reopen: true}, conflict(3, 1, 10)),
		{name: "everything", first: 8 << 10, segment: 32 << 10, does: []string{".new>.seg", ".spare>.seg", ".seg>"}, steps: []step{
			vote(1, 7), put(1, 20), put(5, 300), step{rest: true}, vote(2, 0), conflict(4, 2, 100), put(9, 500), put(6, 600), step{reopen: true},
			put(3, 10), conflict(2, 1, 700), committed(2), step{spare: allOfIt}, put(4, 900), step{spare: allOfIt}, put(4, 900), step{spare: allOfIt},
			put(4, 900), step{spare: allOfIt}, put(4, 900), committed(5), rebase(5, 2, 1), put(2, 40), vote(3, 9), rebase(40, 3, 0), put(2, 50), step{reopen: true},
		}},
	}
}

// randomStory is some thirty steps in an order that nobody thought of. It keeps to what Raft asks of a log.
func randomStory(seed uint64) *story {
	d := rand.New(rand.NewPCG(seed, 1))
	s := &story{name: fmt.Sprintf("random %d", seed), first: 4096 << d.IntN(3), segment: 16 << 10}
	m := &model{}
	for range 15 + d.IntN(20) {
		s.steps = append(s.steps, randomStep(d, m))
	}
	return s
}

// randomStep draws a step, and does it to the model.
func randomStep(d *rand.Rand, m *model) step {
	switch d.IntN(20) {
	case 0, 1:
		return step{spare: []int{1, allOfIt}[d.IntN(2)]}
	case 2:
		return step{reopen: true}
	case 3:
		return step{rest: true}
	case 4:
		return step{probe: true}
	case 5:
		if m.last() > m.hard.commit {
			m.hard.commit += 1 + d.Uint64N(m.last()-m.hard.commit)
		}
		return committed(m.hard.commit)
	case 6:
		if m.hard.term > 0 && (m.hard.commit > m.base || d.IntN(3) == 0) {
			return randomBase(d, m)
		}
	case 7, 8:
		if m.hard.term > 0 {
			m.append(0, 1, 1)
			return leave(1 + int64(d.IntN(3)*d.IntN(120)))
		}
	}
	var parts []part
	for range 1 + d.IntN(3)*d.IntN(2) {
		parts = append(parts, randomPart(d, m))
	}
	return commit(parts...)
}

// randomBase compacts what is committed, or takes a snapshot: of an entry not committed yet, which may conflict, or beyond
// the end.
func randomBase(d *rand.Rand, m *model) step {
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
	return step{base: &b}
}

func randomPart(d *rand.Rand, m *model) part {
	var p part
	if d.IntN(3) == 0 || m.hard.term == 0 {
		p.term, p.vote = m.hard.term+1+d.Uint64N(2), d.Uint64N(4)
		m.hard.term, m.hard.vote = p.term, p.vote
	}
	if floor := max(m.base, m.hard.commit); m.last() > floor && d.IntN(4) == 0 {
		p.from = floor + 1 + d.Uint64N(m.last()-floor)
	}
	if p.n = d.IntN(5); p.n == 0 && p.from != 0 {
		p.n = 1
	}
	if p.size = d.IntN(1 + 200<<d.IntN(4)); d.IntN(12) == 0 {
		p.n, p.size = 1, configurationSize
	}
	if p.n > 0 {
		m.append(p.from, p.n, p.size)
	}
	return p
}
