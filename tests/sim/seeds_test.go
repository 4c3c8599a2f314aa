package sim_test

import (
	"flag"
	"testing"
	"time"

	"github.com/troupe-raft/troupe/internal/sim/fault"
	"github.com/troupe-raft/troupe/internal/sim/scenario"
	"github.com/troupe-raft/troupe/internal/sim/world"
)

var (
	seeds = flag.Int("sim.seeds", 0, "how many fresh seeds of each profile to run; 0: as many as fit into the usual time")
	first = flag.Uint64("sim.first", 1, "the first seed")
	plays = flag.Int("sim.plays", 0, "over how many seeds each scenario runs; 0: 100, or fewer where a scenario says so or with -short")
)

// seedsBudget is how long the usual run of all profiles may take.
const seedsBudget = 12 * time.Second

func TestProfilesViolateNoInvariant(t *testing.T) {
	for _, p := range fault.Profiles {
		t.Run(p.Name, func(t *testing.T) {
			began := time.Now()
			var total world.Counts
			var virtual time.Duration
			done := 0
			for ; *seeds == 0 || done < *seeds; done++ {
				if *seeds == 0 && time.Since(began) > seedsBudget/time.Duration(len(fault.Profiles)) {
					break
				}
				r := world.Run(world.Options{Seed: *first + uint64(done), Profile: p})
				check(t, r)
				virtual += r.Virtual
				total.Add(&r.Counts)
			}
			took := time.Since(began)
			t.Logf("%d seeds, %v of virtual time in %v, %.0f messages handled a second: %+v", done, virtual.Round(time.Second),
				took.Round(time.Millisecond), float64(total.Handled)/took.Seconds(), total)
		})
	}
}

// scenarioSeeds returns over how many seeds a scenario runs.
func scenarioSeeds(sc scenario.Scenario) uint64 {
	switch {
	case *plays > 0:
		return uint64(*plays)
	case testing.Short():
		return 10
	case sc.Seeds > 0:
		return uint64(sc.Seeds)
	}
	return 100
}

func TestScenarios(t *testing.T) {
	for _, sc := range scenario.Scenarios() {
		t.Run(sc.Name, func(t *testing.T) {
			t.Parallel()
			for seed := uint64(1); seed <= scenarioSeeds(sc); seed++ {
				check(t, sc.Run(world.Options{Seed: seed}))
			}
		})
	}
}

func TestSameSeedGivesTheSameHistory(t *testing.T) {
	for seed := uint64(1); seed <= 4; seed++ {
		o := world.Options{Seed: seed, Profile: fault.Profiles[len(fault.Profiles)-1], Steps: 2000}
		a, b := world.Run(o), world.Run(o)
		if a.Hash != b.Hash || a.Steps != b.Steps || a.Virtual != b.Virtual {
			t.Fatalf("seed %d: %d steps until %v, then %d until %v", seed, a.Steps, a.Virtual, b.Steps, b.Virtual)
		}
	}
}

func check(t *testing.T, r *world.Result) {
	t.Helper()
	if err := r.Err(); err != nil {
		t.Fatal(err)
	}
}
