package scenario

import (
	"strings"
	"testing"

	"github.com/troupe-raft/troupe/internal/sim/world"
)

func TestActorsCrashAtEveryHandledMessage(t *testing.T) {
	if testing.Short() {
		t.Skip("runs each scenario crash-… until all kinds of message have had their turn")
	}
	var total world.Counts
	for _, sc := range crashScenarios() {
		for seed := uint64(1); seed <= 12; seed++ {
			r := sc.Run(world.Options{Seed: seed})
			check(t, r)
			total.Add(&r.Counts)
		}
	}
	// Crash points alternate between before and after a message: of each kind one of the two must have
	// happened.
	for i := 0; i < len(total.Crashed); i += 2 {
		if total.Crashed[i]+total.Crashed[i+1] == 0 {
			t.Errorf("no crash at: %s", strings.Replace(world.CrashPoint(i).String(), " before ", " at ", 1))
		}
	}
}
