package troupe_test

import (
	"errors"
	"fmt"
	"slices"
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
	c.Node(emptied).Kill()
	c.underOneLeader(func(leader *troupe.Node) (problem string) {
		c.awaitLink(leader, emptied, false)
		if _, err := leader.RejoinMember(ctx, troupe.RejoinRequest{MemberID: emptied}); !errors.Is(err, troupe.ErrNotRejoining) {
			problem = fmt.Sprintf("rejoin of a member that did not ask: %v", err)
		}
		return problem
	})

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
	request := troupe.RejoinRequest{MemberID: emptied, StorageID: n.StorageID()}
	if got := c.rejoin(request); got.StorageID != n.StorageID() {
		t.Fatalf("recorded %+v of %q", got, n.StorageID())
	}
	// The same again, and without the storage id, changes nothing.
	for range 2 {
		if got, want := c.rejoin(request), (troupe.RejoinResult{StorageID: n.StorageID(), Unchanged: true}); got != want {
			t.Fatalf("again: recorded %+v, want %+v", got, want)
		}
		request.StorageID = ""
	}
	c.propose(emptied, "after")
	c.requireAgreement()
	if s := n.Status(); s.Rejoining || memberOf(s, emptied).StorageID != n.StorageID() {
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
	c.underOneLeader(func(leader *troupe.Node) (problem string) {
		follower := leader.ID()%3 + 1
		c.propose(leader.ID(), "x")
		c.awaitLink(leader, follower, true)
		own := leader.StorageID()
		for what, tried := range map[string]struct {
			node      *troupe.Node
			id        uint64
			storageID string
			want      error
		}{
			"at a follower":                {c.Node(follower), leader.ID(), own, troupe.ErrNotLeader},
			"of the leader":                {leader, leader.ID(), own, troupe.ErrNotMember},
			"of a stranger":                {leader, 99, own, troupe.ErrNotMember},
			"no storage id":                {leader, follower, "xyz", troupe.ErrInvalidStorageID},
			"a storage id, cut short":      {leader, follower, own[:30], troupe.ErrInvalidStorageID},
			"of a connected member":        {leader, follower, otherStorage, troupe.ErrMemberConnected},
			"of one, without a storage id": {leader, follower, "", troupe.ErrMemberConnected},
		} {
			if _, err := tried.node.RejoinMember(c.context(), troupe.RejoinRequest{MemberID: tried.id, StorageID: tried.storageID}); !errors.Is(err, tried.want) {
				problem += fmt.Sprintf("%s: %v, want %v\n", what, err, tried.want)
			}
		}
		if got := memberOf(leader.Status(), follower).StorageID; got == otherStorage {
			problem += "a refused request was recorded"
		}
		return problem
	})
}

// otherStorage is the storage id of no member.
const otherStorage = "0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f"

// A member that is connected with its recorded data directory is expelled by force only.
func TestConnectedMemberIsReplacedByForceOnly(t *testing.T) {
	c := startTestCluster(t, 3, nil)
	follower := c.leader().ID()%3 + 1
	n := c.Node(follower)
	c.propose(follower, "x")
	waitUntil(t, "a leader has recorded the data directories", func() bool { return memberOf(n.Status(), follower).StorageID != "" })
	if got := c.rejoin(troupe.RejoinRequest{MemberID: follower, StorageID: n.StorageID()}); !got.Unchanged {
		t.Errorf("with its own data directory: %+v", got)
	}
	if got := c.rejoin(troupe.RejoinRequest{MemberID: follower, StorageID: strings.ToUpper(otherStorage), Force: true}); got.StorageID != otherStorage {
		t.Fatalf("with force: %+v", got)
	}
	waitUntil(t, "the member stops", func() bool { return n.Status().Err != nil })
	var refused *troupe.StorageRefusedError
	if err := n.Err(); !errors.As(err, &refused) {
		t.Fatalf("the member stopped with %v", err)
	}
}

// A member that waits with one data directory is not recorded with another one by mistake.
func TestOtherDirectoryThanAskedForIsRefused(t *testing.T) {
	disks, rejoins := map[uint64]troupe.FS{}, map[uint64]bool{}
	c := startTestCluster(t, 3, func(config *troupe.Config) {
		config.Rejoin = rejoins[config.ID]
		if disk := disks[config.ID]; disk != nil {
			config.FS = disk
		}
	})
	emptied := c.leader().ID()%3 + 1
	c.propose(emptied, "before")
	c.Node(emptied).Kill()
	disks[emptied], rejoins[emptied] = vfs.NewMem(), true
	n, err := c.Start(c.context(), emptied)
	if err != nil {
		t.Fatal(err)
	}
	c.underOneLeader(func(leader *troupe.Node) (problem string) {
		waitUntil(t, "the leader knows that the member asks", func() bool {
			return leader.Status().Role != "leader" || slices.ContainsFunc(leader.Status().Peers, func(p troupe.PeerStatus) bool { return p.AsksToRejoin == n.StorageID() })
		})
		request := troupe.RejoinRequest{MemberID: emptied, StorageID: otherStorage}
		if _, err := leader.RejoinMember(c.context(), request); !errors.Is(err, troupe.ErrNotRejoining) || !strings.Contains(err.Error(), n.StorageID()) {
			problem = fmt.Sprintf("with another data directory: %v", err)
		}
		return problem
	})
	if got := c.rejoin(troupe.RejoinRequest{MemberID: emptied}); got.StorageID != n.StorageID() {
		t.Fatalf("with the one that it asked with: %+v", got)
	}
}

// rejoin calls RejoinMember at the leader, also if that changes meanwhile.
func (c *testCluster) rejoin(request troupe.RejoinRequest) troupe.RejoinResult {
	c.t.Helper()
	for ctx := c.context(); ; {
		got, err := c.leader().RejoinMember(ctx, request)
		if err == nil {
			return got
		}
		if ctx.Err() != nil || !errors.Is(err, troupe.ErrNotLeader) && !errors.Is(err, troupe.ErrNotRejoining) {
			c.t.Fatalf("%+v: %v", request, err)
		}
	}
}

// underOneLeader calls check until one leader leads from its begin to its end, and reports the
// problem that it returned then.
func (c *testCluster) underOneLeader(check func(leader *troupe.Node) (problem string)) {
	c.t.Helper()
	for {
		leader := c.leader()
		term := leader.Term()
		problem := check(leader)
		if s := leader.Status(); s.Role != "leader" || s.Term != term {
			continue
		}
		if problem != "" {
			c.t.Error(problem)
		}
		return
	}
}

// awaitLink waits until a leader is connected to a peer, or is not.
func (c *testCluster) awaitLink(leader *troupe.Node, peer uint64, up bool) {
	c.t.Helper()
	waitUntil(c.t, fmt.Sprintf("connected to %d: %v", peer, up), func() bool {
		return leader.Status().Role != "leader" || slices.ContainsFunc(leader.Metrics().Links, func(l troupe.LinkMetrics) bool { return l.PeerID == peer && l.Up == up })
	})
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
