package troupe

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/actors/live"
	"github.com/troupe-raft/troupe/actors/logstore"
	"github.com/troupe-raft/troupe/actors/machine"
	"github.com/troupe-raft/troupe/actors/node"
	"github.com/troupe-raft/troupe/actors/replicator"
	"github.com/troupe-raft/troupe/handle"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/persistence"
	"github.com/troupe-raft/troupe/supervisor"
)

// Start opens the data directory, brings the node's actors to life and joins its peers. It returns when the log is
// recovered, or with what is wrong; the context bounds only that. Nothing on disk is changed by a start that is refused.
func Start(ctx context.Context, config Config) (*Node, error) {
	config = config.withDefaults()
	if err := config.validate(); err != nil {
		return nil, err
	}
	bootstrap := config.bootstrap()
	identity := persistence.Identity{ClusterID: bootstrap.ClusterId, NodeID: config.ID, CreatedBy: createdBy}
	randomBytes(identity.StorageID[:])
	dir, err := persistence.OpenDataDir(config.FS, config.DataDir, identity)
	if err != nil {
		return nil, publicError(err)
	}
	n, err := assemble(config, bootstrap, dir)
	if err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	if err := n.tree.Start(n.env, n.root); err != nil {
		n.env.Close()
		return nil, errors.Join(err, dir.Close())
	}
	go n.run()
	return n, n.awaitRecovery(ctx)
}

// createdBy stands in the identity of the data directories that this version makes.
const createdBy = "troupe"

func randomBytes(b []byte) {
	if _, err := rand.Read(b); err != nil {
		panic(fmt.Errorf("the system's random source failed: %w", err))
	}
}

// assemble makes the node's parts and ties them together; nothing moves yet.
func assemble(config Config, bootstrap *messages.Configuration, dir *persistence.DataDir) (*Node, error) {
	n := &Node{config: config, dir: dir, done: make(chan struct{})}
	self := memberOf(bootstrap, config.ID)
	system := live.NewSystem(self.Address, config.Logger)
	n.root = system.Root

	handlePID, _ := system.ProcessRegistry.Add(&ears{n}, "handle")
	n.observer = newObserver()
	n.node = actor.NewPID(self.Address, actors.NodePath)
	n.handle = handle.New(handle.Config{
		Node: config.ID, Nonce: newNonce, FirstRead: firstReadID(), Now: live.Now,
		Limits: handle.Limits{
			MaxRequestBytes: config.Limits.MaxRequestBytes, MaxPendingRequests: config.Limits.MaxPendingRequests,
			MaxPendingBytes: config.Limits.MaxPendingBytes, MaxPendingReads: config.Limits.MaxPendingReads,
		},
		Send: func(m proto.Message) { n.root.Send(n.node, m) },
	})

	link, err := newLink(&config, dir.Identity)
	if err != nil {
		return nil, err
	}
	n.tree = supervisor.New(treeConfig(&config, bootstrap, dir), &n.config.Logger, live.Now)
	options := live.Options{
		ID: config.ID, System: system, FS: config.FS, Logger: config.Logger, Probe: n.observer, Link: link,
		Handle: handlePID, Strategy: n.tree.Strategy(),
	}
	if config.CrashInjection {
		n.injector = &supervisor.Injector{}
		options.Middleware = []actor.ReceiverMiddleware{n.injector.Middleware()}
	}
	n.env = live.New(options)
	return n, nil
}

func treeConfig(config *Config, bootstrap *messages.Configuration, dir *persistence.DataDir) supervisor.Config {
	limits := node.DefaultLimits()
	limits.MaxUncommittedBytes = config.Limits.MaxUncommittedBytes
	limits.MemoryBytes = config.Limits.MemoryBytes
	flight := replicator.DefaultLimits()
	flight.MaxInFlightBytes = config.Limits.MaxInFlightBytes
	return supervisor.Config{
		Bootstrap: bootstrap, Heartbeat: config.Timing.Heartbeat, Election: config.Timing.Election,
		Window: config.RestartWindow, Node: limits, Replicator: flight,
		LogStore: logstore.Config{Log: persistence.Options{
			FS: config.FS, Dir: dir.LogDir(), Node: config.ID, StorageID: dir.Identity.StorageID, MustExist: true,
			LowWater: config.Limits.DiskLowWater,
		}},
		Machine: machine.Config{Factory: config.StateMachine},
	}
}

func memberOf(c *messages.Configuration, id uint64) *messages.Member {
	for _, m := range c.Members {
		if m.Id == id {
			return m
		}
	}
	return nil
}

