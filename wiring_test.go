package troupe_test

import (
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/troupe-raft/troupe"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/persistence/vfs"
)

// The tests of this file are about what connects the parts of a node (internal/member) to a process
// (host.go). The simulator tests the former, and not the latter.

// A forwarded command is lost without any sign: no link breaks, no leader changes. It must be sent
// again all the same.
func TestLostForwardIsRetried(t *testing.T) {
	c := startTestCluster(t, 3, nil)
	ctx := c.context()
	follower := c.Node(c.leader().ID()%3 + 1)
	if _, err := follower.Propose(ctx, []byte("registers the client session")); err != nil {
		t.Fatal(err)
	}
	var lost atomic.Bool
	c.Network.Filter(func(m troupe.MessageInTransit) bool {
		_, forwards := m.Message.(*messages.ForwardedProposals)
		return !forwards || lost.Swap(true)
	})
	for !lost.Load() { // leadership may move, so that nothing is forwarded
		if _, err := c.Node(c.leader().ID()%3+1).Propose(ctx, []byte("its first copy is lost")); err != nil {
			t.Fatal(err)
		}
	}
}

// An operator moves the directory of the log away. Everything that the member has promised is gone
// with it, so the member must not start with an empty log.
func TestMissingLogRefusesToStart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	c := startTestCluster(t, 1, func(config *troupe.Config) { config.FS, config.DataDir = vfs.OS(), dir })
	ctx, log := c.context(), filepath.Join(dir, "log")
	if _, err := c.Node(1).Propose(ctx, []byte("acknowledged")); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(c.Node(1).Stop(ctx), os.Rename(log, log+".moved")); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Start(ctx, 1); !errors.Is(err, troupe.ErrCorrupt) {
		t.Fatalf("a start without the log: %v", err)
	}
	if err := errors.Join(os.RemoveAll(log), os.Rename(log+".moved", log)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Start(ctx, 1); err != nil {
		t.Fatalf("a start with the log: %v", err)
	}
}
