package settings

import (
	"fmt"

	"github.com/spf13/pflag"
)

// accepted is a flag of etcd's that has nothing to set here. A command line that names it works all the same, and a line
// in the log says what becomes of it: to ignore a wish without a word would be a lie, and to refuse it a nuisance. Where
// ignoring it would put data or trust at risk, it is refused.
type acceptedFlag struct {
	name string
	// fallback is etcd's default: named with this value, nothing is said.
	fallback string
	bool     bool
	refused  bool
	because  string
}

const (
	bySize     = "the log is not compacted in this version; a warning is logged as it grows"
	alwaysOn   = "it is always on"
	notBolt    = "data is kept by Pebble, which has no such setting"
	noChecker  = "this version does not compare members by itself; use 'etcdctl endpoint hashkv --cluster'"
	noWarning  = "requests are measured in /metrics instead"
	certChecks = "this check of certificates does not exist here; use a CA of the cluster's own, so that the CA alone decides"
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
	{name: "initial-corrupt-check", fallback: "false", bool: true, because: "every file carries checksums, which are always verified"},
	{name: "initial-election-tick-advance", fallback: "true", bool: true, because: "elections at a start are not held back"},
	{name: "metrics", fallback: "basic", because: "all metrics are always served"},
	{name: "feature-gates", fallback: "", because: "no feature here has a gate"},
	{name: "backend-batch-interval", fallback: "0s", because: notBolt},
	{name: "backend-batch-limit", fallback: "0", because: notBolt},
	{name: "backend-bbolt-freelist-type", fallback: "", because: notBolt},
	{name: "bootstrap-defrag-threshold-megabytes", fallback: "0", because: notBolt},
	{name: "max-learners", fallback: "1", because: "members are fixed in this version"},
	{name: "memory-mlock", fallback: "false", bool: true, because: "memory is the runtime's"},
	{name: "warning-apply-duration", fallback: "100ms", because: noWarning},
	{name: "warning-unary-request-duration", fallback: "300ms", because: noWarning},
	{name: "host-whitelist", fallback: "*", because: "hosts are not checked"},
	{name: "cors", fallback: "*", because: "browsers are not served in this version"},
	{name: "socket-reuse-port", fallback: "false", bool: true, because: "one process has the port"},
	{name: "socket-reuse-address", fallback: "false", bool: true, because: "one process has the port"},
	{name: "peer-skip-client-san-verification", fallback: "false", bool: true, because: "addresses in clients' certificates are not checked"},

	{name: "wal-dir", refused: true, because: "the log lives in DATA-DIR/log; mount the faster disk there"},
	{name: "force-new-cluster", fallback: "false", bool: true, refused: true, because: "a lost majority cannot be overruled in this version"},
	{name: "unsafe-no-fsync", fallback: "false", bool: true, refused: true, because: "what is acknowledged is on disk, always"},
	{name: "listen-client-http-urls", refused: true, because: "gRPC and HTTP share the client URLs; --listen-metrics-urls serves health and metrics apart"},
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

// AcceptedWarnings tells, for each flag of etcd's that was set to more than its default and has no effect, that and why. A refused
// one is a Error.
func AcceptedWarnings(fs *pflag.FlagSet) ([]string, error) {
	var notes []string
	for _, a := range acceptedFlags {
		flag := fs.Lookup(a.name)
		if flag == nil || flag.Value.String() == a.fallback {
			continue
		}
		if a.refused {
			return nil, &Error{Setting: "--" + a.name, What: "not supported", Advice: a.because}
		}
		notes = append(notes, fmt.Sprintf("--%s=%s has no effect: %s", a.name, flag.Value, a.because))
	}
	return notes, nil
}
