package scenario

import (
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/internal/sim/history"
	"github.com/troupe-raft/troupe/internal/sim/world"
	"github.com/troupe-raft/troupe/messages"
)

// Leadership transfer (dissertation §3.10).

var transferScenarios = []Scenario{
	{Name: "transfer", Nodes: 3, Errata: []int{20}, Script: transferUnderLoad,
		Description: "leadership moves under load with one election and without a pre-vote; every command takes effect once"},
	{Name: "transfer-target-killed", Nodes: 3, Errata: []int{20}, Script: transferTargetKilled,
		Description: "the target stops when it is asked to campaign: no proposal is accepted until the transfer is given up, no election, and then all are"},
	{Name: "transfer-candidate-killed", Nodes: 3, Errata: []int{20}, Script: transferCandidateKilled,
		Description: "the target stops after it has requested votes: one more election, and nothing is lost"},
	{Name: "transfer-to-one-behind", Nodes: 3, Errata: []int{20}, Script: transferToOneBehind,
		Description: "a target that lacks entries is asked to campaign when it has them, and never if it does not get them in time"},
	{Name: "transfer-of-uncommitted-entries", Nodes: 3, Errata: []int{20}, Script: transferOfUncommittedEntries,
		Description: "a target that has all that is committed, and not all that the leader has, is asked to campaign only when it has that"},
	{Name: "stop-hands-over", Nodes: 3, Errata: []int{20}, Script: stopHandsOver,
		Description: "a leader that is stopped in order hands leadership over; cut off from all, or if no target answers, it stops within an election timeout"},
	{Name: "transfer-ends-with-the-role", Nodes: 3, Errata: []int{20}, Script: transferEndsWithTheRole,
		Description: "a leader that loses leadership in a transfer and gains it again accepts proposals at once"},
}

// transfer asks a leader to transfer leadership.
func (s *Driver) transfer(leader, target *world.Member) {
	leader.Post(actors.NodePath, &messages.TransferLeadership{Target: target.ID()})
}

// writeUntil writes at all members until something has happened.
func (s *Driver) writeUntil(until func() bool) (writes []*history.Operation) {
	for began := s.Now(); !until(); {
		if s.Now()-began > 5*world.ElectionTimeout {
			s.fail("not within %v under load:%s", 5*world.ElectionTimeout, s.DescribeMembers())
		}
		for _, m := range s.Members {
			writes = append(writes, s.submitWrites(m, 1)...)
		}
		s.advance(world.HeartbeatInterval / 20)
	}
	return writes
}

func transferUnderLoad(s *Driver) {
	leader := s.majorityLeader()
	target := s.others(leader)[s.Random.IntN(2)]
	for _, m := range s.Members {
		s.writeAndWait(m, 1)
	}
	elections := s.Counts.Elections
	preVotes := s.ObserveRule(nil, nil, nil, "RequestVote").Where(func(m proto.Message) bool { return !world.RealVote(m) })
	began := s.Now()
	writes := s.writeUntil(func() bool { return s.Now() > began+world.HeartbeatInterval })
	s.transfer(leader, target)
	began = s.Now()
	writes = append(writes, s.writeUntil(func() bool { return s.majorityLeader() == target })...)
	if s.Now()-began > world.ElectionTimeout/2 {
		s.fail("it took %v", s.Now()-began)
	}
	s.staysLeader(target, 2*world.ElectionTimeout)
	if s.Counts.Elections != elections+1 || preVotes.Count > 0 {
		s.fail("%d elections and %d requests for pre-votes", s.Counts.Elections-elections, preVotes.Count)
	}
	s.awaitAnswered(writes, world.ElectionTimeout)
}

func transferTargetKilled(s *Driver) {
	leader := s.majorityLeader()
	target := s.others(leader)[s.Random.IntN(2)]
	s.writeAndWait(leader, 3)
	elections := s.Counts.Elections
	stopped := false
	// After it: nothing of its campaign is on its disk yet.
	when := []world.CrashTiming{world.CrashBefore, world.CrashAfter}[s.Random.IntN(2)]
	target.EndRunAt("", "TimeoutNow", 1, when, func() { s.powerCut(target); stopped = true })
	s.transfer(leader, target)
	s.within(world.ElectionTimeout, "the target stops", func() bool { return stopped })

	// Proposals are refused until the leader gives the transfer up.
	began := s.Now()
	refused := 0
	leader.Listen(func(news proto.Message) {
		if r, ok := news.(*messages.ProposalsRefused); ok && r.Reason == messages.Refusal_REFUSAL_TRANSFERRING {
			refused++
		}
	})
	writes := s.submitWrites(leader, 3)
	s.within(world.HeartbeatInterval/10, "they are refused", func() bool { return refused == 3 })
	for _, m := range s.others(leader) {
		if m != target {
			// These are forwarded, and refused by the leader.
			writes = append(writes, s.submitWrites(m, 3)...)
		}
	}
	// It gives up after an election timeout, at its next heartbeat; refused proposals are retried at
	// the next tick of the sessions.
	s.never(world.ElectionTimeout*9/10, "a proposal is accepted during the transfer", func() bool { return countOutcome(history.Answered, writes) > 0 })
	s.awaitAnswered(writes, began+world.ElectionTimeout+2*world.HeartbeatInterval+world.HeartbeatInterval/5-s.Now())
	if s.Counts.Elections != elections || s.majorityLeader() != leader {
		s.fail("%d elections", s.Counts.Elections-elections)
	}
}

