package node

import "github.com/troupe-raft/troupe/actors"

// showView lets the Node be seen (actors.Probe). It is called at the end of a message that changed something.
func (n *Node) showView() {
	probe := n.env.Probe()
	if probe == nil {
		return
	}
	v := actors.NodeView{
		Incarnation: n.config.Incarnation, Role: n.role, Term: n.term, Vote: n.vote, Leader: n.leader,
		Commit: n.commit, Durable: n.durable, DiskLow: n.diskLow, Configuration: n.members,
	}
	if n.log != nil {
		v.LastIndex, v.LastTerm = n.log.Last(), n.log.LastTerm()
		v.ConfigurationIndex, _ = n.configurations.Latest()
		v.Learner = !n.isVoter()
		v.MemoryBytes = n.memory.bytes
	}
	if n.lead != nil {
		v.UncommittedBytes, v.PendingReads = n.lead.uncommittedBytes, n.lead.reads
	}
	probe.Node(v)
}
