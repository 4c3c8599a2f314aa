// Package defaults holds the default of every limit, size and duration that an option or a flag can
// change, so that a library's option and a command's flag of the same name have the same default.
// docs/limits.md explains each limit.
//
// A zero option means its default. Packages fill it in with cmp.Or:
//
//	options.MaxConnections = cmp.Or(options.MaxConnections, defaults.PeerConnections)
package defaults

import "time"

// Raft's timing.
const (
	HeartbeatInterval = 100 * time.Millisecond
	ElectionTimeout   = 1000 * time.Millisecond
)

// A member's session: what callers may have pending.
const (
	MaxRequestBytes    = 3 << 19 // 1.5 MiB, as in etcd
	MaxPendingRequests = 65536
	MaxPendingBytes    = 64 << 20 // or twice the largest command
	MaxPendingReads    = 65536    // in one session, and at a leader
)

// A node: its log in memory and on disk, and its peers.
const (
	MaxUncommittedBytes = 64 << 20 // or twice the largest command
	LogMemoryBytes      = 16 << 20
	DiskLowWaterBytes   = 256 << 20
	MaxBatchBytes       = 1 << 20   // of entries in one append, apply or replicated request
	ApplyResultBytes    = 256 << 20 // of the results of one batch of the state machine
	LogWriteBytes       = 16 << 20  // of one write and sync of the log
	LogIdleAfter        = 10 * time.Millisecond
	SegmentBytes        = 64 << 20
	FirstSegmentBytes   = 1 << 20
	MaxInFlight         = 256 // requests to one peer
	MaxInFlightBytes    = 16 << 20
	ProbeBytes          = 64 << 10
	MaxRestarts         = 10 // of actors within RestartPeriod
	RestartPeriod       = 30 * time.Second
)

// The peer link.
const (
	PeerControlQueueBytes = 4 << 20
	PeerBulkQueueBytes    = 64 << 20 // or twice the largest command
	PeerConnections       = 128
	PeerKeepaliveInterval = 5 * time.Second
	PeerProbeInterval     = 5 * time.Second // as etcd's
)

// Proto.Actor's remote in place of the peer link.
const (
	RemoteInFlightBytes = 1 << 20
)

// The client port.
const (
	MaxTxnOps              = 128
	MaxConcurrentStreams   = 16384 // of one connection
	MaxConnections         = 10000
	MaxMetricsConnections  = 64
	MaxRequestsInFlight    = 32768
	MaxOpenStreams         = 16384 // of all connections
	MaxResponseBytes       = 1 << 30
	MaxWatchersPerStream   = 65536
	WatchStreamBufferBytes = 8 << 20
	WatchTotalBufferBytes  = 1 << 30
	WatchQueueBytes        = 64 << 20
	WatchRevisionBytes     = 256 << 20
	WatchProgressInterval  = 10 * time.Minute
	RequestTimeout         = 5 * time.Second // and twice the election timeout
	FirstByteTimeout       = 10 * time.Second
	KeepaliveMinTime       = 5 * time.Second
	KeepaliveInterval      = 2 * time.Hour
	KeepaliveTimeout       = 20 * time.Second
	QuotaBytes             = 8 << 30
)

// The store's engine.
const (
	StoreCacheBytes    = 64 << 20
	StoreMemTableBytes = 32 << 20
	StoreMetadataBytes = 64 << 20
	StoreOpenTables    = 1000
)
