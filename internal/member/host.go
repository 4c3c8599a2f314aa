package member

import (
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/persistence"
)

// Host is the process and the machine in which a Node runs.
type Host interface {
	// Now is a monotonic clock. The environment's is the same.
	Now() time.Duration
	// FillRandom fills b with bytes that no process of any member has drawn or will draw.
	FillRandom(b []byte)
	// Every calls f once per interval, until stop is called. A call may end shortly after stop.
	Every(interval time.Duration, f func()) (stop func())
	// WhenClosed calls f once the channel is closed. f may wait for actors, so it is not called by
	// one.
	WhenClosed(channel <-chan struct{}, f func())
	// NewEnvironment makes the environment of the node's actors. No actor runs yet.
	NewEnvironment(Parts) (Environment, error)
}

// Parts are what the environment of a node must give to its actors.
type Parts struct {
	Identity persistence.Identity
	// Peers has the member's own data directory, and decides about those of the others. The
	// environment delivers no message of a member before Peers has admitted it.
	Peers   *persistence.PeerStorage
	Address string // of the member, and so of its actors
	// Session receives results, read points and leader changes. The environment registers it, and
	// returns its PID as ReplySink.
	Session actor.Process
	// Observer receives the state of the actors.
	Observer actors.StateObserver
	// Strategy supervises every actor.
	Strategy actor.SupervisorStrategy
	// Middleware receives every message before its actor.
	Middleware []actor.ReceiverMiddleware
}

// Environment is the environment of a node's actors, as the node itself uses it.
type Environment interface {
	actors.Env
	// Root spawns actors in the node's actor system, and sends messages from outside of an actor.
	Root() *actor.RootContext
	// Connected reports whether a peer is connected.
	Connected() bool
	// Close closes the connections to the peers.
	Close()
	// AwaitActors returns when no actor runs.
	AwaitActors()
}
