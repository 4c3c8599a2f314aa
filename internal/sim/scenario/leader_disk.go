package scenario

import (
	"github.com/troupe-raft/troupe/internal/sim/history"
	"github.com/troupe-raft/troupe/internal/sim/world"
	"github.com/troupe-raft/troupe/persistence/vfs"
)

// Messages that leave only when the disk has what they state, and leaders whose disk fails.

var invariantScenarios = []Scenario{
	{Name: "single-voter-sync", Nodes: 1, Errata: []int{10}, Script: singleVoterSync,
		Description: "a single voter loses power before its syncs: nothing that they were to cover was acknowledged, or taken for committed"},
	{Name: "term-before-entries", Nodes: 3, Errata: []int{3}, Script: termBeforeEntries,
		Description: "the power fails at any write or sync of a member that votes and appends in new terms: no disk has an entry of a term above its own"},
	{Name: "stalls-with-one-down", Nodes: 3, Errata: []int{9}, Script: stallsWithOneDown,
		Description: "one member stays down; the disk or the process of the leader, then of the follower, stalls: after each stall the two serve without it"},
	{Name: "stalled-leader", Nodes: 3, Errata: []int{9}, Script: stalledLeader,
		Description: "the leader's disk stalls, its network does not: another leads within three timeouts, with load or without"},
}

func singleVoterSync(s *Driver) {
	m := s.Members[0]
	var all, lost []*history.Operation
	for range 3 {
		all = append(all, s.submitPadded(m, 0))
		s.awaitAnswered(all[len(all)-1:], world.ElectionTimeout)
		durable, stopped := uint64(0), false
		m.EndRunAt("log", "Flush", 1, world.CrashBefore, func() {
			durable, stopped = m.View.DurableIndex, true
			if m.View.Commit > durable {
				s.World.Fail("persist before send", "index %d is committed; the only disk has %d", m.View.Commit, durable)
			}
			s.powerCut(m)
		})
		batch := s.submitWrites(m, 1+s.Random.IntN(4))
		s.within(world.ElectionTimeout, "the power fails before the sync", func() bool { return stopped })
		if n := countOutcome(history.Answered, batch); n > 0 {
			s.fail("%d writes were acknowledged that were on no disk", n)
		}
		lost = append(lost, batch...)
		s.checkOnDisks(all, m)
		s.restart(m)
		s.awaitSuccessor(world.ElectionTimeout)
	}
	for _, o := range lost {
		if at := s.effectIndex(o.Number); at != 0 {
			s.fail("write %d took effect at %d, and was on no disk when the power failed", o.Number, at)
		}
	}
}

// termBeforeEntries: leadership moves around, so that a member starts terms, votes and appends all
// the time; at some operation of its disk the power fails.
func termBeforeEntries(s *Driver) {
	for range 3 {
		leader := s.awaitAllFollow(5 * world.ElectionTimeout)
		m := s.others(leader)[s.Random.IntN(2)]
		target := s.membersExcept([]*world.Member{leader, m})[0]
		// It votes and appends, or the new term comes with its entries: then both are in one batch.
		unasked := s.DropRule(target, m, "RequestVote", "Heartbeat")
		if s.Chance(0.3) {
			unasked.End()
		}
		m.Disk.OperationsToPowerCut, m.Disk.CrashChoice = 1+s.Random.IntN(6), s.Random.IntN
		s.transfer(leader, target)
		s.within(2*world.ElectionTimeout, "its power fails", func() bool {
			if l := s.majorityLeader(); m.Up() && l != nil && s.Random.IntN(50) == 0 {
				s.submitWrites(l, 1)
			}
			return !m.Up()
		})
		unasked.End()
		f, err := recoverCopy(m, vfs.LoseUnsynced)
		if err != nil {
			s.fail("the log of member %d: %v", m.ID(), err)
		}
		if said, term := s.Checker.VotedTerm(m.ID()), f.HardState.GetTerm(); term < f.term(f.LastIndex) || term < said {
			s.fail("the disk of member %d has term %d, entries of term %d, and it has voted in term %d", m.ID(), term, f.term(f.LastIndex), said)
		}
		s.within(10*world.ElectionTimeout, "it has recovered", func() bool { return m.Up() && m.View.Incarnation > 0 })
	}
}

func stalledLeader(s *Driver) {
	leader := s.majorityLeader()
	s.writeAndWait(leader, 2)
	stalled := s.RandomDuration(5*world.ElectionTimeout, 6*world.ElectionTimeout)
	leader.Disk.StalledUntil = s.Now() + stalled
	until := leader.Disk.StalledUntil
	var writes []*history.Operation
	if s.Chance(0.5) {
		writes = s.submitWrites(leader, 3)
	}
	next := s.awaitSuccessor(3*world.ElectionTimeout, leader)
	s.writeAndWait(next, 2)
	s.staysLeader(next, until-s.Now())
	s.within(2*world.ElectionTimeout, "the former leader has the log again", func() bool {
		return leader.View.LeaderID == next.ID() && leader.View.DurableIndex == next.View.LastIndex
	})
	s.awaitAnswered(writes, world.ElectionTimeout)
}

// stallsWithOneDown: while one of the two stalls there is no quorum.
func stallsWithOneDown(s *Driver) {
	leader := s.awaitSessions()
	down := s.others(leader)[s.Random.IntN(2)]
	s.powerCut(down)
	for round := range 4 {
		leader = s.majorityLeader()
		stalled := leader
		if round%2 == 1 {
			stalled = s.membersExcept([]*world.Member{leader, down})[0]
		}
		until := s.Now() + s.RandomDuration(world.ElectionTimeout, 4*world.ElectionTimeout)
		if s.Chance(0.5) {
			stalled.Disk.StalledUntil = until
		} else {
			stalled.PausedUntil = until
		}
		writes := s.submitWrites(leader, 2)
		s.advance(until - s.Now())
		s.within(5*world.ElectionTimeout, "the two have a leader", func() bool { return s.majorityLeader() != nil })
		s.within(5*world.ElectionTimeout, "nothing is pending", func() bool { return countOutcome(history.Pending, writes) == 0 })
		s.commitWrite()
	}
	if down.Up() {
		s.fail("member %d was not to start", down.ID())
	}
	s.restart(down)
	s.awaitApplied(5*world.ElectionTimeout, s.commitWrite(), s.Members...)
}
