package node

import (
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// preCandidate asks whether it would receive the votes of a quorum (dissertation §9.6). Its term
// does not rise, and no leader is known.
type preCandidate struct {
	nonLeader
	votes raft.Votes
	// stickyRetryAt is when voters that refused out of stickiness are asked again, 0 for never. It
	// is set in a fast campaign only: those voters lose contact to the leader a little later.
	stickyRetryAt time.Duration
}

func (*preCandidate) name() string { return rolePreCandidate }

// becomePreCandidate begins to campaign, unless this node has no vote.
func (n *Node) becomePreCandidate(why string) {
	if n.isVoter() {
		n.env.Log().Info().Uint64("term", n.term).Str("why", why).Msg("asking for pre-votes")
		n.startPreVote()
	}
}

// startPreVote asks for pre-votes, for the first time or again. It clears the known leader and the
// earlier responses, without which PreVote and CheckQuorum together can livelock (E16).
func (n *Node) startPreVote() {
	p := &preCandidate{nonLeader: nonLeader{n}, votes: raft.Votes{n.self(): true}}
	n.become(p)
	n.contact.leaderLost = false
	n.setLeader(0)
	n.resetCampaignTimer()
	p.requestPreVotes()
	p.countPreVotes()
}

func (p *preCandidate) receive(ctx actor.Context) {
	m := ctx.Message()
	if !p.stepTerm(m) {
		return
	}
	switch m := m.(type) {
	case *messages.AppendEntries, *messages.Heartbeat:
		p.follow(m)
	case *messages.VoteResponse:
		p.handleVoteResponse(m)
	case *messages.Tick:
		if p.timer.fired(m.Timer) {
			p.handleTick()
		}
	case *messages.TimeoutNow:
		p.handleTimeoutNow(m)
	default:
		p.step(m)
	}
}

// requestPreVotes asks all voters that have not granted. A pre-vote changes nothing on disk, so the
// requests are not deferred.
func (p *preCandidate) requestPreVotes() {
	for _, id := range p.quorum.VoterIDs() {
		if id == p.self() || p.votes[id] {
			continue
		}
		m := p.newVoteRequest(p.term + 1)
		m.PreVote = true
		p.sendToPeer(id, m)
	}
}

func (p *preCandidate) handleVoteResponse(m *messages.VoteResponse) {
	if !m.PreVote || m.Granted && m.Term != p.term+1 {
		return // of an earlier campaign
	}
	p.votes.Record(m.Voter, m.Granted)
	if !m.Granted && m.LeaderActive && p.contact.isFast(p.env.Now()) && p.stickyRetryAt == 0 {
		wait := randomBetween(p.env.Random(), stickyRetryDelayMin, stickyRetryDelayMax)
		p.stickyRetryAt = p.env.Now() + wait
		p.timer.set(wait)
	}
	p.countPreVotes()
}

// countPreVotes campaigns for votes if a quorum has granted. If it cannot grant any more, most
// voters have contact to a leader or longer logs; the campaign timer asks them again.
func (p *preCandidate) countPreVotes() {
	if p.quorum.CountVotes(p.votes.Of) == raft.VoteWon {
		p.becomeCandidate(false)
	}
}

func (p *preCandidate) handleTick() {
	if p.stickyRetryAt != 0 && p.env.Now() >= p.stickyRetryAt {
		p.stickyRetryAt = 0
		p.resetCampaignTimer()
		p.requestPreVotes()
		return
	}
	if p.timer.expired() {
		p.startPreVote()
	}
}
