package settings

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func writeFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "troupe.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestEtcdConfigurationFile(t *testing.T) {
	path := writeFile(t, `
name: 'b'
data-dir: /var/lib/b
wal-dir:
heartbeat-interval: 50
initial-cluster: a=https://10.0.0.1:2380,b=https://10.0.0.2:2380
listen-client-urls: https://localhost:2379
listen-peer-urls: https://10.0.0.2:2380
log-outputs: [stderr, /tmp/x]
client-transport-security:
  cert-file: c
  key-file: k
  client-cert-auth: true
  trusted-ca-file: ca
peer-transport-security:
  cert-file: pc
  key-file: pk
`)
	f, fs := parseFlags(t)
	if warnings, err := FromFile(fs, path); err != nil || len(warnings) != 0 {
		t.Fatalf("%v, %v", warnings, err)
	}
	s, err := f.Resolve(fs)
	if err != nil {
		t.Fatal(err)
	}
	if s.Name != "b" || s.Heartbeat != 50*time.Millisecond || len(s.Members) != 2 || s.ClientTLS.CAFile != "ca" ||
		s.PeerTLS.CertFile != "pc" || strings.Join(f.LogOutputs, " ") != "stderr /tmp/x" {
		t.Fatalf("%+v %+v", s, f)
	}
}

