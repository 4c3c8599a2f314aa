package node

import "github.com/troupe-raft/troupe/messages"

// readRequest is one request for a read point: of our own handle (from 0), or of a peer's.
type readRequest struct{ from, id uint64 }

// readRound is a set of reads that wait for one round of heartbeats (dissertation §6.4). The read point was taken before
// the round began, so leadership is confirmed after it (E28).
type readRound struct {
	round uint64
	index uint64
	reads []readRequest
}

// handleReadRequest takes a request for a read point at the leader.
func (n *Node) handleReadRequest(r readRequest, unconfirmed bool) {
	switch {
	case n.leadership.pendingReads >= n.config.Limits.MaxPendingReads:
		n.refuseReads([]readRequest{r}, messages.Refusal_REFUSAL_OVERLOADED)
	case n.commitIndex < n.leadership.firstIndex:
		n.leadership.pendingReads++
		n.leadership.readsBeforeFirstCommit = append(n.leadership.readsBeforeFirstCommit, r) // E25
	case unconfirmed:
		n.sendReadPoint(r, n.commitIndex)
	default:
		n.leadership.pendingReads++
		n.pending.reads = append(n.pending.reads, r)
		n.scheduleFlush()
	}
}

// startReadRound begins one round for all reads that were collected.
func (n *Node) startReadRound() {
	reads := n.pending.takeReads()
	if len(reads) == 0 {
		return
	}
	n.leadership.heartbeatRound++
	n.leadership.pendingRounds = append(n.leadership.pendingRounds, readRound{round: n.leadership.heartbeatRound, index: n.commitIndex, reads: reads})
	n.sendHeartbeats()
	n.confirmReads()
}

// confirmReads answers the reads whose round a quorum has acknowledged: the same quorum code as for commits, over the
// numbers of rounds (E27).
func (n *Node) confirmReads() {
	confirmed := n.quorum.HighestAcknowledged(func(id uint64) uint64 {
		if id == n.self() {
			return n.leadership.heartbeatRound
		}
		if p := n.leadership.peerByID(id); p != nil {
			return p.ackedRound
		}
		return 0
	})
	k := 0
	for k < len(n.leadership.pendingRounds) && n.leadership.pendingRounds[k].round <= confirmed {
		for _, r := range n.leadership.pendingRounds[k].reads {
			n.sendReadPoint(r, n.leadership.pendingRounds[k].index)
		}
		n.leadership.pendingReads -= len(n.leadership.pendingRounds[k].reads)
		k++
	}
	n.leadership.pendingRounds = n.leadership.pendingRounds[k:]
}

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

// refuseForwardedRead answers a peer that takes us for the leader.
func (n *Node) refuseForwardedRead(m *messages.ForwardedRead, reason messages.Refusal) {
	n.refuseReads([]readRequest{{from: m.From, id: m.Id}}, reason)
}

// forwardRead asks the leader for a read point on behalf of our own handle. Nothing is kept here: the answer carries the
// handle's id, which is never used twice, and the handle asks again when none comes.
func (n *Node) forwardRead(m *messages.RequestRead) {
	if n.leaderID == 0 || n.leaderID == n.self() {
		n.refuseReads([]readRequest{{id: m.Id}}, messages.Refusal_REFUSAL_NO_LEADER)
		return
	}
	n.sendToPeer(n.leaderID, &messages.ForwardedRead{
		From: n.self(), Id: m.Id, Unconfirmed: m.Mode == messages.ReadMode_READ_MODE_LEADER,
	})
}

// handleForwardedReadResponse passes a read point on to the handle. It stays true however late it comes: it was taken after the read
// was asked, and what is applied up to it does not shrink.
func (n *Node) handleForwardedReadResponse(m *messages.ForwardedReadResponse) {
	n.send(n.env.Session(), &messages.ReadPoint{
		Incarnation: n.config.Incarnation, Id: m.Id, Index: m.Index, Term: m.Term, Refusal: m.Refusal,
	})
}
