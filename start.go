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
	"github.com/troupe-raft/troupe/internal/defaults"
	"github.com/troupe-raft/troupe/internal/session"
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
	bootstrap := config.initialConfiguration()
	identity := persistence.Identity{ClusterID: bootstrap.ClusterId, NodeID: config.ID, CreatedBy: softwareName}
	randomBytes(identity.StorageID[:])
	dir, err := persistence.OpenDataDir(config.FS, config.DataDir, identity)
	if err != nil {
		return nil, publicError(err)
	}
	n, err := newNode(config, bootstrap, dir)
	if err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	if err := n.supervisorTree.Start(n.environment, n.rootContext); err != nil {
		n.environment.Close()
		return nil, errors.Join(err, dir.Close())
	}
	go n.runUntilStopped()
	return n, n.awaitRecovery(ctx)
}

// softwareName stands in the identity of the data directories that this version makes.
const softwareName = "troupe"

func randomBytes(b []byte) {
	if _, err := rand.Read(b); err != nil {
		panic(fmt.Errorf("the system's random source failed: %w", err))
	}
}

// assemble makes the node's parts and ties them together; nothing moves yet.
func newNode(config Config, bootstrap *messages.Configuration, dir *persistence.DataDir) (*Node, error) {
	n := &Node{config: config, dataDir: dir, done: make(chan struct{})}
	self := memberOf(bootstrap, config.ID)
	system := live.NewActorSystem(self.Address, config.Logger)
	n.rootContext = system.Root

	handlePID, _ := system.ProcessRegistry.Add(&replySink{n}, "handle")
	n.observer = newNodeObserver()
	n.nodePID = actor.NewPID(self.Address, actors.NodePath)
	n.session = session.New(session.Config{
		NodeID: config.ID, NewNonce: newNonce, FirstReadID: firstReadID(), Now: live.Now,
		Limits: session.Limits{
			MaxRequestBytes: config.Limits.MaxRequestBytes, MaxPendingRequests: config.Limits.MaxPendingRequests,
			MaxPendingBytes: config.Limits.MaxPendingBytes, MaxPendingReads: config.Limits.MaxPendingReads,
		},
		Send: func(m proto.Message) { n.rootContext.Send(n.nodePID, m) },
	})

	link, err := newPeerLink(&config, dir.Identity)
	if err != nil {
		return nil, err
	}
	n.supervisorTree = supervisor.New(supervisorConfig(&config, bootstrap, dir), &n.config.Logger, live.Now)
	options := live.Options{
		ID: config.ID, System: system, FS: config.FS, Logger: config.Logger, Observer: n.observer, Link: link,
		Session: handlePID, Strategy: n.supervisorTree.Strategy(),
	}
	if config.CrashInjection {
		n.injector = &supervisor.CrashInjector{}
		options.Middleware = []actor.ReceiverMiddleware{n.injector.Middleware()}
	}
	n.environment = live.New(options)
	return n, nil
}

func supervisorConfig(config *Config, bootstrap *messages.Configuration, dir *persistence.DataDir) supervisor.Config {
	return supervisor.Config{
		Bootstrap: bootstrap, HeartbeatInterval: config.Timing.HeartbeatInterval, ElectionTimeout: config.Timing.ElectionTimeout,
		RestartLimit: config.RestartLimit,
		Node: node.Limits{
			MaxUncommittedBytes: config.Limits.MaxUncommittedBytes, MaxBatchBytes: defaults.MaxBatchBytes,
			MemoryBytes: config.Limits.LogMemoryBytes, MaxPendingReads: defaults.MaxPendingReads,
		},
		Replicator: replicator.Limits{
			MaxInFlight: defaults.MaxInFlight, MaxInFlightBytes: config.Limits.MaxInFlightBytes,
			MaxRequestBytes: defaults.MaxBatchBytes, ProbeBytes: defaults.ProbeBytes,
		},
		LogStore: logstore.Config{Log: persistence.Options{
			FS: config.FS, Dir: dir.LogDir(), NodeID: config.ID, StorageID: dir.Identity.StorageID, MustExist: true,
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
		return errOrStopped(n.err)
	case <-ctx.Done():
		n.Kill()
		return fmt.Errorf("%w: recovering the log: %w", ErrTimeout, ctx.Err())
	}
}

func errOrStopped(err error) error {
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
			return &publicErrorWrapper{public: kind.face, error: err}
		}
	}
	return err
}

