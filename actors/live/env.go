// Package live is the environment of a node in production: goroutines, the system's clock, a disk
// and links to other nodes. The actors use it through actors.Env only.
package live

import (
	"fmt"
	"runtime/debug"
	"sort"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/rs/zerolog"
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/persistence"
	"github.com/troupe-raft/troupe/persistence/vfs"
)

// Options configures the environment of a node.
type Options struct {
	// ID is the node's id, not 0.
	ID uint64
	// System is the node's actor system, with its address set before the first spawn. If it is nil,
	// New makes one with Address.
	System  *actor.ActorSystem
	Address string

	FS     vfs.FS
	Logger zerolog.Logger
	// Observer may be nil.
	Observer actors.StateObserver
	// Link carries messages to other nodes. New starts it, Close closes it. If it is nil, there are no
	// other nodes.
	Link PeerLink
	// Peers has the node's own data directory, and decides about those of the other members: links
	// exchange no messages with a member that came back with another one. Nil: all are admitted.
	Peers *persistence.PeerStorage
	// LinkChanged is called when the connection to a peer is complete or broken. It must not wait. It
	// may be nil.
	LinkChanged func(peer uint64, up bool)
	// Session receives results, read points and leader changes.
	Session *actor.PID

	// Strategy supervises the children of every actor. If it is nil, Proto.Actor's default does.
	Strategy actor.SupervisorStrategy
	// Middleware receives every message before its actor. It costs an allocation a message: leave it
	// empty in production.
	Middleware []actor.ReceiverMiddleware
}

// Env is the live environment of one node.
type Env struct {
	options    Options
	system     *actor.ActorSystem
	log        zerolog.Logger
	random     *lockedRandom
	dispatcher *pinnedDispatcher
	receiver   *PeerReceiver
	resolver   *peerResolver

	mu        sync.Mutex
	mailboxes map[*mailbox]struct{} // guarded by mu; those of actors that run
}

var _ actors.Env = (*Env)(nil)

// New makes the environment and starts its link. Peers can connect from then on; their messages are
// dropped until the node's actors exist.
func New(options Options) *Env {
	if options.ID == 0 {
		panic("live.New: a node's id must not be 0")
	}
	if options.System == nil {
		options.System = NewActorSystem(options.Address, options.Logger)
	}
	if options.Link == nil {
		options.Link = noLink{}
	}
	e := &Env{
		options:    options,
		system:     options.System,
		log:        options.Logger,
		random:     newLockedRandom(),
		dispatcher: &pinnedDispatcher{},
		mailboxes:  map[*mailbox]struct{}{},
	}
	e.receiver = newPeerReceiver(&options)
	e.resolver = newPeerResolver(options.ID, e.system.Address(), options.Link)
	// It is the first resolver, because that of Proto.Actor's remote accepts every PID.
	registry := e.system.ProcessRegistry
	registry.RemoteHandlers = append([]actor.AddressResolver{e.resolver.resolve}, registry.RemoteHandlers...)
	options.Link.Start(e.receiver)
	return e
}

func (e *Env) ID() uint64                     { return e.options.ID }
func (e *Env) FS() vfs.FS                     { return e.options.FS }
func (e *Env) ReplySink() *actor.PID          { return e.options.Session }
func (e *Env) Log() *zerolog.Logger           { return &e.log }
func (e *Env) Observer() actors.StateObserver { return e.options.Observer }
func (e *Env) Random() actors.Random          { return e.random }
func (e *Env) Now() time.Duration             { return Now() }
func (e *Env) System() *actor.ActorSystem     { return e.system }

// After sends message to a local actor once d has passed. If the actor has stopped by then, the
// message is dropped silently; a dead letter would log every tick of a stopped node.
func (e *Env) After(d time.Duration, to *actor.PID, message proto.Message) actors.Timer {
	return timer{time.AfterFunc(d, func() {
		if process, ok := e.lookupProcess(to.Id); ok {
			process.SendUserMessage(to, message)
		}
	})}
}

// Props makes the Props of an actor of this node: those of the environment, then the given options.
func (e *Env) Props(producer actor.Producer, options ...actor.PropsOption) *actor.Props {
	props := actor.PropsFromProducer(
		func() actor.Actor { return actors.GuardLifecycle(producer(), e.options.Strategy, &e.log) },
		actor.WithDispatcher(e.dispatcher),
		actor.WithMailbox(func() actor.Mailbox { return newMailbox(e) }),
	)
	if len(e.options.Middleware) > 0 {
		props.Configure(actor.WithReceiverMiddleware(e.options.Middleware...))
	}
	return props.Configure(options...)
}

