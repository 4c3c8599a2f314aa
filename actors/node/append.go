package node

import (
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// How entries get into the log, from top to bottom:
//
//	leader.appendProposals        gives proposals their indexes; Replicate and Append follow
//	follower.handleAppendEntries  truncates from a conflict on; Append with the response follows
//	recovering.bootstrap          the first configuration of a cluster; Append follows
//	  Node.appendEntries          the log and what depends on its configuration
//	    raftLog.append            terms, memory and configurations

// appendEntries adds e at the end of the log. It reports whether that changes the configuration.
func (n *Node) appendEntries(e *messages.Entries) (configurationChanged bool) {
	n.stateChanged = true
	configurationChanged = n.log.append(e)
	if configurationChanged {
		n.applyConfiguration()
	}
	return configurationChanged
}

// applyConfiguration adopts the configuration in effect, which is the latest one in the log (E30,
// E31): the quorum and the peers of the link follow from it.
func (n *Node) applyConfiguration() {
	_, c := n.log.configurations.Latest()
	n.quorum = raft.QuorumOf(c)
	n.env.SetPeers(n.log.configurations.Latest())
	n.stateChanged = true
}

// persist sends an Append to the LogStore, with the present hard state. Without a mark in it, the
// mark is the present term and last index.
//
// Every change of term or vote and every change of the log goes to the LogStore in this way, in the
// order in which the Node made it. So the disk always has a state that the Node was in (E3). A
// message to a peer that is only true once the change is durable (a vote, a vote request, an
// acknowledgement) travels in the Append as a deferred message; the LogStore sends it after the
// sync (persist before send, E1).
func (n *Node) persist(a *messages.Append) {
	a.Incarnation = n.config.Incarnation
	if a.Mark == nil {
		a.Mark = &messages.AppendMark{Term: n.term, Index: n.log.lastIndex()}
	}
	a.HardState = &messages.HardState{Term: n.term, Vote: n.vote, Commit: min(n.log.commitIndex, n.log.lastIndex())}
	n.log.persistedCommit = a.HardState.Commit
	n.send(n.children.logStore, a)
}

// newDeferredMessage returns m as a message that the LogStore sends to a peer's actor after the
// sync. It is dropped if the log is truncated at or below coversThrough before that.
func newDeferredMessage(to uint64, receiver messages.Receiver, coversThrough uint64, m messages.PeerMessage) *messages.DeferredMessage {
	return &messages.DeferredMessage{To: to, CoversThrough: coversThrough, Envelope: messages.NewEnvelope(receiver, m)}
}

// handleDurable stores what is on this node's disk (see raftLog).
func (n *Node) handleDurable(m *messages.Durable) {
	if m.DiskLow != n.log.diskLow {
		n.log.diskLow = m.DiskLow
		n.stateChanged = true
	}
	if n.log.recordDurable(m.Mark, n.config.Limits.MemoryBytes) {
		n.stateChanged = true
	}
	n.sendCommitted()
}
