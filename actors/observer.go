package actors

import (
	"time"

	"github.com/troupe-raft/troupe/messages"
)

// StateObserver is how an actor lets itself be seen. Status, metrics, traces and the simulator's invariants read nothing else.
// An actor calls it at the end of a message; the values are copies, slices and pointers in them are immutable.
// Implementations must be cheap, must not block and must be safe for use by all actors of the node at once.
type StateObserver interface {
	Node(NodeView)
	Log(LogView)
	Machine(MachineView)
	Replicator(ReplicatorView)
	// Synced tells of one group commit: how many entries and bytes, and how long write and sync took.
	Synced(entries int, bytes int, took time.Duration)
}

// NodeView is the Node as it stands after a message.
type NodeView struct {
	Incarnation  uint64
	Role         string // "recovering", "follower", "preCandidate", "candidate", "leader", "removed"
	Term         uint64
	Vote         uint64
	Leader       uint64 // 0: none known
	Commit       uint64
	LastIndex    uint64
	LastTerm     uint64
	DurableIndex uint64 // what this node's own disk holds of its log
	// The configuration in effect and its index; immutable.
	Configuration      *messages.Configuration
	ConfigurationIndex uint64
	Learner            bool
	UncommittedBytes   uint64
	PendingReads       int    // read points that are waited for at this leader
	MemoryBytes        uint64 // the in-memory log
	DiskLow            bool
}

// LogView is the LogStore as it stands after a batch.
type LogView struct {
	Incarnation uint64
	HardState   *messages.HardState // immutable
	FirstIndex  uint64
	LastIndex   uint64
	Segments    int
	DiskBytes   int64
	DiskLow     bool
}

// MachineView is the Machine as it stands after a batch.
type MachineView struct {
	Incarnation  uint64
	Applied      uint64
	Serving      bool
	Sessions     int
	SessionBytes uint64
}

// ReplicatorView is a Replicator as it stands after a message.
type ReplicatorView struct {
	Incarnation   uint64
	Peer          uint64
	State         string // "probing", "streaming", "sendingSnapshot", "stopped"
	Match         uint64
	Next          uint64
	InFlight      int
	InFlightBytes uint64
}
