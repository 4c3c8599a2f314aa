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

// Two members of three return with older copies of their disks, and the writes that only the third
// holds are replaced. The third stops at once, without restarts, and says what happened.
func TestMemberWithLostWritesStopsAtOnce(t *testing.T) {
	disks := map[uint64]*vfs.MemFS{1: vfs.NewMem(), 2: vfs.NewMem(), 3: vfs.NewMem()}
	c := startTestCluster(t, 3, func(config *troupe.Config) { config.FS = disks[config.ID] })
	ctx := c.context()
	c.propose(1, "before")
	c.requireAgreement()
	older := map[uint64]*vfs.MemFS{2: disks[2].KillClone(), 3: disks[3].KillClone()}
	for range 5 {
		c.propose(1, "lost")
	}
	for id := range disks {
		c.Node(id).Kill()
	}
	for id, disk := range older {
		disks[id] = disk
		if _, err := c.Start(ctx, id); err != nil {
			t.Fatal(err)
		}
	}
	for range 5 {
		c.propose(2, "other")
	}
	c.propose(3, "other")
	n, err := c.Start(ctx, 1)
	if err == nil {
		<-n.Done()
		err = n.Err()
	}
	if err == nil || !strings.Contains(err.Error(), "the cluster has lost writes") || strings.Contains(err.Error(), "restarts") {
		t.Fatalf("the member that holds the lost writes stopped with %v", err)
	}
}
