package node

import (
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// campaign is what a preCandidate or candidate knows of the answers it got.
type campaign struct {
	// term is the term campaigned for: one above the own for pre-votes, the own for votes.
	term uint64
	// answers by voter. The own vote is in it once it is on disk.
	answers map[uint64]bool
	// transfer: the leader asked for this campaign, so stickiness does not hold the voters off.
	transfer bool
	// stickyRetry is when voters that refused out of stickiness may be asked again; 0: no need.
	stickyRetry time.Duration
}

func (c *campaign) answer(id uint64) (granted, answered bool) {
	granted, answered = c.answers[id]
	return
}

// count takes an answer. A grant is not taken back by a refusal that was given before it and comes late.
func (c *campaign) count(voter uint64, granted bool) {
	c.answers[voter] = c.answers[voter] || granted
}

// becomePreCandidate asks whether votes would be granted (dissertation §9.6). It takes up no term, and forgets the known
// leader and earlier answers, or PreVote with CheckQuorum would livelock (E16).
func (n *Node) becomePreCandidate(why string) {
	if !n.isVoter() {
		return
	}
	if n.role != rolePreCandidate {
		n.env.Log().Info().Uint64("term", n.term).Str("why", why).Msg("asking for pre-votes")
	}
	n.become(rolePreCandidate, n.preCandidate)
	n.leaderLost = false
	n.setLeader(0)
	n.campaign = &campaign{term: n.term + 1, answers: map[uint64]bool{n.self(): true}}
	n.setCampaignDeadline()
	n.askPreVotes()
	n.countPreVotes()
}

// setCampaignDeadline sets when to campaign next while no leader is known: soon where one was lost a moment ago.
func (n *Node) setCampaignDeadline() {
	if n.fast() {
		n.setDeadline(n.random(fastCampaignMin, fastCampaignMax))
		return
	}
	n.resetElectionTimer()
}

// askPreVotes asks everyone who has not granted yet. A pre-vote promises nothing, so it leaves at once.
func (n *Node) askPreVotes() {
	for _, id := range n.quorum.IDs() {
		if id == n.self() || n.campaign.answers[id] {
			continue
		}
		n.tell(id, &messages.RequestVote{
			Term: n.campaign.term, Candidate: n.self(), PreVote: true,
			LastIndex: n.log.Last(), LastTerm: n.log.LastTerm(),
		})
	}
}

func (n *Node) preCandidate(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *messages.VoteAnswer:
		n.preVoteAnswered(m)
	case *messages.Tick:
		n.preCandidateTick()
	case *messages.TimeoutNow:
		n.timeoutNow(m)
	case *messages.Removed:
		n.removed(m)
	default:
		n.withoutLeader(m)
	}
}

func (n *Node) preCandidateTick() {
	c := n.campaign
	if c.stickyRetry != 0 && n.env.Now() >= c.stickyRetry {
		c.stickyRetry = 0
		n.setCampaignDeadline()
		n.askPreVotes()
		return
	}
	if n.due() {
		n.becomePreCandidate("once more")
	}
}

func (n *Node) preVoteAnswered(m *messages.VoteAnswer) {
	c := n.campaign
	if !m.PreVote || m.Granted && m.Term != c.term {
		return // of an earlier campaign
	}
	c.count(m.Voter, m.Granted)
	if !m.Granted && m.Sticky && n.fast() && c.stickyRetry == 0 {
		wait := n.random(stickyRetryMin, stickyRetryMax)
		c.stickyRetry = n.env.Now() + wait
		n.setDeadline(wait)
	}
	n.countPreVotes()
}

func (n *Node) countPreVotes() {
	switch n.quorum.Vote(n.campaign.answer) {
	case raft.Won:
		n.becomeCandidate(false)
	case raft.Lost:
		// Most voters hear a leader, or have more than we do. Wait as a follower would, but ask on: a voter that refused
		// out of stickiness is asked again by the timer.
	}
}

// becomeCandidate takes up the next term and votes for itself. Term, vote and the requests go to the LogStore together:
// nobody is asked before the own vote is on disk, and the own vote counts from then on.
func (n *Node) becomeCandidate(transfer bool) {
	n.term++
	n.vote = n.self()
	n.become(roleCandidate, n.candidate)
	n.setLeader(0)
	n.campaign = &campaign{term: n.term, answers: map[uint64]bool{}, transfer: transfer}
	n.env.Log().Info().Uint64("term", n.term).Bool("transfer", transfer).Msg("became candidate")
	n.setCampaignDeadline()
	a := &messages.Append{Urgent: true, Tell: true, Mark: &messages.Mark{Term: n.term}}
	for _, id := range n.quorum.IDs() {
		if id == n.self() {
			continue
		}
		a.Then = append(a.Then, promise(id, messages.Role_ROLE_NODE, 0, &messages.RequestVote{
			Term: n.term, Candidate: n.self(), Transfer: transfer,
			LastIndex: n.log.Last(), LastTerm: n.log.LastTerm(),
		}))
	}
	n.persist(a)
}

func (n *Node) candidate(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *messages.Durable:
		// The hard state of this term is on disk, and the own vote in it.
		if m.Mark.Term == n.term {
			n.voteCounted(n.self(), true)
		}
	case *messages.VoteAnswer:
		if !m.PreVote && m.Term == n.term {
			n.voteCounted(m.Voter, m.Granted)
		}
	case *messages.Tick:
		if n.due() {
			n.becomePreCandidate("the campaign found no majority in time")
		}
	case *messages.Removed:
		n.removed(m)
	default:
		n.withoutLeader(m)
	}
}

func (n *Node) voteCounted(voter uint64, granted bool) {
	n.campaign.count(voter, granted)
	switch n.quorum.Vote(n.campaign.answer) {
	case raft.Won:
		n.becomeLeader()
	case raft.Lost:
		n.becomeFollower(n.term, 0, "a majority refused its vote")
	}
}

// withoutLeader answers, while there is no leader, what only a leader could do.
func (n *Node) withoutLeader(m any) {
	switch m := m.(type) {
	case *messages.AskRead:
		n.forwardRead(m)
	case *messages.ForwardedProposals:
		n.refuseForwarded(m, messages.Refusal_REFUSAL_NO_LEADER, 0)
	case *messages.ForwardedRead:
		n.refuseRead(m, messages.Refusal_REFUSAL_NO_LEADER)
	}
}

// timeoutNow campaigns without asking first: the leader of this very term wants it (dissertation §3.10, E20).
func (n *Node) timeoutNow(m *messages.TimeoutNow) {
	if m.Term != n.term || !n.isVoter() || m.Leader == n.self() {
		return
	}
	n.env.Log().Info().Str("from", hexID(m.Leader)).Uint64("term", n.term).Msg("taking over leadership")
	n.becomeCandidate(true)
}

// removed: a committed configuration does not hold this node any more, so it must not go on (E36).
func (n *Node) removed(m *messages.Removed) {
	if m.Term < n.term {
		return
	}
	panicRemoved(m.From, m.Index)
}
