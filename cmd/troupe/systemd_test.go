package main

import (
	"net"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/troupe-raft/troupe/cmd/troupe/internal/exit"
)

// notifySocket is the socket of a service manager.
type notifySocket struct {
	t        *testing.T
	conn     *net.UnixConn
	path     string
	received []string // all lines so far
}

func newNotifySocket(t *testing.T) *notifySocket {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &notifySocket{t: t, conn: conn, path: path}
}

// waitFor waits for another notification that contains the line and returns all lines so far.
func (s *notifySocket) waitFor(line string) []string {
	s.t.Helper()
	if err := s.conn.SetReadDeadline(time.Now().Add(testTimeout)); err != nil {
		s.t.Fatal(err)
	}
	for buffer := make([]byte, 4096); ; {
		n, err := s.conn.Read(buffer)
		if err != nil {
			s.t.Fatalf("no notification %q after %q: %v", line, s.received, err)
		}
		lines := strings.Split(string(buffer[:n]), "\n")
		s.received = append(s.received, lines...)
		if slices.Contains(lines, line) {
			return s.received
		}
	}
}

func (s *notifySocket) launch(m *singleMember, watchdog string, flags ...string) *process {
	s.t.Helper()
	return startProcess(s.t, "troupe", []string{"NOTIFY_SOCKET=" + s.path, "WATCHDOG_USEC=" + watchdog},
		append(append([]string{"server"}, m.flags...), flags...)...)
}

func TestServiceManagerIsNotified(t *testing.T) {
	t.Parallel()
	socket, m := newNotifySocket(t), newSingleMember(t)
	p := socket.launch(m, "300000")
	socket.waitFor("READY=1")
	m.client("put", "k", "v") // READY=1 means that requests are served
	for range 3 {
		socket.waitFor("WATCHDOG=1") // also of a member that has nothing to do
	}
	p.signal(syscall.SIGTERM)
	socket.waitFor("STOPPING=1")
	if code, _ := p.wait(); code != 0 {
		t.Errorf("code %d", code)
	}
}

// A member that waits for the others is not ready, and its start is extended while it recovers
// only.
func TestMemberWithoutQuorumIsNotReady(t *testing.T) {
	t.Parallel()
	socket, m := newNotifySocket(t), newSingleMember(t)
	peers := strings.TrimPrefix(m.flags[3], "--listen-peer-urls=")
	p := socket.launch(m, "", "--initial-cluster=one="+peers+",two=http://127.0.0.1:1")
	socket.waitFor("STATUS=waiting for a leader")
	p.waitFor("asking for pre-votes")
	p.signal(syscall.SIGTERM)
	if received := socket.waitFor("STOPPING=1"); slices.Contains(received, "READY=1") {
		t.Errorf("a member without a quorum said that it is ready: %q", received)
	}
}

func TestFailureIsInServiceStatus(t *testing.T) {
	t.Parallel()
	socket, m := newNotifySocket(t), newSingleMember(t)
	p := socket.launch(m, "", "--initial-cluster-state=existing")
	mustExit(t, p, exit.DataDir, "holds no member")
	if received := socket.waitFor("STOPPING=1"); !strings.Contains(strings.Join(received, "\n"), "STATUS=--initial-cluster-state=existing") {
		t.Errorf("%q", received)
	}
}
