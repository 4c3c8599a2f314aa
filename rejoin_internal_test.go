package troupe

import (
	"context"
	"encoding/hex"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/troupe-raft/troupe/raft"
)

// rejoinTimeout bounds every wait of these tests, which wait for events.
const rejoinTimeout = 2 * time.Minute

// silentMachine applies nothing.
type silentMachine struct{}

func (silentMachine) Apply(b *Batch) ([][]byte, error) { return make([][]byte, len(b.Commands)), nil }
func (silentMachine) Snapshot(io.Writer) error         { return nil }
func (silentMachine) Restore(io.Reader) error          { return nil }
func (silentMachine) Close() error                     { return nil }

// The ids of data directories that the tests let processes ask with.
var firstDirectory, secondDirectory = strings.Repeat("0f", 16), strings.Repeat("f0", 16)

// rejoinCluster starts three members whose first leader stays, and returns when the leader has
// recorded all data directories, and is connected to the follower that it returns.
func rejoinCluster(t *testing.T) (ctx context.Context, c *Cluster, leader *Node, follower uint64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), rejoinTimeout)
	t.Cleanup(cancel)
	c, err := StartCluster(ctx, ClusterOptions{
		Size:         3,
		StateMachine: func(uint64) Factory { return func() (StateMachine, error) { return silentMachine{}, nil } },
		Configure:    func(config *Config) { config.Timing.ElectionTimeout = 2 * rejoinTimeout },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), rejoinTimeout)
		defer cancel()
		if err := c.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	if leader, err = c.WaitForLeader(ctx); err != nil {
		t.Fatal(err)
	}
	follower = leader.ID()%3 + 1
	t.Cleanup(func() { c.Network.Filter(nil) })
	awaitEvent(ctx, t, "the data directories are recorded", func() bool {
		s := leader.Status()
		return s.CommitIndex >= s.ConfigurationIndex && len(s.Members) == 3 &&
			!slices.ContainsFunc(s.Members, func(m Member) bool { return m.StorageID == "" })
	})
	awaitEvent(ctx, t, "the follower is connected", func() bool { return leader.isConnected(follower) })
	return ctx, c, leader, follower
}

func awaitEvent(ctx context.Context, t *testing.T, what string, happened func() bool) {
	t.Helper()
	poll := time.NewTicker(time.Millisecond)
	defer poll.Stop()
	for !happened() {
		select {
		case <-poll.C:
		case <-ctx.Done():
			t.Fatal("waited in vain: " + what)
		}
	}
}

// askToRejoin has a process with an empty data directory ask a node to rejoin in a member's name.
func askToRejoin(t *testing.T, leader *Node, member uint64, storageID string) {
	t.Helper()
	id, _ := hex.DecodeString(storageID)
	if err := leader.core.Peers().Admit(member, raft.Storage{ID: id, Rejoining: true}); err == nil {
		t.Fatal("an empty data directory was admitted")
	}
}

func (n *Node) recordedStorage(member uint64) string {
	members := n.Status().Members
	return members[slices.IndexFunc(members, func(m Member) bool { return m.ID == member })].StorageID
}

// A second process with an empty directory asks to rejoin in the name of a healthy member. The
// member is not expelled while it is connected, whatever was asked.
func TestAskingDoesNotExpelAConnectedMember(t *testing.T) {
	ctx, c, leader, follower := rejoinCluster(t)
	own := leader.recordedStorage(follower)
	c.Network.Filter(func(m MessageInTransit) bool { return m.From != follower }) // so that the request stays
	askToRejoin(t, leader, follower, firstDirectory)
	_, err := leader.RejoinMember(ctx, RejoinRequest{MemberID: follower})
	if !errors.Is(err, ErrMemberConnected) {
		t.Errorf("a rejoin beside a connected member: %v", err)
	}
	if got := leader.recordedStorage(follower); got != own {
		t.Errorf("recorded %s, had %s", got, own)
	}
}

