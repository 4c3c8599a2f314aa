package world

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/rs/zerolog"
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/actors/node"
	"github.com/troupe-raft/troupe/actors/replicator"
	"github.com/troupe-raft/troupe/internal/member"
	"github.com/troupe-raft/troupe/internal/sim/checker"
	"github.com/troupe-raft/troupe/internal/sim/history"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/persistence"
	"github.com/troupe-raft/troupe/persistence/vfs"
	"github.com/troupe-raft/troupe/raft"
)

const (
	HeartbeatInterval = 100 * time.Millisecond
	ElectionTimeout   = 1000 * time.Millisecond
)

// Member is one node with its disk, the storage of its state machine, its session and its clock. It
// has runs, one after the other; what was planned in one does not happen in the next.
type Member struct {
	world *World
	id    uint64

	// Its runs.
	RunNumber       int // rises at the start and at the end of each run
	up              bool
	NotStarted      bool                // a script will start it
	PermanentlyDown bool                // it does not start again
	shuttingDown    bool                // an orderly stop was requested
	returns         bool                // after it
	Rejoins         bool                // a new data directory of it replaces one that was lost
	refused         bool                // a peer has refused its data directory
	RefusedStarts   int                 // how often it is still started on a directory that a peer refused
	rejoinWatched   bool                // an operator asks the leader for it from time to time
	relearns        bool                // its disk was emptied, and does not hold yet that it has rejoined
	restored        bool                // it runs on an older copy of its disk, or will
	peersKnown      bool                // its node has set its peers in this run
	met             map[raft.Start]bool // the starts of peers that it has admitted in this run
	StopError       error               // why its node stopped by itself, the last time
	PausedUntil     time.Duration
	// imageAfterCut is set when the power failed during the current message: the disk as the next run
	// will find it.
	imageAfterCut *vfs.MemFS

	// Its machine.
	clock       clock
	timers      []*timer // of this run
	Disk        *disk
	olderCopy   *vfs.MemFS        // its disk at an earlier start; nil: there is no copy
	copiedStart raft.Start        // that start
	MachineDisk *machineDisk      // nil: the state machine is in memory
	application MemberApplication // nil: the small key-value store

	// The node of this run.
	system      *actor.ActorSystem
	node        *member.Node
	parts       member.Parts
	identity    persistence.Identity
	whenStopped func() // called when the last actor has stopped
	Mailboxes   []*mailbox
	peers       map[peerRole]*actor.PID
	linkPeers   []uint64 // those that the node named last
	outboxes    []*outbox
	Embedder    *embedder
	View        actors.NodeView // the last reported state of its Node
	Applied     uint64
	replica     history.Replica
	machineOpen bool
	// How far the end of the run has come.
	linksClosed   bool
	actorsAwaited bool

	// What a script may set.
	Logger         *zerolog.Logger // nil: nothing is logged
	RandomOverride actors.Random   // nil: the world's
	Failpoints     []*Failpoint
	// NoRegistration: its client session is not registered, so that its log holds no such entry.
	NoRegistration bool
	listeners      []func(proto.Message) // receive what the actors send to the session
}

type peerRole struct {
	id   uint64
	role messages.Receiver
}

var discardLogger = zerolog.New(io.Discard).Level(zerolog.Disabled)

// actorSystems are reused: making one costs more than a run of a member does.
var actorSystems sync.Pool

func takeActorSystem() *actor.ActorSystem {
	if s, ok := actorSystems.Get().(*actor.ActorSystem); ok {
		return s
	}
	discard := slog.New(slog.DiscardHandler)
	return actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return discard }))
}

func address(id uint64) string { return fmt.Sprintf("n%d:1", id) }

// NodeLimits are small, so that worlds reach them.
func (w *World) NodeLimits() node.Limits {
	return node.Limits{MaxUncommittedBytes: w.UncommittedBytes, MaxBatchBytes: 500, MemoryBytes: 800, MaxPendingReads: 50}
}

func (w *World) replicatorLimits() replicator.Limits {
	limits := replicator.Limits{MaxInFlight: 4, MaxInFlightBytes: 700, MaxRequestBytes: 400, ProbeBytes: 200}
	if w.SingleEntryRequests {
		limits.MaxRequestBytes, limits.ProbeBytes = 1, 1
	}
	return limits
}

// Post puts a message into the mailbox of an actor of this node, if the actor runs.
func (m *Member) Post(path string, message proto.Message) {
	if !m.up {
		return
	}
	if process, ok := m.system.ProcessRegistry.GetLocal(path); ok {
		process.SendUserMessage(actor.NewPID(address(m.id), path), message)
	}
}

// panicked observes every panic. A panic that no fault injected is a bug. Whether a storage fault
// had a cause is checked when the node stops for it.
func (w *World) panicked(b *mailbox, reason, message any) {
	var injected *actors.InjectedCrash
	var storage *actors.StorageError
	var refused *actors.StorageRefusedError
	if err, ok := reason.(error); ok && (errors.As(err, &injected) || errors.As(err, &refused) || errors.As(err, &storage) || isStateFault(err)) || b.member.imageAfterCut != nil {
		return
	}
	w.Fail("no panic", "%s of member %d panicked at %T: %v", b.self.Id, b.member.id, message, reason)
}

// Member implements actors.Env:

// Up, Leads and Replica implement history.Member.
func (m *Member) Up() bool                  { return m.up }
func (m *Member) Leads() bool               { return m.View.Role == "leader" }
func (m *Member) Replica() *history.Replica { return &m.replica }

// NodeStopped and Storage implement checker.Member.
func (m *Member) NodeStopped() bool     { return m.node == nil || m.node.ActorsStopped() }
func (m *Member) Storage() checker.Disk { return m.Disk }

