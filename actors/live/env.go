// Package live is the environment in which a node runs for real: goroutines, the system's clock, a disk, and links to
// other nodes. It is the only room below the root package that has any of these; the actors see none of it but through
// actors.Env.
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
	"github.com/troupe-raft/troupe/persistence/vfs"
)

// Options says what a node runs on.
type Options struct {
	// ID is the node's id, not 0.
	ID uint64
	// System is the node's actor system; its address must be set before anything was spawned in it. Nil: one is made with
	// Address.
	System  *actor.ActorSystem
	Address string

	FS     vfs.FS
	Logger zerolog.Logger
	// Probe may be nil.
	Observer actors.StateObserver
	// PeerLink carries messages to other nodes; nil: there are none. It is started by New and closed by Close.
	Link PeerLink
	// Handle hears of results, read points and leaders.
	Session *actor.PID

	// Strategy decides on the failures of the children of every actor. Nil: the library's default.
	Strategy actor.SupervisorStrategy
	// Middleware sees every message before its actor. It costs an allocation a message: leave it empty in production.
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
	mailboxes map[*mailbox]struct{} // guarded by mu; those of actors that live
}

var _ actors.Env = (*Env)(nil)

// New makes the environment and starts its link: from here on peers can connect, and what they send before the node's
// actors exist is lost.
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
	e.receiver = newPeerReceiver(options.ID, e.system, options.Logger)
	e.resolver = newPeerResolver(options.ID, e.system.Address(), options.Link)
	// Ahead of all others: the resolver of Proto.Actor's remote takes whatever it is asked.
	registry := e.system.ProcessRegistry
	registry.RemoteHandlers = append([]actor.AddressResolver{e.resolver.resolve}, registry.RemoteHandlers...)
	options.Link.Start(e.receiver)
	return e
}

func (e *Env) ID() uint64                     { return e.options.ID }
func (e *Env) FS() vfs.FS                     { return e.options.FS }
func (e *Env) Session() *actor.PID            { return e.options.Session }
func (e *Env) Log() *zerolog.Logger           { return &e.log }
func (e *Env) Observer() actors.StateObserver { return e.options.Observer }
func (e *Env) Random() actors.Random          { return e.random }
func (e *Env) Now() time.Duration             { return Now() }
func (e *Env) System() *actor.ActorSystem     { return e.system }

// After sends message to the actor `to` once d has passed.
func (e *Env) After(d time.Duration, to *actor.PID, message proto.Message) actors.Timer {
	return e.after(d, to, message)
}

// Props makes the Props of an actor of this node. What the caller adds comes after the environment's own.
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

// Peer is the PID of an actor of another node. It may be kept, and shared between actors.
func (e *Env) PeerPID(id uint64, role messages.Role) *actor.PID { return e.resolver.pid(id, role) }

// SetPeers tells the link whom it may talk to.
func (e *Env) SetPeers(members []*messages.Member) {
	e.resolver.setMembers(members)
	e.options.Link.SetPeers(members)
}

// LostMessages counts the messages that could not be handed to anyone.
func (e *Env) LostMessages() LostMessages {
	return LostMessages{
		UnknownPeer:    e.resolver.unknownPeer.Load(),
		NotPeerMessage: e.resolver.notPeerMessage.Load(),
		NoReceiver:     e.receiver.noReceiver.Load(),
	}
}

// LostMessages counts messages by why they went nowhere.
type LostMessages struct {
	// Unaddressed were sent to a peer that SetPeers has not named.
	UnknownPeer uint64
	// NotPeerMessage were sent to a peer and are not of a kind that peers exchange.
	NotPeerMessage uint64
	// Undelivered came from a peer and found no actor: a replicator that had stopped, mostly.
	NoReceiver uint64
}

// LinkStats describes the links to the peers, by id.
func (e *Env) LinkStats() []PeerStat { return e.options.Link.Stats() }

// RejectedConnections counts connections that the link closed because it had as many as it may; 0 where it takes none.
func (e *Env) RejectedConnections() uint64 {
	if bounded, ok := e.options.Link.(interface{ RejectedConnections() uint64 }); ok {
		return bounded.RejectedConnections()
	}
	return 0
}

// Close closes the link. The actors are stopped by who spawned them; AwaitActors waits for their goroutines.
func (e *Env) Close() { e.options.Link.Close() }

// AwaitActors returns when no actor of this environment lives any more.
func (e *Env) AwaitActors() { e.dispatcher.wait() }

// ActorStat is what can be told of an actor from outside.
type ActorStat struct {
	// Name is the path of its PID.
	Name string
	// Depth is how many user messages wait, those of the batch in hand included.
	MailboxDepth int
	// Handled counts user messages.
	MessagesHandled uint64
	// Busy is how long it has worked since it was spawned; its growth over an interval is its saturation.
	BusyTime time.Duration
}

// Actors describes the actors that live, by name.
func (e *Env) ActorStats() []ActorStat {
	e.mu.Lock()
	defer e.mu.Unlock()
	stats := make([]ActorStat, 0, len(e.mailboxes))
	for m := range e.mailboxes {
		stats = append(stats, ActorStat{Name: m.self.Id, MailboxDepth: m.UserMessageCount(), MessagesHandled: m.handled.Load(), BusyTime: m.busy.total()})
	}
	sort.Slice(stats, func(i, j int) bool { return stats[i].Name < stats[j].Name })
	return stats
}

// What a mailbox asks of its host.

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

// failed writes down what no fault of the world explains: the values that broke, and where.
func (e *Env) logPanic(self *actor.PID, reason, message any) {
	switch reason.(type) {
	case *actors.InjectedCrash, *actors.StorageError, *actors.ApplicationError, *actors.FatalError:
		return // supervision tells of these, and they say all there is to say
	}
	e.log.Error().Str("actor", self.GetId()).Str("message", fmt.Sprintf("%T", message)).Str("panic", fmt.Sprint(reason)).
		Bytes("stack", debug.Stack()).Msg("actor panicked: a bug of ours")
}

func (e *Env) sendSystemMessage(pid *actor.PID, systemMessage any) {
	process, _ := e.system.ProcessRegistry.Get(pid)
	process.SendSystemMessage(pid, systemMessage)
}