func TestInvalidFileErrorNamesTheLine(t *testing.T) {
	for text, want := range map[string]string{
		"nmae: x":                           ":1: nmae: unknown setting",
		"name: a\nheartbeat-interval: soon": ":2: heartbeat-interval: invalid value \"soon\"",
		"name: {a: b}":                      "not a plain value",
		"- a":                               "not a map of settings",
		"a: b: c":                           "mapping values",
		"proxy: 'on'":                       ":1: proxy: \"on\" is not supported",
	} {
		_, fs := parseFlags(t)
		_, err := FromFile(fs, writeFile(t, text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	_, fs := parseFlags(t, "--name=x", "--data-dir=y")
	if _, err := FromFile(fs, writeFile(t, "")); !UnusableFile(err) || !strings.Contains(err.Error(), "--data-dir, --name are set too") {
		t.Errorf("a file and two flags: %v", err)
	}
	_, fs = parseFlags(t, "--name=x")
	if _, err := FromFile(fs, writeFile(t, "")); err == nil || !strings.Contains(err.Error(), "--name is set too") {
		t.Errorf("a file and flags: %v", err)
	}
	_, fs = parseFlags(t)
	if _, err := FromFile(fs, "/no/such/file"); err == nil || !strings.Contains(err.Error(), "/no/such/file") {
		t.Errorf("missing file: %v", err)
	}
}

// etcdSample has the keys and the values of etcd.conf.yml.sample, which etcd publishes.
const etcdSample = `
name: 'default'
data-dir:
wal-dir:
snapshot-count: 10000
heartbeat-interval: 100
election-timeout: 1000
quota-backend-bytes: 0
listen-peer-urls: http://localhost:2380
listen-client-urls: http://localhost:2379
max-snapshots: 5
max-wals: 5
cors:
initial-advertise-peer-urls: http://localhost:2380
advertise-client-urls: http://localhost:2379
discovery:
discovery-fallback: 'proxy'
discovery-proxy:
discovery-srv:
initial-cluster:
initial-cluster-token: 'etcd-cluster'
initial-cluster-state: 'new'
strict-reconfig-check: false
enable-pprof: true
proxy: 'off'
proxy-failure-wait: 5000
proxy-refresh-interval: 30000
proxy-dial-timeout: 1000
proxy-write-timeout: 5000
proxy-read-timeout: 0
client-transport-security:
  cert-file:
  key-file:
  client-cert-auth: false
  trusted-ca-file:
  auto-tls: false
peer-transport-security:
  cert-file:
  key-file:
  client-cert-auth: false
  trusted-ca-file:
  auto-tls: false
  allowed-cn:
  allowed-hostname:
self-signed-cert-validity: 1
log-level: debug
logger: zap
log-outputs: [stderr]
force-new-cluster: false
auto-compaction-mode: periodic
auto-compaction-retention: "1"
cipher-suites: [
  TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
  TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384
]
tls-min-version: 'TLS1.2'
tls-max-version: 'TLS1.3'
`

func TestEtcdSampleFileIsAccepted(t *testing.T) {
	f, fs := parseFlags(t)
	warnings, err := FromFile(fs, writeFile(t, etcdSample))
	if err != nil {
		t.Fatal(err)
	}
	s, err := f.Resolve(fs)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Members) != 1 || s.ClusterGiven || !s.Pprof || f.LogLevel != "debug" {
		t.Errorf("%+v", s)
	}
	var warned []string
	for _, w := range append(warnings, s.Warnings...) {
		setting := w.Setting[strings.LastIndex(w.Setting, ": ")+1:]
		warned = append(warned, strings.TrimLeft(setting, " -"))
	}
	want := "discovery-fallback initial-cluster proxy-failure-wait proxy-refresh-interval proxy-dial-timeout proxy-write-timeout " +
		"proxy-read-timeout strict-reconfig-check=false auto-compaction-retention=1"
	if got := strings.Join(warned, " "); got != want {
		t.Errorf("warnings about %s, want %s", got, want)
	}
}

// A list of members that was left empty must not begin a cluster of one without a word.
func TestFileWithoutMembersWarns(t *testing.T) {
	for text, want := range map[string]string{
		"":                                  "--config-file: ",
		"# initial-cluster: a=http://x:1\n": "--config-file: ",
		"name: a\ninitial-cluster:\n":       ":2: initial-cluster: ",
		"initial-cluster: null\n":           ":1: initial-cluster: ",
		"data-dir:\n":                       "",
		"name: a\n":                         "", // as on the command line
	} {
		f, fs := parseFlags(t)
		warnings, err := FromFile(fs, writeFile(t, text))
		if err != nil {
			t.Fatal(err)
		}
		if s, err := f.Resolve(fs); err != nil || s.ClusterGiven {
			t.Errorf("%q: %+v, %v", text, s, err)
		}
		if want == "" {
			if len(warnings) != 0 {
				t.Errorf("%q: %v", text, warnings)
			}
			continue
		}
		if len(warnings) != 1 || !strings.Contains(warnings[0].Error(), want) || !strings.Contains(warnings[0].Error(), "a cluster of its own") {
			t.Errorf("%q: %v, want a warning about %q", text, warnings, want)
		}
	}
}

func TestFileErrorsAreReportedTogether(t *testing.T) {
	_, fs := parseFlags(t)
	_, err := FromFile(fs, writeFile(t, "nmae: x\nheartbeat-interval: soon\nclient-transport-security:\n  cert: x\n"))
	for _, text := range []string{":1: nmae: unknown setting", ":2: heartbeat-interval: invalid value", ":4: cert: unknown setting"} {
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%v does not contain %q", err, text)
		}
	}
	f, fs := parseFlags(t)
	if _, err := FromFile(fs, writeFile(t, "discovery: x\nwal-dir: y\nelection-timeout: 1\ninitial-cluster: ''\nmax-txn-ops: 0\n")); err != nil {
		t.Fatal(err)
	}
	_, err = f.Resolve(fs)
	for _, setting := range []string{"--discovery", "--wal-dir", "--election-timeout", "--initial-cluster", "--max-txn-ops"} {
		if err == nil || !strings.Contains(err.Error(), setting+": ") {
			t.Errorf("%v does not name %s", err, setting)
		}
	}
	var first *Error
	if !errors.As(err, &first) {
		t.Errorf("%v is no *Error", err)
	}
}

func TestFileDurationsAreNanoseconds(t *testing.T) {
	f, fs := parseFlags(t)
	text := "grpc-keepalive-min-time: 7000000000\nwatch-progress-notify-interval: 2m\nexperimental-warning-apply-duration: 5\n"
	warnings, err := FromFile(fs, writeFile(t, text))
	if err != nil || len(warnings) != 1 {
		t.Fatalf("%v, %v", warnings, err)
	}
	if f.KeepaliveMinTime != 7*time.Second || f.WatchProgress != 2*time.Minute {
		t.Errorf("%v, %v", f.KeepaliveMinTime, f.WatchProgress)
	}
}

func TestEtcdSectionsOfFileSetFlags(t *testing.T) {
	f, fs := parseFlags(t)
	text := "socket-options:\n  reuse-port: true\npeer-transport-security:\n  allowed-cn: x\n  auto-tls: true\n"
	if _, err := FromFile(fs, writeFile(t, text)); err != nil {
		t.Fatal(err)
	}
	if !f.PeerAutoTLS || !fs.Changed("socket-reuse-port") || !fs.Changed("peer-cert-allowed-cn") {
		t.Errorf("%+v", f)
	}
}
