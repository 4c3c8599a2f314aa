package node

import "github.com/troupe-raft/troupe/messages"

// flush forwards the collected proposals to the leader, or refuses them if none is known.
func (n nonLeader) flush() {
	data, bytes, _ := n.proposals.take()
	switch {
	case len(data) == 0:
	case n.contact.leader != 0:
		forEachBatch(data, bytes, n.config.Limits.MaxBatchBytes, n.forwardBatch)
	default:
		n.send(n.env.Session(), n.newProposalsRefused(data, messages.Refusal_REFUSAL_NO_LEADER, 0))
	}
}

// forwardBatch sends a batch to the leader, which accepts or refuses all of it. A leader to which
// nothing else is pending accepts a batch of any size. MaxBatchBytes therefore bounds by how much a
// follower can make a leader exceed its MaxUncommittedBytes.
func (n nonLeader) forwardBatch(data [][]byte, _ uint64) {
	n.proposals.forwardedCount++
	n.sendToPeer(n.contact.leader, &messages.ForwardedProposals{
		From: n.self(), Term: n.term, Data: data,
		Stream: n.proposals.forwardStream, Number: n.proposals.forwardedCount,
	})
}

// forwardRead asks the leader for a read point for this node's Session. The node stores nothing:
// the response carries the Session's id, which is never used twice, and the Session asks again if
// none comes.
func (n nonLeader) forwardRead(m *messages.RequestRead) {
	if n.contact.leader == 0 || n.contact.leader == n.self() {
		n.refuseReads([]readRequest{{id: m.Id}}, messages.Refusal_REFUSAL_NO_LEADER)
		return
	}
	n.sendToPeer(n.contact.leader, &messages.ForwardedRead{
		From: n.self(), Id: m.Id, Unconfirmed: m.Mode == messages.ReadMode_READ_MODE_LEADER,
	})
}

// handleForwardedReadResponse gives a read point to the Session. However late it comes, it is
// valid: it was taken after the read was requested, and the applied index does not fall.
func (n *Node) handleForwardedReadResponse(m *messages.ForwardedReadResponse) {
	n.send(n.env.Session(), &messages.ReadPoint{
		Incarnation: n.config.Incarnation, Id: m.Id, Index: m.Index, Term: m.Term, Refusal: m.Refusal,
	})
}
