package node

import (
	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// nonLeader is what follower, preCandidate and candidate have in common: they send to the leader
// what only a leader can do, or refuse it.
type nonLeader struct{ *Node }

func (n nonLeader) leave(string)                              {}
func (n nonLeader) observe(v actors.NodeView) actors.NodeView { return v }

// step handles the messages that all roles but the leader handle in the same way.
func (n nonLeader) step(m any) {
	switch m := m.(type) {
	case *messages.RequestVote:
		n.handleRequestVote(m, n.contact.isSticky(m.Candidate, n.env.Now(), n.config.ElectionTimeout))
	case *messages.Propose:
		if m.Term == n.term {
			reason, limit := n.proposals.refusal(uint64(len(m.Data)), 0, n.config.Limits.MaxUncommittedBytes)
			n.collectProposal(m, reason, limit)
		}
	case *messages.Flush:
		n.flushPending = false
		n.forwardCollected()
	case *messages.RequestRead:
		n.forwardRead(m)
	case *messages.ForwardedProposals:
		// It waits at its sender for the next term (see leader.handleForwardedProposals).
	case *messages.ProposalsRefused:
		n.handleProposalsRefused(m)
	case *messages.ForwardedRead:
		n.refuseReads([]readRequest{{from: m.From, id: m.Id}}, messages.Refusal_REFUSAL_NO_LEADER)
	case *messages.Removed:
		n.handleRemoved(m)
	default:
		n.stepCommon(m)
	}
}

// handleRemoved stops the node: a committed configuration does not contain it (E36). No member of
// this version sends Removed.
func (n nonLeader) handleRemoved(m *messages.Removed) {
	if m.Term >= n.term {
		failRemoved(m.From, m.Index)
	}
}

// handleTimeoutNow campaigns without pre-votes, on request of the leader (dissertation §3.10, E20).
func (n nonLeader) handleTimeoutNow(m *messages.TimeoutNow) {
	if m.Term != n.term || !n.isVoter() || m.Leader == n.self() {
		return
	}
	n.env.Log().Info().Str("from", raft.FormatID(m.Leader)).Uint64("term", n.term).Msg("taking over leadership")
	n.becomeCandidate(true)
}

// forwardCollected forwards the collected proposals to the leader, as many as may be undecided, or
// refuses them if no leader is known.
func (n nonLeader) forwardCollected() {
	if n.contact.leader == 0 {
		if data, _, _ := n.proposals.take(); len(data) > 0 {
			n.send(n.env.ReplySink(), n.newProposalsRefused(data, messages.Refusal_REFUSAL_NO_LEADER, 0))
		}
		return
	}
	for len(n.proposals.data) > 0 && n.forwards.hasRoom() {
		n.forwardBatch(n.proposals.takeBatch(n.config.Limits.MaxBatchBytes))
	}
}

// forwardBatch sends a batch to the leader, which takes or refuses all of it. A leader to which
// nothing else is pending takes a batch of any size. MaxBatchBytes therefore bounds by how much a
// follower can make a leader exceed its MaxUncommittedBytes.
func (n nonLeader) forwardBatch(data [][]byte) {
	m := &messages.ForwardedProposals{From: n.self(), Term: n.term, Data: data}
	n.forwards.add(m, n.env.Now(), n.config.ElectionTimeout)
	n.sendToPeer(n.contact.leader, m)
}

// repeatForwards sends undecided batches to the leader again (see forwards).
func (n nonLeader) repeatForwards(all bool) {
	for _, m := range n.forwards.overdue(n.env.Now(), maxForwardPatience*n.config.ElectionTimeout, all) {
		n.sendToPeer(n.contact.leader, m)
	}
}

// handleProposalsRefused gives the refusal of a forwarded batch to the Session, once.
func (n nonLeader) handleProposalsRefused(m *messages.ProposalsRefused) {
	if n.forwards.recordRefused(m) {
		n.send(n.env.ReplySink(), m)
		n.forwardCollected()
	}
}

// forwardRead asks the leader for a read point for this node's Session. The node stores nothing:
// the response carries the Session's id, which is never used twice, and the Session asks again if
// none comes.
func (n nonLeader) forwardRead(m *messages.RequestRead) {
	if n.contact.leader == 0 {
		n.refuseReads([]readRequest{{id: m.Id}}, messages.Refusal_REFUSAL_NO_LEADER)
		return
	}
	n.sendToPeer(n.contact.leader, &messages.ForwardedRead{
		From: n.self(), Id: m.Id, Unconfirmed: m.Mode == messages.ReadMode_READ_MODE_LEADER,
	})
}