// A request to rejoin in the name of a healthy member ends with the next message of that member.
func TestMessageEndsTheRequestToRejoin(t *testing.T) {
	ctx, c, leader, follower := rejoinCluster(t)
	shown := func() bool {
		return slices.ContainsFunc(leader.Status().Peers, func(p PeerStatus) bool { return p.AsksToRejoin != "" })
	}
	c.Network.Filter(func(m MessageInTransit) bool { return m.From != follower })
	awaitEvent(ctx, t, "the request is shown", func() bool {
		askToRejoin(t, leader, follower, firstDirectory) // again, if a message was in transit
		return shown()
	})
	c.Network.Filter(nil)
	awaitEvent(ctx, t, "the request has ended", func() bool { return !shown() })
}

// A leader that cannot record anything yet goes on asking. The member returns on its own directory
// meanwhile.
func TestReturnEndsARejoinThatWaits(t *testing.T) {
	ctx, c, leader, follower := rejoinCluster(t)
	c.Node(follower).Kill()
	awaitEvent(ctx, t, "the follower is away", func() bool { return !leader.isConnected(follower) })
	own := leader.recordedStorage(follower)
	for _, request := range []RejoinRequest{{MemberID: follower}, {MemberID: follower, StorageID: firstDirectory}} {
		askToRejoin(t, leader, follower, firstDirectory)
		wanted, recorded, err := leader.storageToRecord(request)
		if err != nil || wanted != firstDirectory || recorded != own {
			t.Fatalf("%q, %q, %v", wanted, recorded, err)
		}
		if c.Node(follower).Status().Role == roleStopped {
			if _, err := c.Start(ctx, follower); err != nil {
				t.Fatal(err)
			}
		}
		awaitEvent(ctx, t, "the follower is back", func() bool { return leader.isConnected(follower) })
		if _, err := leader.recordStorage(ctx, request, wanted, recorded); !errors.Is(err, ErrMemberConnected) {
			t.Errorf("%+v: %v", request, err)
		}
		if got := leader.recordedStorage(follower); got != own {
			t.Fatalf("recorded %s, had %s", got, own)
		}
		c.Node(follower).Kill()
		awaitEvent(ctx, t, "the follower is away", func() bool { return !leader.isConnected(follower) })
	}
}

// The process that asked to rejoin is gone, and the member came and went on its own directory.
func TestRejoinEndsWithItsRequest(t *testing.T) {
	ctx, c, leader, follower := rejoinCluster(t)
	c.Node(follower).Kill()
	awaitEvent(ctx, t, "the follower is away", func() bool { return !leader.isConnected(follower) })
	own := leader.recordedStorage(follower)
	askToRejoin(t, leader, follower, firstDirectory)
	request := RejoinRequest{MemberID: follower}
	wanted, recorded, err := leader.storageToRecord(request)
	if err != nil {
		t.Fatal(err)
	}
	leader.core.Peers().Heard(follower)
	if _, err := leader.recordStorage(ctx, request, wanted, recorded); !errors.Is(err, ErrNotRejoining) {
		t.Errorf("%v", err)
	}
	if got := leader.recordedStorage(follower); got != own {
		t.Fatalf("recorded %s, had %s", got, own)
	}
}

// Two operators name different directories at the same time. One is recorded, and the other request
// ends with an error, rather than each replacing what the other has recorded.
func TestOnlyOneOfTwoRejoinsIsRecorded(t *testing.T) {
	for _, force := range []bool{false, true} {
		ctx, c, leader, follower := rejoinCluster(t)
		c.Node(follower).Kill()
		awaitEvent(ctx, t, "the follower is away", func() bool { return !leader.isConnected(follower) })
		first := RejoinRequest{MemberID: follower, StorageID: firstDirectory, Force: force}
		second := RejoinRequest{MemberID: follower, StorageID: secondDirectory, Force: force}
		wanted, recorded, err := leader.storageToRecord(second)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := leader.RejoinMember(ctx, first); err != nil || got.StorageID != firstDirectory || got.Unchanged {
			t.Fatalf("%+v, %v", got, err)
		}
		if _, err := leader.recordStorage(ctx, second, wanted, recorded); !errors.Is(err, ErrNotRejoining) || !strings.Contains(err.Error(), firstDirectory) {
			t.Errorf("the second request: %v", err)
		}
		if got := leader.recordedStorage(follower); got != firstDirectory {
			t.Errorf("recorded %s", got)
		}
	}
}
