package cluster

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/troupe-raft/troupe/tests/procs"
)

// A server that cannot start must end with a code other than 0, name the fault in its last line,
// and leave the data directory unchanged.

// singleMember returns a cluster of one member with its data in dir, without starting it.
func singleMember(t *testing.T, name, dir string, flags ...string) *procs.Member {
	t.Helper()
	ports, err := procs.FreePorts(2)
	mustSucceed(t, err)
	m := procs.Member{
		Name:      name,
		DataDir:   dir,
		ClientURL: fmt.Sprintf("http://127.0.0.1:%d", ports[0]),
		PeerURL:   fmt.Sprintf("http://127.0.0.1:%d", ports[1]),
	}
	all := append([]string{"--initial-cluster=" + name + "=" + m.PeerURL, "--initial-cluster-state=new", "--initial-cluster-token=one"},
		flags...)
	member := procs.NewMember(program, m, all...)
	t.Cleanup(func() {
		if member.Running() {
			_ = member.Kill()
		}
	})
	return member
}

// stoppedMemberWithData returns a member that has stored a key and was stopped.
func stoppedMemberWithData(t *testing.T) *procs.Member {
	t.Helper()
	m := singleMember(t, "right", filepath.Join(t.TempDir(), "data"))
	start(t, m)
	if _, err := dial(t, m.Endpoint()).Put(contextWithin(t, 2*time.Minute), "kept", "safe"); err != nil {
		t.Fatal(err)
	}
	stop(t, m)
	return m
}

func start(t *testing.T, m *procs.Member) {
	t.Helper()
	mustSucceed(t, m.Start(contextWithin(t, 2*time.Minute)))
}

func stop(t *testing.T, m *procs.Member) {
	t.Helper()
	mustSucceed(t, m.Stop(contextWithin(t, 2*time.Minute)))
}

// mustRefuse starts a member that must end with an error. Its last line must contain all texts.
func mustRefuse(t *testing.T, m *procs.Member, texts ...string) {
	t.Helper()
	mustSucceed(t, m.Launch())
	code, err := m.Process().ExitCode(contextWithin(t, 2*time.Minute))
	output := m.Process().Output()
	if err != nil {
		t.Fatalf("the member did not end: %v\n%s", err, output)
	}
	if code <= 0 {
		t.Errorf("the member ended with code %d:\n%s", code, output)
	}
	searched := output
	if program.Name == "troupe" {
		lines := strings.Split(strings.TrimSpace(output), "\n")
		searched = lines[len(lines)-1]
		if strings.Contains(output, "goroutine ") || strings.Contains(output, "panic:") {
			t.Errorf("the member panicked:\n%s", output)
		}
	}
	for _, text := range texts {
		if !strings.Contains(searched, text) {
			t.Errorf("the last line does not contain %q:\n%s", text, output)
		}
	}
}

// mustServeAgain checks that the member serves the key of stoppedMemberWithData.
func mustServeAgain(t *testing.T, m *procs.Member) {
	t.Helper()
	if !m.Running() {
		start(t, m)
	}
	got, err := dial(t, m.Endpoint()).Get(contextWithin(t, 2*time.Minute), "kept")
	if err != nil || len(got.Kvs) != 1 || string(got.Kvs[0].Value) != "safe" {
		t.Fatalf("get of the stored key: %v %v", got, err)
	}
}

// hashFiles returns the hash of every file of a data directory, by path.
func hashFiles(t *testing.T, dir string) map[string][sha256.Size]byte {
	t.Helper()
	sums := make(map[string][sha256.Size]byte)
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		sums[path] = sha256.Sum256(content)
		return err
	})
	mustSucceed(t, err)
	if len(sums) == 0 {
		t.Fatalf("%s holds no file", dir)
	}
	return sums
}

func mustBeUnchanged(t *testing.T, dir string, before map[string][sha256.Size]byte) {
	t.Helper()
	after := hashFiles(t, dir)
	for path, sum := range before {
		if after[path] != sum {
			t.Errorf("%s was changed", path)
		}
	}
}

func TestInvalidFlagIsNamed(t *testing.T) {
	for name, c := range map[string]struct{ flag, named string }{
		"unknown flag":              {"--no-such-flag=1", "no-such-flag"},
		"not a number":              {"--heartbeat-interval=soon", "heartbeat-interval"},
		"not a URL":                 {"--listen-client-urls=nonsense", "listen-client-urls"},
		"unknown state":             {"--initial-cluster-state=old", "initial-cluster-state"},
		"election below heartbeat":  {"--election-timeout=50", "election-timeout"},
		"cluster without this name": {"--initial-cluster=other=http://127.0.0.1:1", "initial-cluster"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			texts := []string{c.named}
			if program.Name == "etcd" {
				texts = nil // only some of etcd's messages name the flag
			}
			mustRefuse(t, singleMember(t, "wrong", dir, c.flag), texts...)
			if _, err := os.Stat(filepath.Join(dir, "log")); err == nil {
				t.Error("a data directory was created")
			}
		})
	}
}

