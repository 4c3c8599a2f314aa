package node

import "github.com/troupe-raft/troupe/actors"

// publishState gives the state observer a copy of the Node's state.
func (n *Node) publishState() {
	observer := n.env.Observer()
	if observer == nil {
		return
	}
	v := actors.NodeView{
		Incarnation: n.config.Incarnation, Role: n.role.name(), Term: n.term, Vote: n.vote, LeaderID: n.contact.leader,
	}
	if n.log != nil {
		v.Commit, v.DurableIndex, v.DiskLow = n.log.commitIndex, n.log.durableIndex, n.log.diskLow
		v.LastIndex, v.LastTerm = n.log.lastIndex(), n.log.lastTerm()
		v.ConfigurationIndex, v.Configuration = n.log.configurations.Latest()
		v.Learner = !n.isVoter()
		v.MemoryBytes = n.log.memory.bytes
	}
	n.role.observe(&v)
	observer.Node(v)
}
