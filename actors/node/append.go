package node

import (
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// The ways by which entries get into the log, each a step above the next:
//
//	leader.appendProposals      gives proposals their indexes; then Replicate and Append
//	follower.handleAppendEntries  finds the conflict and truncates; then Append with the response
//	Node.bootstrap              the first configuration of a cluster; then Append
//	Node.appendEntries          the log and what depends on its configuration
//	raftLog.append              terms, memory and configurations
//
// An Append to the LogStore (Node.persist) follows each of them in the same message.

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
	n.env.SetPeers(c.GetMembers())
	n.stateChanged = true
}
