package troupe_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/troupe-raft/troupe"
	"github.com/troupe-raft/troupe/persistence/vfs"
)

// A member of three returns with an empty filesystem. Its node stops with an error that says what
// to do; with Config.Rejoin it waits, does not vote, and is back once the leader has recorded it.
func TestEmptiedMemberRejoins(t *testing.T) {
	disks, rejoins := map[uint64]troupe.FS{}, map[uint64]bool{}
	c := startTestCluster(t, 3, func(config *troupe.Config) {
		config.Rejoin = rejoins[config.ID]
		if disk := disks[config.ID]; disk != nil {
			config.FS = disk
		}
	})
	ctx, leader := c.context(), c.leader()
	others := []uint64{leader.ID()%3 + 1, (leader.ID()+1)%3 + 1}
	emptied, other := others[0], others[1]
	c.propose(emptied, "before")
	if _, err := leader.RejoinMember(ctx, emptied, ""); !errors.Is(err, troupe.ErrNotRejoining) {
		t.Fatalf("rejoin of a member that did not ask: %v", err)
	}

	c.Node(emptied).Kill()
	disks[emptied] = vfs.NewMem()
	n, err := c.Start(ctx, emptied)
	if err == nil {
		<-n.Done()
		err = n.Err()
	}
	var refused *troupe.StorageRefusedError
	if !errors.As(err, &refused) || !strings.Contains(err.Error(), "emptied, lost or replaced") {
		t.Fatalf("the emptied member stopped with %v", err)
	}

	disks[emptied], rejoins[emptied] = vfs.NewMem(), true
	if n, err = c.Start(ctx, emptied); err != nil {
		t.Fatal(err)
	}
	if !n.Status().Rejoining {
		t.Error("the status does not show that the member waits to rejoin")
	}
	leader = c.leader()
	recorded, err := leader.RejoinMember(ctx, emptied, n.StorageID())
	if err != nil || recorded != n.StorageID() {
		t.Fatalf("recorded %q of %q: %v", recorded, n.StorageID(), err)
	}
	c.propose(emptied, "after")
	c.requireAgreement()
	if s := n.Status(); s.Rejoining || !strings.Contains(memberOf(s, emptied).StorageID, recorded) {
		t.Errorf("after the rejoin: %+v", s)
	}
	// It counts: the third member is not needed.
	c.Node(other).Kill()
	if _, err := c.WaitForLeader(ctx); err != nil {
		t.Fatal(err)
	}
	c.propose(emptied, "without the third")
}

func memberOf(s troupe.Status, id uint64) troupe.Member {
	for _, m := range s.Members {
		if m.ID == id {
			return m
		}
	}
	return troupe.Member{}
}

func TestRejoinMemberRefusesWrongArguments(t *testing.T) {
	c := startTestCluster(t, 3, steady)
	ctx, leader := c.context(), c.leader()
	follower := leader.ID()%3 + 1
	c.propose(leader.ID(), "x")
	own := leader.StorageID()
	for what, tried := range map[string]struct {
		node      *troupe.Node
		id        uint64
		storageID string
		want      error
	}{
		"at a follower":           {c.Node(follower), leader.ID(), own, troupe.ErrNotLeader},
		"of the leader":           {leader, leader.ID(), own, troupe.ErrNotMember},
		"of a stranger":           {leader, 99, own, troupe.ErrNotMember},
		"no storage id":           {leader, follower, "xyz", troupe.ErrNotRejoining},
		"a storage id, cut short": {leader, follower, own[:30], troupe.ErrNotRejoining},
	} {
		if _, err := tried.node.RejoinMember(ctx, tried.id, tried.storageID); !errors.Is(err, tried.want) {
			t.Errorf("%s: %v, want %v", what, err, tried.want)
		}
	}
}

func TestRejoinNeedsAnEmptyDirectory(t *testing.T) {
	rejoin := false
	c := startTestCluster(t, 3, func(config *troupe.Config) { config.Rejoin = rejoin })
	c.Node(2).Kill()
	rejoin = true
	if _, err := c.Start(c.context(), 2); !errors.Is(err, troupe.ErrNotEmpty) {
		t.Fatalf("a start with rejoin on a directory that holds data: %v", err)
	}
}
