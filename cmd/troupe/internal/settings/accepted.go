package settings

import (
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/pflag"
)

// acceptedFlag is a flag of etcd that has no effect here. It is accepted, so that etcd's command
// lines work, and a warning says why it has no effect. It is refused where ignoring it would put
// data or trust at risk.
type acceptedFlag struct {
	name     string
	fallback string // etcd's default; this value causes no warning
	bool     bool
	refused  bool
	hidden   bool // from the help, as etcd hides it
	because  string
}

const (
	bySize        = "the log is not compacted in this version; a warning is logged as it grows"
	alwaysOn      = "it is always on"
	notBolt       = "Pebble keeps the data and has no such setting"
	noChecker     = "this version does not compare members by itself; use 'troupe hashkv'"
	noWarning     = "/metrics measures requests instead"
	ignoredByEtcd = "etcd ignores it too"
	noTracing     = "traces do not exist in this version"
	noDiscovery   = "there is no discovery; name the members by --initial-cluster"
	certChecks    = "this check of certificates does not exist; use a CA for this cluster alone, so that the CA decides"
)

var acceptedFlags = []acceptedFlag{
	{name: "snapshot-count", fallback: "10000", because: bySize},
	{name: "snapshot-catchup-entries", fallback: "5000", because: bySize},
	{name: "max-snapshots", fallback: "5", because: bySize},
	{name: "max-wals", fallback: "5", because: bySize},
	{name: "strict-reconfig-check", fallback: "true", bool: true, because: alwaysOn},
	{name: "pre-vote", fallback: "true", bool: true, because: alwaysOn},
	{name: "auto-compaction-mode", fallback: "periodic", because: "the history is compacted by request only: 'troupe compact REVISION'"},
	{name: "auto-compaction-retention", fallback: "0", because: "the history is compacted by request only: 'troupe compact REVISION'"},
	{name: "auth-token", fallback: "simple", because: "users and roles do not exist in this version"},
	{name: "auth-token-ttl", fallback: "300", because: "users and roles do not exist in this version"},
	{name: "bcrypt-cost", fallback: "10", because: "users and roles do not exist in this version"},
	{name: "compaction-batch-limit", fallback: "1000", because: "compaction removes ranges, not batches"},
	{name: "compaction-sleep-interval", fallback: "10ms", because: "compaction removes ranges, not batches"},
	{name: "corrupt-check-time", fallback: "0s", because: noChecker},
	{name: "compact-hash-check-enabled", fallback: "false", bool: true, because: noChecker},
	{name: "compact-hash-check-time", fallback: "1m0s", because: noChecker},
	{name: "initial-corrupt-check", fallback: "false", bool: true, because: "every file has checksums, which are always verified"},
	{name: "initial-election-tick-advance", fallback: "true", bool: true, because: "elections at a start are not delayed"},
	{name: "enable-distributed-tracing", fallback: "false", bool: true, because: noTracing},
	{name: "distributed-tracing-address", fallback: "localhost:4317", because: noTracing},
	{name: "distributed-tracing-service-name", fallback: "etcd", because: noTracing},
	{name: "distributed-tracing-instance-id", fallback: "", because: noTracing},
	{name: "distributed-tracing-sampling-rate", fallback: "0", because: noTracing},
	// etcd's default is true; a server that is to have no gateway needs no warning.
	{name: "enable-grpc-gateway", fallback: "false", bool: true, because: "the JSON gateway does not exist in this version"},
	{name: "feature-gates", fallback: "", because: "no feature here has a gate"},
	{name: "backend-batch-interval", fallback: "0s", because: notBolt},
	{name: "backend-batch-limit", fallback: "0", because: notBolt},
	{name: "backend-bbolt-freelist-type", fallback: "", because: notBolt},
	{name: "bootstrap-defrag-threshold-megabytes", fallback: "0", because: notBolt},
	{name: "max-learners", fallback: "1", because: "members are fixed in this version"},
	{name: "memory-mlock", fallback: "false", bool: true, because: "Go's runtime manages the memory"},
	{name: "warning-apply-duration", fallback: "100ms", because: noWarning},
	{name: "warning-unary-request-duration", fallback: "300ms", because: noWarning},
	{name: "host-whitelist", fallback: "*", because: "hosts are not checked"},
	{name: "cors", fallback: "*", because: "browsers are not served in this version"},
	{name: "socket-reuse-port", fallback: "false", bool: true, because: "a port belongs to one process"},
	{name: "socket-reuse-address", fallback: "false", bool: true, because: "a port belongs to one process"},
	{name: "client-cert-file", fallback: "", because: "this member does not connect to its own client URLs"},
	{name: "client-key-file", fallback: "", because: "this member does not connect to its own client URLs"},
	{name: "raft-read-timeout", fallback: "5s", because: "pings detect a peer that does not respond within 10 s"},
	{name: "raft-write-timeout", fallback: "5s", because: "pings detect a peer that does not respond within 10 s"},
	{name: "downgrade-check-time", fallback: "5s", because: "downgrades do not exist in this version"},
	{name: "v2-deprecation", fallback: "write-only", because: "the v2 store does not exist here"},
	{name: "discovery-dial-timeout", fallback: "2s", because: noDiscovery},
	{name: "discovery-request-timeout", fallback: "5s", because: noDiscovery},
	{name: "discovery-keepalive-time", fallback: "2s", because: noDiscovery},
	{name: "discovery-keepalive-timeout", fallback: "6s", because: noDiscovery},
	{name: "discovery-insecure-transport", fallback: "true", bool: true, because: noDiscovery},
	{name: "discovery-insecure-skip-tls-verify", fallback: "false", bool: true, because: noDiscovery},
	{name: "discovery-cert", fallback: "", because: noDiscovery},
	{name: "discovery-key", fallback: "", because: noDiscovery},
	{name: "discovery-cacert", fallback: "", because: noDiscovery},
	{name: "discovery-user", fallback: "", because: noDiscovery},
	{name: "discovery-password", fallback: "", because: noDiscovery},
	{name: "discovery-proxy", fallback: "", because: noDiscovery},
	{name: "peer-skip-client-san-verification", fallback: "false", bool: true, because: "addresses in clients' certificates are not checked"},

	{name: "wal-dir", refused: true, because: "the log is in DATA-DIR/log; mount the faster disk there"},
	{name: "force-new-cluster", fallback: "false", bool: true, refused: true, because: "a lost majority cannot be overridden in this version"},
	{name: "unsafe-no-fsync", fallback: "false", bool: true, refused: true, because: "acknowledged writes are always on disk"},
	{name: "listen-client-http-urls", refused: true, because: "gRPC and HTTP share the client URLs; --listen-metrics-urls serves health and metrics on URLs of their own"},
	{name: "client-crl-file", refused: true, because: certChecks},
	{name: "peer-crl-file", refused: true, because: certChecks},
	{name: "client-cert-allowed-hostname", refused: true, because: certChecks},
	{name: "client-cert-allowed-cn", refused: true, because: certChecks},
	{name: "peer-cert-allowed-cn", refused: true, because: certChecks},
	{name: "peer-cert-allowed-hostname", refused: true, because: certChecks},
	{name: "discovery", refused: true, because: noDiscovery},
	{name: "discovery-srv", refused: true, because: noDiscovery},
	{name: "discovery-srv-name", refused: true, because: noDiscovery},
	{name: "discovery-token", refused: true, because: noDiscovery},
	{name: "discovery-endpoints", refused: true, because: noDiscovery},
	{name: "discovery-fallback", fallback: "exit", refused: true, because: "proxies do not exist, in etcd neither; leave it out"},

	{name: "cluster-active-size", hidden: true, because: ignoredByEtcd},
	{name: "cluster-remove-delay", hidden: true, because: ignoredByEtcd},
	{name: "cluster-sync-interval", hidden: true, because: ignoredByEtcd},
	{name: "config", hidden: true, because: ignoredByEtcd},
	{name: "force", hidden: true, because: ignoredByEtcd},
	{name: "max-result-buffer", hidden: true, because: ignoredByEtcd},
	{name: "max-retry-attempts", hidden: true, because: ignoredByEtcd},
	{name: "peer-heartbeat-interval", hidden: true, because: ignoredByEtcd},
	{name: "peer-election-timeout", hidden: true, because: ignoredByEtcd},
	{name: "retry-interval", hidden: true, because: ignoredByEtcd},
	{name: "snapshot", hidden: true, because: ignoredByEtcd},
	{name: "v", hidden: true, because: ignoredByEtcd},
	{name: "vv", hidden: true, because: ignoredByEtcd},
}

