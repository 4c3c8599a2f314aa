package scenario

import (
	"strings"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/internal/sim/history"
	"github.com/troupe-raft/troupe/internal/sim/world"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/persistence"
	"github.com/troupe-raft/troupe/persistence/vfs"
)

var emptiedScenarios = []Scenario{
	{Name: "emptied-member", Nodes: 3, Errata: []int{37}, Script: emptiedMember,
		Description: "a member that acknowledged a write returns with an empty disk while the leader is down: it stops, and the write is not lost"},
	{Name: "emptied-member-recorded", Nodes: 3, Errata: []int{37}, Script: emptiedUnmet, RecordsStorage: true,
		Description: "as before, but the third member never met it, and knows its storage id from the log"},
	{Name: "rejoin-emptied", Nodes: 5, Errata: []int{37}, Script: rejoinEmptied, RecordsStorage: true,
		Description: "a member with an empty disk rejoins while leaders fail: it counts again once a majority of the others has recorded it"},
	{Name: "forgotten-vote", Nodes: 5, Errata: []int{37}, Script: forgottenVote,
		Description: "a member forgets a vote of a higher term and catches up: without a committed entry it votes for nobody, so one leader is elected"},
	{Name: "older-copy", Nodes: 3, Errata: []int{37}, Script: olderCopy, RecordsStorage: true,
		Description: "a member returns with an older copy of its disk: the leader that it acknowledged more to has it stop"},
	{Name: "refused-copy", Nodes: 3, Errata: []int{37}, Script: refusedCopy, RecordsStorage: true,
		Description: "a member is started again and again on an older copy that its leader refused, also when that leader is gone"},
	{Name: "older-copy-without-leader", Nodes: 3, Errata: []int{37}, Script: olderCopyWithoutLeader, RecordsStorage: true,
		Description: "a member returns with an older copy while the leader that it acknowledged a write to is down: one that met a later start refuses it"},
	{Name: "older-copy-overtakes", Nodes: 3, Errata: []int{37}, Script: olderCopyOvertakes, RecordsStorage: true,
		Description: "as before, but the copy was started so often that its count of starts is above the one that was met"},
	{Name: "older-copy-heartbeat", Nodes: 3, Errata: []int{37}, Setup: olderCopyHeartbeatSetup, Script: olderCopyHeartbeat, RecordsStorage: true,
		Description: "a heartbeat reaches a member on an older copy with other entries than the leader knows there: it commits none of them"},
}

// empty stops a member, and starts it with an empty disk. The script must have made all others know
// its data directory.
func (s *Driver) empty(m *world.Member, rejoins bool) {
	if m.Up() {
		m.KillProcess()
	}
	m.EmptyDisk(rejoins)
	m.Boot()
}

// acquaint waits until all members know each other's data directories.
func (s *Driver) acquaint() {
	s.within(5*world.ElectionTimeout, "all members have met", func() bool {
		for _, m := range s.Members {
			for _, other := range s.others(m) {
				if !other.Knows(m) {
					return false
				}
			}
		}
		return true
	})
}

func emptiedMember(s *Driver) {
	leader := s.awaitSessions()
	s.acquaint()
	s.loseDirectory(leader, s.others(leader)[0], s.others(leader)[1])
}

// emptiedUnmet cuts two members off from each other from the start, so that only the log tells them
// of each other. They must both follow the third.
func emptiedUnmet(s *Driver) {
	leader := s.awaitSessions()
	s.within(5*world.ElectionTimeout, "the storage ids are recorded and durable everywhere", func() bool {
		for _, m := range s.Members {
			if m.View.ConfigurationIndex < 2 || m.View.Commit < m.View.ConfigurationIndex || m.View.DurableIndex < m.View.ConfigurationIndex {
				return false
			}
		}
		return true
	})
	away := s.others(leader)[1]
	away.PowerCut(vfs.KeepUnsynced)
	away.ForgetPeers()
	away.Boot()
	s.cutBetween([]*world.Member{away}, s.others(leader)[:1], true)
	s.within(5*world.ElectionTimeout, "it follows", func() bool { return away.View.LeaderID != 0 && s.majorityLeader() == leader })
	s.cutBetween([]*world.Member{away}, s.others(leader)[:1], false)
	s.loseDirectory(leader, s.others(leader)[0], away)
}

