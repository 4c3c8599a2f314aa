package sim

import (
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/messages"
)

// Who may be voted for, by its log; and who votes.

var voteScenarios = []Scenario{
	{Name: "election-restriction", Nodes: 3, Errata: []int{18}, Given: electionRestrictionGiven, Script: electionRestriction,
		Line: "a candidate whose log is older, by term or by length, gets no vote, and does not hold up the one with the complete log"},
	{Name: "learner-votes", Nodes: 3, Errata: []int{23}, Given: learnerVotesGiven, Script: learnerVotes,
		Line: "a learner that has not heard that it was made a voter campaigns in no case, and votes when asked"},
	{Name: "unknown-candidate", Nodes: 3, Errata: []int{23}, Given: unknownCandidateGiven, Script: unknownCandidate,
		Line: "a voter gives its vote to a candidate that is not in the newest configuration it knows"},
}

// restrictions are pairs of logs: one that is complete, and one that must not win, though it may be the longer.
var restrictions = [][2][]uint64{
	{{1, 1, 1, 3}, {1, 1, 1, 2, 2, 2}},
	{{1, 1, 2, 2, 2}, {1, 1, 2, 2}},
	{{1, 1, 2, 4}, {1, 1}},
}

// electionRestrictionGiven: of three members one is away. The one that lacks something campaigns before the other.
func electionRestrictionGiven(w *World) {
	logs := restrictions[w.random.IntN(len(restrictions))]
	w.given(1, past{log: logs[0], term: 5})
	w.given(2, past{log: logs[1], term: 5})
	w.members[2].absent = true
	w.members[0].dice, w.members[1].dice = middle, eager
}

func electionRestriction(s *Scene) {
	winner, loser := s.members[0], s.members[1]
	var complete []uint64
	for i := uint64(1); s.termInLog(winner, i) != 0; i++ {
		complete = append(complete, s.termInLog(winner, i))
	}
	muzzle := s.lose(winner, nil, "RequestVote")
	refused := s.voteRefusals(winner, loser)
	s.within(election, "its pre-vote is refused", func() bool { return refused.count > 0 })

	// Told to campaign at once it asks in earnest, in a term that is taken up.
	refused.end()
	earnest := s.voteRefusals(winner, loser).when(func(m proto.Message) bool { return realVote(m) && !m.(*messages.VoteResponse).Granted })
	loser.post(actors.NodePath, &messages.TimeoutNow{Term: loser.view.Term, Leader: winner.id})
	s.within(election, "its vote is refused", func() bool { return earnest.count > 0 })
	muzzle.end()
	s.within(5*election, "the complete log wins", func() bool { return s.leads() == winner })
	s.within(election, "the other takes over its log", func() bool { return loser.view.Commit > uint64(len(complete)) })
	for i, term := range complete {
		if got := s.termInLog(loser, uint64(i+1)); got != term {
			s.fail("entry %d is of term %d at the member that was behind, of %d at the leader", i+1, got, term)
		}
	}
}

// voteRefusals counts votes that a member refuses another. A grant ends the script.
func (s *Scene) voteRefusals(of, to *member) *rule {
	return s.tap(of, to, func(_, _ *member, m proto.Message) {
		if m.(*messages.VoteResponse).Granted {
			s.World.fail("leader completeness", "member %d votes for %d, whose log is behind", of.id, to.id)
		}
	}, "VoteResponse")
}

// learnerVotesGiven: member 3 is a learner by the first configuration. That it is a voter stands in the log of member 1
// only, which can win by its vote only: 2 is away.
func learnerVotesGiven(w *World) {
	w.reconfigured(3, 1, proto.CloneOf(w.bootstrap))
	w.bootstrap.Members[2].Learner = true
	w.given(1, past{log: []uint64{1, 1, 1}})
	w.given(2, past{log: []uint64{1, 1}})
	w.given(3, past{log: []uint64{1, 1}})
	w.members[0].absent, w.members[1].absent = true, true
}

func learnerVotes(s *Scene) {
	candidate, learner := s.members[0], s.members[2]
	campaigns := s.tap(learner, nil, nil, "RequestVote")
	s.pass(10 * election)
	if campaigns.count > 0 || !learner.view.Learner {
		s.fail("the learner has campaigned:%s", s.state())
	}
	votes := s.tap(learner, candidate, nil, "VoteResponse").when(func(m proto.Message) bool {
		return realVote(m) && m.(*messages.VoteResponse).Granted && learner.view.Learner
	})
	candidate.boot()
	s.within(5*election, "who knows it for a voter leads", func() bool { return s.leads() == candidate })
	if votes.count == 0 {
		s.fail("it was not the learner that voted")
	}
	s.within(heartbeat, "it learns that it is a voter", func() bool { return !learner.view.Learner })
}

// unknownCandidateGiven: the first configuration is 2 and 3. That 1 is a member too stands in its own log only.
func unknownCandidateGiven(w *World) {
	w.reconfigured(3, 1, proto.CloneOf(w.bootstrap))
	w.bootstrap.Members = w.bootstrap.Members[1:]
	w.given(1, past{log: []uint64{1, 1, 1}})
	w.given(2, past{log: []uint64{1, 1}})
	w.given(3, past{log: []uint64{1, 1}})
	w.members[1].absent = true
}

func unknownCandidate(s *Scene) {
	s.within(5*election, "the candidate that 3 does not know leads", func() bool { return s.leads() == s.members[0] })
	s.writes(s.members[0], 1)
}