func isAccepted(flag string) bool {
	return slices.ContainsFunc(acceptedFlags, func(a acceptedFlag) bool { return a.name == flag })
}

func acceptedFlagSet() *pflag.FlagSet {
	fs := pflag.NewFlagSet("accepted", pflag.ContinueOnError)
	for _, a := range acceptedFlags {
		if a.bool {
			fs.Bool(a.name, a.fallback == "true", a.because)
		} else {
			fs.String(a.name, a.fallback, a.because)
		}
		flag := fs.Lookup(a.name)
		flag.Hidden = a.refused || a.hidden
		if a.hidden {
			flag.NoOptDefVal = "true" // etcd takes them with and without a value
		}
	}
	return fs
}

// AcceptedWarnings returns a warning for each accepted flag in fs with another value than its
// default. The error joins an *Error for each refused flag that is set.
func AcceptedWarnings(fs *pflag.FlagSet) ([]Error, error) {
	var warnings []Error
	var refused []error
	for _, a := range acceptedFlags {
		flag := fs.Lookup(a.name)
		if flag == nil || flag.Value.String() == a.fallback {
			continue
		}
		if a.refused {
			refused = append(refused, &Error{"--" + a.name, "not supported", a.because})
			continue
		}
		warnings = append(warnings, Error{
			Setting: fmt.Sprintf("--%s=%s", a.name, flag.Value), Problem: "has no effect: " + a.because, Advice: "leave it out",
		})
	}
	return warnings, errors.Join(refused...)
}
