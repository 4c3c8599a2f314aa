// Package settings reads the settings of a server from flags, environment variables or a file, and
// checks them. An invalid setting is refused with an Error of one line.
//
// Flags have etcd's names where they mean the same, so that existing unit files and charts work.
// The command line has precedence over the environment (TROUPE_X, then ETCD_X), and the environment
// over the default. A configuration file excludes both, as with etcd. Flags holds the values as
// written; Flags.Resolve checks them together and returns a Server.
package settings

import (
	"time"

	"github.com/spf13/pflag"

	"github.com/troupe-raft/troupe/cmd/troupe/internal/logs"
	"github.com/troupe-raft/troupe/internal/defaults"
)

// Flags holds the settings of a server as written. Register sets the defaults.
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
	DiskLowWaterBytes    uint64
	MaxRequestBytes      uint
	MaxTxnOps            uint
	MaxConcurrentStreams uint32
	MaxConnections       uint32
	MaxResponseBytes     int64
	MaxAnswerBytes       int64 // the deprecated name of MaxResponseBytes; 0 unless it was set

	KeepaliveMinTime  time.Duration
	KeepaliveInterval time.Duration
	KeepaliveTimeout  time.Duration
	WatchProgress     time.Duration

	CertFile           string
	KeyFile            string
	TrustedCAFile      string
	ClientCertAuth     bool
	AutoTLS            bool
	PeerCertFile       string
	PeerKeyFile        string
	PeerClientCertFile string
	PeerClientKeyFile  string
	PeerTrustedCAFile  string
	PeerClientCert     bool
	PeerAutoTLS        bool
	TLSMinVersion      string
	TLSMaxVersion      string
	CipherSuites       []string
	SelfSignedYears    uint

	LogLevel    string
	LogFormat   string
	LogOutputs  []string
	RotateLog   bool
	LogRotation string
	Logger      string

	EnablePprof bool
	Metrics     string
	ConfigFile  string
	Version     bool
	// StopWithStdin stops the server when its standard input ends. `troupe demo` holds the other end
	// of that pipe, so that its members stop even when the demo is killed. The flag is hidden.
	StopWithStdin bool
}

// Group is a section of the help text.
type Group struct {
	Title string
	Set   *pflag.FlagSet
}

// Register defines the flags in fs with their defaults and returns them in the groups of the help
// text.
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
	accepted := acceptedFlagSet()
	fs.AddFlagSet(accepted)
	fs.BoolVar(&f.StopWithStdin, "stop-with-stdin", false, "stop when standard input ends")
	hideFlags(fs, "stop-with-stdin", "logger", "max-answer-bytes")
	return append(groups, Group{"Flags of etcd that are accepted and have no effect (a warning in the log says why)", accepted})
}

func (f *Flags) member() *pflag.FlagSet {
	fs := pflag.NewFlagSet("member", pflag.ContinueOnError)
	fs.StringVar(&f.Name, "name", "default", "the member's `name`; unique in its cluster")
	fs.StringVar(&f.DataDir, "data-dir", "", "`directory` for the log and the store (default: NAME.troupe)")
	fs.BoolVar(&f.DirectIO, "log-direct-io", true, "write small frames of the log past the page cache where the filesystem can; set it to false where such writes are slow or fail")
	fs.StringVar(&f.ListenClientURLs, "listen-client-urls", "http://localhost:2379", "`URLs` to serve clients on, separated by commas (http, https, unix, unixs)")
	fs.StringVar(&f.ListenPeerURLs, "listen-peer-urls", "http://localhost:2380", "`URLs` to accept connections of the other members on")
	fs.StringVar(&f.ListenMetrics, "listen-metrics-urls", "", "more `URLs` that serve /metrics, /health, /livez and /readyz, beside the client URLs")
	fs.StringVar(&f.ConfigFile, "config-file", "", "YAML `file` with the settings; excludes flags and environment")
	fs.BoolVar(&f.Version, "version", false, "print the version and exit")
	return fs
}

