package sim_test

import (
	"testing"

	"github.com/troupe-raft/troupe/internal/sim/fault"
	"github.com/troupe-raft/troupe/internal/sim/scenario"
	"github.com/troupe-raft/troupe/internal/sim/world"
)

// regressions are histories that once failed. A seed's history changes with the simulator, so an
// old row may not show its bug any more; the bug also has a test of the actor, or a scenario.
var regressions = []struct {
	bug      string
	profile  string
	scenario string // instead of a profile
	options  world.Options
}{
	{
		bug: "eleven appends of unknown outcome on one key: the search for an order was stopped by the real clock, and the " +
			"history failed or passed depending on the load of the machine (a bug of the simulator)",
		profile: "network", options: world.Options{Seed: 930},
	},
	{
		bug: "a LogStore's write failed while the Node above it was restarting: the fault was lost, the log was opened " +
			"again, and the node continued (E5)",
		profile: "beyond-the-budget", options: world.Options{Seed: 464411536457},
	},
	{
		bug: "a forwarded proposal of a member's earlier run came after those of its present one, and the leader accepted no more " +
			"of these (raft.DuplicateFilter, for an hour)",
		profile: "beyond-the-budget", options: world.Options{Seed: 252463655801},
	},
	{
		bug: "the network duplicated forwarded proposals; one copy was accepted and the other refused as overloaded, so that " +
			"clients received a refusal of writes that took effect (the Node's forwarding)",
		profile: "network", options: world.Options{Seed: 330},
	},
	{bug: "the same", profile: "network", options: world.Options{Seed: 570}},
	{bug: "the same, with all other faults", profile: "everything", options: world.Options{Seed: 258}},
	{
		bug: "a crash was due at a message in a stopped actor's mailbox, and the library stopped the next " +
			"incarnation's actor of that name: no LogReader (a bug of the simulator)",
		profile: "everything", options: world.Options{Seed: 10744},
	},
	{
		bug:     "a damaged disk took the last majority during the final reads (a bug of the simulator)",
		profile: "beyond-the-budget", options: world.Options{Seed: 10522},
	},
	{
		bug: "an acknowledged entry was replaced by the next leader in a frame whose sync failed: the checker took it for lost " +
			"(a bug of the simulator)",
		profile: "disks", options: world.Options{Seed: 30518},
	},
	{bug: "the same, where the frame was there nevertheless", profile: "everything", options: world.Options{Seed: 2535}},
	{bug: "the same", profile: "disks", options: world.Options{Seed: 1486}},
	{
		bug: "a message to an actor of a stopped member ran in the actor system that another member used, and removed the other " +
			"LogStore from the registry (a bug of the simulator)",
		profile: "everything", options: world.Options{Seed: 21438},
	},
	{
		bug:      "what one member may forward is more than another may keep: the checker took the leader for unbounded (a bug of the simulator)",
		scenario: "kv-many-partitions-restarts", options: world.Options{Seed: 329},
	},
	{
		bug: "a follower acknowledged entries that its disk had, in a term that it had not: after a crash there, a leader of an " +
			"earlier term replaced them, and the next heartbeat committed the new ones (the Node's acknowledgement, E1)",
		profile: "network", options: world.Options{Seed: 5},
	},
	{
		bug: "a follower applied entries committed in a term that its disk did not have yet: after a crash a leader " +
			"of an earlier term could replace entries that an on-disk state machine had applied (the Node's apply limit, E11)",
		profile: "beyond-the-budget", options: world.Options{Seed: 8},
	},
	{
		bug: "a member that had stopped in order was started again by an earlier plan of its operator (a bug of the simulator" +
			"bug)",
		scenario: "crash-too-often", options: world.Options{Seed: 432621229070},
	},
}

func TestRegressions(t *testing.T) {
	for _, r := range regressions {
		if r.scenario != "" {
			sc, err := scenario.Find(r.scenario)
			if err != nil {
				t.Error(err)
				continue
			}
			check(t, sc.Run(r.options))
			continue
		}
		p, err := fault.FindProfile(r.profile)
		if err != nil {
			t.Errorf("%s: %v", r.bug, err)
			continue
		}
		r.options.Profile = p
		check(t, world.Run(r.options))
	}
}
