// Package serve runs a server: it opens the listeners, starts the node and the client services,
// logs when they are ready, and stops all of them in order.
package serve

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"github.com/rs/zerolog"

	"github.com/troupe-raft/troupe"
	"github.com/troupe-raft/troupe/cmd/troupe/internal/exit"
	"github.com/troupe-raft/troupe/cmd/troupe/internal/settings"
	"github.com/troupe-raft/troupe/cmd/troupe/internal/version"
	"github.com/troupe-raft/troupe/kv"
	"github.com/troupe-raft/troupe/kv/mvcc"
	"github.com/troupe-raft/troupe/kv/mvcc/engine/disk"
	"github.com/troupe-raft/troupe/persistence/vfs"
	"github.com/troupe-raft/troupe/raft"
)

const (
	// At a stop, requests in flight have drainTime to finish. Then the node has transferTime to
	// transfer its leadership and to close its files.
	drainTime    = 2 * time.Second
	transferTime = 5 * time.Second

	// ReadyLine is the message of the log line that tools wait for. It is logged once a leader is
	// known and this member serves clients.
	ReadyLine = "ready to serve client requests"
)

// server is a running server.
type server struct {
	settings    *settings.Server
	log         zerolog.Logger
	descriptors descriptorBudget
	manager     *serviceManager

	node    *troupe.Node
	kv      *kv.Server
	metrics *http.Server
	// fatal receives the failures outside the node that stop the server: of Pebble's disk, of the
	// client services.
	fatal chan error
}

// Run runs a server until the context ends or the server cannot continue. It returns nil after the
// context ended, and else an error with an exit code (see package exit).
//
// The order matters. The limit of open files, certificates and addresses come first, so that an
// error in them leaves the data directory untouched. Then the node starts and recovers its log.
// Then the services start, which respond to health checks from here on. ReadyLine follows once a
// leader is known and an entry that this member proposed is committed and applied.
func Run(ctx context.Context, s *settings.Server, log zerolog.Logger) error {
	tuneGC()
	v := &server{settings: s, log: log, manager: newServiceManager(log), fatal: make(chan error, 4)}
	defer v.manager.close()
	err := v.run(ctx)
	v.manager.stopping(err) // of a failed start
	return err
}

func (v *server) run(ctx context.Context) error {
	if err := v.limitDescriptors(); err != nil {
		return err
	}
	opened, err := v.listen()
	if err != nil {
		return err
	}
	if err := v.start(ctx, opened); err != nil {
		opened.close()
		return nilIfStopped(ctx, err)
	}
	go v.logReady(ctx)
	err = v.wait(ctx)
	v.manager.stopping(err)
	v.stop()
	return err
}

// start starts the node and the services on the opened listeners.
func (v *server) start(ctx context.Context, opened *listeners) error {
	s := v.settings
	if err := v.refuseEtcdData(); err != nil {
		return err
	}
	if err := v.checkClusterState(); err != nil {
		return err
	}
	v.manager.checkWatchdog(s)
	v.logStart()
	factory, store := mvcc.Factory(filepath.Join(s.DataDir, "kv"), mvcc.Options{
		Engine:        disk.Opener(disk.Options{MaxOpenTables: v.descriptors.storeTables}),
		Logger:        v.log,
		MaxValueBytes: int(s.MaxRequestBytes),
		OnFatal:       func(err error) { v.fail(exit.With(exit.Storage, fmt.Errorf("the store failed: %w", err))) },
	})
	node, err := troupe.Start(ctx, v.nodeConfig(factory, opened))
	if err != nil {
		return exit.With(startCode(err), v.explainStartError(err))
	}
	v.node = node
	v.manager.recovered(node)
	v.kv, err = kv.NewServer(v.kvConfig(store, opened))
	if err != nil {
		v.stop()
		return exit.With(exit.Stopped, fmt.Errorf("starting the client services: %w", err))
	}
	go func() { v.fail(v.kv.Serve(opened.clients...)) }()
	v.serveMetrics(opened.metrics)
	return nil
}

func (v *server) nodeConfig(factory troupe.Factory, opened *listeners) troupe.Config {
	s := v.settings
	members := make([]troupe.Member, len(s.Members))
	for i, m := range s.Members {
		members[i] = troupe.Member{ID: m.ID, Name: m.Name, Address: m.Address, PeerURLs: m.PeerURLs}
	}
	disk := vfs.OS()
	if !s.DirectIO {
		disk = vfs.OSBuffered()
	}
	return troupe.Config{
		ID: s.ID, Members: members, ClusterToken: s.Token, DataDir: s.DataDir, FS: disk, Rejoin: s.Rejoin, StateMachine: factory,
		PeerLink: &troupe.PeerLink{
			Listeners: opened.peers, ServerTLS: opened.peerServerTLS, ClientTLS: opened.peerClientTLS, ProtoRemote: s.PeerLink == "remote",
			// The operator chose http in the peer URLs. Beyond loopback that causes a warning.
			AllowPlaintext: true,
			MaxConnections: v.descriptors.peerConnections,
		},
		Timing: troupe.Timing{HeartbeatInterval: s.Heartbeat, ElectionTimeout: s.Election},
		// The client port checks the size of the request; a command is a request and its encoding.
		Limits: troupe.Limits{MaxRequestBytes: s.MaxRequestBytes + settings.RequestOverheadBytes, DiskLowWater: s.DiskLowWater},
		Logger: v.log,
	}
}

