package node

import (
	"time"

	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// handleRequestVote decides a request by raft.DecideVote. A granted vote leaves after term and vote
// are on disk (E1). sticky: this node leads, or has contact to a leader.
func (n *Node) handleRequestVote(m *messages.RequestVote, sticky bool) {
	if m.Candidate == n.self() {
		return // sent by this node: the link delivered it to the wrong member
	}
	d := raft.DecideVote(raft.VoterState{
		Term: n.term, Vote: n.vote, Log: n.log.terms, Barred: !n.mayVote(), Sticky: sticky,
	}, m)
	if d.AdoptTerm > n.term {
		n.becomeFollower(d.AdoptTerm, 0, "vote request of a higher term")
	}
	response := &messages.VoteResponse{
		Term: d.ResponseTerm, Voter: n.self(), Granted: d.Grant, PreVote: m.PreVote, LeaderActive: d.Sticky,
	}
	if !d.Grant || m.PreVote {
		n.sendToPeer(m.Candidate, response)
		return
	}
	n.vote = d.Vote
	n.stateChanged = true
	n.resetElectionTimer() // Raft §5.2, Figure 2: "or granting vote to candidate"
	n.persist(&messages.Append{
		NeedsSync: true,
		Mark:      &messages.AppendMark{Term: n.term},
		Deferred:  []*messages.DeferredMessage{newDeferredMessage(m.Candidate, messages.Receiver_RECEIVER_NODE, 0, response)},
	})
}

// newVoteRequest returns a request for a vote in term.
func (n *Node) newVoteRequest(term uint64) *messages.RequestVote {
	return &messages.RequestVote{
		Term: term, Candidate: n.self(), LastIndex: n.log.lastIndex(), LastTerm: n.log.lastTerm(),
	}
}

// setLeader stores the leader of the current term, 0 for none, and reports it to the Session.
func (n *Node) setLeader(leader uint64) {
	if n.contact.leader == leader {
		return
	}
	n.contact.leader = leader
	n.stateChanged = true
	n.voteForLeader(leader)
	n.sendLeaderChanged()
	if leader != 0 {
		n.env.Log().Info().Uint64("term", n.term).Str("leader", raft.FormatID(leader)).Msg("leader known")
	}
}

func (n *Node) sendLeaderChanged() {
	n.send(n.env.ReplySink(), &messages.LeaderChanged{
		Incarnation: n.config.Incarnation, Term: n.term, Leader: n.contact.leader,
	})
}

// resetElectionTimer starts the wait for a message of the leader again.
func (n *Node) resetElectionTimer() {
	n.setRandomDeadline(n.contact.electionTimeout(n.config.HeartbeatInterval, n.config.ElectionTimeout))
}

// resetCampaignTimer starts the wait for the next campaign again, while no leader is known.
func (n *Node) resetCampaignTimer() {
	if n.contact.isFast(n.env.Now()) {
		n.setRandomDeadline(fastCampaignTimeoutMin, fastCampaignTimeoutMax)
		return
	}
	n.resetElectionTimer()
}

func (n *Node) setRandomDeadline(least, most time.Duration) {
	n.timer.set(randomBetween(n.env.Random(), least, most))
}
