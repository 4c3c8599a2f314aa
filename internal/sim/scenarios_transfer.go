package sim

import (
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/internal/sim/history"
	"github.com/troupe-raft/troupe/messages"
)

// Leadership that is handed over (dissertation §3.10).

var transferScenarios = []Scenario{
	{Name: "transfer", Nodes: 3, Errata: []int{20}, Script: transferUnderLoad,
		Description: "leadership moves under load with one election and without a pre-vote; every command takes effect once"},
	{Name: "transfer-target-dies", Nodes: 3, Errata: []int{20}, Script: transferTargetKilled,
		Description: "the target dies as it is told to campaign: no proposal is taken until the transfer is given up, no election, and then all are"},
	{Name: "transfer-candidate-dies", Nodes: 3, Errata: []int{20}, Script: transferCandidateKilled,
		Description: "the target dies after it has asked for votes: one more election, and nothing is lost"},
	{Name: "transfer-to-one-behind", Nodes: 3, Errata: []int{20}, Script: transferToOneBehind,
		Description: "a target that lacks entries is told to campaign when it has them, and never if it does not get them in time"},
	{Name: "transfer-ends-with-the-role", Nodes: 3, Errata: []int{20}, Script: transferEndsWithTheRole,
		Description: "a leader that loses leadership in a transfer and gains it again takes proposals at once"},
}

// transfer has a leader asked to hand over.
func (s *Driver) transfer(leader, target *member) {
	leader.post(actors.NodePath, &messages.TransferLeadership{Target: target.id})
}

// loaded has all members' programs write, on and on, until something has happened.
func (s *Driver) writeUntil(until func() bool) (writes []*history.Operation) {
	for began := s.now; !until(); {
		if s.now-began > 5*electionTimeout {
			s.fail("not within %v under load:%s", 5*electionTimeout, s.describeMembers())
		}
		for _, m := range s.members {
			writes = append(writes, s.submitWrites(m, 1)...)
		}
		s.advance(heartbeatInterval / 20)
	}
	return writes
}

func transferUnderLoad(s *Driver) {
	leader := s.majorityLeader()
	target := s.others(leader)[s.random.IntN(2)]
	for _, m := range s.members {
		s.writeAndWait(m, 1)
	}
	elections := s.counts.Elections
	preVotes := s.observeRule(nil, nil, nil, "RequestVote").where(func(m proto.Message) bool { return !realVote(m) })
	began := s.now
	writes := s.writeUntil(func() bool { return s.now > began+heartbeatInterval })
	s.transfer(leader, target)
	began = s.now
	writes = append(writes, s.writeUntil(func() bool { return s.majorityLeader() == target })...)
	if s.now-began > electionTimeout/2 {
		s.fail("it took %v", s.now-began)
	}
	s.staysLeader(target, 2*electionTimeout)
	if s.counts.Elections != elections+1 || preVotes.count > 0 {
		s.fail("%d elections and %d requests for pre-votes", s.counts.Elections-elections, preVotes.count)
	}
	s.awaitAnswered(writes, electionTimeout)
}

func transferTargetKilled(s *Driver) {
	leader := s.majorityLeader()
	target := s.others(leader)[s.random.IntN(2)]
	s.writeAndWait(leader, 3)
	elections := s.counts.Elections
	dead := false
	when := []crashTiming{crashBefore, crashAfter}[s.random.IntN(2)] // after it: nothing of its campaign is on its disk yet
	target.endRunAt("", "TimeoutNow", 1, when, func() { s.powerCut(target); dead = true })
	s.transfer(leader, target)
	s.within(electionTimeout, "the target dies", func() bool { return dead })

	// Proposals are refused until the leader gives the transfer up.
	began := s.now
	refused := 0
	leader.listen(func(news proto.Message) {
		if r, ok := news.(*messages.ProposalsRefused); ok && r.Reason == messages.Refusal_REFUSAL_TRANSFERRING {
			refused++
		}
	})
	writes := s.submitWrites(leader, 3)
	s.within(heartbeatInterval/10, "they are refused", func() bool { return refused == 3 })
	for _, m := range s.others(leader) {
		if m != target {
			writes = append(writes, s.submitWrites(m, 3)...) // these are forwarded, and refused from afar
		}
	}
	// It gives up after an election timeout, at its next heartbeat; what was refused is said again at the handles' next look.
	s.never(electionTimeout*9/10, "a proposal is taken while leadership is handed over", func() bool { return countOutcome(history.Answered, writes) > 0 })
	s.awaitAnswered(writes, began+electionTimeout+2*heartbeatInterval+heartbeatInterval/5-s.now)
	if s.counts.Elections != elections || s.majorityLeader() != leader {
		s.fail("%d elections", s.counts.Elections-elections)
	}
}