// loseDirectory commits a write on two members while the third is down. Then one of the two returns
// with an empty disk, together with the third and without the other one.
func (s *Driver) loseDirectory(leader, emptied, away *world.Member) {
	away.KillProcess()
	last := s.await(s.submitPadded(leader, 0))
	leader.KillProcess()
	s.empty(emptied, false)
	away.Boot()
	s.within(10*world.ElectionTimeout, "the emptied member stops", func() bool { return s.Counts.Stops[world.StopReplaced] > 0 })
	if why := emptied.StopError.Error(); !strings.Contains(why, "rejoin") || !strings.Contains(why, "refuses this member's data directory") {
		s.fail("member %d stopped with %q", emptied.ID(), why)
	}
	s.never(5*world.ElectionTimeout, "a leader without the write", func() bool { return s.Leader() != nil })
	leader.Boot()
	s.awaitApplied(20*world.ElectionTimeout, last, s.Members...)
	s.checkOnDisks([]*history.Operation{last}, s.Members...)
}

func rejoinEmptied(s *Driver) {
	leader := s.awaitSessions()
	s.acquaint()
	all := s.submitWrites(leader, 5)
	s.awaitAnswered(all, 5*world.ElectionTimeout)
	emptied := s.RandomMember()
	s.empty(emptied, true)
	for range 3 {
		// A leader fails at some moment of the rejoining.
		s.advance(s.RandomDuration(0, world.ElectionTimeout/2))
		if l := s.Leader(); l != nil && l != emptied {
			s.powerCut(l)
			s.advance(s.RandomDuration(0, world.ElectionTimeout))
			s.restart(l)
		}
		all = append(all, s.commitWrite())
	}
	s.within(20*world.ElectionTimeout, "it has rejoined", func() bool { return !s.Checker.Forgot(emptied.ID()) })
	// It counts: with two others away, its acknowledgements are needed.
	leader = s.majorityLeader()
	for _, m := range s.Members {
		if away := s.downMembers(); m != emptied && m != leader && away < 2 {
			m.KillProcess()
		}
	}
	all = append(all, s.commitWrite())
	s.restart(s.Members...)
	s.awaitApplied(20*world.ElectionTimeout, all[len(all)-1], s.Members...)
	s.checkOnDisks(all, s.Members...)
}

func (s *Driver) downMembers() (n int) {
	for _, m := range s.Members {
		if !m.Up() {
			n++
		}
	}
	return n
}

// forgottenVote is the history that raft/storage.go draws: E has voted for D in term 8 and forgets
// it; A, which leads term 7, catches E up.
func forgottenVote(s *Driver) {
	a := s.awaitSessions()
	s.acquaint()
	s.submitAndAwait(a)
	others := s.others(a)
	b, c, d, e := others[0], others[1], others[2], others[3]
	term := a.View.Term
	// D campaigns in the next term. C and E vote for it; D does not receive the votes yet, and A and B
	// receive nothing of that term.
	held := []*world.Rule{s.HoldRule(c, d, "VoteResponse"), s.HoldRule(e, d, "VoteResponse")}
	dropped := []*world.Rule{s.DropRule(a, d), s.DropRule(b, d)}
	for _, m := range []*world.Member{c, d} {
		dropped = append(dropped, s.DropRule(m, a), s.DropRule(m, b))
	}
	fromE := []*world.Rule{s.DropRule(e, a), s.DropRule(e, b)}
	d.SetClock(0, 0)
	d.Post(actors.NodePath, &messages.TimeoutNow{Term: term, Leader: a.ID()})
	s.within(world.ElectionTimeout/2, "C and E vote for D", func() bool {
		return s.Checker.Vote(term+1, c.ID()) == d.ID() && s.Checker.Vote(term+1, e.ID()) == d.ID()
	})
	// E loses its disk, and returns; A records it and catches it up.
	s.empty(e, true)
	for _, r := range fromE {
		r.End()
	}
	s.within(world.ElectionTimeout, "E has the entry that names it", func() bool {
		a.RequestRejoin(e)
		return e.View.ConfigurationIndex > 1 && e.View.LastIndex == a.View.LastIndex
	})
	s.never(4*world.ElectionTimeout, "A or B leads the next term", func() bool {
		return s.Leader() != nil && s.Leader().View.Term > term
	})
	for _, r := range held {
		r.Release()
	}
	s.within(world.ElectionTimeout, "D leads", func() bool { return d.View.Role == "leader" })
	for _, r := range dropped {
		r.End()
	}
	d.RepairClock()
}

