// Package actors holds what all actors of a node share: the environment they take everything from, the names by which
// they find each other, and the faults they stop with. The actors themselves are packages below this one; they meet only
// through messages, so none of them imports another.
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

// Env is everything outside themselves that the actors of one node may touch. The live one (actors/live) has goroutines,
// a real clock, disk and network; the simulated one has a seed. The actors cannot tell them apart, and that is the point:
// the code that is proved is the code that runs.
type Env interface {
	// ID is this node's id, not 0.
	ID() uint64

	// Props makes the Props of an actor of this node. Props are not inherited in Proto.Actor: an actor spawned without
	// this factory would fall out of the simulation and of supervision.
	Props(producer actor.Producer, options ...actor.PropsOption) *actor.Props

	// Now is a monotonic clock: the time since some fixed point of the environment.
	Now() time.Duration
	// After sends message to the actor `to` once d has passed, unless stopped before. A timer may fire although Stop was
	// called a moment ago: its receiver tells stale ticks by their number.
	After(d time.Duration, to *actor.PID, message proto.Message) Timer
	// Random is the only source of randomness. It is safe for use by all actors of the node.
	Random() Random

	// FS is the filesystem that the node's files are on.
	FS() vfs.FS

	// Peer is the PID of an actor of another node, named by id and role. The PID is valid even while the peer is not
	// known or cannot be reached: what is sent to it then is lost, as on any network.
	PeerPID(id uint64, role messages.Role) *actor.PID
	// SetPeers tells the link whom it may talk to. It replaces what was told before; the slice is not kept.
	SetPeers(members []*messages.Member)
	// Handle is the PID under which the program that embeds the node hears of results, read points and leaders.
	Session() *actor.PID

	// Log is the node's logger: a line for an event that matters, never one a message.
	Log() *zerolog.Logger
	// StateObserver is shown the state of each actor after each message that changed it. Nil where nobody looks.
	Observer() StateObserver
}

// Timer is a message under way to the future.
type Timer interface{ Stop() }

// Random is the part of a generator that actors need.
type Random interface {
	// Int64N returns a number in [0, n). n must be positive.
	Int64N(n int64) int64
	Uint64() uint64
}

// The names of the actors of a node. Proto.Actor prefixes a child's name with its parent's.
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
