package cluster

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/troupe-raft/troupe/tests/procs"
)

// exitReplaced is the exit code of a member whose data directory is refused.
const exitReplaced = 8

// A member that acknowledged a write returns without its data, together with one that was down,
// while the third is down: it must end, and the write must not be lost. Then an operator brings it
// back by the two steps of docs/operations.md.
func TestEmptiedMemberEndsAndRejoins(t *testing.T) {
	skipUnlessTroupe(t)
	for _, link := range []string{"grpc", "remote"} {
		t.Run(link, func(t *testing.T) { testEmptiedMember(t, "--peer-link="+link) })
	}
}

func testEmptiedMember(t *testing.T, flags ...string) {
	c := startCluster(t, 3, flags...)
	leader, followers := mustLeader(t, c)
	emptied, away := followers[0], followers[1]
	ctx := contextWithin(t, 2*time.Minute)
	awaitAcquainted(t, c)
	_, err := dial(t, leader.Endpoint()).Put(ctx, "first", "1")
	mustSucceed(t, err)
	stop(t, away)
	_, err = dial(t, leader.Endpoint()).Put(ctx, "acknowledged", "by two")
	mustSucceed(t, err)
	stop(t, emptied)
	stop(t, leader)

	mustSucceed(t, os.Rename(emptied.DataDir, emptied.DataDir+".lost"))
	mustSucceed(t, away.Launch())
	mustEndReplaced(t, emptied, "emptied, lost or replaced", "--initial-cluster-state=rejoin")

	start(t, leader)
	mustSucceed(t, away.Ready(ctx))
	mustSucceed(t, os.RemoveAll(emptied.DataDir))
	emptied.AddFlags("--initial-cluster-state=rejoin")
	mustSucceed(t, emptied.Launch())
	mustSucceed(t, emptied.Process().WaitFor(ctx, "waiting to rejoin"))
	if out := mustRun(t, "status", "--endpoints", leader.Endpoint()+","+away.Endpoint()); !strings.Contains(out, "asks to rejoin") {
		t.Errorf("the status does not show that a member asks to rejoin:\n%s", out)
	}
	if out := mustRun(t, "member", "rejoin", emptied.Name, "--endpoints", away.Endpoint()); !strings.Contains(out, "rejoins with data directory") {
		t.Errorf("member rejoin printed %q", out)
	}
	mustSucceed(t, emptied.Ready(ctx))
	// It counts again: the other follower is not needed any more.
	stop(t, away)
	response, err := dial(t, emptied.Endpoint()).Get(ctx, "acknowledged")
	mustSucceed(t, err)
	if len(response.Kvs) != 1 || string(response.Kvs[0].Value) != "by two" {
		t.Fatalf("the acknowledged write is lost: %v", response.Kvs)
	}
	// The same flags, as of a unit file, start it again.
	stop(t, emptied)
	start(t, emptied)

	// The former directory is refused from now on.
	stop(t, emptied)
	mustSucceed(t, os.Rename(emptied.DataDir, emptied.DataDir+".rejoined"))
	mustSucceed(t, os.Rename(emptied.DataDir+".lost", emptied.DataDir))
	emptied.AddFlags("--initial-cluster-state=existing")
	start(t, away)
	mustEndReplaced(t, emptied, "it has rejoined with", "may not be used again")
}

// A volume that is not mounted leaves an empty directory: with --initial-cluster-state=existing the
// member does not start, and with rejoin a directory that holds data is refused.
func TestClusterStateOfALostDirectory(t *testing.T) {
	skipUnlessTroupe(t)
	c := startCluster(t, 3)
	_, followers := mustLeader(t, c)
	m := followers[0]
	stop(t, m)
	m.AddFlags("--initial-cluster-state=rejoin")
	mustRefuse(t, m, "--initial-cluster-state=rejoin", "is not empty")
	mustSucceed(t, os.Rename(m.DataDir, m.DataDir+".away"))
	mustSucceed(t, os.Mkdir(m.DataDir, 0o700))
	m.AddFlags("--initial-cluster-state=existing")
	mustRefuse(t, m, "holds no member", "troupe member rejoin")
}

// A member returns with a snapshot of its directory that was made while it ran: the leader that it
// acknowledged more to has it end, and says so in the status.
func TestOlderCopyOfADirectoryEnds(t *testing.T) {
	skipUnlessTroupe(t)
	c := startCluster(t, 3)
	leader, followers := mustLeader(t, c)
	m := followers[0]
	ctx := contextWithin(t, 2*time.Minute)
	older := filepath.Join(t.TempDir(), "older")
	mustSucceed(t, m.Pause())
	mustSucceed(t, os.CopyFS(older, os.DirFS(m.DataDir)))
	mustSucceed(t, m.Resume())
	for range 3 { // at this member, so that it has them when they are answered
		_, err := dial(t, m.Endpoint()).Put(ctx, "later", "than the copy")
		mustSucceed(t, err)
	}
	restoreCopy(t, m, older)
	mustEndReplaced(t, m, "older copy", "--initial-cluster-state=rejoin")
	out := mustRun(t, "status", "--endpoints", leader.Endpoint())
	if !strings.Contains(out, "lost entries that it had acknowledged") {
		t.Errorf("the status does not show the loss:\n%s", out)
	}

	// The leader that knows it is gone; a supervisor starts the member again.
	mustSucceed(t, leader.Kill())
	mustEndReplaced(t, m, "older copy", "refused.json")
}

