package node

import (
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// collected is what came in since the last Flush. Whatever stood in the mailbox before the Flush becomes one batch: the
// more there is to do, the larger the batches.
type pendingWork struct {
	data  [][]byte
	bytes uint64
	reads []readRequest
	// from are the peers that forwarded some of the data.
	forwarders []uint64
	// notice: the commit index moved, and followers should hear of it even if nothing else is said.
	commitMoved bool
}

func (c *pendingWork) takeData() (data [][]byte, bytes uint64) {
	data, bytes = c.data, c.bytes
	c.data, c.bytes = nil, 0
	return
}

func (c *pendingWork) takeReads() []readRequest {
	reads := c.reads
	c.reads = nil
	return reads
}

func (n *Node) scheduleFlush() {
	if !n.flushPending {
		n.flushPending = true
		n.send(n.ctx.Self(), &messages.Flush{Incarnation: n.config.Incarnation})
	}
}

// collect takes one encoded entry from the handle.
func (n *Node) handlePropose(data []byte) {
	if reason, limit := n.admissionRefusal(len(data)); reason != messages.Refusal_REFUSAL_UNSPECIFIED {
		n.send(n.env.Session(), n.newProposalsRefused([][]byte{data}, reason, limit))
		return
	}
	n.pending.data = append(n.pending.data, data)
	n.pending.bytes += uint64(len(data))
	n.scheduleFlush()
}

// handleForwardedProposals takes entries from a follower's Node, whole or not at all, and each message once: a copy of one that was
// refused would give an effect to commands whose callers were told that they have none. What was sent in an earlier term
// may be such a copy as well; nothing is lost by refusing it, since every handle says its commands again in a new term.
func (n *Node) handleForwardedProposals(m *messages.ForwardedProposals) {
	if m.Number != 0 {
		if m.Term < n.term {
			n.refuseForwarded(m, messages.Refusal_REFUSAL_NO_LEADER, 0)
			return
		}
		if p := n.leadership.peerByID(m.From); p != nil && !p.forwardedFilter.Accept(m.Stream, m.Number) {
			return
		}
	}
	size := 0
	for _, d := range m.Data {
		// What a follower would refuse must not get into the log: nothing behind it could be replicated any more.
		e, err := raft.DecodeEntry(d)
		if err != nil || e.Kind == raft.KindNoop || e.Kind == raft.KindConfiguration {
			n.env.Log().Error().Err(err).Str("from", raft.FormatID(m.From)).Msg("dropped forwarded proposals: not entries that a handle makes")
			return
		}
		size += len(d)
	}
	if reason, limit := n.admissionRefusal(size); reason != messages.Refusal_REFUSAL_UNSPECIFIED {
		n.refuseForwarded(m, reason, limit)
		return
	}
	n.pending.data = append(n.pending.data, m.Data...)
	n.pending.bytes += uint64(size)
	n.pending.forwarders = append(n.pending.forwarders, m.From)
	n.scheduleFlush()
}

// refusal tells why size more bytes cannot be taken now; UNSPECIFIED if they can.
func (n *Node) admissionRefusal(size int) (messages.Refusal, uint64) {
	pending, limit := n.pending.bytes, n.config.Limits.MaxUncommittedBytes
	if n.leadership != nil {
		pending += n.leadership.uncommittedBytes
		switch {
		case n.leadership.transfer != nil:
			return messages.Refusal_REFUSAL_TRANSFERRING, 0
		case n.diskLow:
			return messages.Refusal_REFUSAL_DISK_FULL, 0
		}
	}
	if pending > 0 && pending+uint64(size) > limit {
		return messages.Refusal_REFUSAL_OVERLOADED, limit
	}
	return messages.Refusal_REFUSAL_UNSPECIFIED, 0
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

// passRefusalToSession passes on to the handle what the leader would not take.
func (n *Node) passRefusalToSession(m *messages.ProposalsRefused) { n.send(n.env.Session(), m) }

// flush does, once, what was collected, at the own Flush or before it: a leader appends, confirms and notifies; others
// hand proposals to the leader.
func (n *Node) flush() {
	data, bytes := n.pending.takeData()
	from := n.pending.forwarders
	n.pending.forwarders = nil
	switch {
	case n.leadership != nil:
		if len(data) > 0 {
			n.forEachBatch(data, bytes, n.appendProposals)
			n.pending.commitMoved = false // the commit index travels with the entries
			n.recordForwarders(from)
		}
		n.startReadRound()
		if n.pending.commitMoved {
			n.notifyCommit()
		}
	case len(data) == 0:
	case n.leaderID != 0:
		n.forEachBatch(data, bytes, n.forwardBatch)
	default:
		n.send(n.env.Session(), n.newProposalsRefused(data, messages.Refusal_REFUSAL_NO_LEADER, 0))
	}
}

// recordForwarders remembers whose clients wait for what was just appended.
func (n *Node) recordForwarders(from []uint64) {
	for _, id := range from {
		if p := n.leadership.peerByID(id); p != nil {
			p.forwardedThrough = n.log.LastIndex()
		}
	}
}

// forward hands a batch to the leader, which takes or refuses it as a whole. A leader that has nothing else pending takes it
// whatever its limit, since it would never be smaller; so what a member forwards at once must not be all that it may keep.
func (n *Node) forwardBatch(data [][]byte, _ uint64) {
	n.forwardedCount++
	n.sendToPeer(n.leaderID, &messages.ForwardedProposals{
		From: n.self(), Term: n.term, Data: data, Stream: n.forwardStream, Number: n.forwardedCount,
	})
}

// forEachBatch cuts what was collected into batches of at most MaxBatchBytes, and of one entry at least.
func (n *Node) forEachBatch(data [][]byte, bytes uint64, do func(data [][]byte, bytes uint64)) {
	limit := n.config.Limits.MaxBatchBytes
	for bytes > limit {
		size, k := uint64(len(data[0])), 1
		for k < len(data) && size+uint64(len(data[k])) <= limit {
			size += uint64(len(data[k]))
			k++
		}
		do(data[:k:k], size)
		data, bytes = data[k:], bytes-size
	}
	if len(data) > 0 {
		do(data, bytes)
	}
}
