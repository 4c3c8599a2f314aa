package world

import (
	"slices"
	"testing"

	"github.com/troupe-raft/troupe/internal/sim/fault"
)

// A fault that never happens is a gap in the simulator: over some seeds of each profile, every one
// of its kinds happens, and leads to all that it can lead to.
func TestFaultsHappenAndHaveConsequences(t *testing.T) {
	seeds := uint64(120)
	if testing.Short() {
		seeds = 60
	}
	for _, p := range fault.Profiles {
		seeds := seeds
		if len(p.Faults) > 20 && !testing.Short() {
			seeds = 480 // each kind is rare where there are many
		}
		t.Run(p.Name, func(t *testing.T) {
			t.Parallel()
			var c Counts
			for seed := uint64(1); seed <= seeds; seed++ {
				r := Run(Options{Seed: seed, Profile: p, Steps: 3000})
				check(t, r)
				c.Add(&r.Counts)
			}
			for _, f := range fault.Kinds() {
				if struck := c.Faults[f]; slices.Contains(p.Faults, f) != (struck > 0) {
					t.Errorf("%v happened %d times", f, struck)
				}
			}
			if p.MessageFaults && (c.Lost == 0 || c.Doubled == 0 || c.Late == 0) {
				t.Errorf("messages: %d lost, %d duplicated, %d delayed", c.Lost, c.Doubled, c.Late)
			}
			if !testing.Short() {
				checkConsequences(t, &p, &c)
			}
		})
	}
}

func checkConsequences(t *testing.T, p *fault.Profile, c *Counts) {
	t.Helper()
	for _, of := range []struct {
		f    fault.Kind
		what string
		n    int
	}{
		{fault.PowerCut, "power cuts in the middle of a message", c.CutMidway},
		{fault.PowerCut, "power cuts that lost all", c.CrashImages[LostAll]},
		{fault.PowerCut, "power cuts that lost nothing", c.CrashImages[KeptAll]},
		{fault.PowerCut, "power cuts that lost some", c.CrashImages[Mixed]},
		{fault.PowerCut, "torn writes", c.CrashImages[Torn]},
		{fault.Crash, "restarts of a whole node", c.SubtreeRestarts},
		{fault.Crash, "restarts of an actor alone", c.ActorRestarts},
		{fault.CrashRecovering, "crashes while recovering", c.CrashedRecovering},
		{fault.CrashLoop, "stops after too many restarts", c.Stops[StopRestarts]},
		{fault.FailedSync, "failed operations", c.FailedOperations},
		{fault.FailedSync, "stops for a failed disk", c.Stops[StopStorage]},
		{fault.FullDisk, "operations refused for lack of space", c.RefusedForSpace},
		{fault.FullDisk, "stops for lack of space", c.Stops[StopNoSpace]},
		{fault.FlippedBit, "refused disks", c.Stops[StopRefused]},
		{fault.LostDisk, "members that stay down", c.Away},
		{fault.RestoredDisk, "members that were refused", c.Stops[StopReplaced]},
		{fault.SlowLink, "messages that a full queue dropped", c.Displaced},
		{fault.FailedRead, "reads that failed", c.FailedReads},
		{fault.FlippedRead, "reads with a flipped bit", c.FlippedReads},
		{fault.FailedState, "batches that were not stored", c.FailedBatches},
		{fault.LostState, "state machines that started empty", c.StatesLost},
		{fault.DamagedState, "stops for a damaged state machine", c.Stops[StopState]},
		{fault.LyingDisk, "members that lost synced data", c.Forgotten},
	} {
		if slices.Contains(p.Faults, of.f) && of.n == 0 {
			t.Errorf("%s: none", of.what)
		}
	}
	if c.Stops[StopOther] > 0 {
		t.Errorf("%d nodes stopped for no known reason", c.Stops[StopOther])
	}
}

// Every actor is crashed before and after each kind of message that it handles.
func TestActorsCrashAtEveryMessage(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some hundred seeds")
	}
	p := fault.Profile{Name: "crashes-at-messages", MessageFaults: true, Faults: slices.Concat(profile(t, "network").Faults, []fault.Kind{
		fault.Crash, fault.Crash, fault.Crash, fault.Crash, fault.Crash, fault.Crash, fault.Crash, fault.Crash, fault.CrashTwice, fault.CrashTwice, fault.CrashRecovering, fault.CrashRecovering, fault.Kill, fault.Pause,
		fault.EmptiedDisk, fault.EmptiedDisk, fault.EmptiedDisk})}
	var c Counts
	missing := crashPoints
	seed := uint64(1)
	for ; seed <= 1500 && missing > 0; seed++ {
		r := Run(Options{Seed: seed, Profile: p, Nodes: 3})
		check(t, r)
		c.Add(&r.Counts)
		missing = crashPoints
		for _, n := range c.Crashed {
			if n > 0 {
				missing--
			}
		}
	}
	for at, n := range c.Crashed {
		if n == 0 {
			t.Errorf("no actor crashed: %v", CrashPoint(at))
		}
	}
	t.Logf("%d seeds, %v of them", seed-1, c.Crashed)
}
