// Package serve is a server's life: it takes the addresses, starts the node and the services on it, says when clients can
// be served, and ends everything in order, for whatever reason it has to end.
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
	"github.com/troupe-raft/troupe/persistence/vfs"
	"github.com/troupe-raft/troupe/raft"
)

const (
	// drainTime is what requests under way have when the server is told to stop, transferTime what the node has after
	// them to pass on its leadership and close its files.
	drainTime    = 2 * time.Second
	transferTime = 5 * time.Second

	// ReadyLine is what tools wait for: logged once a leader is known and this member serves.
	ReadyLine = "ready to serve client requests"
)

// server is what runs.
type server struct {
	settings *settings.Server
	log      zerolog.Logger

	node    *troupe.Node
	kv      *kv.Server
	metrics *http.Server
	// fatal hears what ends the server from outside the node: the engine's disk, a listener.
	fatal chan error
}

// Run is a server from its first line to its last. It returns when the context ends (nil), or when the server cannot go
// on: the error says why, and has an exit code.
//
// The order matters. Certificates and addresses come first: what is wrong with them is told before the data directory is
// touched. Then the node, which recovers its log; then the services, which answer health checks from here on; and
// "ready" when a leader is known and has taken an entry of ours, so that a client told so is not turned away.
func Run(ctx context.Context, s *settings.Server, log zerolog.Logger) error {
	v := &server{settings: s, log: log, fatal: make(chan error, 4)}
	open, err := v.listen()
	if err != nil {
		return err
	}
	if err := v.start(ctx, open); err != nil {
		open.close()
		return nilIfStopped(ctx, err)
	}
	go v.logReady(ctx)
	err = v.wait(ctx)
	v.stop()
	return err
}

// start brings the node and the services to life on the open listeners.
func (v *server) start(ctx context.Context, open *listeners) error {
	s := v.settings
	if err := v.checkClusterState(); err != nil {
		return err
	}
	v.logStart()
	factory, store := mvcc.Factory(filepath.Join(s.DataDir, "kv"), mvcc.Options{
		Logger:  v.log,
		OnFatal: func(err error) { v.fail(exit.With(exit.Storage, fmt.Errorf("the store cannot go on: %w", err))) },
	})
	node, err := troupe.Start(ctx, v.nodeConfig(factory, open))
	if err != nil {
		return exit.With(startCode(err), v.explainStartError(err))
	}
	v.node = node
	v.kv, err = kv.NewServer(v.kvConfig(store, open))
	if err != nil {
		v.stop()
		return exit.With(exit.Stopped, fmt.Errorf("starting the client services: %w", err))
	}
	go func() { v.fail(v.kv.Serve(open.clients...)) }()
	v.serveMetrics(open)
	return nil
}

// checkClusterState holds --initial-cluster-state against the data directory.
func (v *server) checkClusterState() error {
	s := v.settings
	if !s.Existing || hasIdentity(s.DataDir) {
		return nil
	}
	return exit.With(exit.DataDir, fmt.Errorf("--initial-cluster-state=existing, but %s holds no member: name the data directory that this member has, "+
		"or start with --initial-cluster-state=new if the cluster is new (a member cannot be added to a running cluster in this version)", s.DataDir))
}

func (v *server) nodeConfig(factory troupe.Factory, open *listeners) troupe.Config {
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
		ID: s.ID, Members: members, ClusterToken: s.Token, DataDir: s.DataDir, FS: disk, StateMachine: factory,
		PeerLink: &troupe.PeerLink{
			Listeners: open.peers, ServerTLS: open.peerServerTLS, ClientTLS: open.peerClientTLS, ProtoRemote: s.PeerLink == "remote",
			// http in the peer URLs is the operator's own word; where others could reach it, a warning was given.
			AllowPlaintext: true,
		},
		Timing: troupe.Timing{HeartbeatInterval: s.Heartbeat, ElectionTimeout: s.Election},
		// A command is a request and a little around it; the client port measures the request.
		Limits: troupe.Limits{MaxRequestBytes: s.MaxRequestBytes + requestOverhead},
		Logger: v.log,
	}
}

// requestOverhead is what a command may be larger than the request in it.
const requestOverhead = 64 << 10

