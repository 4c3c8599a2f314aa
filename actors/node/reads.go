package node

import "github.com/troupe-raft/troupe/messages"

// pendingRead is one request for a read point: of our own handle (from 0), or of a peer's.
type pendingRead struct{ from, id uint64 }

// readRound is a set of reads that wait for one round of heartbeats (dissertation §6.4). The read point was taken before
// the round began, so leadership is confirmed after it (E28).
type readRound struct {
	round uint64
	index uint64
	reads []pendingRead
}

// askRead takes a request for a read point at the leader.
func (n *Node) askRead(r pendingRead, unconfirmed bool) {
	switch {
	case n.lead.reads >= n.config.Limits.MaxPendingReads:
		n.refuseReads([]pendingRead{r}, messages.Refusal_REFUSAL_OVERLOADED)
	case n.commit < n.lead.first:
		n.lead.reads++
		n.lead.early = append(n.lead.early, r) // E25
	case unconfirmed:
		n.answerRead(r, n.commit)
	default:
		n.lead.reads++
		n.collected.reads = append(n.collected.reads, r)
		n.wantFlush()
	}
}

// flushReads begins one round for all reads that were collected.
func (n *Node) flushReads() {
	reads := n.collected.takeReads()
	if len(reads) == 0 {
		return
	}
	n.lead.round++
	n.lead.waiting = append(n.lead.waiting, readRound{round: n.lead.round, index: n.commit, reads: reads})
	n.beat()
	n.confirmReads()
}

// confirmReads answers the reads whose round a quorum has acknowledged: the same quorum code as for commits, over the
// numbers of rounds (E27).
func (n *Node) confirmReads() {
	confirmed := n.quorum.Committed(func(id uint64) uint64 {
		if id == n.self() {
			return n.lead.round
		}
		if p := n.lead.peer(id); p != nil {
			return p.round
		}
		return 0
	})
	k := 0
	for k < len(n.lead.waiting) && n.lead.waiting[k].round <= confirmed {
		for _, r := range n.lead.waiting[k].reads {
			n.answerRead(r, n.lead.waiting[k].index)
		}
		n.lead.reads -= len(n.lead.waiting[k].reads)
		k++
	}
	n.lead.waiting = n.lead.waiting[k:]
}

func (n *Node) answerRead(r pendingRead, index uint64) {
	if r.from == 0 {
		n.send(n.env.Handle(), &messages.ReadPoint{Incarnation: n.config.Incarnation, Id: r.id, Index: index, Term: n.term})
		return
	}
	n.tell(r.from, &messages.ForwardedReadAnswer{From: n.self(), Id: r.id, Term: n.term, Index: index})
}

func (n *Node) refuseReads(reads []pendingRead, reason messages.Refusal) {
	for _, r := range reads {
		if r.from == 0 {
			n.send(n.env.Handle(), &messages.ReadPoint{Incarnation: n.config.Incarnation, Id: r.id, Refused: reason})
			continue
		}
		n.tell(r.from, &messages.ForwardedReadAnswer{From: n.self(), Id: r.id, Term: n.term, Refused: reason})
	}
}

// refuseRead answers a peer that takes us for the leader.
func (n *Node) refuseRead(m *messages.ForwardedRead, reason messages.Refusal) {
	n.refuseReads([]pendingRead{{from: m.From, id: m.Id}}, reason)
}

// forwardRead asks the leader for a read point on behalf of our own handle. Nothing is kept here: the answer carries the
// handle's id, which is never used twice, and the handle asks again when none comes.
func (n *Node) forwardRead(m *messages.AskRead) {
	if n.leader == 0 || n.leader == n.self() {
		n.refuseReads([]pendingRead{{id: m.Id}}, messages.Refusal_REFUSAL_NO_LEADER)
		return
	}
	n.tell(n.leader, &messages.ForwardedRead{
		From: n.self(), Id: m.Id, Unconfirmed: m.Mode == messages.ReadMode_READ_MODE_LEADER,
	})
}

// readAnswered passes a read point on to the handle. It stays true however late it comes: it was taken after the read
// was asked, and what is applied up to it does not shrink.
func (n *Node) readAnswered(m *messages.ForwardedReadAnswer) {
	n.send(n.env.Handle(), &messages.ReadPoint{
		Incarnation: n.config.Incarnation, Id: m.Id, Index: m.Index, Term: m.Term, Refused: m.Refused,
	})
}
