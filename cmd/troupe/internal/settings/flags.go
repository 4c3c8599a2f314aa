// Package settings turns what an operator wrote (flags, environment variables, a file) into what a server is started
// with, and refuses with one clear line what cannot be meant.
//
// Flags take etcd's names where they mean the same thing, so that existing units, charts and habits work. The way of a
// value: a flag on the command line wins over the environment (TROUPE_X, then ETCD_X), which wins over the default; a
// configuration file, as with etcd, stands alone. Flags holds the values as written, Resolve checks them as a whole and
// gives a Server.
package settings

import (
	"time"

	"github.com/spf13/pflag"

	"github.com/troupe-raft/troupe/internal/defaults"
)

// Flags are the settings of a server as they were written. What has a default has it after Register.
type Flags struct {
	Name             string
	DataDir          string
	DirectIO         bool
	ListenClientURLs string
	ListenPeerURLs   string
	ListenMetrics    string

	AdvertiseClientURLs string
	AdvertisePeerURLs   string
	InitialCluster      string
	InitialClusterState string
	InitialClusterToken string

	HeartbeatMillis uint
	ElectionMillis  uint
	PeerLink        string

	QuotaBackendBytes    int64
	MaxRequestBytes      uint
	MaxTxnOps            uint
	MaxConcurrentStreams uint32
	MaxConnections       uint32
	MaxAnswerBytes       int64

	KeepaliveMinTime  time.Duration
	KeepaliveInterval time.Duration
	KeepaliveTimeout  time.Duration
	WatchProgress     time.Duration

	CertFile          string
	KeyFile           string
	TrustedCAFile     string
	ClientCertAuth    bool
	AutoTLS           bool
	PeerCertFile      string
	PeerKeyFile       string
	PeerTrustedCAFile string
	PeerClientCert    bool
	PeerAutoTLS       bool
	TLSMinVersion     string
	TLSMaxVersion     string
	CipherSuites      []string
	SelfSignedYears   uint

	LogLevel   string
	LogFormat  string
	LogOutputs []string
	Logger     string

	EnablePprof bool
	ConfigFile  string
	Version     bool
	// StopWithStdin makes the server end when its standard input does: `troupe demo` holds the other end, so that no
	// member outlives it however it dies. Hidden.
	StopWithStdin bool
}

// Group is a heading of the help text with the flags below it.
type Group struct {
	Title string
	Set   *pflag.FlagSet
}

// Register defines the flags in fs, with their defaults, and returns them as the help text groups them.
func (f *Flags) Register(fs *pflag.FlagSet) []Group {
	groups := []Group{
		{"Member", f.member()},
		{"Cluster", f.cluster()},
		{"Limits", f.limits()},
		{"TLS", f.security()},
		{"Logs and profiles", f.observation()},
	}
	for _, g := range groups {
		fs.AddFlagSet(g.Set)
	}
	etcds := acceptedFlagSet()
	fs.AddFlagSet(etcds)
	fs.BoolVar(&f.StopWithStdin, "stop-with-stdin", false, "stop when standard input ends")
	hideFlags(fs, "stop-with-stdin", "logger")
	return append(groups, Group{"Taken from etcd's command lines without an effect here (the log says why)", etcds})
}

func (f *Flags) member() *pflag.FlagSet {
	fs := pflag.NewFlagSet("member", pflag.ContinueOnError)
	fs.StringVar(&f.Name, "name", "default", "the member's `name`; unique in its cluster")
	fs.StringVar(&f.DataDir, "data-dir", "", "`directory` of everything that survives a restart (default: NAME.troupe)")
	fs.BoolVar(&f.DirectIO, "log-direct-io", true, "write small pieces of the log past the page cache where the filesystem can; false where it does that slowly or badly")
	fs.StringVar(&f.ListenClientURLs, "listen-client-urls", "http://localhost:2379", "`URLs` to serve clients on, separated by commas (http, https, unix, unixs)")
	fs.StringVar(&f.ListenPeerURLs, "listen-peer-urls", "http://localhost:2380", "`URLs` to hear the other members on")
	fs.StringVar(&f.ListenMetrics, "listen-metrics-urls", "", "`URLs` to serve /metrics, /health, /livez and /readyz on beside the client URLs")
	fs.StringVar(&f.ConfigFile, "config-file", "", "YAML `file` with the settings; excludes flags and environment")
	fs.BoolVar(&f.Version, "version", false, "print the version and exit")
	return fs
}

func (f *Flags) cluster() *pflag.FlagSet {
	fs := pflag.NewFlagSet("cluster", pflag.ContinueOnError)
	fs.StringVar(&f.InitialCluster, "initial-cluster", "", "all members of a new cluster as `name=peerURL,…`, the same on each of them (default: this member alone)")
	fs.StringVar(&f.InitialClusterState, "initial-cluster-state", "new", "`new` for the members of a new cluster, `existing` to refuse to begin one")
	fs.StringVar(&f.InitialClusterToken, "initial-cluster-token", "etcd-cluster", "a `word` that keeps clusters apart which were set up alike")
	fs.StringVar(&f.AdvertisePeerURLs, "initial-advertise-peer-urls", "", "`URLs` by which the other members reach this one (default: as listened on)")
	fs.StringVar(&f.AdvertiseClientURLs, "advertise-client-urls", "", "`URLs` told to clients (default: as listened on)")
	fs.UintVar(&f.HeartbeatMillis, "heartbeat-interval", milliseconds(defaults.HeartbeatInterval), "`milliseconds` between two heartbeats of a leader")
	fs.UintVar(&f.ElectionMillis, "election-timeout", milliseconds(defaults.ElectionTimeout), "`milliseconds` without a leader until a member stands for election; the same on all")
	fs.StringVar(&f.PeerLink, "peer-link", "grpc", "how members talk: `grpc`, or remote (Proto.Actor's own; experimental, the same on all)")
	return fs
}