// A member returns with a copy that is older than its last start, while the leader that it
// acknowledged a write to is down: the third member has met that start, and refuses the copy.
func TestOlderCopyEndsWithoutTheLeader(t *testing.T) {
	skipUnlessTroupe(t)
	for _, link := range []string{"grpc", "remote"} {
		t.Run(link, func(t *testing.T) { testOlderCopyWithoutLeader(t, "--peer-link="+link) })
	}
}

func testOlderCopyWithoutLeader(t *testing.T, flags ...string) {
	c := startCluster(t, 3, flags...)
	leader, followers := mustLeader(t, c)
	m, away := followers[0], followers[1]
	ctx := contextWithin(t, 2*time.Minute)
	awaitMet(t, away, 1)
	stop(t, m)
	older := filepath.Join(t.TempDir(), "older")
	mustSucceed(t, os.CopyFS(older, os.DirFS(m.DataDir)))
	start(t, m)
	awaitMet(t, away, 2)
	stop(t, away)
	_, err := dial(t, m.Endpoint()).Put(ctx, "acknowledged", "by two")
	mustSucceed(t, err)
	mustSucceed(t, leader.Kill())
	restoreCopy(t, m, older)
	mustSucceed(t, away.Launch())
	mustEndReplaced(t, m, "older copy", "--initial-cluster-state=rejoin")
	start(t, leader)
	mustSucceed(t, away.Ready(ctx))
	response, err := dial(t, away.Endpoint()).Get(ctx, "acknowledged")
	mustSucceed(t, err)
	if len(response.Kvs) != 1 || string(response.Kvs[0].Value) != "by two" {
		t.Fatalf("the acknowledged write is lost: %v", response.Kvs)
	}
}

// restoreCopy kills a member and puts a copy in the place of its directory.
func restoreCopy(t *testing.T, m *procs.Member, older string) {
	t.Helper()
	mustSucceed(t, m.Kill())
	mustSucceed(t, os.RemoveAll(m.DataDir))
	mustSucceed(t, os.CopyFS(m.DataDir, os.DirFS(older)))
}

// awaitMet waits until a member has stored a start with this number for each of two peers, or for
// one of them if the number is not 1.
func awaitMet(t *testing.T, m *procs.Member, number uint64) {
	t.Helper()
	var file struct {
		Starts map[string]struct{ Number uint64 }
	}
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); <-time.After(10 * time.Millisecond) {
		b, err := os.ReadFile(filepath.Join(m.DataDir, "peers.json"))
		if err != nil || json.Unmarshal(b, &file) != nil || len(file.Starts) < 2 {
			continue
		}
		for _, start := range file.Starts {
			if start.Number == number {
				return
			}
		}
	}
	t.Fatalf("member %s has met %v", m.Name, file.Starts)
}

// A member starts on the directory of another one, whole or in part.
func TestDirectoryOfAnotherMemberIsRefused(t *testing.T) {
	skipUnlessTroupe(t)
	c := startCluster(t, 3)
	leader, followers := mustLeader(t, c)
	from, to := followers[0], followers[1]
	stop(t, from)
	stop(t, to)
	mustSucceed(t, os.RemoveAll(to.DataDir+".own"))
	mustSucceed(t, os.Rename(to.DataDir, to.DataDir+".own"))
	mustSucceed(t, os.CopyFS(to.DataDir, os.DirFS(from.DataDir)))
	mustRefuse(t, to, "another member")
	for _, part := range []string{"log", "peers.json"} {
		mustSucceed(t, os.RemoveAll(to.DataDir))
		mustSucceed(t, os.CopyFS(to.DataDir, os.DirFS(to.DataDir+".own")))
		mustSucceed(t, os.RemoveAll(filepath.Join(to.DataDir, part)))
		mustSucceed(t, exec.Command("cp", "-r", filepath.Join(from.DataDir, part), filepath.Join(to.DataDir, part)).Run())
		mustRefuse(t, to, part, "another member")
	}
	if leader.Running() {
		mustSucceed(t, os.RemoveAll(to.DataDir))
		mustSucceed(t, os.Rename(to.DataDir+".own", to.DataDir))
		start(t, to)
	}
}

// awaitAcquainted waits until every member has stored the data directories of all others.
func awaitAcquainted(t *testing.T, c *procs.Cluster) {
	t.Helper()
	for _, m := range c.Members {
		for deadline := time.Now().Add(time.Minute); ; <-time.After(10 * time.Millisecond) {
			var file struct{ Peers map[string]string }
			b, err := os.ReadFile(filepath.Join(m.DataDir, "peers.json"))
			if err == nil && json.Unmarshal(b, &file) == nil && len(file.Peers) == len(c.Members)-1 {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("member %s has met %v: %v", m.Name, file.Peers, err)
			}
		}
	}
}

// mustEndReplaced launches a member that its peers must refuse.
func mustEndReplaced(t *testing.T, m *procs.Member, texts ...string) {
	t.Helper()
	mustSucceed(t, m.Launch())
	code, err := m.Process().ExitCode(contextWithin(t, 2*time.Minute))
	output := m.Process().Output()
	mustSucceed(t, err)
	if code != exitReplaced {
		t.Fatalf("the member ended with code %d:\n%s", code, output)
	}
	lines := strings.Split(strings.TrimSpace(output), "\n")
	for _, text := range texts {
		if last := lines[len(lines)-1]; !strings.HasPrefix(last, "troupe: ") || !strings.Contains(last, text) {
			t.Errorf("the last line is %q, without %q", last, text)
		}
	}
}

// mustRun runs a client command of the program, whose exit code does not matter.
func mustRun(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(contextWithin(t, time.Minute), program.Path, args...).CombinedOutput()
	if err != nil {
		t.Logf("%q: %v", args, err)
	}
	return string(out)
}
