package scenario

import (
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/internal/sim/world"
	"github.com/troupe-raft/troupe/messages"
)

// Which candidates can win, by their log; and who votes.

var voteScenarios = []Scenario{
	{Name: "election-restriction", Nodes: 3, Errata: []int{18}, Setup: electionRestrictionSetup, Script: electionRestriction,
		Description: "a candidate whose log is older, by term or by length, gets no vote, and does not delay the one with the complete log"},
	{Name: "learner-votes", Nodes: 3, Errata: []int{23}, Setup: learnerVotesSetup, Script: learnerVotes,
		Description: "a learner that does not know yet that it is a voter never campaigns, and votes when requested"},
	{Name: "unknown-candidate", Nodes: 3, Errata: []int{23}, Setup: unknownCandidateSetup, Script: unknownCandidate,
		Description: "a voter votes for a candidate that is not in the newest configuration it knows"},
}

// restrictionLogs are pairs of logs: a complete one, and one that must not win, though it may be
// the longer.
var restrictionLogs = [][2][]uint64{
	{{1, 1, 1, 3}, {1, 1, 1, 2, 2, 2}},
	{{1, 1, 2, 2, 2}, {1, 1, 2, 2}},
	{{1, 1, 2, 4}, {1, 1}},
}

// electionRestrictionSetup: of three members one is down. The one that lacks something campaigns
// before the other.
func electionRestrictionSetup(w *world.World) {
	logs := restrictionLogs[w.Random.IntN(len(restrictionLogs))]
	w.SetInitialState(1, world.InitialState{Log: logs[0], Term: 5})
	w.SetInitialState(2, world.InitialState{Log: logs[1], Term: 5})
	w.Members[2].NotStarted = true
	w.Members[0].RandomOverride, w.Members[1].RandomOverride = middleTimeouts, shortestTimeouts
}

func electionRestriction(s *Driver) {
	winner, loser := s.Members[0], s.Members[1]
	var complete []uint64
	for i := uint64(1); s.termInLog(winner, i) != 0; i++ {
		complete = append(complete, s.termInLog(winner, i))
	}
	muzzle := s.DropRule(winner, nil, "RequestVote")
	refused := s.countVoteRefusals(winner, loser)
	s.within(world.ElectionTimeout, "its pre-vote is refused", func() bool { return refused.Count > 0 })

	// Asked to campaign at once it requests real votes, in a term that the others adopt.
	refused.End()
	earnest := s.countVoteRefusals(winner, loser).Where(func(m proto.Message) bool { return world.RealVote(m) && !m.(*messages.VoteResponse).Granted })
	loser.Post(actors.NodePath, &messages.TimeoutNow{Term: loser.View.Term, Leader: winner.ID()})
	s.within(world.ElectionTimeout, "its vote is refused", func() bool { return earnest.Count > 0 })
	muzzle.End()
	s.within(5*world.ElectionTimeout, "the complete log wins", func() bool { return s.majorityLeader() == winner })
	s.within(world.ElectionTimeout, "the other takes over its log", func() bool { return loser.View.Commit > uint64(len(complete)) })
	for i, term := range complete {
		if got := s.termInLog(loser, uint64(i+1)); got != term {
			s.fail("entry %d is of term %d at the member that was behind, of %d at the leader", i+1, got, term)
		}
	}
}

// countVoteRefusals counts the votes that a member refuses to another. A grant ends the script.
func (s *Driver) countVoteRefusals(of, to *world.Member) *world.Rule {
	return s.ObserveRule(of, to, func(_, _ *world.Member, m proto.Message) {
		if m.(*messages.VoteResponse).Granted {
			s.World.Fail("leader completeness", "member %d votes for %d, whose log is behind", of.ID(), to.ID())
		}
	}, "VoteResponse")
}

// learnerVotesSetup: member 3 is a learner by the first configuration. Only the log of member 1
// says that it is a voter, and member 1 needs its vote to win: 2 is down.
func learnerVotesSetup(w *world.World) {
	w.SetInitialConfiguration(3, 1, proto.CloneOf(w.Bootstrap))
	w.Bootstrap.Members[2].Learner = true
	w.SetInitialState(1, world.InitialState{Log: []uint64{1, 1, 1}})
	w.SetInitialState(2, world.InitialState{Log: []uint64{1, 1}})
	w.SetInitialState(3, world.InitialState{Log: []uint64{1, 1}})
	w.Members[0].NotStarted, w.Members[1].NotStarted = true, true
}

func learnerVotes(s *Driver) {
	candidate, learner := s.Members[0], s.Members[2]
	campaigns := s.ObserveRule(learner, nil, nil, "RequestVote")
	s.advance(10 * world.ElectionTimeout)
	if campaigns.Count > 0 || !learner.View.Learner {
		s.fail("the learner has campaigned:%s", s.DescribeMembers())
	}
	votes := s.ObserveRule(learner, candidate, nil, "VoteResponse").Where(func(m proto.Message) bool {
		return world.RealVote(m) && m.(*messages.VoteResponse).Granted && learner.View.Learner
	})
	candidate.Boot()
	s.within(5*world.ElectionTimeout, "the member that knows it as a voter leads", func() bool { return s.majorityLeader() == candidate })
	if votes.Count == 0 {
		s.fail("the vote was not the learner's")
	}
	s.within(world.HeartbeatInterval, "it learns that it is a voter", func() bool { return !learner.View.Learner })
}

// unknownCandidateSetup: the first configuration is 2 and 3. Only the log of member 1 says that 1
// is a member too.
func unknownCandidateSetup(w *world.World) {
	w.SetInitialConfiguration(3, 1, proto.CloneOf(w.Bootstrap))
	w.Bootstrap.Members = w.Bootstrap.Members[1:]
	w.SetInitialState(1, world.InitialState{Log: []uint64{1, 1, 1}})
	w.SetInitialState(2, world.InitialState{Log: []uint64{1, 1}})
	w.SetInitialState(3, world.InitialState{Log: []uint64{1, 1}})
	w.Members[1].NotStarted = true
	w.OpenLinks = true
}

func unknownCandidate(s *Driver) {
	s.within(5*world.ElectionTimeout, "the candidate that 3 does not know leads", func() bool { return s.majorityLeader() == s.Members[0] })
	s.writeAndWait(s.Members[0], 1)
}
