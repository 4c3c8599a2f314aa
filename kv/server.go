package kv

import (
	"context"
	"errors"
	"fmt"
	"io"
	stdlog "log"
	"net"
	"net/http"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/rs/zerolog"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	_ "google.golang.org/grpc/encoding/gzip" // clients may compress their requests
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"

	"github.com/troupe-raft/troupe/internal/connlimit"
	"github.com/troupe-raft/troupe/internal/logonce"
	"github.com/troupe-raft/troupe/internal/tlshandshake"
	"github.com/troupe-raft/troupe/nodemetrics"
)

const (
	// grpcOverheadBytes is how much larger than MaxRequestBytes a message may be, as in etcd: a
	// request that is too large then gets the error that names the limit, not gRPC's.
	grpcOverheadBytes = 512 << 10
	// maxHeaderBytes bounds the headers of a request, over gRPC (whose default is 16 MiB) and
	// HTTP/1.1.
	maxHeaderBytes = 64 << 10
	// The flow-control windows of the client port bound what a client may send, of one request and
	// on one connection, before the server has read some of it.
	streamWindowBytes, connectionWindowBytes = 1 << 20, 4 << 20
)

// Server serves the etcd v3 API and the HTTP endpoints on one member's client port.
type Server struct {
	services
	health *grpcHealthService

	requests, streams semaphore

	mux  *portMux
	grpc *grpc.Server
	http *http.Server

	metricsConnections *connlimit.Limiter // of the listeners of LimitMetricsConnections
	// Connections above the limits: of the client port, of the listeners for metrics.
	rejected, rejectedMetrics logonce.Counter
	acceptLog                 logonce.Limiter

	publishLog   logonce.Limiter
	handshakeLog logonce.Limiter // by the side that failed the TLS handshake

	stopContext context.Context // canceled by Stop
	cancel      context.CancelFunc
	stopOnce    sync.Once
	running     sync.WaitGroup
}

