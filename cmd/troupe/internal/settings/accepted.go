package settings

import (
	"fmt"

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
	because  string
}

const (
	bySize     = "the log is not compacted in this version; a warning is logged as it grows"
	alwaysOn   = "it is always on"
	notBolt    = "Pebble keeps the data and has no such setting"
	noChecker  = "this version does not compare members by itself; use 'etcdctl endpoint hashkv --cluster'"
	noWarning  = "/metrics measures requests instead"
	certChecks = "this check of certificates does not exist; use a CA for this cluster alone, so that the CA decides"
)

var acceptedFlags = []acceptedFlag{
	{name: "snapshot-count", fallback: "10000", because: bySize},
	{name: "snapshot-catchup-entries", fallback: "5000", because: bySize},
	{name: "max-snapshots", fallback: "5", because: bySize},
	{name: "max-wals", fallback: "5", because: bySize},
	{name: "strict-reconfig-check", fallback: "true", bool: true, because: alwaysOn},
	{name: "pre-vote", fallback: "true", bool: true, because: alwaysOn},
	{name: "auto-compaction-mode", fallback: "periodic", because: "the history is compacted by request only: 'etcdctl compaction REVISION'"},
	{name: "auto-compaction-retention", fallback: "0", because: "the history is compacted by request only: 'etcdctl compaction REVISION'"},
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
	{name: "metrics", fallback: "basic", because: "all metrics are always served"},
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
	{name: "peer-skip-client-san-verification", fallback: "false", bool: true, because: "addresses in clients' certificates are not checked"},

	{name: "wal-dir", refused: true, because: "the log is in DATA-DIR/log; mount the faster disk there"},
	{name: "force-new-cluster", fallback: "false", bool: true, refused: true, because: "a lost majority cannot be overridden in this version"},
	{name: "unsafe-no-fsync", fallback: "false", bool: true, refused: true, because: "acknowledged writes are always on disk"},
	{name: "listen-client-http-urls", refused: true, because: "gRPC and HTTP share the client URLs; --listen-metrics-urls serves health and metrics on URLs of their own"},
	{name: "client-crl-file", refused: true, because: certChecks},
	{name: "peer-crl-file", refused: true, because: certChecks},
	{name: "client-cert-allowed-hostname", refused: true, because: certChecks},
	{name: "peer-cert-allowed-cn", refused: true, because: certChecks},
	{name: "peer-cert-allowed-hostname", refused: true, because: certChecks},
	{name: "discovery", refused: true, because: "name the members by --initial-cluster"},
	{name: "discovery-srv", refused: true, because: "name the members by --initial-cluster"},
}

func acceptedFlagSet() *pflag.FlagSet {
	fs := pflag.NewFlagSet("accepted", pflag.ContinueOnError)
	for _, a := range acceptedFlags {
		if a.bool {
			fs.Bool(a.name, a.fallback == "true", a.because)
		} else {
			fs.String(a.name, a.fallback, a.because)
		}
		fs.Lookup(a.name).Hidden = a.refused
	}
	return fs
}

// AcceptedWarnings returns a warning for each accepted flag in fs with another value than its
// default. It returns an *Error for the first refused flag that is set.
func AcceptedWarnings(fs *pflag.FlagSet) ([]Error, error) {
	var warnings []Error
	for _, a := range acceptedFlags {
		flag := fs.Lookup(a.name)
		if flag == nil || flag.Value.String() == a.fallback {
			continue
		}
		if a.refused {
			return nil, &Error{"--" + a.name, "not supported", a.because}
		}
		warnings = append(warnings, Error{
			Setting: fmt.Sprintf("--%s=%s", a.name, flag.Value), Problem: "has no effect: " + a.because, Advice: "leave it out",
		})
	}
	return warnings, nil
}