func (v *server) kvConfig(store *mvcc.StoreRef, open *listeners) kv.ServerConfig {
	s := v.settings
	return kv.ServerConfig{
		Consensus: v.node, Store: store, MemberID: s.ID, ClusterID: v.node.ClusterID(),
		Name: s.Name, AdvertiseClientURLs: s.AdvertiseClient, Version: version.String(), TLS: open.clientTLS,
		MaxRequestBytes: int(s.MaxRequestBytes), MaxTxnOps: s.MaxTxnOps, MaxConcurrentStreams: s.MaxStreams,
		MaxConnections: s.MaxConnections, MaxAnswerBytes: s.MaxAnswerBytes,
		ElectionTimeout: s.Election, QuotaBytes: s.QuotaBytes, WatchProgressInterval: s.WatchProgress,
		KeepaliveMinTime: s.Keepalive.MinTime, KeepaliveInterval: s.Keepalive.Interval, KeepaliveTimeout: s.Keepalive.Timeout,
		Pprof: s.Pprof, Logger: v.log,
	}
}

// announce says in the first lines what is being started, and what of the settings is worth a second look.
func (v *server) logStart() {
	s := v.settings
	names := make([]string, len(s.Members))
	for i, m := range s.Members {
		names[i] = fmt.Sprintf("%s=%s (%x)", m.Name, m.Address, m.ID)
	}
	v.log.Info().
		Str("version", version.String()).Str("etcd-api-version", kv.APIVersion).
		Str("name", s.Name).Str("member-id", raft.FormatID(s.ID)).Str("data-dir", s.DataDir).
		Strs("listen-client-urls", settings.Strings(s.ListenClient)).Strs("listen-peer-urls", settings.Strings(s.ListenPeer)).
		Strs("members", names).Str("peer-link", s.PeerLink).
		Dur("heartbeat-interval", s.Heartbeat).Dur("election-timeout", s.Election).
		Msg("starting a member")
	for _, warning := range s.Warnings {
		v.log.Warn().Msg(warning)
	}
}

// publish tells the cluster this member's client URLs, and says so when that is done: an entry of this member's has then
// been committed and applied here, which is what "ready" has to mean.
func (v *server) logReady(ctx context.Context) {
	if err := v.kv.Publish(ctx); err != nil {
		return // the node has stopped, or is being stopped: wait tells why
	}
	status := v.node.Status()
	v.log.Info().Str("leader", raft.FormatID(status.LeaderID)).Uint64("term", status.Term).
		Strs("advertise-client-urls", v.settings.AdvertiseClient).Msg(ReadyLine)
}

// wait returns when the server has to end: nil because it was told to, or why it cannot go on.
func (v *server) wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		v.log.Info().Str("cause", context.Cause(ctx).Error()).Msg("stopping")
		return nil
	case <-v.node.Done():
		return v.nodeStopped()
	case err := <-v.fatal:
		if err == nil {
			err = errors.New("the client services ended by themselves")
		}
		return v.logStop(exit.With(exit.Stopped, err))
	}
}

func (v *server) nodeStopped() error {
	err := v.node.Err()
	if err == nil {
		err = errors.New("the node ended by itself without a reason")
	}
	return v.logStop(exit.With(runtimeCode(err), fmt.Errorf("the node stopped itself: %w", err)))
}

// logStop logs why the server ends; the command prints it once more as its last line.
func (v *server) logStop(err error) error {
	err = addDiskAdvice(err)
	v.log.Error().Err(err).Int("exit-code", int(exit.CodeOf(err))).Msg("the server cannot go on")
	return err
}

// fail ends the server with err; the first one counts.
func (v *server) fail(err error) {
	select {
	case v.fatal <- err:
	default:
	}
}

// stop ends everything in order: no new requests, those under way are answered, leadership is passed on, files are closed.
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
			v.log.Warn().Err(err).Msg("the node did not stop in time; the log brings back at the next start what was not written out")
			return
		}
	}
	v.log.Info().Msg("stopped")
}

func (v *server) serveMetrics(open *listeners) {
	if len(open.metrics) == 0 {
		return
	}
	v.metrics = v.kv.HTTPServer()
	for _, l := range open.metrics {
		go func(l net.Listener) {
			if err := v.metrics.Serve(v.kv.LimitConnections(l)); !errors.Is(err, http.ErrServerClosed) {
				v.log.Warn().Err(err).Str("address", l.Addr().String()).Msg("metrics are no longer served there")
			}
		}(l)
	}
}
