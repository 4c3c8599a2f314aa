package node

import (
	"fmt"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-raft/troupe/actors"
)

// children are the actors below the Node.
type children struct {
	logStore, logReader, machine *actor.PID
	// stoppingReplicators are, by their id, Replicators that were stopped and have not terminated.
	// Until then another one cannot have the name.
	stoppingReplicators map[string]bool
}

// terminated reports whether who is a stopped Replicator, whose name is free now.
func (c *children) terminated(who *actor.PID) bool {
	stopped := c.stoppingReplicators[who.Id]
	delete(c.stoppingReplicators, who.Id)
	return stopped
}

func (n *Node) spawn(producer actor.Producer, name string) *actor.PID {
	pid, err := n.ctx.SpawnNamed(n.env.Props(producer), name)
	if err != nil {
		panic(fmt.Errorf("spawn %s/%s: %w", n.ctx.Self().Id, name, err))
	}
	return pid
}

func (n *Node) spawnLogStore() {
	c := &n.children
	c.logStore = n.spawn(n.config.LogStore(), actors.LogStoreName)
	c.logReader = actor.NewPID(n.ctx.Self().Address, c.logStore.Id+"/"+actors.LogReaderName)
}

func (n *Node) spawnMachine(replayThrough uint64) {
	n.children.machine = n.spawn(n.config.Machine(n.children.logReader, replayThrough), actors.MachineName)
}

// spawnReplicator returns nil if the former Replicator for this peer has not terminated.
func (n *Node) spawnReplicator(peer uint64) *actor.PID {
	name := actors.ReplicatorName(peer)
	if n.children.stoppingReplicators[n.ctx.Self().Id+"/"+name] {
		return nil
	}
	return n.spawn(n.config.Replicator(peer, n.children.logReader, n.term), name)
}

func (n *Node) stopReplicator(replicator *actor.PID) {
	n.children.stoppingReplicators[replicator.Id] = true
	n.ctx.Stop(replicator)
}
