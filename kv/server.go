package kv

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	stdlog "log"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/rs/zerolog"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"

	"github.com/troupe-raft/troupe/internal/connlimit"
	"github.com/troupe-raft/troupe/internal/defaults"
	"github.com/troupe-raft/troupe/internal/logonce"
	"github.com/troupe-raft/troupe/internal/tlshandshake"
)

// ServerConfig is what a Server is made of. Consensus, Store, MemberID and ClusterID are needed; the rest has defaults,
// named as etcd's flags where they mean the same.
type ServerConfig struct {
	Consensus Consensus
	Store     *StoreRef
	MemberID  uint64
	ClusterID uint64

	// Name and AdvertiseClientURLs are what Publish tells the cluster of this member.
	Name                string
	AdvertiseClientURLs []string
	// Version is Troupe's own; clients are told APIVersion.
	Version string

	// TLS of the client port; nil is plain. ALPN is set by the server.
	TLS *tls.Config

	MaxRequestBytes        int           // of a command in the log; default 1.5 MiB
	MaxTxnOps              int           // default 128
	MaxConcurrentStreams   uint32        // of a connection; default 16384
	MaxConnections         int           // default 10000
	MaxRequestsInFlight    int           // of all connections; default 32768
	MaxOpenStreams         int           // watches and other streams, of all connections; default 16384
	MaxAnswerBytes         int64         // of range answers that are made or on their way, of all clients; default 1 GiB
	MaxWatchersPerStream   int           // default 65536
	WatchStreamBufferBytes int           // events queued for one stream; default 8 MiB
	WatchTotalBufferBytes  int           // shared by all streams, of which each may buffer 64 KiB; default 1 GiB
	WatchQueueBytes        int           // events queued for the hub; default 64 MiB
	WatchProgressInterval  time.Duration // default 10 min
	RequestTimeout         time.Duration // of requests without a deadline; default 5 s and twice ElectionTimeout
	ElectionTimeout        time.Duration // default 1 s
	FirstByteTimeout       time.Duration // in which a new connection must say what it speaks; default 10 s
	StreamWorkers          uint32        // goroutines kept for requests; 0: one a request
	QuotaBytes             int64         // of live data, above which puts are refused; below 1: none

	KeepaliveMinTime  time.Duration // between pings of a client; default 5 s
	KeepaliveInterval time.Duration // of pings to a silent client; default 2 h
	KeepaliveTimeout  time.Duration // for their answer; default 20 s

	// Pprof serves /debug/pprof on the client port.
	Pprof    bool
	Registry *prometheus.Registry // nil: one of its own
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
	c.MaxRequestsInFlight = cmp.Or(c.MaxRequestsInFlight, defaults.MaxRequestsInFlight)
	c.MaxOpenStreams = cmp.Or(c.MaxOpenStreams, defaults.MaxOpenStreams)
	c.MaxAnswerBytes = cmp.Or(c.MaxAnswerBytes, defaults.MaxAnswerBytes)
	c.MaxWatchersPerStream = cmp.Or(c.MaxWatchersPerStream, defaults.MaxWatchersPerStream)
	c.WatchStreamBufferBytes = cmp.Or(c.WatchStreamBufferBytes, defaults.WatchStreamBufferBytes)
	c.WatchTotalBufferBytes = cmp.Or(c.WatchTotalBufferBytes, defaults.WatchTotalBufferBytes)
	c.WatchQueueBytes = cmp.Or(c.WatchQueueBytes, defaults.WatchQueueBytes)
	c.WatchProgressInterval = cmp.Or(c.WatchProgressInterval, defaults.WatchProgressInterval)
	c.ElectionTimeout = cmp.Or(c.ElectionTimeout, defaults.ElectionTimeout)
	c.RequestTimeout = cmp.Or(c.RequestTimeout, defaults.RequestTimeout+2*c.ElectionTimeout)
	c.FirstByteTimeout = cmp.Or(c.FirstByteTimeout, defaults.FirstByteTimeout)
	c.KeepaliveMinTime = cmp.Or(c.KeepaliveMinTime, defaults.KeepaliveMinTime)
	c.KeepaliveInterval = cmp.Or(c.KeepaliveInterval, defaults.KeepaliveInterval)
	c.KeepaliveTimeout = cmp.Or(c.KeepaliveTimeout, defaults.KeepaliveTimeout)
	if c.Registry == nil {
		c.Registry = prometheus.NewRegistry()
	}
	return nil
}

// grpcOverheadBytes is what a message may be larger than the largest request, as in etcd: the limit that tells the client what
// was wrong shall be met before the one that only cuts.
const grpcOverheadBytes = 512 << 10

