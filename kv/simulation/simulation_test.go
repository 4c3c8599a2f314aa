package simulation

import (
	"flag"
	"testing"
	"time"

	"github.com/troupe-raft/troupe/internal/sim/world"
)

var seeds = flag.Int("kv.seeds", 0, "how many seeds of each profile to run; 0: as many as fit into the usual time")

const (
	// seedsBudget is how long the usual run of a profile may take.
	seedsBudget = 5 * time.Second
	// leastSeeds are run on a slow machine too: of few seeds, each may do little.
	leastSeeds = 20
)

func TestKeyValueStoreViolatesNoInvariant(t *testing.T) {
	for _, p := range Profiles {
		t.Run(p.Name, func(t *testing.T) {
			began := time.Now()
			var total world.Counts
			var virtual time.Duration
			done := 0
			for ; *seeds == 0 && (done < leastSeeds || time.Since(began) < seedsBudget) || done < *seeds; done++ {
				r := world.Run(world.Options{Seed: uint64(done + 1), Profile: p})
				if err := r.Err(); err != nil {
					t.Fatal(err)
				}
				virtual += r.Virtual
				total.Add(&r.Counts)
			}
			took := time.Since(began)
			t.Logf("%d seeds, %v of virtual time in %v, %.0f messages handled a second: %+v", done, virtual.Round(time.Second),
				took.Round(time.Millisecond), float64(total.Handled)/took.Seconds(), total)
			if c := total; c.AnsweredCalls < 10*done || c.WatchEvents < 10*done || c.WatchStreams < done {
				t.Errorf("little happened: %+v", c)
			}
		})
	}
}

func TestSameSeedGivesTheSameHistory(t *testing.T) {
	for seed := range uint64(6) {
		o := world.Options{Seed: seed, Profile: Profiles[len(Profiles)-1], Steps: 3000}
		a, b := world.Run(o), world.Run(o)
		if a.Hash != b.Hash || a.Steps != b.Steps || a.Virtual != b.Virtual || a.Counts != b.Counts {
			t.Fatalf("seed %d: %d steps until %v, %+v, then %d until %v, %+v", seed,
				a.Steps, a.Virtual, a.Counts, b.Steps, b.Virtual, b.Counts)
		}
	}
}