func (f *Flags) limits() *pflag.FlagSet {
	fs := pflag.NewFlagSet("limits", pflag.ContinueOnError)
	fs.Int64Var(&f.QuotaBackendBytes, "quota-backend-bytes", 0, "`bytes` of live data above which puts are refused, until deletes and compaction have made room (0: 8 GiB; below 0: none)")
	fs.UintVar(&f.MaxRequestBytes, "max-request-bytes", defaults.MaxRequestBytes, "`bytes` of the largest request taken")
	fs.UintVar(&f.MaxTxnOps, "max-txn-ops", defaults.MaxTxnOps, "`operations` of the largest transaction taken")
	fs.Uint32Var(&f.MaxConcurrentStreams, "max-concurrent-streams", defaults.MaxConcurrentStreams, "`streams` that one client connection may have open")
	fs.Uint32Var(&f.MaxConnections, "max-connections", defaults.MaxConnections, "client `connections` that may be open; more are closed at once")
	fs.Int64Var(&f.MaxAnswerBytes, "max-answer-bytes", defaults.MaxAnswerBytes, "`bytes` that the answers of ranges to all clients together may take in memory")
	fs.DurationVar(&f.KeepaliveMinTime, "grpc-keepalive-min-time", defaults.KeepaliveMinTime, "a client that pings more often is cut off")
	fs.DurationVar(&f.KeepaliveInterval, "grpc-keepalive-interval", defaults.KeepaliveInterval, "how often the server pings a client (0: never)")
	fs.DurationVar(&f.WatchProgress, "watch-progress-notify-interval", defaults.WatchProgressInterval, "how often a watch that asked for it hears how far it is")
	fs.DurationVar(&f.KeepaliveTimeout, "grpc-keepalive-timeout", defaults.KeepaliveTimeout, "how long a client may take to answer a ping")
	return fs
}

func (f *Flags) security() *pflag.FlagSet {
	fs := pflag.NewFlagSet("security", pflag.ContinueOnError)
	fs.StringVar(&f.CertFile, "cert-file", "", "certificate `file` (PEM) of the client URLs")
	fs.StringVar(&f.KeyFile, "key-file", "", "its private key `file`")
	fs.StringVar(&f.TrustedCAFile, "trusted-ca-file", "", "`file` with the CA of clients' certificates; clients must then have one")
	fs.BoolVar(&f.ClientCertAuth, "client-cert-auth", false, "ask clients for a certificate (needs --trusted-ca-file)")
	fs.BoolVar(&f.AutoTLS, "auto-tls", false, "make a certificate for the client URLs (encrypts, proves nothing)")
	fs.StringVar(&f.PeerCertFile, "peer-cert-file", "", "certificate `file` (PEM) shown to the other members, as server and as client")
	fs.StringVar(&f.PeerKeyFile, "peer-key-file", "", "its private key `file`")
	fs.StringVar(&f.PeerTrustedCAFile, "peer-trusted-ca-file", "", "`file` with the CA of the members' certificates; members must then have one")
	fs.BoolVar(&f.PeerClientCert, "peer-client-cert-auth", false, "ask members for a certificate (needs --peer-trusted-ca-file)")
	fs.BoolVar(&f.PeerAutoTLS, "peer-auto-tls", false, "make a certificate for the peer URL (encrypts, proves nothing)")
	fs.UintVar(&f.SelfSignedYears, "self-signed-cert-validity", 1, "`years` that certificates made by --auto-tls and --peer-auto-tls are valid")
	fs.StringVar(&f.TLSMinVersion, "tls-min-version", "TLS1.2", "`TLS1.2` or TLS1.3")
	fs.StringVar(&f.TLSMaxVersion, "tls-max-version", "", "`TLS1.2`, TLS1.3 or empty for the newest")
	fs.StringSliceVar(&f.CipherSuites, "cipher-suites", nil, "cipher suites of TLS 1.2, by `names` (default: Go's choice)")
	return fs
}

func (f *Flags) observation() *pflag.FlagSet {
	fs := pflag.NewFlagSet("observation", pflag.ContinueOnError)
	fs.StringVar(&f.LogLevel, "log-level", "info", "`debug`, info, warn or error")
	fs.StringVar(&f.LogFormat, "log-format", "json", "`json`, or console for people")
	fs.StringSliceVar(&f.LogOutputs, "log-outputs", []string{"default"}, "where to: default or stderr, stdout, a `path`; several are separated by commas")
	fs.StringVar(&f.Logger, "logger", "zap", "etcd's choice of a logger; taken, and its format is ours as well")
	fs.BoolVar(&f.EnablePprof, "enable-pprof", false, "serve profiles under /debug/pprof on the client URLs")
	return fs
}

func milliseconds(d time.Duration) uint { return uint(d / time.Millisecond) }

func hideFlags(fs *pflag.FlagSet, names ...string) {
	for _, name := range names {
		fs.Lookup(name).Hidden = true
	}
}

// defaultDataDir is where a member lives that was not told where. Not etcd's NAME.etcd: the formats differ, and neither
// should find the other's files.
func (f *Flags) defaultDataDir() string {
	if f.DataDir != "" {
		return f.DataDir
	}
	return f.Name + ".troupe"
}
