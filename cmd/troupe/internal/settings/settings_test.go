package settings

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/troupe-raft/troupe/internal/defaults"
)

// parseFlags parses a command line as the server does.
func parseFlags(t *testing.T, args ...string) (*Flags, *pflag.FlagSet) {
	t.Helper()
	f, fs := &Flags{}, pflag.NewFlagSet("server", pflag.ContinueOnError)
	f.Register(fs)
	if err := fs.Parse(args); err != nil {
		t.Fatalf("parse %q: %v", args, err)
	}
	return f, fs
}

func resolveFlags(t *testing.T, args ...string) *Server {
	t.Helper()
	f, fs := parseFlags(t, args...)
	s, err := f.Resolve(fs)
	if err != nil {
		t.Fatalf("resolve %q: %v", args, err)
	}
	return s
}

func TestServerWithoutFlagsIsClusterOfOne(t *testing.T) {
	s := resolveFlags(t)
	if len(s.Members) != 1 || s.Members[0].ID != s.ID || s.Members[0].Address != "localhost:2380" || s.ClusterGiven {
		t.Fatalf("members %+v, own id %x", s.Members, s.ID)
	}
	if s.Heartbeat != 100*time.Millisecond || s.Election != time.Second {
		t.Fatalf("heartbeat %v, election %v", s.Heartbeat, s.Election)
	}
	if !filepath.IsAbs(s.DataDir) || filepath.Base(s.DataDir) != "default.troupe" {
		t.Fatalf("data dir %s", s.DataDir)
	}
	if s.QuotaBytes != defaults.QuotaBytes || len(s.Warnings) != 0 || s.AdvertiseClient[0] != "http://localhost:2379" {
		t.Fatalf("%+v", s)
	}
}

func TestPrecedenceOfFlagsAndVariables(t *testing.T) {
	for _, c := range []struct {
		args, env []string
		want      string
	}{
		{nil, nil, "default"},
		{nil, []string{"ETCD_NAME=e"}, "e"},
		{nil, []string{"ETCD_NAME=e", "TROUPE_NAME=t"}, "t"},
		{[]string{"--name=c"}, []string{"ETCD_NAME=e", "TROUPE_NAME=t"}, "c"},
		{[]string{"--name", "c"}, []string{"ETCD_NAME=e"}, "c"},
		{nil, []string{"ETCD_NAME=", "TROUPE_NAME="}, "default"}, // an empty variable counts as unset
	} {
		f, fs := parseFlags(t, c.args...)
		if _, err := FromEnvironment(fs, c.env); err != nil {
			t.Fatal(err)
		}
		if f.Name != c.want {
			t.Errorf("args %q, environment %q: name %q, want %q", c.args, c.env, f.Name, c.want)
		}
	}
}

func TestEveryFlagHasAnEtcdVariable(t *testing.T) {
	_, fs := parseFlags(t)
	fs.VisitAll(func(flag *pflag.Flag) {
		if isCommandLineOnly(flag.Name) {
			return
		}
		_, fresh := parseFlags(t)
		value := map[string]string{"bool": "true", "string": "x", "stringSlice": "x", "uint": "7", "uint32": "7", "uint64": "7", "int64": "7", "duration": "7s"}[flag.Value.Type()]
		unknown, err := FromEnvironment(fresh, []string{variableName("ETCD_", flag.Name) + "=" + value})
		if err != nil || len(unknown) != 0 || !fresh.Changed(flag.Name) {
			t.Errorf("--%s by its variable: changed %v, unknown %q, error %v", flag.Name, fresh.Changed(flag.Name), unknown, err)
		}
	})
}

// settingsOf returns the settings that warnings or the parts of an error are about.
func settingsOf(warnings []Error) string {
	var all []string
	for _, w := range warnings {
		all = append(all, w.Setting)
	}
	return strings.Join(all, " ")
}