// maxHeaderBytes bounds the headers of a request, over gRPC (whose own default is 16 MiB) and HTTP/1.1.
const maxHeaderBytes = 64 << 10

// The flow-control windows of the client port, in bytes: what a client may send of one request, and on one connection, before
// it is told that some of it was read.
const streamWindowBytes, connectionWindowBytes = 1 << 20, 4 << 20

// Server serves etcd's v3 API, and the HTTP endpoints beside it, for one member.
type Server struct {
	config     ServerConfig
	kv         *kvService
	hub        *watchHub
	metrics    *metrics
	leaderLoss *leaderLossDetector
	health     *grpcHealthService
	quota      *quota

	requests, streams semaphore
	budget            responseBudget

	mux  *portMux
	grpc *grpc.Server
	http *http.Server

	handshakeLog logonce.Limiter // of TLS handshakes, by the side that refused

	stopContext context.Context // ended by Stop
	cancel      context.CancelFunc
	stopOnce    sync.Once
	running     sync.WaitGroup
}

// NewServer makes a server; nothing is accepted before Serve.
func NewServer(config ServerConfig) (*Server, error) {
	if err := config.setDefaults(); err != nil {
		return nil, err
	}
	m, err := newMetrics(config.Registry)
	if err != nil {
		return nil, fmt.Errorf("registering metrics: %w", err)
	}
	s := &Server{
		config: config, metrics: m, leaderLoss: newLeaderLossDetector(), health: newGRPCHealthService(),
		hub:   newWatchHub(config.Store, config.WatchQueueBytes, m),
		quota: &quota{limitBytes: config.QuotaBytes, store: config.Store, log: config.Logger},
	}
	s.requests = semaphore{limit: int64(config.MaxRequestsInFlight), refused: m.refused[limitInFlight]}
	s.streams = semaphore{limit: int64(config.MaxOpenStreams), refused: m.refused[limitStreams]}
	s.budget = responseBudget{limitBytes: config.MaxAnswerBytes, refused: m.refused[limitResponseBytes]}
	s.hub.totalBufferBytes = config.WatchTotalBufferBytes
	s.stopContext, s.cancel = context.WithCancel(context.Background())
	s.mux = newPortMux(config.TLS, config.FirstByteTimeout,
		connlimit.New(config.MaxConnections, func(net.Addr) { m.rejectedConns.Inc() }), s.handshakeFailed)
	s.grpc = s.newGRPCServer()
	m.registerMethods(s.grpc.GetServiceInfo())
	if err := s.registerCollectors(); err != nil {
		s.hub.stop()
		return nil, fmt.Errorf("registering metrics: %w", err)
	}
	s.http = s.newHTTPServer()
	s.goRun(s.hub.run)
	if config.QuotaBytes > 0 {
		s.goRun(func() { s.quota.run(s.stopContext.Done()) })
	}
	s.goRun(func() { _ = s.grpc.Serve(s.mux.grpc) })
	s.goRun(func() { _ = s.http.Serve(s.mux.http) })
	s.goRun(func() {
		s.leaderLoss.run(config.Consensus, config.ElectionTimeout, s.health.setServing, s.stopContext.Done())
	})
	return s, nil
}

func (s *Server) goRun(f func()) {
	s.running.Add(1)
	go func() {
		defer s.running.Done()
		f()
	}()
}

func (s *Server) registerCollectors() error {
	c := &s.config
	if m, ok := c.Consensus.(metricsSource); ok {
		if err := c.Registry.Register(&nodeCollector{m}); err != nil {
			return err
		}
	}
	for _, collector := range []prometheus.Collector{
		&statusCollector{
			consensus: c.Consensus, store: c.Store, connections: s.mux.connections.Open,
			requests: s.requests.held.Load, streams: s.streams.held.Load, responseBytes: s.budget.reservedBytes.Load, watchQueueBytes: s.hub.observed.queuedBytes,
			quotaBytes: c.QuotaBytes, memberID: c.MemberID, version: c.Version,
		},
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	} {
		err := c.Registry.Register(collector)
		var already prometheus.AlreadyRegisteredError
		if err != nil && !errors.As(err, &already) {
			return err
		}
	}
	return nil
}

