package node

import (
	"fmt"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-raft/troupe/actors"
)

// children are the actors below the Node.
type children struct {
	logStore, logReader, machine *actor.PID
	// stopping are, by their id, Replicators that were stopped and have not terminated. Until then
	// another one cannot have the name.
	stopping map[string]bool
}

func spawn(ctx actor.Context, env actors.Env, producer actor.Producer, name string) *actor.PID {
	pid, err := ctx.SpawnNamed(env.Props(producer), name)
	if err != nil {
		panic(fmt.Errorf("spawn %s/%s: %w", ctx.Self().Id, name, err))
	}
	return pid
}

func (c *children) spawnLogStore(ctx actor.Context, env actors.Env, producer actor.Producer) {
	c.logStore = spawn(ctx, env, producer, actors.LogStoreName)
	c.logReader = actor.NewPID(ctx.Self().Address, c.logStore.Id+"/"+actors.LogReaderName)
}

func (c *children) spawnMachine(ctx actor.Context, env actors.Env, producer actor.Producer) {
	c.machine = spawn(ctx, env, producer, actors.MachineName)
}

// spawnReplicator returns nil if the former Replicator for this peer has not terminated.
func (c *children) spawnReplicator(ctx actor.Context, env actors.Env, producer actor.Producer, peer uint64) *actor.PID {
	name := actors.ReplicatorName(peer)
	if c.stopping[ctx.Self().Id+"/"+name] {
		return nil
	}
	return spawn(ctx, env, producer, name)
}

func (c *children) stopReplicator(ctx actor.Context, replicator *actor.PID) {
	c.stopping[replicator.Id] = true
	ctx.Stop(replicator)
}

// terminated reports whether who is a stopped Replicator, whose name is free again.
func (c *children) terminated(who *actor.PID) bool {
	stopped := c.stopping[who.Id]
	delete(c.stopping, who.Id)
	return stopped
}