func (v *server) kvConfig(store *mvcc.StoreRef, opened *listeners) kv.ServerConfig {
	s := v.settings
	return kv.ServerConfig{
		Consensus: v.node, Store: store, MemberID: s.ID, ClusterID: v.node.ClusterID(),
		Name: s.Name, AdvertiseClientURLs: s.AdvertiseClient, Version: version.String(), TLS: opened.clientTLS,
		MaxRequestBytes: int(s.MaxRequestBytes), MaxTxnOps: s.MaxTxnOps, MaxConcurrentStreams: s.MaxStreams,
		MaxConnections: v.descriptors.clientConnections, MaxMetricsConnections: v.descriptors.metricsConnections,
		MaxResponseBytes: s.MaxResponseBytes, DataDir: s.DataDir, DiskLowWaterBytes: s.DiskLowWater,
		ElectionTimeout: s.Election, QuotaBytes: s.QuotaBytes, WatchProgressInterval: s.WatchProgress,
		KeepaliveMinTime: s.Keepalive.MinTime, KeepaliveInterval: s.Keepalive.Interval, KeepaliveTimeout: s.Keepalive.Timeout,
		Pprof: s.Pprof, ExtensiveMetrics: s.ExtensiveMetrics, Logger: v.log,
	}
}

// logStart logs the settings that are in effect, and a warning for each one that has no effect or
// is a risk.
func (v *server) logStart() {
	s := v.settings
	names := make([]string, len(s.Members))
	for i, m := range s.Members {
		names[i] = fmt.Sprintf("%s=%s (%#x)", m.Name, m.Address, m.ID)
	}
	v.log.Info().
		Str("version", version.String()).Str("etcd-api-version", kv.APIVersion).
		Str("name", s.Name).Str("member-id", raft.FormatID(s.ID)).Str("data-dir", s.DataDir).
		Strs("listen-client-urls", settings.Strings(s.ListenClient)).Strs("listen-peer-urls", settings.Strings(s.ListenPeer)).
		Strs("members", names).Str("peer-link", s.PeerLink).
		Dur("heartbeat-interval", s.Heartbeat).Dur("election-timeout", s.Election).
		Msg("starting a member")
	v.logDescriptors()
	for _, w := range s.Warnings {
		v.log.Warn().Str("setting", w.Setting).Str("problem", w.Problem).Str("advice", w.Advice).Msg("setting needs attention")
	}
}

// logReady proposes an entry with this member's client URLs and logs ReadyLine once this member has
// applied it.
func (v *server) logReady(ctx context.Context) {
	if err := v.kv.Publish(ctx); err != nil {
		return // the node stopped or is stopping; wait logs why
	}
	status := v.node.Status()
	v.log.Info().Str("leader", raft.FormatID(status.LeaderID)).Uint64("term", status.Term).
		Strs("advertise-client-urls", v.settings.AdvertiseClient).Msg(ReadyLine)
	v.manager.serving()
}

// wait returns nil when the context ends, or the reason when the server cannot continue.
func (v *server) wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		v.log.Info().Str("cause", context.Cause(ctx).Error()).Msg("stopping")
		return nil
	case <-v.node.Done():
		return v.nodeStopped()
	case err := <-v.fatal:
		if err == nil {
			err = errors.New("the client services stopped without an error")
		}
		return v.logStop(exit.With(exit.Stopped, err))
	}
}

func (v *server) nodeStopped() error {
	err := v.node.Err()
	if err == nil {
		err = errors.New("no reason given")
	}
	return v.logStop(exit.With(runtimeCode(err), fmt.Errorf("the node stopped itself: %w", err)))
}

// logStop logs why the server stops. The command prints the error again as its last line.
func (v *server) logStop(err error) error {
	err = addDiskAdvice(err)
	v.log.Error().Err(err).Int("exit-code", int(exit.CodeOf(err))).Msg("server cannot continue")
	return err
}

// fail stops the server with err; the first error counts.
func (v *server) fail(err error) {
	select {
	case v.fatal <- err:
	default:
	}
}

// stop stops everything in order: it refuses new requests, finishes those in flight, transfers the
// leadership and closes the files.
func (v *server) stop() {
	if v.kv != nil {
		ctx, cancel := context.WithTimeout(context.Background(), drainTime)
		v.kv.Stop(ctx)
		cancel()
	}
	if v.metrics != nil {
		_ = v.metrics.Close()
	}
	if v.node != nil {
		ctx, cancel := context.WithTimeout(context.Background(), transferTime)
		defer cancel()
		if err := v.node.Stop(ctx); err != nil {
			v.log.Warn().Err(err).Str("advice", "none needed: the next start restores the rest from the log").Msg("node did not stop in time")
			return
		}
	}
	v.log.Info().Msg("stopped")
}

func (v *server) serveMetrics(metrics []net.Listener) {
	if len(metrics) == 0 {
		return
	}
	v.metrics = v.kv.HTTPServer()
	for _, l := range metrics {
		go func(l net.Listener) {
			if err := v.metrics.Serve(v.kv.LimitMetricsConnections(l)); !errors.Is(err, http.ErrServerClosed) {
				v.log.Warn().Err(err).Str("address", l.Addr().String()).Msg("metrics listener failed")
			}
		}(l)
	}
}
