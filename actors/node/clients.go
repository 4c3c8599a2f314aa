package node

import (
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// collectProposal collects a proposal of the Session, unless the role refuses it.
func (n *Node) collectProposal(m *messages.Propose, reason messages.Refusal, limit uint64) (collected bool) {
	if reason != messages.Refusal_REFUSAL_UNSPECIFIED {
		n.send(n.env.ReplySink(), n.newProposalsRefused([][]byte{m.Data}, reason, limit))
		return false
	}
	n.proposals.add(m.Data)
	n.scheduleFlush()
	return true
}

// setTerm adopts a higher term and the vote in it. What the former term has left to do with
// proposals is forgotten: each Session sends its commands again once the leader of the new term is
// known. A proposal that stayed here would be a second copy then (P67).
func (n *Node) setTerm(term, vote uint64) {
	n.term, n.vote = term, vote
	n.proposals.take()
	n.forwards.reset()
}

func (n *Node) scheduleFlush() {
	if !n.flushPending {
		n.flushPending = true
		n.send(n.ctx.Self(), &messages.Flush{Incarnation: n.config.Incarnation})
	}
}

func (n *Node) newProposalsRefused(data [][]byte, reason messages.Refusal, limit uint64) *messages.ProposalsRefused {
	m := &messages.ProposalsRefused{From: n.self(), Reason: reason, Limit: limit, Term: n.term}
	for _, d := range data {
		if e, err := raft.DecodeEntry(d); err == nil {
			m.SessionIds = append(m.SessionIds, e.SessionID)
			m.Sequences = append(m.Sequences, e.Sequence)
		}
	}
	return m
}

// refuseForwarded refuses a batch that a peer forwarded: `data` of it.
func (n *Node) refuseForwarded(m *messages.ForwardedProposals, data [][]byte, reason messages.Refusal, limit uint64) {
	refused := n.newProposalsRefused(data, reason, limit)
	refused.Stream, refused.Number, refused.Term = m.Stream, m.Number, m.Term
	n.sendToPeer(m.From, refused)
}

func (n *Node) sendReadPoint(r readRequest, index uint64) {
	if r.from == 0 {
		n.send(n.env.ReplySink(), &messages.ReadPoint{Incarnation: n.config.Incarnation, Id: r.id, Index: index, Term: n.term})
		return
	}
	n.sendToPeer(r.from, &messages.ForwardedReadResponse{From: n.self(), Id: r.id, Term: n.term, Index: index})
}

func (n *Node) refuseReads(reads []readRequest, reason messages.Refusal) {
	for _, r := range reads {
		if r.from == 0 {
			n.send(n.env.ReplySink(), &messages.ReadPoint{Incarnation: n.config.Incarnation, Id: r.id, Refusal: reason})
			continue
		}
		n.sendToPeer(r.from, &messages.ForwardedReadResponse{From: n.self(), Id: r.id, Term: n.term, Refusal: reason})
	}
}