// PeerPID returns the PID of an actor of another node. Actors may keep and share it.
func (e *Env) PeerPID(id uint64, role messages.Receiver) *actor.PID { return e.resolver.pid(id, role) }

// SetPeers replaces the configuration, and so the members with which the node exchanges messages.
func (e *Env) SetPeers(index uint64, c *messages.Configuration) {
	if e.options.Peers != nil {
		e.options.Peers.SetConfiguration(index, c)
	}
	e.resolver.setMembers(c.GetMembers())
	e.options.Link.SetPeers(c.GetMembers())
}

// StorageConfirmed notes that a committed configuration names the node's data directory.
func (e *Env) StorageConfirmed(index uint64) {
	if e.options.Peers != nil {
		e.options.Peers.Confirm(index)
	}
}

// StorageID returns the storage id with which a peer was met; nil if it was not.
func (e *Env) StorageID(peer uint64) []byte { return e.receiver.KnownStorage(peer) }

// LostMessages counts the messages to and from peers that were dropped.
func (e *Env) LostMessages() LostMessages {
	return LostMessages{
		UnknownPeer:    e.resolver.unknownPeer.Load(),
		NotPeerMessage: e.resolver.notPeerMessage.Load(),
		NoReceiver:     e.receiver.noReceiver.Load(),
	}
}

// LostMessages counts dropped messages by reason.
type LostMessages struct {
	// UnknownPeer counts messages to a peer that SetPeers has not named.
	UnknownPeer uint64
	// NotPeerMessage counts messages to a peer that are not a messages.PeerMessage.
	NotPeerMessage uint64
	// NoReceiver counts messages from a peer for an actor that does not run, in most cases a
	// replicator that has stopped.
	NoReceiver uint64
}

// LinkStats describes the links to the peers, ordered by id.
func (e *Env) LinkStats() []PeerStat { return e.options.Link.Stats() }

// RejectedConnections counts the connections that the link closed because too many were open; 0 for
// a link without such a limit.
func (e *Env) RejectedConnections() uint64 {
	if bounded, ok := e.options.Link.(interface{ RejectedConnections() uint64 }); ok {
		return bounded.RejectedConnections()
	}
	return 0
}

// Close closes the link. It does not stop the actors: their parents do, and AwaitActors waits for
// their goroutines.
func (e *Env) Close() { e.options.Link.Close() }

// AwaitActors returns when no actor of this environment runs.
func (e *Env) AwaitActors() { e.dispatcher.wait() }

// ActorStat describes one actor.
type ActorStat struct {
	// Name is the path of its PID.
	Name string
	// MailboxDepth is how many user messages wait, including the batch that the actor handles.
	MailboxDepth int
	// MessagesHandled counts user messages.
	MessagesHandled uint64
	// BusyTime is how long the actor has worked since it was spawned. Its growth over an interval is
	// the actor's saturation.
	BusyTime time.Duration
}

// ActorStats describes the actors that run, ordered by name.
func (e *Env) ActorStats() []ActorStat {
	e.mu.Lock()
	defer e.mu.Unlock()
	stats := make([]ActorStat, 0, len(e.mailboxes))
	for m := range e.mailboxes {
		stats = append(stats, ActorStat{
			Name: m.self.Id, MailboxDepth: m.UserMessageCount(),
			MessagesHandled: m.handled.Load(), BusyTime: m.busy.total(),
		})
	}
	sort.Slice(stats, func(i, j int) bool { return stats[i].Name < stats[j].Name })
	return stats
}

// The methods of mailboxHost follow.

func (e *Env) mailboxStarted(m *mailbox) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.mailboxes[m] = struct{}{}
}

func (e *Env) mailboxStopped(m *mailbox) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.mailboxes, m)
}

func (e *Env) lookupProcess(id string) (actor.Process, bool) {
	return e.system.ProcessRegistry.GetLocal(id)
}

// logPanic logs a panic with its stack, unless it is a fault that supervision logs itself.
func (e *Env) logPanic(self *actor.PID, reason, message any) {
	switch reason.(type) {
	case *actors.InjectedCrash, *actors.StorageError, *actors.ApplicationError, *actors.FatalError:
		return
	}
	e.log.Error().Str("actor", self.GetId()).Str("message", fmt.Sprintf("%T", message)).
		Str("panic", fmt.Sprint(reason)).Bytes("stack", debug.Stack()).Msg("actor panicked (internal error)")
}

func (e *Env) sendSystemMessage(pid *actor.PID, systemMessage any) {
	process, _ := e.system.ProcessRegistry.Get(pid)
	process.SendSystemMessage(pid, systemMessage)
}
