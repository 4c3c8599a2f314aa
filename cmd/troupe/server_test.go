package main

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/troupe-raft/troupe/cmd/troupe/internal/exit"
	"github.com/troupe-raft/troupe/tests/freeport"
)

func TestServerKeepsDataOverRestartAndKill(t *testing.T) {
	t.Parallel()
	s := newSingleMember(t)
	p := s.start()
	if got := s.client("put", "greeting", "hello"); got != "OK\n" {
		t.Fatalf("put: %q", got)
	}
	if got := s.clientWith("from standard input", "put", "piped"); got != "OK\n" {
		t.Fatalf("put: %q", got)
	}
	if got := s.client("put", "--prev-kv", "greeting", "good morning"); got != "OK\ngreeting\nhello\n" {
		t.Fatalf("put --prev-kv: %q", got)
	}
	for _, mode := range readModes {
		if got := s.client("get", "--read", mode, "greeting"); got != "greeting\ngood morning\n" {
			t.Errorf("get --read %s: %q", mode, got)
		}
	}
	for _, c := range []struct{ args, want string }{
		{"get --prefix g", "greeting\ngood morning\n"},
		{"get --print-value-only piped", "from standard input\n"},
		{"get --prefix --keys-only --sort-by modify --order descend p", "piped\n"},
		{"get --from-key --keys-only a", "greeting\npiped\n"},
		{"get --keys-only --limit 1 a z", "greeting\n"},
		{"get --from-key --count-only a", "2\n"},
		{"get nothing", ""},
		{"del --prev-kv piped", "1\npiped\nfrom standard input\n"},
		{"del piped", "0\n"},
	} {
		if got := s.client(strings.Fields(c.args)...); got != c.want {
			t.Errorf("%s: %q, want %q", c.args, got, c.want)
		}
	}
	revision := oldRevision(t, s)
	if got := s.client("get", "--rev", revision, "greeting"); got != "greeting\nhello\n" {
		t.Errorf("get --rev %s: %q", revision, got)
	}
	var members []memberJSON
	if err := json.Unmarshal([]byte(s.client("status", "-o", "json")), &members); err != nil || len(members) != 1 ||
		members[0].Name != "one" || members[0].Role != "leader" || members[0].Endpoint != "http://"+s.endpoint {
		t.Errorf("status: %+v, %v", members, err)
	}

	p.signal(syscall.SIGTERM)
	if code, _ := p.wait(); code != 0 || strings.Contains(p.output(), `"level":"error"`) {
		t.Fatalf("code %d after SIGTERM", code)
	}
	p = s.start()
	if got := s.client("get", "greeting"); got != "greeting\ngood morning\n" {
		t.Fatalf("after a restart: %q", got)
	}
	p.signal(syscall.SIGKILL)
	p.wait()
	s.start()
	if got := s.client("get", "greeting"); got != "greeting\ngood morning\n" {
		t.Fatalf("after kill -9: %q", got)
	}
}

// oldRevision returns the revision at which the key greeting was created.
func oldRevision(t *testing.T, s *singleMember) string {
	t.Helper()
	var response struct {
		Kvs []struct {
			CreateRevision string `json:"create_revision"`
			Key            []byte
		}
	}
	if err := json.Unmarshal([]byte(s.client("get", "-w", "json", "greeting")), &response); err != nil || len(response.Kvs) != 1 || string(response.Kvs[0].Key) != "greeting" {
		t.Fatalf("%+v, %v", response, err)
	}
	return response.Kvs[0].CreateRevision
}

func TestWatchPrintsPastAndNewEvents(t *testing.T) {
	t.Parallel()
	s := newSingleMember(t)
	s.start()
	s.client("put", "k", "before")
	w := startProcess(t, "troupe", []string{"TROUPE_ENDPOINTS=" + s.endpoint}, "watch", "--rev=1", "--prev-kv", "k")
	w.waitFor("before")
	s.client("put", "k", "after")
	w.waitFor("after")
	s.client("del", "k")
	w.waitFor("DELETE")
	w.waitFor("after")
	w.signal(os.Interrupt)
	if code, _ := w.wait(); code != 0 {
		t.Fatalf("code %d after SIGINT", code)
	}
}

