package scenario

import (
	"strings"

	"github.com/troupe-raft/troupe/internal/sim/history"
	"github.com/troupe-raft/troupe/internal/sim/world"
	"github.com/troupe-raft/troupe/persistence/vfs"
)

// olderCopyWithoutLeader: A leads, B acknowledges a write, C is down. Then A is gone, and B returns
// on an older copy of its disk, together with C. The two are a majority, and lack the write.
func olderCopyWithoutLeader(s *Driver) { s.restoreWithoutLeader(0) }

// olderCopyOvertakes: B is first started on the copy several times, where it meets nobody.
func olderCopyOvertakes(s *Driver) { s.restoreWithoutLeader(3) }

func (s *Driver) restoreWithoutLeader(startsAlone int) {
	leader := s.awaitSessions()
	s.acquaint()
	victim, away := s.others(leader)[0], s.others(leader)[1]
	first := s.submitAndAwait(leader)
	s.awaitApplied(world.ElectionTimeout, first, s.Members...)
	older := victim.Disk.CrashClone(vfs.KeepUnsynced)
	victim.KillProcess()
	victim.Boot()
	s.within(5*world.ElectionTimeout, "the third member meets the next start", func() bool { return away.Met(victim) })
	away.PowerCut(vfs.LoseUnsynced)
	last := s.submitAndAwait(leader)
	s.awaitApplied(world.ElectionTimeout, last, victim)
	leader.KillProcess()
	victim.RestoreCopy(older)
	for range startsAlone {
		victim.Boot()
		s.advance(2 * world.ElectionTimeout)
		victim.KillProcess()
	}
	victim.Boot()
	away.Boot()
	s.within(10*world.ElectionTimeout, "the member with the copy stops", func() bool { return s.Counts.Stops[world.StopReplaced] > 0 })
	if why := victim.StopError.Error(); !strings.Contains(why, "older copy") || !strings.Contains(why, "rejoin") {
		s.fail("member %d stopped with %q", victim.ID(), why)
	}
	s.never(5*world.ElectionTimeout, "a leader without the write", func() bool { return s.Leader() != nil })
	leader.Boot()
	s.awaitApplied(20*world.ElectionTimeout, last, s.Members...)
	s.checkOnDisks([]*history.Operation{first, last}, s.Members...)
}

// olderCopyHeartbeatSetup: entry 4 of member 2 is of term 2, that of the others of term 3.
func olderCopyHeartbeatSetup(w *world.World) {
	for id, last := range []uint64{3, 2, 3} {
		w.SetInitialState(uint64(id+1), world.InitialState{Log: []uint64{1, 1, 1, last}, Term: 3})
	}
}

// olderCopyHeartbeat copies the disk of a member before the leader replaces its last entry, and
// restores the copy within the same leadership and the same start, so that nobody can tell yet.
func olderCopyHeartbeat(s *Driver) {
	victim := s.Members[1]
	requests := s.DropRule(nil, victim, "AppendEntries")
	s.within(10*world.ElectionTimeout, "the member follows", func() bool {
		leader := s.majorityLeader()
		return leader != nil && victim.View.LeaderID == leader.ID() && s.others(victim)[0].Met(victim) && s.others(victim)[1].Met(victim)
	})
	leader, older := s.majorityLeader(), victim.Disk.CrashClone(vfs.KeepUnsynced)
	requests.End()
	s.within(5*world.ElectionTimeout, "the entry is replaced", func() bool {
		return victim.View.Commit >= 4 && victim.View.Commit == leader.View.LastIndex
	})
	s.advance(world.HeartbeatInterval)
	requests = s.DropRule(nil, victim, "AppendEntries")
	victim.RestoreCopy(older)
	victim.Boot()
	s.within(world.ElectionTimeout, "it follows again", func() bool { return victim.View.LeaderID == leader.ID() })
	s.never(5*world.HeartbeatInterval, "the copy commits its entry", func() bool { return victim.View.Commit >= 4 })
	requests.End()
	s.within(10*world.ElectionTimeout, "the member with the copy stops", func() bool { return s.Counts.Stops[world.StopReplaced] > 0 })
	s.awaitApplied(20*world.ElectionTimeout, s.submitAndAwait(leader), s.Members...)
}
