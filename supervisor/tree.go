package supervisor

import (
	"cmp"
	"fmt"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/rs/zerolog"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/actors/logstore"
	"github.com/troupe-raft/troupe/actors/machine"
	"github.com/troupe-raft/troupe/actors/node"
	"github.com/troupe-raft/troupe/actors/replicator"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// Config configures a Tree.
type Config struct {
	// Bootstrap is the first configuration of a new cluster; nil for a node that joins an existing
	// one.
	Bootstrap *messages.Configuration
	// Storage is this node's data directory.
	Storage raft.Storage
	// HeartbeatInterval is that of a leader; ElectionTimeout is the shortest, each node adds a random
	// part.
	HeartbeatInterval time.Duration
	ElectionTimeout   time.Duration
	// RestartLimit stops a node that restarts too often; the zero value is DefaultRestartLimit.
	RestartLimit RestartLimit
	// Restarting is called before an actor is restarted, with its id and what it panicked with. It
	// must not wait. It may be nil.
	Restarting func(actor string, reason any)

	Node       node.Limits
	Replicator replicator.Limits
	LogStore   logstore.Config
	Machine    machine.Config
}

// Tree is the actors of one node, below their supervisor.
type Tree struct {
	config      Config
	env         actors.Env
	root        *actor.RootContext
	strategy    *strategy
	supervisor  *actor.PID
	incarnation uint64        // used by newNode only, which never runs twice at once
	done        chan struct{} // closed when no actor of the tree is left

	mu         sync.Mutex
	err        error // why the node stops
	terminated bool
}

// New prepares a tree. The environment that is passed to Start must be made with its Strategy.
func New(config Config, log *zerolog.Logger, now func() time.Duration) *Tree {
	config.RestartLimit = cmp.Or(config.RestartLimit, DefaultRestartLimit)
	t := &Tree{config: config, done: make(chan struct{})}
	t.strategy = &strategy{limit: config.RestartLimit, now: now, log: log, recordFatal: t.recordFatal, restarting: config.Restarting}
	return t
}

// Strategy is the supervision of every actor of the node.
func (t *Tree) Strategy() actor.SupervisorStrategy { return t.strategy }

// Start spawns the supervisor, which spawns the Node.
func (t *Tree) Start(env actors.Env, root *actor.RootContext) error {
	t.env, t.root = env, root
	pid, err := root.SpawnNamed(env.Props(func() actor.Actor { return &supervisor{tree: t} }), actors.SupervisorName)
	if err != nil {
		return fmt.Errorf("spawn the supervisor: %w", err)
	}
	t.supervisor = pid
	return nil
}

// Stop begins to stop the tree; Done is closed when it has stopped.
func (t *Tree) Stop() { t.root.Stop(t.supervisor) }

// Done is closed when no actor of the tree is left.
func (t *Tree) Done() <-chan struct{} { return t.done }

// Stopped reports whether Done is closed.
func (t *Tree) Stopped() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.terminated
}

// Err is why the node stops or stopped by itself; nil if it was stopped from outside.
func (t *Tree) Err() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}

// Restarts is the number of restarts of actors since the start.
func (t *Tree) Restarts() int { return t.strategy.Restarts() }

func (t *Tree) recordFatal(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err == nil {
		t.err = err
	}
}

func (t *Tree) markTerminated() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.terminated = true
	close(t.done)
}

// newNode makes the Node of the next incarnation, with the producers of its children. If the node
// has to stop, it makes an actor that does nothing: a Node would open the log (E5).
func (t *Tree) newNode() actor.Actor {
	if t.Err() != nil {
		return actor.ReceiveFunc(func(actor.Context) {})
	}
	t.incarnation++
	incarnation := t.incarnation
	config := node.Config{
		Incarnation:       incarnation,
		Bootstrap:         t.config.Bootstrap,
		Storage:           t.config.Storage,
		HeartbeatInterval: t.config.HeartbeatInterval,
		ElectionTimeout:   t.config.ElectionTimeout,
		Limits:            t.config.Node,
		LogStore: func() actor.Producer {
			c := t.config.LogStore
			c.Incarnation = incarnation
			return logstore.New(t.env, c)
		},
		Machine: func(reader *actor.PID, replayThrough uint64) actor.Producer {
			c := t.config.Machine
			c.Incarnation, c.Reader, c.ReplayThrough = incarnation, reader, replayThrough
			return machine.New(t.env, c)
		},
		Replicator: func(r node.ReplicatorConfig) actor.Producer {
			return replicator.New(t.env, replicator.Config{
				Incarnation: incarnation, PeerID: r.Peer, Term: r.Term, Reader: r.Reader, StorageID: r.StorageID, Replaced: r.Replaced,
				ProbeInterval: t.config.HeartbeatInterval, ResponseTimeout: t.config.ElectionTimeout / 2, Limits: t.config.Replicator,
			})
		},
	}
	return node.New(t.env, config)()
}

// supervisor is the root actor of the tree. It has no state of its own, so it has nothing to fail
// at.
//
//	owns        nothing
//	receives    the Node's failures (the library calls the strategy), Terminated
//	sends       nothing; it stops with the Node
//	persists    nothing
//	on restart  never: failures are not escalated beyond it
type supervisor struct{ tree *Tree }

func (s *supervisor) Receive(ctx actor.Context) {
	switch ctx.Message().(type) {
	case *actor.Started:
		if _, err := ctx.SpawnNamed(s.tree.env.Props(s.tree.newNode), actors.NodeName); err != nil {
			s.tree.recordFatal(fmt.Errorf("spawn the node: %w", err))
			ctx.Stop(ctx.Self())
		}
	case *actor.Terminated:
		// The strategy stopped the Node.
		ctx.Stop(ctx.Self())
	case *actor.Stopped:
		s.tree.markTerminated()
	}
}
