package kv

import (
	"cmp"
	"crypto/tls"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/troupe-raft/troupe/internal/defaults"
	"github.com/troupe-raft/troupe/internal/interleave"
	"github.com/troupe-raft/troupe/kv/mvcc"
)

// ServerConfig configures a Server. Consensus, Store and MemberID are required; a zero value of the
// rest is replaced by its default, except where it says otherwise.
type ServerConfig struct {
	Consensus Consensus
	Store     *mvcc.StoreRef
	MemberID  uint64
	ClusterID uint64

	// Name and AdvertiseClientURLs are what Publish writes about this member.
	Name                string
	AdvertiseClientURLs []string
	// Version is Troupe's; clients see APIVersion as the server's.
	Version string

	// TLS of the client port; nil is plain text. The server sets ALPN.
	TLS *tls.Config

	MaxRequestBytes        int           // of a command in the log; default 1.5 MiB
	MaxTxnOps              int           // default 128
	MaxConcurrentStreams   uint32        // of one connection; default 16384
	MaxConnections         int           // default 10000
	MaxMetricsConnections  int           // of the listeners of LimitMetricsConnections; default 64
	MaxRequestsInFlight    int           // of all connections; default 32768
	MaxOpenStreams         int           // of all connections; default 16384
	MaxResponseBytes       int64         // range responses in memory, of all clients; default 1 GiB
	MaxWatchersPerStream   int           // default 65536
	WatchStreamBufferBytes int           // events queued for one stream; default 8 MiB
	WatchTotalBufferBytes  int           // shared by all streams, 64 KiB each at least; default 1 GiB
	WatchQueueBytes        int           // events queued for the hub; default 64 MiB
	WatchRevisionBytes     int           // events of one revision, in memory; default 256 MiB
	WatchProgressInterval  time.Duration // default 10 min
	ElectionTimeout        time.Duration // default 1 s
	RequestTimeout         time.Duration // for what waits for a majority; default 5 s + 2 ElectionTimeout
	FirstByteTimeout       time.Duration // for the first bytes of a connection; default 10 s
	StreamWorkers          uint32        // goroutines kept for requests; 0: one for each request
	QuotaBytes             int64         // of live data, before compression; puts are refused from then on; below 1: no quota

	KeepaliveMinTime  time.Duration // least time between a client's pings; default 5 s
	KeepaliveInterval time.Duration // idle time after which the server pings; default 2 h
	KeepaliveTimeout  time.Duration // for the response to a ping; default 20 s

	// DataDir and DiskLowWaterBytes are in the error of a write that a full disk refuses.
	DataDir           string
	DiskLowWaterBytes uint64 // as in troupe.Limits; default 256 MiB

	// ExtensiveMetrics adds grpc_server_handling_seconds, a histogram for each method.
	ExtensiveMetrics bool

	// Schedule, if not nil, has what waits as tasks: the simulator's.
	Schedule *interleave.Scheduler

	// Pprof serves /debug/pprof on the client port.
	Pprof    bool
	Registry *prometheus.Registry // nil: a new one
	Logger   zerolog.Logger
}

func (c *ServerConfig) setDefaults() error {
	if c.Consensus == nil || c.Store == nil || c.MemberID == 0 {
		return errors.New("a server needs Consensus, Store and MemberID")
	}
	c.MaxRequestBytes = cmp.Or(c.MaxRequestBytes, defaults.MaxRequestBytes)
	c.MaxTxnOps = cmp.Or(c.MaxTxnOps, defaults.MaxTxnOps)
	c.MaxConcurrentStreams = cmp.Or(c.MaxConcurrentStreams, defaults.MaxConcurrentStreams)
	c.MaxConnections = cmp.Or(c.MaxConnections, defaults.MaxConnections)
	c.MaxMetricsConnections = cmp.Or(c.MaxMetricsConnections, defaults.MaxMetricsConnections)
	c.MaxRequestsInFlight = cmp.Or(c.MaxRequestsInFlight, defaults.MaxRequestsInFlight)
	c.MaxOpenStreams = cmp.Or(c.MaxOpenStreams, defaults.MaxOpenStreams)
	c.MaxResponseBytes = cmp.Or(c.MaxResponseBytes, defaults.MaxResponseBytes)
	c.MaxWatchersPerStream = cmp.Or(c.MaxWatchersPerStream, defaults.MaxWatchersPerStream)
	c.WatchStreamBufferBytes = cmp.Or(c.WatchStreamBufferBytes, defaults.WatchStreamBufferBytes)
	c.WatchTotalBufferBytes = cmp.Or(c.WatchTotalBufferBytes, defaults.WatchTotalBufferBytes)
	c.WatchRevisionBytes = cmp.Or(c.WatchRevisionBytes, defaults.WatchRevisionBytes)
	c.WatchQueueBytes = cmp.Or(c.WatchQueueBytes, defaults.WatchQueueBytes)
	c.WatchProgressInterval = cmp.Or(c.WatchProgressInterval, defaults.WatchProgressInterval)
	c.ElectionTimeout = cmp.Or(c.ElectionTimeout, defaults.ElectionTimeout)
	c.RequestTimeout = cmp.Or(c.RequestTimeout, defaults.RequestTimeout+2*c.ElectionTimeout)
	c.FirstByteTimeout = cmp.Or(c.FirstByteTimeout, defaults.FirstByteTimeout)
	c.KeepaliveMinTime = cmp.Or(c.KeepaliveMinTime, defaults.KeepaliveMinTime)
	c.KeepaliveInterval = cmp.Or(c.KeepaliveInterval, defaults.KeepaliveInterval)
	c.KeepaliveTimeout = cmp.Or(c.KeepaliveTimeout, defaults.KeepaliveTimeout)
	c.DiskLowWaterBytes = cmp.Or(c.DiskLowWaterBytes, defaults.DiskLowWaterBytes)
	if c.Registry == nil {
		c.Registry = prometheus.NewRegistry()
	}
	return nil
}