// publicErrorWrapper is an error from inside that is also one of the face's.
type publicErrorWrapper struct {
	error
	public error
}

func (e *publicErrorWrapper) Unwrap() []error { return []error{e.public, e.error} }

// Status is a recent picture of the node. It costs little and never waits.
func (n *Node) Status() Status {
	s := n.observer.status()
	s.ID, s.ClusterID, s.Restarts = n.config.ID, n.ClusterID(), n.supervisorTree.Restarts()
	select {
	case <-n.done:
		s.Role, s.LeaderID, s.Serving, s.Err = "stopped", 0, false, n.err
	default:
	}
	return s
}

// Term is the current term.
func (n *Node) Term() uint64 { return n.observer.term.Load() }

// Leader is the id of the leader this member knows, 0 for none.
func (n *Node) LeaderID() uint64 { return n.observer.leader.Load() }

// Metrics are counters since the start.
func (n *Node) Metrics() Metrics {
	n.observer.mu.Lock()
	m := n.observer.metrics
	m.UncommittedBytes, m.LogMemoryBytes = n.observer.node.UncommittedBytes, n.observer.node.MemoryBytes
	m.LeaderPendingReads = n.observer.node.PendingReads
	m.SessionBytes, m.Sessions = n.observer.machine.SessionBytes, n.observer.machine.Sessions
	n.observer.mu.Unlock()
	b := n.session.Backlog()
	m.PendingProposals, m.PendingProposalBytes = b.Proposals, b.ProposalBytes
	m.PendingReads, m.UnappliedReadPoints, m.Refusals = b.Reads, b.UnappliedReadPoints, b.Refusals
	lost := n.environment.LostMessages()
	m.LostMessages = lost.UnknownPeer + lost.NotPeerMessage + lost.NoReceiver
	m.PeerConnectionsRejected = n.environment.RejectedConnections()
	for _, a := range n.environment.ActorStats() {
		m.Actors = append(m.Actors, ActorMetrics{Name: a.Name, MailboxDepth: a.MailboxDepth, MessagesHandled: a.MessagesHandled, BusyTime: a.BusyTime})
	}
	for _, l := range n.environment.LinkStats() {
		m.Links = append(m.Links, LinkMetrics{
			PeerID: l.ID, Up: l.Up, BytesSent: l.BytesSent, BytesReceived: l.BytesReceived,
			EnvelopesSent: l.EnvelopesSent, EnvelopesReceived: l.EnvelopesReceived, EnvelopesDropped: l.Dropped, QueuedBytes: l.QueuedBytes,
		})
	}
	return m
}

// ears are where actors send what is meant for the program: a process of the actor system that is not an actor. It runs
// on the sender's goroutine, so it must not wait.
type replySink struct{ *Node }

// SendUserMessage takes what the node's actors say to the program.
func (e *replySink) SendUserMessage(_ *actor.PID, message any) {
	_, message, _ = actor.UnwrapEnvelope(message)
	if m, ok := message.(*messages.LeaderChanged); ok {
		e.observer.leaderChanged(m)
	}
	e.session.Deliver(message)
}

// SendSystemMessage and Stop complete actor.Process: ears have no lifecycle of the library's.
func (e *replySink) SendSystemMessage(*actor.PID, any) {}

// Stop does nothing.
func (e *replySink) Stop(*actor.PID) {}
