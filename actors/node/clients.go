package node

import (
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// collectProposal collects a proposal of the Session, unless the role refuses it.
func (n *Node) collectProposal(m *messages.Propose, reason messages.Refusal, limit uint64) {
	if reason != messages.Refusal_REFUSAL_UNSPECIFIED {
		n.send(n.env.ReplySink(), n.newProposalsRefused([][]byte{m.Data}, reason, limit))
		return
	}
	n.proposals.add(m.Data)
	n.scheduleFlush()
}

func (n *Node) scheduleFlush() {
	if !n.flushPending {
		n.flushPending = true
		n.send(n.ctx.Self(), &messages.Flush{Incarnation: n.config.Incarnation})
	}
}

func (n *Node) newProposalsRefused(data [][]byte, reason messages.Refusal, limit uint64) *messages.ProposalsRefused {
	m := &messages.ProposalsRefused{From: n.self(), Reason: reason, Limit: limit}
	for _, d := range data {
		if e, err := raft.DecodeEntry(d); err == nil {
			m.SessionIds = append(m.SessionIds, e.SessionID)
			m.Sequences = append(m.Sequences, e.Sequence)
		}
	}
	return m
}

func (n *Node) refuseForwarded(m *messages.ForwardedProposals, reason messages.Refusal, limit uint64) {
	n.sendToPeer(m.From, n.newProposalsRefused(m.Data, reason, limit))
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