func (s *Server) newGRPCServer() *grpc.Server {
	c := &s.config
	codec := newPortCodec()
	server := grpc.NewServer(
		grpc.Creds(portCredentials{}),
		grpc.ForceServerCodecV2(codec),
		grpc.UnaryInterceptor(s.interceptUnary),
		grpc.StreamInterceptor(s.interceptStream),
		grpc.UnknownServiceHandler(refuseUnknownMethod),
		grpc.MaxRecvMsgSize(c.MaxRequestBytes+grpcOverheadBytes),
		grpc.MaxConcurrentStreams(c.MaxConcurrentStreams),
		grpc.MaxHeaderListSize(maxHeaderBytes),
		// Half of the default: requests are small, a large one is read past the buffer, and idle connections keep theirs.
		grpc.ReadBufferSize(16<<10),
		// Fixed windows: otherwise gRPC measures the connection with a ping at each lone request, which costs both sides a
		// write, two reads and a wake-up. Requests are read at once, so that the windows bound a burst, not a backlog.
		grpc.StaticStreamWindowSize(streamWindowBytes),
		grpc.StaticConnWindowSize(connectionWindowBytes),
		grpc.NumStreamWorkers(c.StreamWorkers),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: c.KeepaliveMinTime}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: c.KeepaliveInterval, Timeout: c.KeepaliveTimeout}),
		grpc.ConnectionTimeout(c.FirstByteTimeout),
	)
	head := &headers{clusterID: c.ClusterID, memberID: c.MemberID, consensus: c.Consensus}
	s.kv = &kvService{
		headers: head, consensus: c.Consensus, store: c.Store, maxTxnOps: c.MaxTxnOps,
		maxRequestBytes: c.MaxRequestBytes, requestTimeout: c.RequestTimeout, streamChunkBytes: c.MaxRequestBytes, quota: s.quota,
		refused: s.metrics.refused, budget: &s.budget, pendingResponses: codec.pendingResponses,
	}
	pb.RegisterKVServer(server, s.kv)
	pb.RegisterWatchServer(server, &watchService{
		hub: s.hub, headers: head, consensus: c.Consensus, leaderLoss: s.leaderLoss,
		streamBufferBytes: c.WatchStreamBufferBytes, fragmentBytes: c.MaxRequestBytes + grpcOverheadBytes,
		maxWatchers: c.MaxWatchersPerStream, progressInterval: c.WatchProgressInterval, requestTimeout: c.RequestTimeout,
	})
	pb.RegisterMaintenanceServer(server, &maintenanceService{headers: head, consensus: c.Consensus, store: c.Store, quota: s.quota})
	pb.RegisterClusterServer(server, &clusterService{headers: head, consensus: c.Consensus, store: c.Store, requestTimeout: c.RequestTimeout})
	server.RegisterService(authServiceDesc(), &authService{headers: head, store: c.Store})
	healthpb.RegisterHealthServer(server, s.health.server)
	return server
}

// Serve accepts clients on the listeners until Stop, and returns nil then. It closes the listeners.
func (s *Server) Serve(listeners ...net.Listener) error {
	failed := make(chan error, len(listeners))
	for _, l := range listeners {
		s.goRun(func() { failed <- s.mux.serve(l) })
	}
	var err error
	for range listeners {
		err = errors.Join(err, <-failed)
	}
	if len(listeners) == 0 || err == nil {
		<-s.stopContext.Done()
	}
	return err
}

// Stop ends the server: nothing new is accepted, watches are ended, requests under way have until the context ends.
func (s *Server) Stop(ctx context.Context) {
	s.stopOnce.Do(func() {
		s.mux.stopAccepting()
		s.cancel()
		s.health.server.Shutdown()
		s.hub.stop()
		drained := make(chan struct{})
		go func() {
			s.grpc.GracefulStop()
			close(drained)
		}()
		_ = s.http.Shutdown(ctx)
		select {
		case <-drained:
		case <-ctx.Done():
			s.grpc.Stop()
			<-drained
		}
		_ = s.http.Close()
		s.mux.close()
	})
	s.running.Wait()
}

// unsecured says, once a reason, why a client did not come through the TLS handshake: the client learns little more than
// that the connection broke.
func (s *Server) handshakeFailed(from net.Addr, why error) {
	s.metrics.failedHandshakes.Inc()
	failure := tlshandshake.Classify(why)
	if failure.RefusedBy == tlshandshake.UnknownSide || !s.handshakeLog.Allow(uint64(failure.RefusedBy), failure.Reason+failure.Subject) {
		return // who only looks whether the port is open hangs up too
	}
	line := failure.AddFields(s.config.Logger.Warn(), from)
	if failure.RefusedBy == tlshandshake.RemoteSide {
		line.Msg("a client refused this member's certificate; it must trust the certificate's authority, and call by a host that the certificate names")
		return
	}
	line.Msg("refused a client: no TLS that is taken here; clients need https, and a certificate of --trusted-ca-file where that is set")
}

// httpErrorLog makes a standard logger for net/http's complaints about connections, which concern nobody but a debugger.
func httpErrorLog(logger zerolog.Logger) *stdlog.Logger {
	if logger.GetLevel() > zerolog.DebugLevel {
		return stdlog.New(io.Discard, "", 0)
	}
	return stdlog.New(logger, "", 0)
}
