package node

import (
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// collected is what came in since the last Flush. Whatever stood in the mailbox before the Flush becomes one batch: the
// more there is to do, the larger the batches.
type collected struct {
	data  [][]byte
	bytes uint64
	reads []pendingRead
	// from are the peers that forwarded some of the data.
	from []uint64
	// notice: the commit index moved, and followers should hear of it even if nothing else is said.
	notice bool
}

func (c *collected) takeData() (data [][]byte, bytes uint64) {
	data, bytes = c.data, c.bytes
	c.data, c.bytes = nil, 0
	return
}

func (c *collected) takeReads() []pendingRead {
	reads := c.reads
	c.reads = nil
	return reads
}

func (n *Node) wantFlush() {
	if !n.flushing {
		n.flushing = true
		n.send(n.ctx.Self(), &messages.Flush{Incarnation: n.config.Incarnation})
	}
}

// collect takes one encoded entry from the handle.
func (n *Node) collect(data []byte) {
	if reason, limit := n.refusal(len(data)); reason != messages.Refusal_REFUSAL_UNSPECIFIED {
		n.send(n.env.Handle(), n.refused([][]byte{data}, reason, limit))
		return
	}
	n.collected.data = append(n.collected.data, data)
	n.collected.bytes += uint64(len(data))
	n.wantFlush()
}

// takeForwarded takes entries from a follower's Node, whole or not at all, and each message once: a copy of one that was
// refused would give an effect to commands whose callers were told that they have none. What was sent in an earlier term
// may be such a copy as well; nothing is lost by refusing it, since every handle says its commands again in a new term.
func (n *Node) takeForwarded(m *messages.ForwardedProposals) {
	if m.Number != 0 {
		if m.Term < n.term {
			n.refuseForwarded(m, messages.Refusal_REFUSAL_NO_LEADER, 0)
			return
		}
		if p := n.lead.peer(m.From); p != nil && !p.forwards.First(m.Stream, m.Number) {
			return
		}
	}
	size := 0
	for _, d := range m.Data {
		// What a follower would refuse must not get into the log: nothing behind it could be replicated any more.
		e, err := raft.DecodeEntry(d)
		if err != nil || e.Kind == raft.KindNoop || e.Kind == raft.KindConfiguration {
			n.env.Log().Error().Err(err).Str("from", hexID(m.From)).Msg("dropped forwarded proposals: not entries that a handle makes")
			return
		}
		size += len(d)
	}
	if reason, limit := n.refusal(size); reason != messages.Refusal_REFUSAL_UNSPECIFIED {
		n.refuseForwarded(m, reason, limit)
		return
	}
	n.collected.data = append(n.collected.data, m.Data...)
	n.collected.bytes += uint64(size)
	n.collected.from = append(n.collected.from, m.From)
	n.wantFlush()
}

// refusal tells why size more bytes cannot be taken now; UNSPECIFIED if they can.
func (n *Node) refusal(size int) (messages.Refusal, uint64) {
	pending, limit := n.collected.bytes, n.config.Limits.MaxUncommittedBytes
	if n.lead != nil {
		pending += n.lead.uncommittedBytes
		switch {
		case n.lead.transfer != nil:
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

func (n *Node) refused(data [][]byte, reason messages.Refusal, limit uint64) *messages.ProposalsRefused {
	m := &messages.ProposalsRefused{From: n.self(), Reason: reason, Limit: limit}
	for _, d := range data {
		if e, err := raft.DecodeEntry(d); err == nil {
			m.Origins = append(m.Origins, e.Origin)
			m.Sequences = append(m.Sequences, e.Sequence)
		}
	}
	return m
}

func (n *Node) refuseForwarded(m *messages.ForwardedProposals, reason messages.Refusal, limit uint64) {
	n.tell(m.From, n.refused(m.Data, reason, limit))
}

// refusedByLeader passes on to the handle what the leader would not take.
func (n *Node) refusedByLeader(m *messages.ProposalsRefused) { n.send(n.env.Handle(), m) }

// flush does, once, what was collected, at the own Flush or before it: a leader appends, confirms and notifies; others
// hand proposals to the leader.
func (n *Node) flush() {
	data, bytes := n.collected.takeData()
	from := n.collected.from
	n.collected.from = nil
	switch {
	case n.lead != nil:
		if len(data) > 0 {
			n.inBatches(data, bytes, n.appendAsLeader)
			n.collected.notice = false // the commit index travels with the entries
			n.noteForwarders(from)
		}
		n.flushReads()
		if n.collected.notice {
			n.notify()
		}
	case len(data) == 0:
	case n.leader != 0:
		n.inBatches(data, bytes, n.forward)
	default:
		n.send(n.env.Handle(), n.refused(data, messages.Refusal_REFUSAL_NO_LEADER, 0))
	}
}

// noteForwarders remembers whose clients wait for what was just appended.
func (n *Node) noteForwarders(from []uint64) {
	for _, id := range from {
		if p := n.lead.peer(id); p != nil {
			p.awaits = n.log.Last()
		}
	}
}

// forward hands a batch to the leader, which takes or refuses it as a whole. A leader that has nothing else pending takes it
// whatever its limit, since it would never be smaller; so what a member forwards at once must not be all that it may keep.
func (n *Node) forward(data [][]byte, _ uint64) {
	n.forwarded++
	n.tell(n.leader, &messages.ForwardedProposals{
		From: n.self(), Term: n.term, Data: data, Stream: n.forwardStream, Number: n.forwarded,
	})
}

// inBatches cuts what was collected into batches of at most MaxBatchBytes, and of one entry at least.
func (n *Node) inBatches(data [][]byte, bytes uint64, do func(data [][]byte, bytes uint64)) {
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
