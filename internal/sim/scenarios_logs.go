package sim

import (
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/messages"
)

// Who may be voted for, by its log; and who votes.

var voteScenarios = []Scenario{
	{Name: "election-restriction", Nodes: 3, Errata: []int{18}, Setup: electionRestrictionSetup, Script: electionRestriction,
		Description: "a candidate whose log is older, by term or by length, gets no vote, and does not hold up the one with the complete log"},
	{Name: "learner-votes", Nodes: 3, Errata: []int{23}, Setup: learnerVotesSetup, Script: learnerVotes,
		Description: "a learner that has not heard that it was made a voter campaigns in no case, and votes when asked"},
	{Name: "unknown-candidate", Nodes: 3, Errata: []int{23}, Setup: unknownCandidateSetup, Script: unknownCandidate,
		Description: "a voter gives its vote to a candidate that is not in the newest configuration it knows"},
}

// restrictions are pairs of logs: one that is complete, and one that must not win, though it may be the longer.
var restrictionLogs = [][2][]uint64{
	{{1, 1, 1, 3}, {1, 1, 1, 2, 2, 2}},
	{{1, 1, 2, 2, 2}, {1, 1, 2, 2}},
	{{1, 1, 2, 4}, {1, 1}},
}

// electionRestrictionSetup: of three members one is away. The one that lacks something campaigns before the other.
func electionRestrictionSetup(w *World) {
	logs := restrictionLogs[w.random.IntN(len(restrictionLogs))]
	w.setInitialState(1, initialState{log: logs[0], term: 5})
	w.setInitialState(2, initialState{log: logs[1], term: 5})
	w.members[2].notStarted = true
	w.members[0].randomOverride, w.members[1].randomOverride = middleTimeouts, shortestTimeouts
}

func electionRestriction(s *Driver) {
	winner, loser := s.members[0], s.members[1]
	var complete []uint64
	for i := uint64(1); s.termInLog(winner, i) != 0; i++ {
		complete = append(complete, s.termInLog(winner, i))
	}
	muzzle := s.dropRule(winner, nil, "RequestVote")
	refused := s.countVoteRefusals(winner, loser)
	s.within(electionTimeout, "its pre-vote is refused", func() bool { return refused.count > 0 })

	// Told to campaign at once it asks in earnest, in a term that is taken up.
	refused.end()
	earnest := s.countVoteRefusals(winner, loser).where(func(m proto.Message) bool { return realVote(m) && !m.(*messages.VoteResponse).Granted })
	loser.post(actors.NodePath, &messages.TimeoutNow{Term: loser.view.Term, Leader: winner.id})
	s.within(electionTimeout, "its vote is refused", func() bool { return earnest.count > 0 })
	muzzle.end()
	s.within(5*electionTimeout, "the complete log wins", func() bool { return s.majorityLeader() == winner })
	s.within(electionTimeout, "the other takes over its log", func() bool { return loser.view.Commit > uint64(len(complete)) })
	for i, term := range complete {
		if got := s.termInLog(loser, uint64(i+1)); got != term {
			s.fail("entry %d is of term %d at the member that was behind, of %d at the leader", i+1, got, term)
		}
	}
}

// countVoteRefusals counts votes that a member refuses another. A grant ends the script.
func (s *Driver) countVoteRefusals(of, to *member) *rule {
	return s.observeRule(of, to, func(_, _ *member, m proto.Message) {
		if m.(*messages.VoteResponse).Granted {
			s.World.Fail("leader completeness", "member %d votes for %d, whose log is behind", of.id, to.id)
		}
	}, "VoteResponse")
}

// learnerVotesSetup: member 3 is a learner by the first configuration. That it is a voter stands in the log of member 1
// only, which can win by its vote only: 2 is away.
func learnerVotesSetup(w *World) {
	w.setInitialConfiguration(3, 1, proto.CloneOf(w.bootstrap))
	w.bootstrap.Members[2].Learner = true
	w.setInitialState(1, initialState{log: []uint64{1, 1, 1}})
	w.setInitialState(2, initialState{log: []uint64{1, 1}})
	w.setInitialState(3, initialState{log: []uint64{1, 1}})
	w.members[0].notStarted, w.members[1].notStarted = true, true
}

func learnerVotes(s *Driver) {
	candidate, learner := s.members[0], s.members[2]
	campaigns := s.observeRule(learner, nil, nil, "RequestVote")
	s.advance(10 * electionTimeout)
	if campaigns.count > 0 || !learner.view.Learner {
		s.fail("the learner has campaigned:%s", s.describeMembers())
	}
	votes := s.observeRule(learner, candidate, nil, "VoteResponse").where(func(m proto.Message) bool {
		return realVote(m) && m.(*messages.VoteResponse).Granted && learner.view.Learner
	})
	candidate.boot()
	s.within(5*electionTimeout, "who knows it for a voter leads", func() bool { return s.majorityLeader() == candidate })
	if votes.count == 0 {
		s.fail("it was not the learner that voted")
	}
	s.within(heartbeatInterval, "it learns that it is a voter", func() bool { return !learner.view.Learner })
}

// unknownCandidateSetup: the first configuration is 2 and 3. That 1 is a member too stands in its own log only.
func unknownCandidateSetup(w *World) {
	w.setInitialConfiguration(3, 1, proto.CloneOf(w.bootstrap))
	w.bootstrap.Members = w.bootstrap.Members[1:]
	w.setInitialState(1, initialState{log: []uint64{1, 1, 1}})
	w.setInitialState(2, initialState{log: []uint64{1, 1}})
	w.setInitialState(3, initialState{log: []uint64{1, 1}})
	w.members[1].notStarted = true
}

func unknownCandidate(s *Driver) {
	s.within(5*electionTimeout, "the candidate that 3 does not know leads", func() bool { return s.majorityLeader() == s.members[0] })
	s.writeAndWait(s.members[0], 1)
}