func TestExitCodesAndLastLines(t *testing.T) {
	t.Parallel()
	used := newSingleMember(t)
	p := used.start()
	used.client("put", "kept", "safe")
	dataDir := "--data-dir=" + used.dataDir

	t.Run("a port in use", func(t *testing.T) {
		s := newSingleMember(t)
		mustExit(t, s.launch("--listen-client-urls=http://"+used.endpoint), exit.Address, used.endpoint, "address already in use", "--listen-client-urls")
		if _, err := os.Stat(s.dataDir); err == nil {
			t.Error("a data directory was created")
		}
	})
	t.Run("a port of its own", func(t *testing.T) {
		s := newSingleMember(t)
		mustExit(t, s.launch("--listen-metrics-urls=http://localhost"+s.endpoint[strings.LastIndex(s.endpoint, ":"):]),
			exit.Address, "--listen-metrics-urls", "this server listens there already", "--listen-client-urls")
	})
	t.Run("a data directory in use", func(t *testing.T) {
		mustExit(t, newSingleMember(t).launch(dataDir), exit.DataDir, used.dataDir, "stop the other")
	})
	t.Run("the log of a running server", func(t *testing.T) {
		for _, command := range []string{"verify", "dump"} {
			got := runTroupe(t, "log", command, dataDir)
			if got.code != exit.DataDir || !strings.Contains(got.errs, "--even-if-running") || strings.Contains(got.errs, "other node") {
				t.Errorf("%s: %+v", command, got)
			}
			if got := runTroupe(t, "log", command, dataDir, "--even-if-running"); got.code != exit.OK {
				t.Errorf("%s beside a server: %+v", command, got)
			}
		}
	})
	p.signal(syscall.SIGTERM)
	p.wait()
	t.Run("the data directory of another member", func(t *testing.T) {
		mustExit(t, newSingleMember(t).launch(dataDir, "--name=two"), exit.DataDir, used.dataDir, `member "one"`, `member "two"`)
	})
	t.Run("the data directory of another cluster", func(t *testing.T) {
		mustExit(t, used.launch("--initial-cluster-token=other"), exit.DataDir, used.dataDir, `member "one" of another cluster`)
	})
	t.Run("a member with another peer URL", func(t *testing.T) {
		moved := "http://127.0.0.1:1"
		mustExit(t, used.launch("--initial-advertise-peer-urls="+moved, "--initial-cluster=one="+moved), exit.DataDir,
			"--initial-cluster", used.dataDir, "peer URLs", moved, `member 0x`, `"one"`)
	})
	t.Run("an existing cluster without a data directory", func(t *testing.T) {
		mustExit(t, newSingleMember(t).launch("--initial-cluster-state=existing"), exit.DataDir, "--initial-cluster-state=existing", "holds no member")
	})
	t.Run("the data directory of etcd", func(t *testing.T) {
		dir := t.TempDir()
		mustMakeDirs(t, filepath.Join(dir, "member", "snap"), filepath.Join(dir, "member", "wal"))
		mustExit(t, newSingleMember(t).launch("--data-dir="+dir), exit.DataDir, dir+" holds data of etcd", "make-mirror")
		mustExit(t, newSingleMember(t).launch("--data-dir="+dir+"/member"), exit.DataDir, dir+"/member holds data of etcd")
		if names, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(names) != 1 {
			t.Errorf("%q, %v", names, err)
		}
	})
	t.Run("the default data directory of etcd", func(t *testing.T) {
		dir := t.TempDir()
		mustMakeDirs(t, filepath.Join(dir, "one.etcd", "member", "wal"))
		s := newSingleMember(t)
		binary, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		withoutDataDir := append([]string{"server"}, slices.DeleteFunc(s.flags, func(f string) bool { return strings.HasPrefix(f, "--data-dir") })...)
		cmd := exec.Command(binary, withoutDataDir...)
		cmd.Dir = dir
		mustExit(t, startCommand(t, cmd, "troupe", nil), exit.DataDir, "--data-dir is not set", "one.etcd holds data of etcd")
	})
	t.Run("a file instead of a data directory", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		mustExit(t, newSingleMember(t).launch("--data-dir="+path), exit.DataDir, path)
	})
	t.Run("an invalid certificate", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "cert.pem")
		if err := os.WriteFile(path, []byte("noise"), 0o600); err != nil {
			t.Fatal(err)
		}
		s := newSingleMember(t)
		mustExit(t, s.launch("--listen-client-urls=https://"+s.endpoint, "--cert-file="+path, "--key-file="+path), exit.Certificate, path, "holds no certificate")
	})
	t.Run("the data is intact after all of these", func(t *testing.T) {
		p := used.start("--initial-cluster-state=existing")
		if got := used.client("get", "kept"); got != "kept\nsafe\n" {
			t.Fatalf("%q", got)
		}
		_ = p.stdin.Close() // without --stop-with-stdin this has no effect
		p.signal(syscall.SIGTERM)
		if code, _ := p.wait(); code != 0 {
			t.Fatalf("code %d", code)
		}
	})
}