// olderCopy has a member return with a copy of its disk that lacks what it acknowledged to the
// present leader.
func olderCopy(s *Driver) {
	leader := s.awaitSessions()
	s.acquaint()
	first := s.submitAndAwait(leader)
	victim := s.others(leader)[0]
	s.awaitApplied(world.ElectionTimeout, first, victim)
	older := victim.Disk.CrashClone(vfs.KeepUnsynced)
	last := s.submitAndAwait(leader)
	s.awaitApplied(world.ElectionTimeout, last, victim)
	s.advance(world.HeartbeatInterval)
	logged := s.captureLog(leader)
	victim.RestoreCopy(older)
	victim.Boot()
	s.within(10*world.ElectionTimeout, "the member with the copy stops", func() bool { return s.Counts.Stops[world.StopReplaced] > 0 })
	if why := victim.StopError.Error(); !strings.Contains(why, "older copy") || !strings.Contains(why, "rejoin") {
		s.fail("member %d stopped with %q", victim.ID(), why)
	}
	if !logged("peer lost entries that it had acknowledged") {
		s.fail("the leader did not log the loss")
	}
	s.awaitApplied(20*world.ElectionTimeout, last, s.Members...)
	s.checkOnDisks([]*history.Operation{first, last}, s.Members...)
}

// refusedCopy has a supervisor start a member again on the copy that the leader refused, when that
// leader is gone and a member is back that never had the write.
func refusedCopy(s *Driver) {
	leader := s.awaitSessions()
	s.acquaint()
	victim, away := s.others(leader)[0], s.others(leader)[1]
	first := s.submitAndAwait(leader)
	s.awaitApplied(world.ElectionTimeout, first, s.Members...)
	older := victim.Disk.CrashClone(vfs.KeepUnsynced)
	away.KillProcess()
	last := s.submitAndAwait(leader)
	s.awaitApplied(world.ElectionTimeout, last, victim)
	victim.RefusedStarts = 1 << 20
	victim.RestoreCopy(older)
	victim.Boot()
	s.within(10*world.ElectionTimeout, "the member with the copy stops", func() bool { return s.Counts.Stops[world.StopReplaced] > 0 })
	leader.KillProcess()
	away.Boot()
	s.never(10*world.ElectionTimeout, "a leader without the write", func() bool { return s.Leader() != nil })
	if why := victim.StopError.Error(); s.Counts.Stops[world.StopReplaced] < 2 || !strings.Contains(why, persistence.RefusedFile) {
		s.fail("member %d stopped %d times, the last time with %q", victim.ID(), s.Counts.Stops[world.StopReplaced], why)
	}
	victim.RefusedStarts = 0
	leader.Boot()
	s.awaitApplied(20*world.ElectionTimeout, last, s.Members...)
	s.checkOnDisks([]*history.Operation{first, last}, s.Members...)
}

// submitAndAwait writes at a leader and waits for the answer.
func (s *Driver) submitAndAwait(leader *world.Member) *history.Operation {
	return s.await(s.submitPadded(leader, 0))
}