func TestUnknownVariablesAreReported(t *testing.T) {
	_, fs := parseFlags(t)
	warnings, err := FromEnvironment(fs, []string{
		"ETCD_PORT_2379_TCP=x", "TROUPE_ENDPOINTS=x", "ETCDCTL_API=3", "TROUPE_NMAE=x", "PATH=/",
		"ETCD_VERSION=3.4.1", "TROUPE_VERSION=1.2", "ETCD_HELP=x", "TROUPE_AS_ETCD=x", // set by container images
	})
	if err != nil || settingsOf(warnings) != "ETCD_HELP ETCD_PORT_2379_TCP ETCD_VERSION TROUPE_AS_ETCD TROUPE_NMAE TROUPE_VERSION" {
		t.Fatalf("warnings %+v, error %v", warnings, err)
	}
}

func TestInvalidVariablesAreReportedTogether(t *testing.T) {
	_, fs := parseFlags(t)
	_, err := FromEnvironment(fs, []string{"ETCD_HEARTBEAT_INTERVAL=soon", "TROUPE_ELECTION_TIMEOUT=late", "ETCD_NAME=a"})
	var invalid *Error
	if !errors.As(err, &invalid) {
		t.Fatalf("%v", err)
	}
	for _, text := range []string{`ETCD_HEARTBEAT_INTERVAL: invalid value "soon"`, `TROUPE_ELECTION_TIMEOUT: invalid value "late"`} {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%q does not contain %q", err, text)
		}
	}
}

// A variable that is set and has no effect causes a warning: it is empty, or another source has
// precedence. etcd 3.7.3 warns of an empty one and begins a cluster of one, too.
func TestVariablesWithoutEffectWarn(t *testing.T) {
	for what, c := range map[string]struct {
		args, environment []string
		want              string // settings
		problem           string // of the first one
	}{
		"empty":                    {nil, []string{"ETCD_NAME=", "TROUPE_DATA_DIR="}, "ETCD_NAME TROUPE_DATA_DIR", "is empty, which counts as unset"},
		"empty members":            {nil, []string{"ETCD_INITIAL_CLUSTER="}, "ETCD_INITIAL_CLUSTER", "this member is a cluster of its own"},
		"empty members, and given": {nil, []string{"TROUPE_INITIAL_CLUSTER=", "ETCD_INITIAL_CLUSTER=a=http://x:1"}, "TROUPE_INITIAL_CLUSTER", "counts as unset"},
		"set by a flag":            {[]string{"--name=a"}, []string{"ETCD_NAME=b"}, "ETCD_NAME", "--name has precedence"},
		"set twice":                {nil, []string{"ETCD_NAME=b", "TROUPE_NAME=a"}, "ETCD_NAME", "TROUPE_NAME has precedence"},
		"set alike":                {[]string{"--name=a"}, []string{"ETCD_NAME=a", "TROUPE_NAME=a"}, "", ""},
	} {
		_, fs := parseFlags(t, c.args...)
		warnings, err := FromEnvironment(fs, c.environment)
		if err != nil || settingsOf(warnings) != c.want || c.want != "" && !strings.HasSuffix(warnings[0].Problem, c.problem) {
			t.Errorf("%s: %+v, %v", what, warnings, err)
		}
	}
}

func TestVariablesBesideAFileWarn(t *testing.T) {
	_, fs := parseFlags(t)
	warnings := BesideFile(fs, []string{
		"ETCD_NAME=a", "TROUPE_DATA_DIR=/x", "ETCD_LOG_LEVEL=", "ETCD_VERSION=3", "ETCD_CONFIG_FILE=/f.yml", "TROUPE_CONFIG_FILE=/other.yml",
		"TROUPE_ENDPOINTS=x", "HOME=/",
	}, "/f.yml")
	if len(warnings) != 2 || warnings[0].Setting != "ETCD_VERSION" || warnings[1].Setting != "ETCD_NAME, TROUPE_CONFIG_FILE, TROUPE_DATA_DIR" ||
		!strings.Contains(warnings[1].Problem, "/f.yml alone") {
		t.Errorf("%+v", warnings)
	}
	if warnings := BesideFile(fs, []string{"ETCD_CONFIG_FILE=/f.yml"}, "/f.yml"); len(warnings) != 0 {
		t.Errorf("the file's own variable: %+v", warnings)
	}
}

const threeMembers = "a=http://10.0.0.1:2380,b=http://10.0.0.2:2380,c=http://10.0.0.3:2380"