func mustMakeDirs(t *testing.T, dirs ...string) {
	t.Helper()
	for _, dir := range dirs {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
}

// mustExit waits until the process ends with the code. Its last line must contain all texts and be
// the only one that begins with "troupe: ".
func mustExit(t *testing.T, p *process, code exit.Code, texts ...string) {
	t.Helper()
	got, last := p.wait()
	if exit.Code(got) != code || !strings.HasPrefix(last, "troupe: ") || strings.Count(p.output(), "troupe: ") != 1 {
		t.Errorf("code %d, want %d; last line %q of\n%s", got, code, last, p.output())
	}
	for _, text := range texts {
		if !strings.Contains(last, text) {
			t.Errorf("%q does not contain %q", last, text)
		}
	}
}

func TestSecondSignalEndsServerAtOnce(t *testing.T) {
	t.Parallel()
	p := newSingleMember(t).start()
	// Both signals are pending when the process continues.
	p.signal(syscall.SIGSTOP)
	p.signal(syscall.SIGTERM)
	p.signal(syscall.SIGINT)
	p.signal(syscall.SIGCONT)
	if code, _ := p.wait(); exit.Code(code) != exit.Forced {
		t.Fatalf("code %d", code)
	}
}

func TestServerStopsWithStandardInput(t *testing.T) {
	t.Parallel()
	p := newSingleMember(t).start("--stop-with-stdin")
	_ = p.stdin.Close()
	if code, _ := p.wait(); code != 0 {
		t.Fatalf("code %d", code)
	}
}

func TestEtcdBinaryReadsEtcdVariables(t *testing.T) {
	t.Parallel()
	s := newSingleMember(t)
	var environment, rest []string
	for _, flag := range s.flags {
		name, value, _ := strings.Cut(strings.TrimPrefix(flag, "--"), "=")
		environment = append(environment, "ETCD_"+strings.ToUpper(strings.ReplaceAll(name, "-", "_"))+"="+value)
	}
	p := startProcess(t, "etcd", append(environment, "ETCD_SNAPSHOT_COUNT=5", "ETCD_NO_SUCH_THING=1", "ETCD_VERSION=3.4.1", "TROUPE_VERSION=1"), rest...)
	p.waitFor(`"setting":"--snapshot-count=5","problem":"has no effect: the log is not compacted`)
	p.waitFor("ETCD_NO_SUCH_THING")
	p.waitFor("ETCD_VERSION")
	p.waitFor("TROUPE_VERSION")
	p.waitFor("ready to serve client requests")
	if got := s.client("put", "k", "v"); got != "OK\n" {
		t.Fatal(got)
	}
}

func TestTLSUnixSocketAndMetricsListeners(t *testing.T) {
	t.Parallel()
	s := newSingleMember(t)
	metrics := fmt.Sprintf("127.0.0.1:%d", freeport.Take(t, 1)[0])
	s.start("--listen-client-urls=https://"+s.endpoint, "--auto-tls", "--listen-metrics-urls=http://"+metrics)
	if got := runCommand(t, "", "troupe", "put", "--endpoints=https://"+s.endpoint, "--timeout=5s", "k", "v"); got.code == 0 || !strings.Contains(got.errs, "certificate") {
		t.Errorf("a self-signed certificate was accepted: %+v", got)
	}
	if got := s.client("put", "--insecure-skip-tls-verify", "k", "v"); got != "OK\n" {
		t.Error(got)
	}
	response, err := http.Get("http://" + metrics + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if text, _ := io.ReadAll(response.Body); !strings.Contains(string(text), "etcd_server_has_leader 1") {
		t.Errorf("metrics:\n%.500s", text)
	}

	u := newSingleMember(t)
	socket := filepath.Join(t.TempDir(), "s")
	stale, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	stale.(*net.UnixListener).SetUnlinkOnClose(false) // as a killed process leaves its socket
	_ = stale.Close()
	u.start("--listen-client-urls=unix://" + socket)
	u.endpoint = "unix://" + socket
	if got := u.client("put", "k", "v"); got != "OK\n" {
		t.Error(got)
	}
}

func TestTLSOnMetricsDoesNotAffectClientPort(t *testing.T) {
	t.Parallel()
	s := newSingleMember(t)
	metrics := fmt.Sprintf("127.0.0.1:%d", freeport.Take(t, 1)[0])
	s.start("--auto-tls", "--listen-metrics-urls=https://"+metrics)
	if got := s.client("put", "k", "v"); got != "OK\n" {
		t.Error(got)
	}
	unverified := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	response, err := unverified.Get("https://" + metrics + "/health")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Errorf("/health: %s", response.Status)
	}
}

func TestLogDumpAndVerify(t *testing.T) {
	t.Parallel()
	s := newSingleMember(t)
	p := s.start()
	s.client("put", "greeting", "hello")
	p.signal(syscall.SIGTERM)
	p.wait()
	verify := runTroupe(t, "log", "verify", "--data-dir="+s.dataDir)
	if verify.code != exit.OK || !strings.Contains(verify.out, "the log is intact") {
		t.Fatalf("%+v", verify)
	}
	dump := runTroupe(t, "log", "dump", "--data-dir="+s.dataDir)
	for _, text := range []string{"configuration", "one=127.0.0.1:", `put "greeting" (5 bytes)`, "registerSession"} {
		if dump.code != exit.OK || !strings.Contains(dump.out, text) {
			t.Errorf("dump does not contain %q:\n%s%s", text, dump.out, dump.errs)
		}
	}
	for _, line := range strings.Split(strings.TrimSpace(runTroupe(t, "log", "dump", "-o", "json", "--from=1", "--data-dir="+s.dataDir).out), "\n") {
		var frame struct{ Entries []struct{ Index uint64 } }
		if err := json.Unmarshal([]byte(line), &frame); err != nil || len(frame.Entries) == 0 {
			t.Errorf("%q: %v", line, err)
		}
	}

	flipBit(t, s.dataDir, "hello")
	bad := runTroupe(t, "log", "verify", "--data-dir="+s.dataDir)
	if bad.code != exit.DataDir || !strings.Contains(bad.errs, filepath.Join(s.dataDir, "log")) || !strings.Contains(bad.errs, "at offset") {
		t.Errorf("after a flipped bit: %+v", bad)
	}
	empty := runTroupe(t, "log", "verify", "--data-dir="+t.TempDir())
	if empty.code != exit.DataDir || !strings.Contains(empty.errs, "holds no data of a server") {
		t.Errorf("an empty directory: %+v", empty)
	}
}

// flipBit changes one bit of the first occurrence of text in the log.
func flipBit(t *testing.T, dataDir, text string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dataDir, "log", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if at := strings.Index(string(content), text); at >= 0 {
			content[at] ^= 1
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatalf("the log does not contain %q", text)
}