func TestPortInUseIsNamed(t *testing.T) {
	for _, which := range []string{"client", "peer"} {
		t.Run(which, func(t *testing.T) {
			m := stoppedMemberWithData(t)
			address := m.Endpoint()
			if which == "peer" {
				address = m.PeerAddress()
			}
			listener, err := net.Listen("tcp", address)
			mustSucceed(t, err)
			defer listener.Close()
			mustRefuse(t, m, address, "address already in use")
			mustSucceed(t, listener.Close())
			mustServeAgain(t, m)
		})
	}
}

func TestDataDirectoryInUseIsRefused(t *testing.T) {
	skipUnlessTroupe(t) // etcd waits until the other process has ended
	first := stoppedMemberWithData(t)
	start(t, first)
	mustRefuse(t, singleMember(t, "right", first.DataDir), first.DataDir)
	mustServeAgain(t, first)
	stop(t, first)
	mustServeAgain(t, first)
}

func TestForeignDataDirectoryIsRefused(t *testing.T) {
	skipUnlessTroupe(t) // etcd uses the identity in the directory
	t.Run("another member", func(t *testing.T) {
		m := stoppedMemberWithData(t)
		before := hashFiles(t, m.DataDir)
		mustRefuse(t, singleMember(t, "wrong", m.DataDir), m.DataDir, "right", "wrong")
		mustBeUnchanged(t, m.DataDir, before)
		mustServeAgain(t, m)
	})
	t.Run("another cluster", func(t *testing.T) {
		m := stoppedMemberWithData(t)
		before := hashFiles(t, m.DataDir)
		mustRefuse(t, singleMember(t, "right", m.DataDir, "--initial-cluster-token=two"), m.DataDir, "cluster")
		mustBeUnchanged(t, m.DataDir, before)
		mustServeAgain(t, m)
	})
}

func TestUnknownFormatVersionIsRefused(t *testing.T) {
	skipUnlessTroupe(t)
	m := stoppedMemberWithData(t)
	path := filepath.Join(m.DataDir, "identity.json")
	original, err := os.ReadFile(path)
	mustSucceed(t, err)
	mustSucceed(t, os.WriteFile(path, withVersion(t, original, 9999), 0o600))
	before := hashFiles(t, m.DataDir)
	mustRefuse(t, m, "identity.json", "9999")
	mustBeUnchanged(t, m.DataDir, before)
	mustSucceed(t, os.WriteFile(path, original, 0o600))
	mustServeAgain(t, m)
}

// withVersion replaces the format version in an identity file.
func withVersion(t *testing.T, identity []byte, version int) []byte {
	t.Helper()
	fields := make(map[string]json.RawMessage)
	mustSucceed(t, json.Unmarshal(identity, &fields))
	for name := range fields {
		if strings.Contains(strings.ToLower(name), "version") {
			fields[name] = fmt.Append(nil, version)
			changed, err := json.Marshal(fields)
			mustSucceed(t, err)
			return changed
		}
	}
	t.Fatalf("the identity file has no version:\n%s", identity)
	return nil
}

func TestUnreadableFileIsNamed(t *testing.T) {
	skipUnlessTroupe(t)
	for _, c := range []struct {
		name string
		file func(dir string) string
		// spoil replaces the file. A directory cannot be read as a file, not even by root.
		spoil func(path string) error
	}{
		{"identity is a directory", identityFile, func(path string) error { return os.Mkdir(path, 0o700) }},
		{"identity is noise", identityFile, func(path string) error { return os.WriteFile(path, []byte("\x00noise"), 0o600) }},
		{"identity is empty", identityFile, func(path string) error { return os.WriteFile(path, nil, 0o600) }},
		{"a log segment is a directory", firstSegment, func(path string) error { return os.Mkdir(path, 0o700) }},
		{"a log segment is noise", firstSegment, func(path string) error {
			return os.WriteFile(path, bytes.Repeat([]byte("noise"), 4<<10), 0o600)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := stoppedMemberWithData(t)
			path := c.file(m.DataDir)
			backup := filepath.Join(t.TempDir(), "backup")
			mustSucceed(t, os.Rename(path, backup))
			mustSucceed(t, c.spoil(path))
			before := hashFiles(t, m.DataDir)
			delete(before, filepath.Join(m.DataDir, "starts.json")) // a start counts before it reads the log
			mustRefuse(t, m, filepath.Base(path))
			mustBeUnchanged(t, m.DataDir, before)
			mustSucceed(t, os.RemoveAll(path))
			mustSucceed(t, os.Rename(backup, path))
			mustServeAgain(t, m)
		})
	}
}

func identityFile(dir string) string { return filepath.Join(dir, "identity.json") }

func firstSegment(dir string) string {
	files, _ := filepath.Glob(filepath.Join(dir, "log", "*"))
	if len(files) == 0 {
		return filepath.Join(dir, "log", "none")
	}
	return files[0] // Glob sorts
}