func (f *Flags) cluster() *pflag.FlagSet {
	fs := pflag.NewFlagSet("cluster", pflag.ContinueOnError)
	fs.StringVar(&f.InitialCluster, "initial-cluster", "", "all members of a new cluster as `name=peerURL,…`, the same on each member (default: this member alone)")
	fs.StringVar(&f.InitialClusterState, "initial-cluster-state", "new", "`new|existing|rejoin`: with existing an empty data directory is refused, and no new cluster begins; with rejoin an empty one replaces a lost one, see 'troupe member rejoin'")
	fs.StringVar(&f.InitialClusterToken, "initial-cluster-token", "etcd-cluster", "a `word` that distinguishes clusters with the same members")
	fs.StringVar(&f.AdvertisePeerURLs, "initial-advertise-peer-urls", "", "`URLs` under which the other members reach this one (default: the URLs of --listen-peer-urls)")
	fs.StringVar(&f.AdvertiseClientURLs, "advertise-client-urls", "", "`URLs` that the member list gives to clients (default: the URLs of --listen-client-urls)")
	fs.UintVar(&f.HeartbeatMillis, "heartbeat-interval", milliseconds(defaults.HeartbeatInterval), "`milliseconds` between two heartbeats of a leader")
	fs.UintVar(&f.ElectionMillis, "election-timeout", milliseconds(defaults.ElectionTimeout), "`milliseconds` without a leader until a member starts an election; the same on all members")
	fs.StringVar(&f.PeerLink, "peer-link", "grpc", "connection between members: `grpc|remote` (remote is Proto.Actor's, experimental); the same on all members")
	return fs
}

func (f *Flags) limits() *pflag.FlagSet {
	fs := pflag.NewFlagSet("limits", pflag.ContinueOnError)
	fs.Int64Var(&f.QuotaBackendBytes, "quota-backend-bytes", 0, "`bytes` of live data from which on puts are refused: keys and values of all revisions that are not compacted, before compression; deletes and compaction make room (0: 8 GiB; negative: no limit)")
	fs.Uint64Var(&f.DiskLowWaterBytes, "disk-low-water-bytes", defaults.DiskLowWaterBytes, "free `bytes` of the disk below which a leader hands over, or refuses writes")
	fs.UintVar(&f.MaxRequestBytes, "max-request-bytes", defaults.MaxRequestBytes, "`bytes` of the largest request that is accepted")
	fs.UintVar(&f.MaxTxnOps, "max-txn-ops", defaults.MaxTxnOps, "`operations` of the largest transaction that is accepted")
	fs.Uint32Var(&f.MaxConcurrentStreams, "max-concurrent-streams", defaults.MaxConcurrentStreams, "`streams` that one client connection may have open at a time")
	fs.Uint32Var(&f.MaxConnections, "max-connections", defaults.MaxConnections, "client `connections` that may be open at a time; further ones are closed at once")
	fs.Int64Var(&f.MaxResponseBytes, "max-response-bytes", defaults.MaxResponseBytes, "`bytes` of memory for the range responses to all clients together")
	fs.Int64Var(&f.MaxAnswerBytes, "max-answer-bytes", 0, "`bytes`; deprecated: use --max-response-bytes")
	fs.DurationVar(&f.KeepaliveMinTime, "grpc-keepalive-min-time", defaults.KeepaliveMinTime, "shortest interval of a client's pings; a client that pings more often is disconnected")
	fs.DurationVar(&f.KeepaliveInterval, "grpc-keepalive-interval", defaults.KeepaliveInterval, "interval of the server's pings to a client (0: none)")
	fs.DurationVar(&f.WatchProgress, "watch-progress-notify-interval", defaults.WatchProgressInterval, "interval of progress notifications to watches that request them")
	fs.DurationVar(&f.KeepaliveTimeout, "grpc-keepalive-timeout", defaults.KeepaliveTimeout, "time within which a client must respond to a ping")
	return fs
}