func transferCandidateKilled(s *Driver) {
	leader := s.majorityLeader()
	target := s.others(leader)[s.Random.IntN(2)]
	s.writeAndWait(leader, 3)
	elections, term := s.Counts.Elections, leader.View.Term
	requests := s.ObserveRule(target, nil, func(_, _ *world.Member, _ proto.Message) {
		s.After(1, func() { // when they have left
			if target.Up() {
				s.powerCut(target)
			}
		})
	}, "RequestVote")
	writes := s.submitWrites(leader, 5)
	s.transfer(leader, target)
	s.within(world.ElectionTimeout, "the target requests votes and stops", func() bool { return requests.Count > 0 && !target.Up() })
	requests.End()
	s.within(4*world.ElectionTimeout, "another term has a leader", func() bool { l := s.majorityLeader(); return l != nil && l.View.Term > term })
	next := s.majorityLeader()
	if s.Counts.Elections > elections+1 {
		s.fail("%d elections", s.Counts.Elections-elections)
	}
	s.writeAndWait(next, 1)
	s.awaitAnswered(writes, world.ElectionTimeout) // with any leader
	s.restart(target)
	s.staysLeader(next, 3*world.ElectionTimeout)
}

func transferToOneBehind(s *Driver) {
	leader := s.majorityLeader()
	target := s.others(leader)[s.Random.IntN(2)]
	behind := s.HoldRule(leader, target, "AppendEntries")
	s.writeAndWait(leader, 5)
	asked := s.ObserveRule(leader, target, func(_, to *world.Member, _ proto.Message) {
		if last := leader.View.LastIndex; s.termInLog(to, last) != leader.View.Term || to.View.LastIndex != last {
			s.World.Fail("script", "member %d is asked to campaign with a log that ends at %d; the leader's ends at %d", to.ID(), to.View.LastIndex, last)
		}
	}, "TimeoutNow")
	s.transfer(leader, target)
	if s.Chance(0.5) { // it gets them in time
		s.advance(world.ElectionTimeout / 4)
		behind.Release()
		s.within(world.ElectionTimeout, "the target leads", func() bool { return s.majorityLeader() == target })
		return
	}
	s.staysLeader(leader, 2*world.ElectionTimeout)
	if asked.Count > 0 {
		s.fail("a target that is behind was asked to campaign")
	}
	s.writeAndWait(leader, 3) // the third member has what it needs
}

// transferOfUncommittedEntries: commit index = matchIndex of the target < last index of the leader.
// Nothing but the last two can hold the target back.
func transferOfUncommittedEntries(s *Driver) {
	leader := s.awaitSessions()
	target := s.others(leader)[s.Random.IntN(2)]
	held := s.HoldRule(leader, nil, "AppendEntries")
	writes := s.submitWrites(leader, 2)
	s.within(world.HeartbeatInterval, "its log has them", func() bool { return leader.View.LastIndex == leader.View.Commit+2 })
	if target.View.DurableIndex != leader.View.Commit {
		s.fail("the target has %d, and %d is committed: the scenario failed to prepare its state", target.View.DurableIndex, leader.View.Commit)
	}
	asked := s.ObserveRule(leader, target, nil, "TimeoutNow")
	s.transfer(leader, target)
	s.never(world.ElectionTimeout/4, "a target that lacks entries is asked to campaign", func() bool { return asked.Count > 0 })
	held.Release()
	s.within(world.ElectionTimeout, "the target leads", func() bool { return s.majorityLeader() == target })
	s.awaitAnswered(writes, world.ElectionTimeout)
}

func stopHandsOver(s *Driver) {
	leader := s.awaitSessions()
	writes := s.submitWrites(leader, 3)
	preVotes := s.ObserveRule(nil, nil, nil, "RequestVote").Where(func(m proto.Message) bool { return !world.RealVote(m) })
	leader.ShutDown(true)
	s.within(world.ElectionTimeout/2, "it has stopped, and another one leads", func() bool {
		l := s.majorityLeader()
		return !leader.Up() && l != nil && l != leader
	})
	if preVotes.Count > 0 {
		s.fail("an election was needed")
	}
	s.within(5*world.ElectionTimeout, "it is back", func() bool { return leader.Up() && leader.View.LeaderID != 0 })
	s.within(world.ElectionTimeout, "its writes have an outcome", func() bool { return countOutcome(history.Pending, writes) == 0 })

	leader = s.awaitSessions()
	if s.Options.Seed%2 == 0 {
		s.Isolate(leader, true)
	} else {
		s.DropRule(leader, nil, "TimeoutNow")
	}
	leader.ShutDown(true)
	s.within(world.ElectionTimeout+world.HeartbeatInterval, "it has stopped all the same", func() bool { return !leader.Up() })
	s.Isolate(leader, false)
}

func transferEndsWithTheRole(s *Driver) {
	leader := s.majorityLeader()
	target := s.others(leader)[s.Random.IntN(2)]
	s.writeAndWait(leader, 3)
	s.DropRule(leader, target, "TimeoutNow")
	s.transfer(leader, target)
	// It receives a higher term, and campaigns: the others are not sticky to a leader that requests
	// votes.
	term := leader.View.Term
	leader.Post(actors.NodePath, &messages.HeartbeatResponse{Term: term + 1, From: target.ID()})
	leader.Post(actors.NodePath, &messages.Campaign{})
	s.within(world.HeartbeatInterval, "it leads in a higher term", func() bool { return s.majorityLeader() == leader && leader.View.Term > term })
	began := s.Now()
	s.writeAndWait(leader, 1)
	if s.Now()-began > world.HeartbeatInterval {
		s.fail("the new leadership appended a command after %v", s.Now()-began)
	}
}
