package sim

import (
	"slices"
	"testing"
)

// A fault that never happens is a hole in the simulator: over some seeds of each profile, every one of its kinds strikes, and
// leads to all that it may lead to.
func TestEveryFaultOfAProfileStrikesAndHasItsConsequences(t *testing.T) {
	seeds := uint64(120)
	if testing.Short() {
		seeds = 40
	}
	for _, p := range Profiles {
		t.Run(p.Name, func(t *testing.T) {
			t.Parallel()
			var c Counts
			for seed := uint64(1); seed <= seeds; seed++ {
				r := Run(Options{Seed: seed, Profile: p, Steps: 3000})
				check(t, r)
				c.Add(&r.Counts)
			}
			for _, f := range FaultKinds() {
				if struck := c.Faults[f]; slices.Contains(p.Faults, f) != (struck > 0) {
					t.Errorf("%v struck %d times", f, struck)
				}
			}
			if p.MessageFaults && (c.Lost == 0 || c.Doubled == 0 || c.Late == 0) {
				t.Errorf("messages: %d lost, %d doubled, %d late", c.Lost, c.Doubled, c.Late)
			}
			if !testing.Short() {
				checkConsequences(t, &p, &c)
			}
		})
	}
}

func checkConsequences(t *testing.T, p *Profile, c *Counts) {
	t.Helper()
	for _, of := range []struct {
		f    Fault
		what string
		n    int
	}{
		{PowerCut, "power cuts in the middle of a message", c.CutMidway},
		{PowerCut, "power cuts that took all", c.CrashImages[LostAll]},
		{PowerCut, "power cuts that took nothing", c.CrashImages[KeptAll]},
		{PowerCut, "power cuts that took some", c.CrashImages[Mixed]},
		{PowerCut, "torn writes", c.CrashImages[Torn]},
		{Crash, "restarts of a whole node", c.SubtreeRestarts},
		{Crash, "restarts of an actor alone", c.ActorRestarts},
		{CrashRecovering, "crashes while recovering", c.CrashedRecovering},
		{CrashLoop, "stops after too many restarts", c.Stops[StopRestarts]},
		{FailedSync, "failed operations", c.FailedOperations},
		{FailedSync, "stops for a failed disk", c.Stops[StopStorage]},
		{FullDisk, "operations refused for want of space", c.RefusedForSpace},
		{FullDisk, "stops for want of space", c.Stops[StopNoSpace]},
		{FlippedBit, "refused disks", c.Stops[StopRefused]},
		{LostDisk, "members away for ever", c.Away},
		{FailedRead, "reads that failed", c.FailedReads},
		{FlippedRead, "reads that brought a flipped bit", c.FlippedReads},
		{FailedState, "batches that were not stored", c.FailedBatches},
		{LostState, "state machines that began anew", c.StatesLost},
		{DamagedState, "stops for a damaged state machine", c.Stops[StopState]},
		{LyingDisk, "members that had forgotten", c.Forgotten},
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
func TestEveryActorCrashesAtEveryMessage(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some hundred seeds")
	}
	p := Profile{Name: "crashes-at-messages", MessageFaults: true, Faults: slices.Concat(networkFaults, []Fault{
		Crash, Crash, Crash, Crash, Crash, Crash, Crash, Crash, CrashTwice, CrashTwice, CrashRecovering, CrashRecovering, Kill, Pause})}
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
