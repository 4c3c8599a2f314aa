package member

import (
	"cmp"
	"time"

	"github.com/rs/zerolog"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/actors/logstore"
	"github.com/troupe-raft/troupe/actors/machine"
	"github.com/troupe-raft/troupe/actors/node"
	"github.com/troupe-raft/troupe/actors/replicator"
	"github.com/troupe-raft/troupe/internal/defaults"
	"github.com/troupe-raft/troupe/internal/session"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/persistence"
	"github.com/troupe-raft/troupe/persistence/vfs"
	"github.com/troupe-raft/troupe/statemachine"
	"github.com/troupe-raft/troupe/supervisor"
)

// Config configures a Node. Zero values of Timing, Limits, Sizes and RestartLimit are the defaults.
type Config struct {
	// ID and Address are those of the member.
	ID      uint64
	Address string
	// First is the first configuration of the cluster, with the cluster's id.
	First *messages.Configuration
	// Software is written into a new data directory.
	Software string
	DataDir  string
	FS       vfs.FS // holds DataDir
	// Rejoin: a new data directory replaces one that was lost.
	Rejoin bool
	// StateMachine opens the application's state machine.
	StateMachine statemachine.Factory

	Timing       Timing
	Limits       Limits
	Sizes        Sizes
	RestartLimit supervisor.RestartLimit
	Logger       zerolog.Logger
	// CrashInjection adds an injector that makes actors fail on request.
	CrashInjection bool

	// LeaderChanged receives each change of the leader before the session does; nil if nobody wants
	// it. It must not wait.
	LeaderChanged func(*messages.LeaderChanged)
	// Observer receives the state of the actors after the node's own; nil if nobody wants it.
	Observer actors.StateObserver
	// Restarting is that of supervisor.Config.
	Restarting func(actor string, reason any)
	// Stopped is called with what Err returns when no actor runs any more, before Done is closed; nil
	// if nobody wants it.
	Stopped func(err error)
}

// Timing has the fields of troupe.Timing.
type Timing struct {
	HeartbeatInterval time.Duration
	ElectionTimeout   time.Duration
}

// Limits has the fields of troupe.Limits, so that one converts to the other.
type Limits struct {
	MaxRequestBytes     uint64
	MaxPendingRequests  int
	MaxPendingBytes     uint64
	MaxPendingReads     int
	MaxUncommittedBytes uint64
	LogMemoryBytes      uint64
	MaxInFlightBytes    uint64
	DiskLowWater        uint64
}

// Sizes are those that a program cannot set. The simulator makes them small, so that its worlds
// reach them.
type Sizes struct {
	AppendBytes       uint64 // of entries in one message between a Node and its children
	ReplicateBytes    uint64 // of entries in one request to a peer
	ProbeBytes        uint64 // of entries in one request to a peer whose log is not known
	ApplyBytes        uint64 // of entries that are applied at a time
	ApplyResultBytes  uint64 // of the results of entries that are applied at a time
	MaxInFlight       int    // requests to one peer that it has not acknowledged
	MaxLeaderReads    int    // read requests that a leader has not confirmed
	FirstSegmentBytes int64  // of the log
	SegmentBytes      int64  // of the log
	Sessions          machine.SessionLimits
}

// WithDefaults replaces zero values by the defaults.
func (t Timing) WithDefaults() Timing {
	return Timing{
		HeartbeatInterval: cmp.Or(t.HeartbeatInterval, defaults.HeartbeatInterval),
		ElectionTimeout:   cmp.Or(t.ElectionTimeout, defaults.ElectionTimeout),
	}
}

// WithDefaults replaces zero values by the defaults.
func (l Limits) WithDefaults() Limits {
	request := cmp.Or(l.MaxRequestBytes, defaults.MaxRequestBytes)
	return Limits{
		MaxRequestBytes:     request,
		MaxPendingRequests:  cmp.Or(l.MaxPendingRequests, defaults.MaxPendingRequests),
		MaxPendingBytes:     cmp.Or(l.MaxPendingBytes, max(defaults.MaxPendingBytes, 2*request)),
		MaxPendingReads:     cmp.Or(l.MaxPendingReads, defaults.MaxPendingReads),
		MaxUncommittedBytes: cmp.Or(l.MaxUncommittedBytes, max(defaults.MaxUncommittedBytes, 2*request)),
		LogMemoryBytes:      cmp.Or(l.LogMemoryBytes, defaults.LogMemoryBytes),
		MaxInFlightBytes:    cmp.Or(l.MaxInFlightBytes, defaults.MaxInFlightBytes),
		DiskLowWater:        cmp.Or(l.DiskLowWater, defaults.DiskLowWaterBytes),
	}
}