func transferCandidateKilled(s *Driver) {
	leader := s.majorityLeader()
	target := s.others(leader)[s.random.IntN(2)]
	s.writeAndWait(leader, 3)
	elections, term := s.counts.Elections, leader.view.Term
	requests := s.observeRule(target, nil, func(_, _ *member, _ proto.Message) {
		s.after(0, func() {
			if target.up {
				s.powerCut(target)
			}
		})
	}, "RequestVote")
	writes := s.submitWrites(leader, 5)
	s.transfer(leader, target)
	s.within(electionTimeout, "the target asks for votes and dies", func() bool { return requests.count > 0 && !target.up })
	requests.end()
	s.within(4*electionTimeout, "another term has a leader", func() bool { l := s.majorityLeader(); return l != nil && l.view.Term > term })
	next := s.majorityLeader()
	if s.counts.Elections > elections+1 {
		s.fail("%d elections", s.counts.Elections-elections)
	}
	s.writeAndWait(next, 1)
	s.awaitAnswered(writes, electionTimeout) // whoever leads
	s.restart(target)
	s.staysLeader(next, 3*electionTimeout)
}

func transferToOneBehind(s *Driver) {
	leader := s.majorityLeader()
	target := s.others(leader)[s.random.IntN(2)]
	behind := s.holdRule(leader, target, "AppendEntries")
	s.writeAndWait(leader, 5)
	told := s.observeRule(leader, target, func(_, to *member, _ proto.Message) {
		if last := leader.view.LastIndex; s.termInLog(to, last) != leader.view.Term || to.view.LastIndex != last {
			s.World.Fail("script", "member %d is told to campaign with a log that ends at %d; the leader's ends at %d", to.id, to.view.LastIndex, last)
		}
	}, "TimeoutNow")
	s.transfer(leader, target)
	if s.chance(0.5) { // it gets them in time
		s.advance(electionTimeout / 4)
		behind.release()
		s.within(electionTimeout, "the target leads", func() bool { return s.majorityLeader() == target })
		return
	}
	s.staysLeader(leader, 2*electionTimeout)
	if told.count > 0 {
		s.fail("a target that is behind was told to campaign")
	}
	s.writeAndWait(leader, 3) // the third member has what it needs
}

func transferEndsWithTheRole(s *Driver) {
	leader := s.majorityLeader()
	target := s.others(leader)[s.random.IntN(2)]
	s.writeAndWait(leader, 3)
	s.dropRule(leader, target, "TimeoutNow")
	s.transfer(leader, target)
	// It hears of a higher term, and campaigns: the others do not stick to a leader that asks for votes.
	term := leader.view.Term
	leader.post(actors.NodePath, &messages.HeartbeatResponse{Term: term + 1, From: target.id})
	leader.post(actors.NodePath, &messages.Campaign{})
	s.within(heartbeatInterval, "it leads in a higher term", func() bool { return s.majorityLeader() == leader && leader.view.Term > term })
	began := s.now
	s.writeAndWait(leader, 1)
	if s.now-began > heartbeatInterval {
		s.fail("the new leadership took a command after %v", s.now-began)
	}
}