func TestMemberIDsDoNotDependOnOrder(t *testing.T) {
	a := resolveFlags(t, "--name=a", "--initial-cluster="+threeMembers)
	b := resolveFlags(t, "--name=b", "--initial-cluster=c=http://10.0.0.3:2380,a=http://10.0.0.1:2380/,b=HTTP://10.0.0.2:2380")
	for i := range a.Members {
		if a.Members[i].ID != b.Members[i].ID || a.Members[i].Name != b.Members[i].Name || a.Members[i].Address != b.Members[i].Address {
			t.Fatalf("member %d is %+v on a and %+v on b", i, a.Members[i], b.Members[i])
		}
	}
	if a.ID == b.ID {
		t.Fatal("a and b have the same id")
	}
	elsewhere := resolveFlags(t, "--name=a", "--initial-cluster="+threeMembers, "--initial-cluster-token=other")
	if elsewhere.ID == a.ID {
		t.Fatal("another token gives the same id")
	}
}

// The data directory stores the member's id, so another derivation would make existing directories
// unusable.
func TestMemberIDDerivationIsFixed(t *testing.T) {
	id := MemberID("etcd-cluster", []URL{{"http", "10.0.0.1:2380"}, {"http", "10.0.0.9:2380"}})
	if again := MemberID("etcd-cluster", []URL{{"http", "10.0.0.9:2380"}, {"http", "10.0.0.1:2380"}}); again != id {
		t.Fatalf("another order of URLs: %x, %x", id, again)
	}
	const want = uint64(0x32ff98567b8afbb3)
	if id != want {
		t.Fatalf("id %#x, want %#x", id, want)
	}
}

func TestOwnMemberIsFoundByNameInInitialCluster(t *testing.T) {
	s := resolveFlags(t, "--name=b", "--initial-cluster="+threeMembers, "--listen-peer-urls=http://0.0.0.0:2380")
	if !s.ClusterGiven || len(s.Members) != 3 || s.ID != MemberID("etcd-cluster", []URL{{"http", "10.0.0.2:2380"}}) {
		t.Fatalf("%+v", s)
	}
}