func (s Sizes) withDefaults() Sizes {
	return Sizes{
		AppendBytes:       cmp.Or(s.AppendBytes, defaults.MaxBatchBytes),
		ReplicateBytes:    cmp.Or(s.ReplicateBytes, defaults.MaxBatchBytes),
		ProbeBytes:        cmp.Or(s.ProbeBytes, defaults.ProbeBytes),
		ApplyBytes:        cmp.Or(s.ApplyBytes, defaults.MaxBatchBytes),
		ApplyResultBytes:  cmp.Or(s.ApplyResultBytes, defaults.ApplyResultBytes),
		MaxInFlight:       cmp.Or(s.MaxInFlight, defaults.MaxInFlight),
		MaxLeaderReads:    cmp.Or(s.MaxLeaderReads, defaults.MaxPendingReads),
		FirstSegmentBytes: cmp.Or(s.FirstSegmentBytes, defaults.FirstSegmentBytes),
		SegmentBytes:      cmp.Or(s.SegmentBytes, defaults.SegmentBytes),
		Sessions:          s.Sessions,
	}
}

func (c Config) withDefaults() Config {
	c.Timing, c.Limits, c.Sizes = c.Timing.WithDefaults(), c.Limits.WithDefaults(), c.Sizes.withDefaults()
	return c
}

func (c *Config) sessionLimits() session.Limits {
	return session.Limits{
		MaxRequestBytes: c.Limits.MaxRequestBytes, MaxPendingRequests: c.Limits.MaxPendingRequests,
		MaxPendingBytes: c.Limits.MaxPendingBytes, MaxPendingReads: c.Limits.MaxPendingReads,
	}
}

// logOptions are those of the log in a data directory. The log must exist: OpenDataDir has created
// it, and one that is missing was lost, together with what it acknowledged.
func (c *Config) logOptions(dir *persistence.DataDir) persistence.Options {
	return persistence.Options{
		FS: c.FS, Dir: dir.LogDir(), NodeID: c.ID, StorageID: dir.Identity.StorageID, MustExist: true,
		FirstSegmentBytes: c.Sizes.FirstSegmentBytes, SegmentBytes: c.Sizes.SegmentBytes,
		LowWater: c.Limits.DiskLowWater,
	}
}

func (c *Config) supervisorConfig(dir *persistence.DataDir) supervisor.Config {
	return supervisor.Config{
		Bootstrap: c.First, Storage: dir.Storage(), RestartLimit: c.RestartLimit, Restarting: c.Restarting,
		HeartbeatInterval: c.Timing.HeartbeatInterval, ElectionTimeout: c.Timing.ElectionTimeout,
		Node: node.Limits{
			MaxUncommittedBytes: c.Limits.MaxUncommittedBytes, MaxBatchBytes: c.Sizes.AppendBytes,
			MemoryBytes: c.Limits.LogMemoryBytes, MaxPendingReads: c.Sizes.MaxLeaderReads,
		},
		Replicator: replicator.Limits{
			MaxInFlight: c.Sizes.MaxInFlight, MaxInFlightBytes: c.Limits.MaxInFlightBytes,
			MaxRequestBytes: c.Sizes.ReplicateBytes, ProbeBytes: c.Sizes.ProbeBytes,
		},
		LogStore: logstore.Config{Log: c.logOptions(dir)},
		Machine: machine.Config{
			Factory: c.StateMachine, MaxBatchBytes: c.Sizes.ApplyBytes, MaxResultBytes: c.Sizes.ApplyResultBytes,
			SessionLimits: c.Sizes.Sessions,
		},
	}
}
