package actors

import (
	"time"

	"github.com/troupe-raft/troupe/messages"
)

// StateObserver receives the state of the actors. Status, metrics, traces and the simulator's
// checker use nothing else. An actor calls it at the end of a message. The values are copies;
// slices and pointers in them are never changed. Implementations must be fast, must not block, and
// must allow calls by all actors of the node at once.
type StateObserver interface {
	Node(NodeView)
	LogStore(LogStoreView)
	Machine(MachineView)
	Replicator(ReplicatorView)
	// Synced reports one group commit: its entries, its bytes, and the duration of its write and sync.
	Synced(entries int, bytes int, took time.Duration)
}

// SessionTableObserver is a StateObserver that also receives the session table after each batch:
// the client sessions with their cached replies, encoded so that equal tables have equal bytes.
type SessionTableObserver interface {
	SessionTable(incarnation, applied uint64, encoded []byte)
}

// NodeView is the state of the Node after a message.
type NodeView struct {
	Incarnation uint64
	Role        string // "recovering", "follower", "preCandidate", "candidate", "leader", "removed"
	Term        uint64
	Vote        uint64 // 0: none in this term
	LeaderID    uint64 // 0: unknown
	// LeaderContact is when the latest message of a leader arrived, on the clock of Env. 0: none has.
	LeaderContact time.Duration
	Commit        uint64
	LastIndex     uint64
	LastTerm      uint64
	// DurableIndex is how much of its log is synced to this node's own disk.
	DurableIndex uint64
	// Configuration is the one in effect, the entry at ConfigurationIndex; never changed.
	Configuration      *messages.Configuration
	ConfigurationIndex uint64
	Learner            bool
	UncommittedBytes   uint64
	PendingReads       int    // read-index requests that this leader has not confirmed yet
	MemoryBytes        uint64 // of the in-memory part of the log
	DiskLow            bool
	// LateHeartbeats counts the rounds of heartbeats that this incarnation sent more than two
	// heartbeat intervals after the round before.
	LateHeartbeats uint64
}

// LogStoreView is the state of the LogStore after a batch.
type LogStoreView struct {
	Incarnation uint64
	HardState   *messages.HardState // never changed
	FirstIndex  uint64
	LastIndex   uint64
	Segments    int
	DiskBytes   int64
	DiskLow     bool
}

// MachineView is the state of the Machine after a batch.
type MachineView struct {
	Incarnation  uint64
	Applied      uint64
	Serving      bool
	Sessions     int
	SessionBytes uint64
}

// ReplicatorView is the state of a Replicator after a message.
type ReplicatorView struct {
	Incarnation   uint64
	PeerID        uint64
	State         string // "probing", "streaming", "stopped"
	Match         uint64
	Next          uint64
	InFlight      int
	InFlightBytes uint64
	LostEntries   bool // the peer lacks entries that it had acknowledged
}