func (f *Flags) security() *pflag.FlagSet {
	fs := pflag.NewFlagSet("security", pflag.ContinueOnError)
	fs.StringVar(&f.CertFile, "cert-file", "", "certificate `file` (PEM) of the client URLs")
	fs.StringVar(&f.KeyFile, "key-file", "", "its private key `file`")
	fs.StringVar(&f.TrustedCAFile, "trusted-ca-file", "", "`file` with the CA of the clients' certificates; clients must then show a certificate")
	fs.BoolVar(&f.ClientCertAuth, "client-cert-auth", false, "require a certificate of clients (needs --trusted-ca-file)")
	fs.BoolVar(&f.AutoTLS, "auto-tls", false, "make a certificate for the client URLs (encrypts without authentication)")
	fs.StringVar(&f.PeerCertFile, "peer-cert-file", "", "certificate `file` (PEM) for the other members, as server and, without --peer-client-cert-file, as client")
	fs.StringVar(&f.PeerKeyFile, "peer-key-file", "", "its private key `file`")
	fs.StringVar(&f.PeerClientCertFile, "peer-client-cert-file", "", "certificate `file` (PEM) for connecting to the other members (default: --peer-cert-file)")
	fs.StringVar(&f.PeerClientKeyFile, "peer-client-key-file", "", "its private key `file`")
	fs.StringVar(&f.PeerTrustedCAFile, "peer-trusted-ca-file", "", "`file` with the CA of the members' certificates; members must then show a certificate")
	fs.BoolVar(&f.PeerClientCert, "peer-client-cert-auth", false, "require a certificate of members (needs --peer-trusted-ca-file)")
	fs.BoolVar(&f.PeerAutoTLS, "peer-auto-tls", false, "make a certificate for the peer URLs (encrypts without authentication)")
	fs.UintVar(&f.SelfSignedYears, "self-signed-cert-validity", 1, "validity in `years` of the certificates that --auto-tls and --peer-auto-tls make")
	fs.StringVar(&f.TLSMinVersion, "tls-min-version", "TLS1.2", "oldest version of TLS: `TLS1.2|TLS1.3`")
	fs.StringVar(&f.TLSMaxVersion, "tls-max-version", "", "newest version of TLS: `TLS1.2|TLS1.3` (empty: the newest that Go has)")
	fs.StringSliceVar(&f.CipherSuites, "cipher-suites", nil, "`names` of TLS 1.2 cipher suites (default: Go's choice)")
	return fs
}

func (f *Flags) observation() *pflag.FlagSet {
	fs := pflag.NewFlagSet("observation", pflag.ContinueOnError)
	fs.StringVar(&f.LogLevel, "log-level", "info", "log lines of this level and above: `debug|info|warn|error`")
	fs.StringVar(&f.LogFormat, "log-format", "json", "`json|console`; console is for reading")
	fs.StringSliceVar(&f.LogOutputs, "log-outputs", []string{"default"}, "default or stderr, stdout, or a `path`; separated by commas")
	fs.BoolVar(&f.RotateLog, "enable-log-rotation", false, "begin a new file when the one in --log-outputs is full")
	fs.StringVar(&f.LogRotation, "log-rotation-config-json", logs.RotationDefault, "when a log file is full, and how long older ones are kept, as `JSON`: MB, days, files; 0 means for ever")
	fs.StringVar(&f.Logger, "logger", "zap", "accepted for etcd's command lines and ignored")
	fs.StringVar(&f.Metrics, "metrics", metricsBasic, "`basic|extensive`; extensive has a histogram of the handling time of each method too")
	fs.BoolVar(&f.EnablePprof, "enable-pprof", false, "serve profiles under /debug/pprof on the client URLs")
	return fs
}

func milliseconds(d time.Duration) uint { return uint(d / time.Millisecond) }

func hideFlags(fs *pflag.FlagSet, names ...string) {
	for _, name := range names {
		fs.Lookup(name).Hidden = true
	}
}

// dataDir returns --data-dir or its default. The default is not etcd's NAME.etcd: the formats
// differ, and neither program should open the other's files.
func (f *Flags) dataDir() string {
	if f.DataDir != "" {
		return f.DataDir
	}
	return f.Name + ".troupe"
}
