package supervisor

import (
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
)

// Config is what a tree is grown from.
type Config struct {
	// Bootstrap is the first configuration; nil for a node that joins an existing cluster.
	Bootstrap    *messages.Configuration
	Heartbeat    time.Duration
	Election     time.Duration
	RestartLimit RestartLimit

	Node       node.Limits
	Replicator replicator.Limits
	LogStore   logstore.Config
	Machine    machine.Config
}

// Tree is the actors of one node, under their Supervisor.
type Tree struct {
	config      Config
	env         actors.Env
	root        *actor.RootContext
	strategy    *strategy
	supervisor  *actor.PID
	incarnation uint64 // touched only where the Node is made, one at a time

	mu         sync.Mutex
	err        error // why the node stopped
	terminated bool  // no actor of the tree lives any more
	done       chan struct{}
}

// New prepares a tree. Its Strategy goes into the environment that Start is then given.
func New(config Config, log *zerolog.Logger, now func() time.Duration) *Tree {
	if config.RestartLimit == (RestartLimit{}) {
		config.RestartLimit = DefaultRestartLimit
	}
	t := &Tree{config: config, done: make(chan struct{})}
	t.strategy = &strategy{limit: config.RestartLimit, now: now, log: log, recordFatal: t.recordFatal}
	return t
}

// Strategy is what every actor of the node must be supervised by.
func (t *Tree) Strategy() actor.SupervisorStrategy { return t.strategy }

// Start spawns the Supervisor, which spawns the Node.
func (t *Tree) Start(env actors.Env, root *actor.RootContext) error {
	t.env, t.root = env, root
	pid, err := root.SpawnNamed(env.Props(func() actor.Actor { return &supervisor{tree: t} }), actors.SupervisorName)
	if err != nil {
		return fmt.Errorf("spawning the supervisor: %w", err)
	}
	t.supervisor = pid
	return nil
}

// Stop stops the tree; Done tells when it has stopped.
func (t *Tree) Stop() { t.root.Stop(t.supervisor) }

// Done is closed when no actor of the tree lives any more.
func (t *Tree) Done() <-chan struct{} { return t.done }

// Stopped tells whether Done is closed, for whoever must not wait.
func (t *Tree) Stopped() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.terminated
}

// Err is why the node stopped by itself, or stops; nil if it was asked to, and nothing of that kind came between.
func (t *Tree) Err() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}

// Restarts is how many restarts of actors there were since the start.
func (t *Tree) Restarts() int { return t.strategy.Restarts() }

// nodePID is where proposals go.
func (t *Tree) nodePID() *actor.PID { return actor.NewPID(t.supervisor.Address, actors.NodePath) }

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

// newNode makes the Node of the next incarnation, and the makers of its children; of a node that has to stop, somebody who
// only waits for that.
func (t *Tree) newNode() actor.Actor {
	if t.Err() != nil {
		return actor.ReceiveFunc(func(actor.Context) {})
	}
	t.incarnation++
	incarnation := t.incarnation
	config := node.Config{
		Incarnation:       incarnation,
		Bootstrap:         t.config.Bootstrap,
		HeartbeatInterval: t.config.Heartbeat,
		ElectionTimeout:   t.config.Election,
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
		Replicator: func(peer uint64, reader *actor.PID, term uint64) actor.Producer {
			return replicator.New(t.env, replicator.Config{
				Incarnation: incarnation, PeerID: peer, Term: term, Reader: reader,
				ProbeInterval: t.config.Heartbeat, ResponseTimeout: t.config.Election / 2, Limits: t.config.Replicator,
			})
		},
	}
	return node.New(t.env, config)()
}

// supervisor is the actor at the top. It owns the node's fate and nothing else: it is small enough not to fail.
//
// hears: failures of the Node (by the strategy), Terminated; says: restart, stop; persists nothing.
type supervisor struct{ tree *Tree }

func (s *supervisor) Receive(ctx actor.Context) {
	switch ctx.Message().(type) {
	case *actor.Started:
		if _, err := ctx.SpawnNamed(s.tree.env.Props(s.tree.newNode), actors.NodeName); err != nil {
			s.tree.recordFatal(fmt.Errorf("spawning the node: %w", err))
			ctx.Stop(ctx.Self())
		}
	case *actor.Terminated:
		// The Node stops only because it was told to, by the strategy or with the whole tree.
		ctx.Stop(ctx.Self())
	case *actor.Stopped:
		s.tree.markTerminated()
	}
}
