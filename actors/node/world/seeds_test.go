package world

import (
	"flag"
	"testing"
	"time"
)

var (
	seeds = flag.Int("world.seeds", 0, "how many fresh seeds to run, from -world.first on; 0: as many as fit into the usual time")
	first = flag.Uint64("world.first", 1, "the first seed")
	steps = flag.Int("world.steps", 4000, "how many steps of misfortune a seed")
)

// budget is how long the usual run may take.
const budget = 6 * time.Second

func TestWhateverHappensRaftKeepsItsPromises(t *testing.T) {
	began := time.Now()
	var total counts
	var all, virtual = 0, time.Duration(0)
	n := *seeds
	if n == 0 {
		n = 700
	}
	done := 0
	for seed := *first; seed < *first+uint64(n); seed++ {
		if *seeds == 0 && time.Since(began) > budget {
			break
		}
		w := newWorld(seed)
		w.run(*steps)
		if w.failure != "" {
			report(t, w)
		}
		done++
		all += w.steps
		virtual += w.now
		total.add(w.counts)
	}
	t.Logf("%d seeds, %d steps, %v of virtual time in %v: %+v", done, all, virtual.Round(time.Second), time.Since(began).Round(time.Millisecond), total)
}

// kept are histories worth keeping: each found a fault, so far only ones that were put in on purpose to see whether this
// world would notice. What a seed means changes with the code that draws from it; the list is for faults that return soon.
var kept = []struct {
	seed  uint64
	found string
}{
	{1, "an append answered before its sync; applying before the commit; a vote that a step down forgot"},
	{2, "a vote that was said before it was saved; a fetch that nobody asks for again"},
	{5, "a leader that counted its own disk before the sync; a read before the first commit of the term"},
	{6, "a follower that committed beyond what it shared with the leader; a campaign without a timer"},
	{9, "the check of the entry before left out"},
	{29, "read points without a quorum"},
	{120, "the longer log taken for the newer"},
	{169, "an acknowledgement of entries that were truncated since"},
}

func TestHistoriesThatFoundAFaultOnce(t *testing.T) {
	for _, k := range kept {
		w := newWorld(k.seed)
		w.run(6000)
		if w.failure != "" {
			t.Logf("seed %d found before: %s", k.seed, k.found)
			report(t, w)
		}
	}
}

func report(t *testing.T, w *world) {
	t.Helper()
	t.Fatalf("seed %d (%s, %d members), step %d, at %v: %s\n%s\nagain: go test ./actors/node/world -run %s -world.first %d -world.seeds 1 -world.steps %d",
		w.seed, w.profile.name, w.size, w.steps, w.now, w.failure, w.trace.String(), t.Name(), w.seed, *steps)
}

func (c *counts) add(o counts) {
	c.messages += o.messages
	c.lost += o.lost
	c.doubled += o.doubled
	c.kills += o.kills
	c.actorCrashes += o.actorCrashes
	c.cuts += o.cuts
	c.others += o.others
	c.elections += o.elections
	c.writes += o.writes
	c.reads += o.reads
	c.committed += o.committed
}

func TestTheSameSeedIsTheSameHistory(t *testing.T) {
	for seed := uint64(1); seed <= 4; seed++ {
		a, b := newWorld(seed), newWorld(seed)
		a.run(2000)
		b.run(2000)
		if a.trace.hash != b.trace.hash || a.steps != b.steps || a.now != b.now {
			t.Fatalf("seed %d: %d steps until %v, then %d until %v", seed, a.steps, a.now, b.steps, b.now)
		}
	}
}
