package scenario

import (
	"maps"
	"slices"
	"time"

	"github.com/troupe-raft/troupe/internal/sim/history"
	"github.com/troupe-raft/troupe/internal/sim/world"
)

// What happens when clients have more pending than the cluster can do within an election timeout.

var backlogScenarios = []Scenario{
	{Name: "backlog", Nodes: 3, Setup: setupBacklog, Script: backlog,
		Description: "writes wait for several election timeouts behind slow disks: each is logged once, and all are answered"},
	{Name: "backlog-lost-forwards", Nodes: 3, Setup: setupBacklog, Script: backlogLostForwards,
		Description: "the network loses and duplicates some of what followers forward meanwhile: all writes are answered, each is logged once"},
	{Name: "backlog-new-leader", Nodes: 3, Setup: setupBacklog, Script: backlogNewLeader,
		Description: "the leader changes while writes wait: they are sent again, and what the log of the new leader has is not logged again"},
}

// backlogSyncTime is the time of a write and sync of a disk in these worlds.
const backlogSyncTime = 15 * time.Millisecond

// setupBacklog makes a cluster with little throughput: a few entries for each sync.
func setupBacklog(w *world.World) {
	w.SyncTime, w.SingleEntryRequests, w.UncommittedBytes = backlogSyncTime, true, 1<<20
}

// beginBacklog begins writes at all members, each of a key of its own: histories of a key with that
// many pending writes could not be checked.
func (s *Driver) beginBacklog(n int) (all []*history.Operation) {
	for range n {
		s.scriptWrites++
		key := history.FirstScriptKey + 1<<20 + s.scriptWrites
		m := s.Members[int(s.scriptWrites)%len(s.Members)]
		all = append(all, s.begin(m, history.Put, key, "", "x"))
	}
	return all
}

// checkLoggedOnce checks that no command is in the log of a member twice, with its first copy above
// an index.
func (s *Driver) checkLoggedOnce(m *world.Member, above uint64) {
	first := map[uint64]uint64{}
	log := s.commandsOnDisk(m)
	for _, index := range slices.Sorted(maps.Keys(log)) {
		if at := first[log[index]]; at > above {
			s.fail("command %d is in the log at %d and again at %d", log[index], at, index)
		} else if at == 0 {
			first[log[index]] = index
		}
	}
}

const backlogWrites = 450

// awaitBacklog waits until all writes are answered, and checks that they had to wait.
func (s *Driver) awaitBacklog(all []*history.Operation, most time.Duration) {
	s.awaitAnswered(all, most)
	longest := time.Duration(0)
	for _, o := range all {
		longest = max(longest, o.ReturnedAt-o.CalledAt)
	}
	if longest < 3*world.ElectionTimeout/2 {
		s.fail("no write waited for longer than %v", longest)
	}
}

func backlog(s *Driver) {
	leader := s.awaitSessions()
	sent := s.ObserveRule(nil, leader, nil, "ForwardedProposals")
	s.awaitBacklog(s.beginBacklog(backlogWrites), 10*world.ElectionTimeout)
	if s.majorityLeader() != leader {
		s.fail("another leader: it had no reason to send anything again")
	}
	s.checkLoggedOnce(leader, 0)
	if sent.Count > backlogWrites {
		s.fail("followers forwarded %d messages", sent.Count)
	}
}

func backlogLostForwards(s *Driver) {
	leader := s.awaitSessions()
	for _, m := range s.others(leader) {
		for nth := range 3 {
			lost := s.DropRule(m, leader, "ForwardedProposals")
			s.After(time.Duration(nth)*world.HeartbeatInterval+s.RandomDuration(0, 20*time.Millisecond), lost.End)
		}
	}
	s.Conditions.DuplicateRate = 0.3
	all := s.beginBacklog(backlogWrites / 4)
	s.advance(5 * world.HeartbeatInterval)
	all = append(all, s.beginBacklog(backlogWrites/4)...)
	s.awaitAnswered(all, 20*world.ElectionTimeout)
	s.checkLoggedOnce(s.majorityLeader(), 0)
}

// backlogNewLeader: of what the former leader had committed, a member may not know yet when it
// sends everything again. The rest of its log a new leader recognises.
func backlogNewLeader(s *Driver) {
	leader := s.awaitSessions()
	all := s.beginBacklog(backlogWrites / 2)
	s.advance(world.ElectionTimeout / 2)
	s.Isolate(leader, true)
	s.advance(2 * s.Conditions.MaxLatency)
	committed := leader.View.Commit
	next := s.awaitSuccessor(5*world.ElectionTimeout, leader)
	s.Isolate(leader, false)
	s.awaitAnswered(all, 20*world.ElectionTimeout)
	s.checkLoggedOnce(next, committed)
}
