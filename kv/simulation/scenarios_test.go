package simulation

import (
	"flag"
	"testing"

	"github.com/troupe-raft/troupe/internal/sim/world"
)

var plays = flag.Int("kv.plays", 0, "over how many seeds each scenario runs; 0: 100, or 10 with -short")

// TestKeyValueScenarios runs the scripts; troupe-sim --scenario runs them too.
func TestKeyValueScenarios(t *testing.T) {
	for _, sc := range Scenarios() {
		t.Run(sc.Name, func(t *testing.T) {
			t.Parallel()
			seeds := 100
			switch {
			case *plays > 0:
				seeds = *plays
			case testing.Short():
				seeds = 10
			}
			for seed := range uint64(seeds) {
				if err := sc.Run(world.Options{Seed: seed + 1}).Err(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}
