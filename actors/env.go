// Package actors holds what all actors of a node share: their environment, their names, and the
// errors that they stop with. The actors themselves are packages below this one. They communicate
// by messages only, so none imports another.
package actors

import (
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/rs/zerolog"
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/persistence/vfs"
	"github.com/troupe-raft/troupe/raft"
)

// Env is the environment of the actors of one node: everything outside themselves that they may
// use. The real one (actors/live) has goroutines, a clock, a disk and a network; the simulated one
// (internal/sim) derives all of these from a seed. The actors cannot distinguish them, so that the
// code that the simulator tests is the code that runs.
type Env interface {
	// ID is the id of this node, not 0.
	ID() uint64

	// Props makes the Props of an actor of this node. Every actor must be spawned with them:
	// Proto.Actor does not pass a parent's Props on to its children, and without them an actor has the
	// wrong scheduler and supervision.
	Props(producer actor.Producer, options ...actor.PropsOption) *actor.Props

	// Now is a monotonic clock: the time since a fixed point of the environment.
	Now() time.Duration
	// After sends message to the actor `to` once d has passed, unless the Timer was stopped before. A
	// message may arrive shortly after Stop, so every receiver compares the number in it with that of
	// the timer it waits for.
	After(d time.Duration, to *actor.PID, message proto.Message) Timer
	// Random is the only source of randomness. It is safe for use by all actors of the node.
	Random() Random

	// FS is the filesystem of the node's files.
	FS() vfs.FS

	// PeerPID is the PID of an actor of another node. It is valid even if that node is unknown or
	// unreachable: messages sent to it are lost then, as in any network.
	PeerPID(id uint64, role messages.Receiver) *actor.PID
	// SetPeers replaces the configuration in effect, with the index of its entry. The peer link
	// connects to its members. It keeps the configuration, which never changes.
	SetPeers(index uint64, c *messages.Configuration)
	// StorageID returns the storage id of the data directory with which a peer was met; nil if it was
	// not.
	StorageID(peer uint64) []byte
	// StorageConfirmed notes that the committed configuration at index names this node's own data
	// directory.
	StorageConfirmed(index uint64)
	// ReplySink is the PID that delivers results, read points and leader changes to the Session
	// (internal/session), on the goroutine of the sender.
	ReplySink() *actor.PID

	// Log is the node's logger. It is for notable events, never for each message.
	Log() *zerolog.Logger
	// Observer receives the state of each actor after each message that changed it; nil if there is
	// none.
	Observer() StateObserver
}

// Timer is a message that will be sent later.
type Timer interface{ Stop() }

// Random is the part of a random generator that the actors use.
type Random interface {
	// Int64N returns a number in [0, n). n must be positive.
	Int64N(n int64) int64
	Uint64() uint64
}

// The names of the actors of a node. The id of a PID is the path of names from the supervisor down.
const (
	SupervisorName   = "troupe"
	NodeName         = "node"
	LogStoreName     = "log"
	LogReaderName    = "reader"
	MachineName      = "machine"
	ReplicatorPrefix = "peer-"

	NodePath = SupervisorName + "/" + NodeName
)

// ReplicatorName is the name of the replicator for a peer, a child of the Node.
func ReplicatorName(peerID uint64) string { return ReplicatorPrefix + raft.FormatID(peerID) }

// ReplicatorPath is the id of that replicator's PID.
func ReplicatorPath(peerID uint64) string { return NodePath + "/" + ReplicatorName(peerID) }
