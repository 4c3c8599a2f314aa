package node

import "github.com/troupe-raft/troupe/messages"

// readRequest is a request for a read point, of this node's Session (from 0) or of a peer's.
type readRequest struct{ from, id uint64 }

func (n *Node) sendReadPoint(r readRequest, index uint64) {
	if r.from == 0 {
		n.send(n.env.Session(), &messages.ReadPoint{Incarnation: n.config.Incarnation, Id: r.id, Index: index, Term: n.term})
		return
	}
	n.sendToPeer(r.from, &messages.ForwardedReadResponse{From: n.self(), Id: r.id, Term: n.term, Index: index})
}

func (n *Node) refuseReads(reads []readRequest, reason messages.Refusal) {
	for _, r := range reads {
		if r.from == 0 {
			n.send(n.env.Session(), &messages.ReadPoint{Incarnation: n.config.Incarnation, Id: r.id, Refusal: reason})
			continue
		}
		n.sendToPeer(r.from, &messages.ForwardedReadResponse{From: n.self(), Id: r.id, Term: n.term, Refusal: reason})
	}
}
