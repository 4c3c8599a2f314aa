package sim_test

import (
	"testing"

	"github.com/troupe-raft/troupe/internal/sim/fault"
	"github.com/troupe-raft/troupe/internal/sim/scenario"
	"github.com/troupe-raft/troupe/internal/sim/world"
)

// regressions are histories that once failed. What a seed draws changes with the simulator, so a
// row is worth what its seed still tells; the story that found the bug stands in a test of the
// actor, or in a scenario, as well.
var regressions = []struct {
	story    string
	profile  string
	scenario string // instead of a profile
	options  world.Options
}{
	{
		story: "eleven appends of unknown outcome on one key: the search for an order was stopped by the wall clock, and the " +
			"history failed or not by how busy the machine was (the simulator's own bug)",
		profile: "network", options: world.Options{Seed: 930},
	},
	{
		story: "a LogStore's write failed while the Node above it was restarting: the fault was forgotten, the log was opened " +
			"again, and the node went on (E5)",
		profile: "beyond-the-budget", options: world.Options{Seed: 464411536457},
	},
	{
		story: "a forwarded proposal of a member's earlier life came after those of its present one, and the leader took no more " +
			"of these (raft.Once, for an hour)",
		profile: "beyond-the-budget", options: world.Options{Seed: 252463655801},
	},
	{
		story: "the network made a copy of forwarded proposals; one was taken and the other refused as overloaded, so that " +
			"clients were told of writes that they had no effect, and they had one (Node.takeForwarded)",
		profile: "network", options: world.Options{Seed: 330},
	},
	{story: "the same", profile: "network", options: world.Options{Seed: 570}},
	{story: "the same, among all other misfortune", profile: "everything", options: world.Options{Seed: 258}},
	{
		story: "a crash was due with a message that stood in a stopped actor's mailbox, and the library stopped the next " +
			"life's actor of that name: no LogReader (the simulator's own bug)",
		profile: "everything", options: world.Options{Seed: 10744},
	},
	{
		story:   "a damaged disk took the last majority while all was read once more (the simulator's own bug)",
		profile: "beyond-the-budget", options: world.Options{Seed: 10522},
	},
	{
		story: "an acknowledged entry was replaced by the next leader in a frame whose sync failed: the ghost took it for lost " +
			"(the simulator's own bug)",
		profile: "disks", options: world.Options{Seed: 30518},
	},
	{story: "the same, where the frame was there after all", profile: "everything", options: world.Options{Seed: 2535}},
	{story: "the same", profile: "disks", options: world.Options{Seed: 1486}},
	{
		story: "a message to an actor of a dead member ran in the actor system that another had taken over, and took that one's " +
			"LogStore off the registry (the simulator's own bug)",
		profile: "everything", options: world.Options{Seed: 21438},
	},
	{
		story:    "what one member may forward is more than another may keep: the ghost took the leader for unbounded (the simulator's own bug)",
		scenario: "kv-many-partitions-restarts", options: world.Options{Seed: 329},
	},
	{
		story: "a follower acknowledged entries that its disk had, in a term that it had not: where it died then, a leader of an " +
			"earlier term replaced them, and the next heartbeat committed what stood there (Node.acknowledge, E1)",
		profile: "network", options: world.Options{Seed: 5},
	},
	{
		story: "a follower applied what it heard to be committed in a term that its disk did not have yet: after a crash a leader " +
			"of an earlier term could take the entries away from under a state machine on disk (Node.feedMachine, E11)",
		profile: "beyond-the-budget", options: world.Options{Seed: 8},
	},
	{
		story: "a member that had left in good order was started again by an operator who had meant to before (the simulator's own " +
			"bug)",
		scenario: "crash-too-often", options: world.Options{Seed: 432621229070},
	},
}

func TestWhatOnceFailedDoesNotFailAgain(t *testing.T) {
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
			t.Errorf("%s: %v", r.story, err)
			continue
		}
		r.options.Profile = p
		check(t, world.Run(r.options))
	}
}