// NewServer returns a server that accepts nothing before Serve. The caller must call Stop.
func NewServer(config ServerConfig) (*Server, error) {
	s := &Server{health: newGRPCHealthService()}
	if err := s.services.init(config); err != nil {
		return nil, err
	}
	config, m := s.config, s.metrics
	s.requests = semaphore{limit: int64(config.MaxRequestsInFlight), refused: m.refused[limitInFlight]}
	s.streams = semaphore{limit: int64(config.MaxOpenStreams), refused: m.refused[limitStreams]}
	s.stopContext, s.cancel = context.WithCancel(context.Background())
	clientConnections := connlimit.New(config.MaxConnections, s.rejectConnection)
	clientConnections.Refuse = func(conn net.Conn) { refuseConnection(conn, config.TLS != nil, limitResponse) }
	s.mux = newPortMux(config.TLS, config.FirstByteTimeout, clientConnections, s.handshakeFailed)
	s.mux.acceptFailed = s.acceptFailed
	s.metricsConnections = connlimit.New(config.MaxMetricsConnections, s.rejectMetricsConnection)
	s.metricsConnections.Refuse = func(conn net.Conn) { refuseConnection(conn, false, metricsLimitResponse) }
	s.grpc = s.newGRPCServer()
	m.rpc.registerMethods(s.grpc.GetServiceInfo())
	config.Store.SetMetrics(m.store)
	if err := s.registerCollectors(); err != nil {
		s.hub.Stop()
		return nil, fmt.Errorf("registering metrics: %w", err)
	}
	s.http = s.newHTTPServer()
	s.goRun(s.hub.Run)
	s.goRun(func() { newConditionLog(&s.services).run(s.stopContext.Done()) })
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
	var ofNode []prometheus.Collector
	if m, ok := c.Consensus.(metricsSource); ok {
		ofNode = []prometheus.Collector{&nodeCollector{m, c.MemberID}, nodemetrics.New(m)}
	}
	ofServer := []prometheus.Collector{
		&statusCollector{
			consensus: c.Consensus, store: c.Store, connections: s.mux.connections.Open,
			requests: s.requests.held.Load, streams: s.streams.held.Load,
			responseBytes: s.budget.reservedBytes.Load, watchQueueBytes: s.hub.QueuedBytes,
			quota: s.quota, memberID: c.MemberID, version: c.Version,
		},
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	}
	for _, collector := range append(ofNode, ofServer...) {
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
	server := grpc.NewServer(
		grpc.Creds(portCredentials{}),
		grpc.ForceServerCodecV2(newPortCodec(s.metrics)),
		grpc.UnaryInterceptor(s.interceptUnary),
		grpc.StreamInterceptor(s.interceptStream),
		grpc.UnknownServiceHandler(refuseUnknownMethod),
		grpc.MaxRecvMsgSize(c.MaxRequestBytes+grpcOverheadBytes),
		grpc.MaxConcurrentStreams(c.MaxConcurrentStreams),
		grpc.MaxHeaderListSize(maxHeaderBytes),
		// Half of gRPC's default: requests are small, a large one bypasses the buffer, and idle
		// connections keep theirs.
		grpc.ReadBufferSize(16<<10),
		// Fixed windows: otherwise gRPC sends a ping with each single request to measure the
		// connection, which costs both sides a write, two reads and a wake-up. Requests are read
		// at once, so the windows bound a burst and not a backlog.
		grpc.StaticStreamWindowSize(streamWindowBytes),
		grpc.StaticConnWindowSize(connectionWindowBytes),
		grpc.NumStreamWorkers(c.StreamWorkers),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: c.KeepaliveMinTime}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: c.KeepaliveInterval, Timeout: c.KeepaliveTimeout}),
		grpc.ConnectionTimeout(c.FirstByteTimeout),
	)
	headers := s.headers
	pb.RegisterKVServer(server, s.kv)
	pb.RegisterWatchServer(server, s.watch)
	pb.RegisterMaintenanceServer(server, s.maintenance)
	pb.RegisterClusterServer(server, &clusterService{
		headers: headers, consensus: c.Consensus, store: c.Store, requestTimeout: c.RequestTimeout,
	})
	pb.RegisterLeaseServer(server, &leaseService{headers: headers, store: c.Store})
	server.RegisterService(authServiceDesc(), &authService{headers: headers, store: c.Store})
	server.RegisterService(membersServiceDesc(), &membersService{c.Consensus})
	healthpb.RegisterHealthServer(server, s.health.server)
	return server
}

// Serve accepts connections on the listeners until Stop, then returns nil. It closes the listeners.
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

// Stop stops accepting, ends watches, and waits for requests under way until the context ends. A
// second call waits for the first.
func (s *Server) Stop(ctx context.Context) {
	s.stopOnce.Do(func() {
		s.mux.stopAccepting()
		s.cancel()
		s.health.server.Shutdown()
		s.hub.Stop()
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

// handshakeFailed counts a failed TLS handshake and logs each reason once: the client itself sees
// little more than a closed connection.
func (s *Server) handshakeFailed(from net.Addr, why error) {
	s.metrics.failedHandshakes.Inc()
	failure := tlshandshake.Classify(why)
	if failure.RefusedBy == tlshandshake.UnknownSide ||
		!s.handshakeLog.Allow(uint64(failure.RefusedBy), failure.Reason+failure.Subject) {
		return // a check whether the port is open closes the connection too
	}
	line := failure.AddFields(s.config.Logger.Warn(), from)
	if failure.RefusedBy == tlshandshake.RemoteSide {
		line.Str("advice", "the client must trust the certificate's authority and connect to a host in the certificate").
			Msg("client refused this member's certificate")
		return
	}
	line.Str("advice", "clients need https, and a certificate signed by --trusted-ca-file where that is set").
		Msg("client TLS handshake failed")
}

// httpErrorLog returns a logger for net/http's messages about connections, which are of use only in
// debugging.
func httpErrorLog(logger zerolog.Logger) *stdlog.Logger {
	if logger.GetLevel() > zerolog.DebugLevel {
		return stdlog.New(io.Discard, "", 0)
	}
	return stdlog.New(logger, "", 0)
}