func TestInvalidSettingIsNamedInOneLine(t *testing.T) {
	for _, c := range []struct {
		args []string
		want []string // the setting, then the texts that the line must contain
	}{
		{[]string{"--name="}, []string{"--name", "empty"}},
		{[]string{"--name=a,b"}, []string{"--name", "comma"}},
		{[]string{"--initial-cluster-state=old"}, []string{"--initial-cluster-state", "neither new nor existing nor rejoin"}},
		{[]string{"--metrics=extensiv"}, []string{"--metrics", "basic or extensive"}},
		{[]string{"--peer-link=carrier-pigeon"}, []string{"--peer-link", "neither grpc nor remote"}},
		{[]string{"--listen-client-urls="}, []string{"--listen-client-urls", "missing"}},
		{[]string{"--listen-client-urls=localhost:2379"}, []string{"--listen-client-urls", "no scheme", "http://host:port"}},
		{[]string{"--listen-client-urls=ftp://localhost:2379"}, []string{"--listen-client-urls", "ftp"}},
		{[]string{"--listen-client-urls=http://localhost"}, []string{"--listen-client-urls", "no port"}},
		{[]string{"--listen-client-urls=http://localhost:99999"}, []string{"--listen-client-urls", "99999"}},
		{[]string{"--listen-client-urls=http://localhost:2379/v3"}, []string{"--listen-client-urls", "more than scheme, host and port"}},
		{[]string{"--listen-client-urls=http://localhost:1,https://localhost:2"}, []string{"--listen-client-urls", "mixes"}},
		{[]string{"--listen-client-urls=unix://"}, []string{"--listen-client-urls", "no socket"}},
		{[]string{"--listen-client-urls=http://0.0.0.0:2379"}, []string{"--advertise-client-urls", "not set", "0.0.0.0"}},
		{[]string{"--listen-peer-urls=http://0.0.0.0:2380"}, []string{"--initial-advertise-peer-urls", "not set", "0.0.0.0"}},
		{[]string{"--listen-peer-urls=unix://x"}, []string{"--listen-peer-urls", "unix"}},
		{[]string{"--listen-peer-urls=http://a:1,https://b:2"}, []string{"--listen-peer-urls", "mixes"}},
		{[]string{"--initial-cluster=a"}, []string{"--initial-cluster", "names no URL"}},
		{[]string{"--initial-cluster=a="}, []string{"--initial-cluster", "has no URL"}},
		{[]string{"--initial-cluster==http://x:1"}, []string{"--initial-cluster", "names no member"}},
		{[]string{"--initial-cluster="}, []string{"--initial-cluster", "names no member", "shell variable"}},
		{[]string{"--initial-cluster=,"}, []string{"--initial-cluster", "names no member"}},
		{[]string{"--initial-cluster=a=x:1"}, []string{"--initial-cluster", "no scheme"}},
		{[]string{"--initial-cluster=a=http://0.0.0.0:1"}, []string{"--initial-cluster", "no other member can reach"}},
		{[]string{"--initial-cluster=a=http://x:1,b=http://x:1"}, []string{"--initial-cluster", "same URL"}},
		{[]string{"--initial-cluster=a=http://x:1,a=http://x:1"}, []string{"--initial-cluster", "http://x:1 twice"}},
		{[]string{"--name=d", "--initial-cluster=" + threeMembers}, []string{"--initial-cluster", `no member "d"`, "a, b, c"}},
		{[]string{"--name=a", "--initial-cluster=" + threeMembers, "--initial-advertise-peer-urls=http://10.0.0.7:2380"}, []string{"--initial-cluster", "10.0.0.7", "the same"}},
		{[]string{"--name=a", "--initial-cluster=a=https://x:2380"}, []string{"--listen-peer-urls", "https"}},
		{[]string{"--heartbeat-interval=0"}, []string{"--heartbeat-interval", "0"}},
		{[]string{"--election-timeout=400"}, []string{"--election-timeout", "5 heartbeats", "at least 500"}},
		{[]string{"--election-timeout=60000"}, []string{"--election-timeout", "too long"}},
		{[]string{"--max-request-bytes=0"}, []string{"--max-request-bytes", "between 1"}},
		{[]string{"--max-request-bytes=536870913"}, []string{"--max-request-bytes", "536870913", "536870912", "members can carry"}},
		{[]string{"--disk-low-water-bytes=1000"}, []string{"--disk-low-water-bytes", "at least 16 MiB"}},
		{[]string{"--max-txn-ops=0"}, []string{"--max-txn-ops", "between 1"}},
		{[]string{"--max-connections=0"}, []string{"--max-connections", "between 1"}},
		{[]string{"--max-response-bytes=1000"}, []string{"--max-response-bytes", "at least 1 MiB"}},
		{[]string{"--max-answer-bytes=1000"}, []string{"--max-answer-bytes", "at least 1 MiB"}},
		{[]string{"--max-answer-bytes=2097152", "--max-response-bytes=1000"}, []string{"--max-response-bytes", "at least 1 MiB"}},
		{[]string{"--max-concurrent-streams=0"}, []string{"--max-concurrent-streams"}},
		{[]string{"--grpc-keepalive-timeout=-1s"}, []string{"--grpc-keepalive-*", "negative"}},
		{[]string{"--cert-file=x"}, []string{"--key-file", "missing"}},
		{[]string{"--peer-key-file=x"}, []string{"--peer-cert-file", "missing"}},
		{[]string{"--peer-client-cert-file=x"}, []string{"--peer-client-key-file", "missing"}},
		{[]string{"--peer-client-key-file=x"}, []string{"--peer-client-cert-file", "missing"}},
		{[]string{"--peer-client-cert-file=x", "--peer-client-key-file=x"}, []string{"--peer-client-cert-file", "needs --peer-cert-file"}},
		{[]string{"--client-cert-auth"}, []string{"--client-cert-auth", "--trusted-ca-file"}},
		{[]string{"--peer-client-cert-auth"}, []string{"--peer-client-cert-auth", "--peer-trusted-ca-file"}},
		{[]string{"--listen-client-urls=https://localhost:2379"}, []string{"--listen-client-urls", "no certificate", "--cert-file"}},
		{[]string{"--listen-peer-urls=https://localhost:2380"}, []string{"--listen-peer-urls", "no certificate", "--peer-auto-tls"}},
		{[]string{"--tls-min-version=TLS1.0"}, []string{"--tls-min-version", "TLS1.2 or TLS1.3"}},
		{[]string{"--tls-max-version=SSL"}, []string{"--tls-max-version"}},
		{[]string{"--tls-min-version=TLS1.3", "--tls-max-version=TLS1.2"}, []string{"--tls-max-version", "below"}},
		{[]string{"--cipher-suites=ROT13"}, []string{"--cipher-suites", "unknown or unsafe"}},
		{[]string{"--cipher-suites=TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "--tls-min-version=TLS1.3"}, []string{"--cipher-suites", "TLS 1.3"}},
		{[]string{"--wal-dir=/x"}, []string{"--wal-dir", "not supported", "DATA-DIR/log"}},
		{[]string{"--unsafe-no-fsync"}, []string{"--unsafe-no-fsync", "not supported"}},
		{[]string{"--client-crl-file=x"}, []string{"--client-crl-file", "not supported"}},
	} {
		f, fs := parseFlags(t, c.args...)
		_, err := f.Resolve(fs)
		var invalid *Error
		if !errors.As(err, &invalid) {
			t.Errorf("%q: error %v, want an *Error", c.args, err)
			continue
		}
		line := err.Error()
		if invalid.Setting != c.want[0] || strings.Contains(line, "\n") {
			t.Errorf("%q: %q, want it to name %s in one line", c.args, line, c.want[0])
		}
		for _, text := range c.want[1:] {
			if !strings.Contains(line, text) {
				t.Errorf("%q: %q does not contain %q", c.args, line, text)
			}
		}
	}
}

func TestEtcdFlagWithoutEffectWarnsUnlessDefault(t *testing.T) {
	s := resolveFlags(t, "--snapshot-count=10000", "--strict-reconfig-check=true", "--pre-vote", "--logger=zap", "--metrics=basic")
	if len(s.Warnings) != 0 {
		t.Fatalf("warnings about defaults: %+v", s.Warnings)
	}
	s = resolveFlags(t, "--auto-compaction-retention=1h", "--pre-vote=false")
	if len(s.Warnings) != 2 || !strings.Contains(s.Warnings[1].Error(), "--auto-compaction-retention=1h: has no effect") {
		t.Fatalf("%+v", s.Warnings)
	}
}

func TestDeprecatedFlagStillWorks(t *testing.T) {
	const older, newer = "--max-answer-bytes=2097152", "--max-response-bytes=3145728"
	for _, c := range []struct {
		args, environment []string
		want              int64
	}{
		{nil, nil, defaults.MaxResponseBytes},
		{[]string{older}, nil, 2 << 20},
		{nil, []string{"TROUPE_MAX_ANSWER_BYTES=2097152"}, 2 << 20},
		{[]string{older, newer}, nil, 3 << 20},
		{[]string{newer, older}, nil, 3 << 20},
		{[]string{newer}, []string{"ETCD_MAX_ANSWER_BYTES=2097152"}, 3 << 20},
		{[]string{older}, []string{"TROUPE_MAX_RESPONSE_BYTES=3145728"}, 2 << 20},
		{[]string{older}, []string{"ETCD_MAX_RESPONSE_BYTES=3145728"}, 2 << 20},
		{nil, []string{"ETCD_MAX_RESPONSE_BYTES=3145728", "TROUPE_MAX_ANSWER_BYTES=2097152"}, 2 << 20},
		{nil, []string{"TROUPE_MAX_RESPONSE_BYTES=3145728", "ETCD_MAX_ANSWER_BYTES=2097152"}, 3 << 20},
		{nil, []string{"ETCD_MAX_RESPONSE_BYTES=3145728", "ETCD_MAX_ANSWER_BYTES=2097152"}, 3 << 20},
		{nil, []string{"TROUPE_MAX_RESPONSE_BYTES=3145728", "TROUPE_MAX_ANSWER_BYTES=2097152"}, 3 << 20},
	} {
		f, fs := parseFlags(t, c.args...)
		if _, err := FromEnvironment(fs, c.environment); err != nil {
			t.Fatal(err)
		}
		s, err := f.Resolve(fs)
		if err != nil || s.MaxResponseBytes != c.want {
			t.Errorf("%q %q: %d bytes, want %d (%v)", c.args, c.environment, s.MaxResponseBytes, c.want, err)
			continue
		}
		deprecated := fs.Changed("max-answer-bytes")
		if warned := len(s.Warnings) == 1 && s.Warnings[0].Advice == "use --max-response-bytes"; warned != deprecated {
			t.Errorf("%q %q: warnings %+v", c.args, c.environment, s.Warnings)
		}
	}
	if _, fs := parseFlags(t); !fs.Lookup("max-answer-bytes").Hidden {
		t.Error("the help shows the deprecated flag")
	}
}

func TestRepeatedURLAndCommaAreAccepted(t *testing.T) {
	s := resolveFlags(t, "--name=a", "--initial-cluster=,a=http://x:1,", "--listen-peer-urls=http://x:1,http://x:1/",
		"--listen-client-urls=http://x:2,http://X:2", "--listen-metrics-urls=http://x:3,http://x:3")
	if len(s.Members) != 1 || len(s.ListenPeer) != 1 || len(s.ListenClient) != 1 || len(s.ListenMetrics) != 1 || len(s.AdvertiseClient) != 1 {
		t.Errorf("%+v", s)
	}
}

func TestEmptyFlagWarns(t *testing.T) {
	s := resolveFlags(t, "--data-dir=", "--trusted-ca-file=", "--wal-dir=")
	if len(s.Warnings) != 2 || s.Warnings[0].Setting != "--data-dir" || s.Warnings[1].Setting != "--trusted-ca-file" {
		t.Errorf("%+v", s.Warnings)
	}
}

// As in etcd an empty token is a token of its own, wherever it is set.
func TestEmptyTokenIsAToken(t *testing.T) {
	byDefault, empty := resolveFlags(t), resolveFlags(t, "--initial-cluster-token=")
	if empty.Token != "" || empty.ID == byDefault.ID || len(empty.Warnings) != 1 || !strings.Contains(empty.Warnings[0].Problem, "another token") {
		t.Errorf("%+v", empty)
	}
	f, fs := parseFlags(t)
	if _, err := FromFile(fs, writeFile(t, "initial-cluster-token: ''\n")); err != nil {
		t.Fatal(err)
	}
	if s, err := f.Resolve(fs); err != nil || s.ID != empty.ID {
		t.Errorf("in a file: %+v, %v", s, err)
	}
}

func TestPlainTextBetweenMachinesWarns(t *testing.T) {
	s := resolveFlags(t, "--listen-peer-urls=http://127.0.0.1:1,http://10.0.0.1:1", "--initial-advertise-peer-urls=http://10.0.0.1:1")
	if len(s.Warnings) != 1 || !strings.Contains(s.Warnings[0].Problem, "plain text to http://10.0.0.1:1") {
		t.Fatalf("%+v", s.Warnings)
	}
}

func TestUnusedCertificateWarns(t *testing.T) {
	s := resolveFlags(t, "--cert-file=c", "--key-file=k")
	if s.ClientTLS.Enabled || len(s.Warnings) != 1 || !strings.Contains(s.Warnings[0].Problem, "nothing is encrypted") {
		t.Fatalf("%+v", s)
	}
}

func TestCAFileAloneRequiresClientCertificate(t *testing.T) {
	s := resolveFlags(t, "--listen-client-urls=https://localhost:2379", "--cert-file=c", "--key-file=k", "--trusted-ca-file=ca")
	if !s.ClientTLS.Enabled || !s.ClientTLS.RequireClientCert {
		t.Fatalf("%+v", s.ClientTLS)
	}
}

func TestMetricsAreBasicOrExtensive(t *testing.T) {
	if resolveFlags(t).ExtensiveMetrics || resolveFlags(t, "--metrics=basic").ExtensiveMetrics {
		t.Error("basic metrics are extensive")
	}
	if !resolveFlags(t, "--metrics=extensive").ExtensiveMetrics {
		t.Error("--metrics=extensive has no effect")
	}
}