func newNonce() []byte {
	nonce := make([]byte, 16)
	randomBytes(nonce)
	return nonce
}

func firstReadID() uint64 {
	var b [8]byte
	randomBytes(b[:])
	return binary.LittleEndian.Uint64(b[:])
}

func (n *Node) awaitRecovery(ctx context.Context) error {
	select {
	case <-n.observer.recovered:
		return nil
	case <-n.done:
		return orStopped(n.err)
	case <-ctx.Done():
		n.Kill()
		return fmt.Errorf("%w: recovering the log: %w", ErrTimeout, ctx.Err())
	}
}

func orStopped(err error) error {
	if err != nil {
		return err
	}
	return ErrStopped
}

// publicError gives what went wrong inside one of the face's errors, so that a caller can tell it with errors.Is.
func publicError(err error) error {
	for _, kind := range []struct{ inside, face error }{
		{persistence.ErrCorrupt, ErrCorrupt},
		{persistence.ErrFormat, ErrFormat},
		{persistence.ErrWrongCluster, ErrWrongCluster},
		{persistence.ErrWrongMember, ErrWrongMember},
		{persistence.ErrLocked, ErrLocked},
	} {
		if errors.Is(err, kind.inside) {
			return &faceError{face: kind.face, error: err}
		}
	}
	return err
}

// faceError is an error from inside that is also one of the face's.
type faceError struct {
	error
	face error
}

func (e *faceError) Unwrap() []error { return []error{e.face, e.error} }

// Status is a recent picture of the node. It costs little and never waits.
func (n *Node) Status() Status {
	s := n.observer.status()
	s.ID, s.ClusterID, s.Restarts = n.config.ID, n.ClusterID(), n.tree.Restarts()
	select {
	case <-n.done:
		s.Role, s.Leader, s.Serving, s.Err = "stopped", 0, false, n.err
	default:
	}
	return s
}

// Term is the current term.
func (n *Node) Term() uint64 { return n.observer.term.Load() }

// Leader is the id of the leader this member knows, 0 for none.
func (n *Node) Leader() uint64 { return n.observer.leader.Load() }

// Metrics are counters since the start.
func (n *Node) Metrics() Metrics {
	n.observer.mu.Lock()
	m := n.observer.metrics
	m.UncommittedBytes, m.MemoryBytes = n.observer.node.UncommittedBytes, n.observer.node.MemoryBytes
	m.LeaderReads = n.observer.node.PendingReads
	m.LedgerBytes, m.LedgerOrigins = n.observer.machine.LedgerBytes, n.observer.machine.Origins
	n.observer.mu.Unlock()
	b := n.handle.Backlog()
	m.PendingProposals, m.PendingBytes = b.Proposals, b.ProposalBytes
	m.PendingReads, m.ReadPoints, m.Refusals = b.Reads, b.ReadPoints, b.Refusals
	lost := n.env.Lost()
	m.LostMessages = lost.Unaddressed + lost.NotOfPeers + lost.Undelivered
	m.PeerConnectionsRejected = n.env.RejectedConnections()
	for _, a := range n.env.Actors() {
		m.Actors = append(m.Actors, ActorMetrics{Name: a.Name, Depth: a.Depth, Handled: a.Handled, Busy: a.Busy})
	}
	for _, l := range n.env.LinkStats() {
		m.Links = append(m.Links, LinkMetrics{
			Peer: l.ID, Up: l.Up, BytesSent: l.BytesSent, BytesReceived: l.BytesReceived,
			LettersSent: l.LettersSent, LettersReceived: l.LettersReceived, Dropped: l.Dropped, QueuedBytes: l.QueuedBytes,
		})
	}
	return m
}

// ears are where actors send what is meant for the program: a process of the actor system that is not an actor. It runs
// on the sender's goroutine, so it must not wait.
type ears struct{ *Node }

// SendUserMessage takes what the node's actors say to the program.
func (e *ears) SendUserMessage(_ *actor.PID, message any) {
	_, message, _ = actor.UnwrapEnvelope(message)
	if m, ok := message.(*messages.LeaderChanged); ok {
		e.observer.leaderChanged(m)
	}
	e.handle.Hear(message)
}

// SendSystemMessage and Stop complete actor.Process: ears have no lifecycle of the library's.
func (e *ears) SendSystemMessage(*actor.PID, any) {}

// Stop does nothing.
func (e *ears) Stop(*actor.PID) {}
