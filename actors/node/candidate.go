package node

import (
	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// candidate asks for votes in a new term (Raft §5.2).
type candidate struct {
	nonLeader
	// votes has its own vote only after the vote is on disk.
	votes raft.Votes
}

func (*candidate) name() string { return roleCandidate }

// becomeCandidate adopts the next term and votes for itself. Term, vote and requests go to the
// LogStore together, so the requests leave after the vote is on disk (E1). transfer: the leader
// requested this campaign, and voters do not refuse it out of stickiness (E20).
func (n *Node) becomeCandidate(transfer bool) {
	n.setTerm(n.term+1, n.self())
	n.become(&candidate{nonLeader: nonLeader{n}, votes: raft.Votes{}})
	n.setLeader(0)
	n.env.Log().Info().Uint64("term", n.term).Bool("transfer", transfer).Msg("became candidate")
	n.resetCampaignTimer()
	a := &messages.Append{NeedsSync: true, Notify: true, Mark: &messages.AppendMark{Term: n.term}}
	for _, id := range n.quorum.VoterIDs() {
		if id == n.self() {
			continue
		}
		m := n.newVoteRequest(n.term)
		m.Transfer = transfer
		a.Deferred = append(a.Deferred, newDeferredMessage(id, messages.Receiver_RECEIVER_NODE, 0, m))
	}
	n.persist(a)
}

func (c *candidate) receive(ctx actor.Context) {
	m := ctx.Message()
	if !c.stepTerm(m) {
		return
	}
	switch m := m.(type) {
	case *messages.AppendEntries, *messages.Heartbeat:
		c.follow(m)
	case *messages.Durable:
		c.handleDurable(m)
		if m.Mark.Term == c.term { // the vote for itself is on disk
			c.recordVote(c.self(), true)
		}
	case *messages.VoteResponse:
		if !m.PreVote && m.Term == c.term {
			c.recordVote(m.Voter, m.Granted)
		}
	case *messages.Tick:
		if c.timer.fired(m.Timer) && c.timer.expired() {
			c.becomePreCandidate("no quorum of votes within the campaign timeout")
		}
	default:
		c.step(m)
	}
}

func (c *candidate) recordVote(voter uint64, granted bool) {
	c.votes.Record(voter, granted)
	switch c.quorum.CountVotes(c.votes.Of) {
	case raft.VoteWon:
		c.becomeLeader()
	case raft.VoteLost:
		c.becomeFollower(c.term, 0, "a quorum of votes is impossible")
	}
}
