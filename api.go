package troupe

import (
	"errors"
	"time"

	"github.com/troupe-raft/troupe/internal/session"
	"github.com/troupe-raft/troupe/statemachine"
)

// What an application hands in, defined where it is used and known here by alias.
type (
	// StateMachine is what an application gives to be replicated: an InMemory or an OnDisk one.
	StateMachine = statemachine.StateMachine
	// InMemory is a state machine that is rebuilt from the log at every start.
	InMemory = statemachine.InMemory
	// OnDisk is a state machine that persists itself together with the index it has reached.
	OnDisk = statemachine.OnDisk
	// Factory opens the state machine.
	Factory = statemachine.Factory
	// Command is one committed command of the application.
	Command = statemachine.Command
	// Batch is a piece of the committed log, as Apply gets it.
	Batch = statemachine.Batch
	// SessionRecord and SessionUpdate are what an OnDisk machine stores along, so that writes stay exactly-once.
	SessionRecord = statemachine.SessionRecord
	SessionUpdate = statemachine.SessionUpdate
)

// ReadMode says what a read promises. The zero value is ReadIndex.
type ReadMode = session.ReadMode

const (
	// ReadIndex is linearizable: the leader confirms its leadership with a round of heartbeats after the read was asked
	// (dissertation §6.4). It works at every member. The default.
	ReadIndex = session.ReadIndex
	// ReadLog is linearizable too and goes through the log as a write does.
	ReadLog = session.ReadLog
	// ReadLease is linearizable as long as clocks keep to their drift bound; a leader without a lease answers as ReadIndex.
	ReadLease = session.ReadLease
	// ReadLeader is what the leader has: without a round of confirmation, so that a leader cut off may answer with old data.
	ReadLeader = session.ReadLeader
	// ReadLocal is what this member has, however old (etcd's serializable).
	ReadLocal = session.ReadLocal
)

type (
	// Result is the outcome of a proposal: its index, and what the state machine's Apply returned for it.
	Result = session.Result
	// ReadPoint is the outcome of a read: the state machine contains everything up to Index.
	ReadPoint = session.ReadPoint
	// RefusalCount is how many callers were refused because a limit was reached.
	RefusalCount = session.RefusalCount
)

// Member is one server of the cluster.
type Member struct {
	// ID is not 0, and never used again once the member was removed.
	ID   uint64
	Name string
	// Address is where the peers reach it, host:port.
	Address string
	// PeerURLs as the operator gave them; may be empty.
	PeerURLs  []string
	IsLearner bool
}

// Status is a picture of a node.
type Status struct {
	ID        uint64
	ClusterID uint64
	// Role is "recovering", "follower", "preCandidate", "candidate", "leader", "removed" or "stopped".
	Role         string
	Term         uint64
	LeaderID     uint64 // 0: none known
	IsLearner    bool
	CommitIndex  uint64
	AppliedIndex uint64
	LastIndex    uint64 // last index of the log
	FirstIndex   uint64 // first index of the log
	Serving      bool   // the replay after the start is done
	LogBytes     int64  // on disk
	DiskLow      bool
	// Members must not be changed: one list serves all who ask.
	Members []Member
	// ConfigurationIndex is the index of the entry that holds Members.
	ConfigurationIndex uint64
	// PeerLink is, at a leader, what it knows of the others, ordered by id.
	Peers []PeerStatus
	// Restarts counts restarts of actors under supervision since the start.
	Restarts int
	// Err is why the node stopped, nil while it runs.
	Err error
}

// PeerStatus is what a leader knows of a peer.
type PeerStatus struct {
	ID               uint64
	State            string // "probing", "streaming", "sendingSnapshot"
	Match            uint64
	Next             uint64
	InFlightMessages int
	InFlightBytes    uint64
}

// Errors that a caller can tell apart with errors.Is. Each comes wrapped with what happened, to what, and advice.
var (
	// ErrNoLeader: no leader was known until the context ended.
	ErrNoLeader = session.ErrNoLeader
	// ErrOverloaded: a limit on what may be pending was reached; the text says which one and its value.
	ErrOverloaded = session.ErrOverloaded
	// ErrDiskFull: the disk of the leader is below its low-water mark; writes are refused until there is space again.
	ErrDiskFull = session.ErrDiskFull
	// ErrOutcomeUnknown: the command may or may not have taken effect, and cannot any more be found out.
	ErrOutcomeUnknown = session.ErrOutcomeUnknown
	// ErrTimeout: the context's deadline passed while the command was under way; it may still take effect.
	ErrTimeout = session.ErrTimeout
	// ErrTooLarge: the command is above the limit for one request.
	ErrTooLarge = session.ErrTooLarge
	// ErrStopped: the node has stopped; Node.Err says why.
	ErrStopped = errors.New("node stopped")
	// ErrWrongCluster, ErrWrongMember: the data directory belongs to another cluster or member.
	ErrWrongCluster = errors.New("data directory of another cluster")
	ErrWrongMember  = errors.New("data directory of another member")
	// ErrLocked: another process uses the data directory.
	ErrLocked = errors.New("data directory in use")
	// ErrCorrupt: what is on disk cannot be trusted. The text names file and offset.
	ErrCorrupt = errors.New("corrupt data")
)

// LimitError is an ErrOverloaded or ErrTooLarge with the limit that was reached.
type LimitError = session.LimitError

// Timing holds the durations that Raft's liveness depends on. Zero values mean the defaults.
type Timing struct {
	HeartbeatInterval time.Duration // default 100 ms
	ElectionTimeout   time.Duration // default 1000 ms; randomised between once and twice this
}

// ErrNotLeader: only a leader can do what was asked; the text names the leader if one is known.
var ErrNotLeader = errors.New("not the leader")

// ErrNotVoter: leadership was to be handed to somebody who has no vote in this cluster.
var ErrNotVoter = errors.New("not a voter of this cluster")

// ErrFormat: a file of the data directory was written by a version that this one does not understand.
var ErrFormat = errors.New("unknown format version")
