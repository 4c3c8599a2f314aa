package node

import "github.com/troupe-raft/troupe/actors"

// publishState lets the Node be seen (actors.Probe). It is called at the end of a message that changed something.
func (n *Node) publishState() {
	probe := n.env.Observer()
	if probe == nil {
		return
	}
	v := actors.NodeView{
		Incarnation: n.config.Incarnation, Role: n.role, Term: n.term, Vote: n.vote, LeaderID: n.leaderID,
		Commit: n.commitIndex, DurableIndex: n.durableIndex, DiskLow: n.diskLow, Configuration: n.members,
	}
	if n.log != nil {
		v.LastIndex, v.LastTerm = n.log.LastIndex(), n.log.LastTerm()
		v.ConfigurationIndex, _ = n.configurations.Latest()
		v.Learner = !n.isVoter()
		v.MemoryBytes = n.memory.bytes
	}
	if n.leadership != nil {
		v.UncommittedBytes, v.PendingReads = n.leadership.uncommittedBytes, n.leadership.pendingReads
	}
	probe.Node(v)
}
