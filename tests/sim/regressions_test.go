package sim_test

import (
	"testing"

	"github.com/troupe-raft/troupe/internal/sim/fault"
	"github.com/troupe-raft/troupe/internal/sim/scenario"
	"github.com/troupe-raft/troupe/internal/sim/world"
)

// regressions are runs that once failed. What a seed does changes with the simulator, so each bug
// has a test of the actor, or a scenario, as well. "simulator" marks bugs of the simulator itself.
var regressions = []struct {
	bug      string
	profile  string
	scenario string // instead of a profile
	seed     uint64
}{
	{bug: "simulator: the wall clock ended the search for an order of eleven appends of unknown outcome",
		profile: "network", seed: 930},
	{bug: "a write of the LogStore failed while the Node restarted, and the node went on (E5)",
		profile: "beyond-the-budget", seed: 464411536457},
	{bug: "forwarded proposals of an earlier run made the leader drop those of the present one (raft.DuplicateFilter)",
		profile: "beyond-the-budget", seed: 252463655801},
	{bug: "a copy of forwarded proposals was refused, and the clients of the accepted ones received the refusal",
		profile: "network", seed: 330},
	{bug: "the same", profile: "network", seed: 570},
	{bug: "the same, with all faults", profile: "everything", seed: 258},
	{bug: "a restarted leader refused a forwarded batch that it had taken before, and a later refusal of its command was final",
		profile: "disks", seed: 20050},
	{bug: "simulator: a crash due in a stopped actor's mailbox stopped the next incarnation's LogReader",
		profile: "everything", seed: 10744},
	{bug: "simulator: a damaged disk removed the last majority during the final reads",
		profile: "beyond-the-budget", seed: 10522},
	{bug: "simulator: an acknowledged entry that was replaced in a frame whose sync failed counted as lost",
		profile: "disks", seed: 30518},
	{bug: "the same, and the frame was on the disk", profile: "everything", seed: 2535},
	{bug: "the same", profile: "disks", seed: 1486},
	{bug: "simulator: a message to an actor of a stopped member removed another member's LogStore from the registry",
		profile: "everything", seed: 21438},
	{bug: "simulator: the limit of the leader's uncommitted bytes did not count what another member may forward",
		scenario: "kv-many-partitions-restarts", seed: 329},
	{bug: "a follower acknowledged entries in a term that was not on its disk (Node.persist, E1)",
		profile: "network", seed: 5},
	{bug: "a follower applied committed entries in a term that was not on its disk (Node.sendCommitted, E11)",
		profile: "beyond-the-budget", seed: 8},
	{bug: "simulator: a log that was opened after its disk had dropped syncs, and crashed before it was recovered, broke a quorum",
		profile: "beyond-the-budget", seed: 986168991573},
	{bug: "simulator: the lock of a member that stopped as its power failed counted as held",
		profile: "older-copies", seed: 4689},
	{bug: "simulator: a planned restart started a member again that had left in good order",
		scenario: "crash-too-often", seed: 432621229070},
}

func TestRegressions(t *testing.T) {
	for _, r := range regressions {
		if r.scenario != "" {
			sc, err := scenario.Find(r.scenario)
			if err != nil {
				t.Error(err)
				continue
			}
			check(t, sc.Run(world.Options{Seed: r.seed}))
			continue
		}
		p, err := fault.FindProfile(r.profile)
		if err != nil {
			t.Errorf("%s: %v", r.bug, err)
			continue
		}
		check(t, world.Run(world.Options{Seed: r.seed, Profile: p}))
	}
}
