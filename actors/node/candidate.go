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
	votes map[uint64]bool
	// transfer: the leader asked for this campaign, so stickiness does not hold the voters off.
	transfer bool
	// stickyRetryAt is when voters that refused out of stickiness may be asked again; 0: no need.
	stickyRetryAt time.Duration
}

func (c *campaign) vote(id uint64) (granted, answered bool) {
	granted, answered = c.votes[id]
	return
}

// count takes an answer. A grant is not taken back by a refusal that was given before it and comes late.
func (c *campaign) record(voter uint64, granted bool) {
	c.votes[voter] = c.votes[voter] || granted
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
	n.leaderLinkBroken = false
	n.setLeader(0)
	n.campaign = &campaign{term: n.term + 1, votes: map[uint64]bool{n.self(): true}}
	n.setCampaignDeadline()
	n.sendPreVoteRequests()
	n.tallyPreVotes()
}

// setCampaignDeadline sets when to campaign next while no leader is known: soon where one was lost a moment ago.
func (n *Node) setCampaignDeadline() {
	if n.inFastCampaign() {
		n.setDeadline(n.randomBetween(fastCampaignTimeoutMin, fastCampaignTimeoutMax))
		return
	}
	n.resetElectionTimer()
}

// sendPreVoteRequests asks everyone who has not granted yet. A pre-vote promises nothing, so it leaves at once.
func (n *Node) sendPreVoteRequests() {
	for _, id := range n.quorum.VoterIDs() {
		if id == n.self() || n.campaign.votes[id] {
			continue
		}
		n.sendToPeer(id, &messages.RequestVote{
			Term: n.campaign.term, Candidate: n.self(), PreVote: true,
			LastIndex: n.log.LastIndex(), LastTerm: n.log.LastTerm(),
		})
	}
}

func (n *Node) preCandidate(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *messages.VoteResponse:
		n.handlePreVoteResponse(m)
	case *messages.Tick:
		n.preCandidateTick()
	case *messages.TimeoutNow:
		n.handleTimeoutNow(m)
	case *messages.Removed:
		n.handleRemoved(m)
	default:
		n.refuseWithoutLeader(m)
	}
}

func (n *Node) preCandidateTick() {
	c := n.campaign
	if c.stickyRetryAt != 0 && n.env.Now() >= c.stickyRetryAt {
		c.stickyRetryAt = 0
		n.setCampaignDeadline()
		n.sendPreVoteRequests()
		return
	}
	if n.deadlineReached() {
		n.becomePreCandidate("once more")
	}
}

func (n *Node) handlePreVoteResponse(m *messages.VoteResponse) {
	c := n.campaign
	if !m.PreVote || m.Granted && m.Term != c.term {
		return // of an earlier campaign
	}
	c.record(m.Voter, m.Granted)
	if !m.Granted && m.LeaderActive && n.inFastCampaign() && c.stickyRetryAt == 0 {
		wait := n.randomBetween(stickyRetryDelayMin, stickyRetryDelayMax)
		c.stickyRetryAt = n.env.Now() + wait
		n.setDeadline(wait)
	}
	n.tallyPreVotes()
}

func (n *Node) tallyPreVotes() {
	switch n.quorum.CountVotes(n.campaign.vote) {
	case raft.VoteWon:
		n.becomeCandidate(false)
	case raft.VoteLost:
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
	n.campaign = &campaign{term: n.term, votes: map[uint64]bool{}, transfer: transfer}
	n.env.Log().Info().Uint64("term", n.term).Bool("transfer", transfer).Msg("became candidate")
	n.setCampaignDeadline()
	a := &messages.Append{NeedsSync: true, Notify: true, Mark: &messages.AppendMark{Term: n.term}}
	for _, id := range n.quorum.VoterIDs() {
		if id == n.self() {
			continue
		}
		a.Deferred = append(a.Deferred, newDeferredMessage(id, messages.Role_ROLE_NODE, 0, &messages.RequestVote{
			Term: n.term, Candidate: n.self(), Transfer: transfer,
			LastIndex: n.log.LastIndex(), LastTerm: n.log.LastTerm(),
		}))
	}
	n.persist(a)
}

func (n *Node) candidate(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *messages.Durable:
		// The hard state of this term is on disk, and the own vote in it.
		if m.Mark.Term == n.term {
			n.recordVote(n.self(), true)
		}
	case *messages.VoteResponse:
		if !m.PreVote && m.Term == n.term {
			n.recordVote(m.Voter, m.Granted)
		}
	case *messages.Tick:
		if n.deadlineReached() {
			n.becomePreCandidate("the campaign found no majority in time")
		}
	case *messages.Removed:
		n.handleRemoved(m)
	default:
		n.refuseWithoutLeader(m)
	}
}

func (n *Node) recordVote(voter uint64, granted bool) {
	n.campaign.record(voter, granted)
	switch n.quorum.CountVotes(n.campaign.vote) {
	case raft.VoteWon:
		n.becomeLeader()
	case raft.VoteLost:
		n.becomeFollower(n.term, 0, "a majority refused its vote")
	}
}

// refuseWithoutLeader answers, while there is no leader, what only a leader could do.
func (n *Node) refuseWithoutLeader(m any) {
	switch m := m.(type) {
	case *messages.RequestRead:
		n.forwardRead(m)
	case *messages.ForwardedProposals:
		n.refuseForwarded(m, messages.Refusal_REFUSAL_NO_LEADER, 0)
	case *messages.ForwardedRead:
		n.refuseForwardedRead(m, messages.Refusal_REFUSAL_NO_LEADER)
	}
}

// handleTimeoutNow campaigns without asking first: the leader of this very term wants it (dissertation §3.10, E20).
func (n *Node) handleTimeoutNow(m *messages.TimeoutNow) {
	if m.Term != n.term || !n.isVoter() || m.Leader == n.self() {
		return
	}
	n.env.Log().Info().Str("from", raft.FormatID(m.Leader)).Uint64("term", n.term).Msg("taking over leadership")
	n.becomeCandidate(true)
}

// removed: a committed configuration does not hold this node any more, so it must not go on (E36).
func (n *Node) handleRemoved(m *messages.Removed) {
	if m.Term < n.term {
		return
	}
	failRemoved(m.From, m.Index)
}