func (m *Member) ID() uint64                     { return m.id }
func (m *Member) FS() vfs.FS                     { return m.Disk.MemFS }
func (m *Member) ReplySink() *actor.PID          { return m.system.NewLocalPID(sessionName) }
func (m *Member) Observer() actors.StateObserver { return (*stateObserver)(m) }

// SetPeers implements actors.Env: messages leave for these members only, unless World.OpenLinks.
func (m *Member) SetPeers(index uint64, c *messages.Configuration) {
	m.linkPeers = m.linkPeers[:0]
	for _, p := range c.GetMembers() {
		m.linkPeers = append(m.linkPeers, p.Id)
	}
	m.parts.Peers.SetConfiguration(index, c)
	if m.peersKnown {
		return
	}
	m.peersKnown = true
	for _, other := range m.world.Members {
		m.world.connectSoon(m, other)
	}
}

// StorageConfirmed implements actors.Env.
func (m *Member) StorageConfirmed(index uint64) { m.parts.Peers.Confirm(index) }

// Listen calls a function of a script for every message from the member's actors to its session.
func (m *Member) Listen(ear func(proto.Message)) { m.listeners = append(m.listeners, ear) }

// Log returns the logger of the actors; it discards everything unless a script captures it.
func (m *Member) Log() *zerolog.Logger {
	if m.Logger != nil {
		return m.Logger
	}
	return &discardLogger
}

func (m *Member) Random() actors.Random {
	if m.RandomOverride != nil {
		return m.RandomOverride
	}
	return m.world.Random
}

func (m *Member) Props(producer actor.Producer, options ...actor.PropsOption) *actor.Props {
	run := m.RunNumber
	return actor.PropsFromProducer(
		func() actor.Actor {
			return actors.GuardLifecycle(&stopHook{producer(), m.world}, m.parts.Strategy, &discardLogger)
		},
		actor.WithMailbox(func() actor.Mailbox { return &mailbox{member: m, runNumber: run} }),
	).Configure(options...)
}

// stopHook marks the mailbox of an actor that stops.
type stopHook struct {
	actor.Actor
	world *World
}

// Receive implements actor.Actor.
func (a *stopHook) Receive(ctx actor.Context) {
	a.Actor.Receive(ctx)
	if _, ends := ctx.Message().(*actor.Stopped); ends {
		a.world.currentMailbox.stopped = true
	}
}

func (m *Member) PeerPID(id uint64, role messages.Receiver) *actor.PID {
	key := peerRole{id, role}
	if pid := m.peers[key]; pid != nil {
		return pid
	}
	path := actors.NodePath
	if role == messages.Receiver_RECEIVER_REPLICATOR {
		path = actors.ReplicatorPath(m.id)
	}
	m.peers[key] = actor.NewPID(address(id), path)
	return m.peers[key]
}

func (m *Member) resolve(pid *actor.PID) (actor.Process, bool) {
	for _, other := range m.world.Members {
		if address(other.id) == pid.Address {
			role := messages.Receiver_RECEIVER_NODE
			if pid.Id != actors.NodePath {
				role = messages.Receiver_RECEIVER_REPLICATOR
			}
			return &peerProcess{from: m, runNumber: m.RunNumber, to: other, role: role}, true
		}
	}
	return nil, false
}

// peerProcess is the process behind the PID of a peer's actor.
type peerProcess struct {
	from      *Member
	runNumber int
	to        *Member
	role      messages.Receiver
}

func (o *peerProcess) SendUserMessage(_ *actor.PID, message any) {
	_, inner, _ := actor.UnwrapEnvelope(message)
	if o.runNumber == o.from.RunNumber && !o.from.linksClosed && o.from.linkedTo(o.to.id) {
		o.from.world.transmit(o.from, o.to, o.role, inner.(proto.Message))
	}
}
func (o *peerProcess) SendSystemMessage(*actor.PID, any) {}
func (o *peerProcess) Stop(*actor.PID)                   {}

// stateObserver is the member as the receiver of its actors' states. It passes them on to the
// node's own observer, as long as the power is on.
type stateObserver Member

func (p *stateObserver) Node(v actors.NodeView) {
	if p.imageAfterCut == nil {
		p.parts.Observer.Node(v)
		p.world.events.nodeView((*Member)(p), &v)
		p.View = v
		p.world.Checker.NodeView(p.id, v)
	}
}

func (p *stateObserver) LogStore(v actors.LogStoreView) {
	if p.imageAfterCut == nil {
		p.parts.Observer.LogStore(v)
		p.world.events.logView((*Member)(p), &v)
		(*Member)(p).noteRejoined(v.HardState.GetCommit())
		p.world.Checker.LogView(p.id, v)
	}
}

func (p *stateObserver) Machine(v actors.MachineView) {
	if p.imageAfterCut != nil {
		return
	}
	p.parts.Observer.Machine(v)
	p.world.events.machineView((*Member)(p), &v)
	p.Applied = v.Applied
	p.world.Checker.MachineView(p.id, v)
}

// SessionTable implements actors.SessionTableObserver.
func (p *stateObserver) SessionTable(incarnation, applied uint64, encoded []byte) {
	if p.imageAfterCut == nil {
		p.world.Checker.SessionTable(p.id, incarnation, applied, encoded)
	}
}

func (p *stateObserver) Replicator(v actors.ReplicatorView) {
	p.parts.Observer.Replicator(v)
	p.world.events.replicatorView((*Member)(p), &v)
	p.world.Checker.ReplicatorView(p.id, v)
}

func (p *stateObserver) Synced(entries, bytes int, took time.Duration) {
	p.parts.Observer.Synced(entries, bytes, took)
}
