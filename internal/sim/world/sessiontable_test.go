package world

import (
	"testing"

	"github.com/troupe-raft/troupe/internal/sim/fault"
)

// In the worlds with a small session table, sessions and replies are evicted that clients still
// need, and all members evict the same.
func TestSmallSessionTablesEvict(t *testing.T) {
	network, err := fault.FindProfile("network")
	if err != nil {
		t.Fatal(err)
	}
	evicted := 0
	for seed := uint64(3); seed < 60; seed += 4 {
		w := RunWorld(Options{Seed: seed, Profile: network, Steps: 3000})
		check(t, w.Result())
		if w.SessionTable != SmallSessionTable {
			t.Fatalf("seed %d has the session table of production", seed)
		}
		evicted += w.History.Evicted
	}
	if evicted == 0 {
		t.Error("no outcome was unknown: nothing was evicted that mattered")
	}
}
