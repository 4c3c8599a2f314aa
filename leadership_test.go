package troupe_test

import (
	"context"
	"errors"
	"testing"

	"github.com/troupe-raft/troupe"
)

// A program that acts while its member leads must not go on when its node has ended: by itself, by
// Stop or by Kill.
func TestLeadershipEndsWithTheNode(t *testing.T) {
	for name, end := range map[string]func(*troupe.Node) error{
		"Stop": func(n *troupe.Node) error { return n.Stop(context.Background()) },
		"Kill": func(n *troupe.Node) error { n.Kill(); return nil },
		"restart limit": func(n *troupe.Node) error {
			return n.CrashNow("machine")
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := startTestCluster(t, 1, func(config *troupe.Config) {
				steady(config)
				config.CrashInjection = true
				config.RestartLimit.Max, config.RestartLimit.Within = -1, 1 // the first failure is too many
			})
			n := c.leader()
			changes, stop := n.LeadershipChanges()
			defer stop()
			if first := <-changes; first.LeaderID != 1 {
				t.Fatalf("a leader has the leadership %+v", first)
			}
			if err := end(n); err != nil {
				t.Fatal(err)
			}
			if last, open := <-changes; !open || last.LeaderID != 0 {
				t.Errorf("the last value is %+v, %v", last, open)
			}
			if _, open := <-changes; open {
				t.Error("the channel is open after the last value")
			}
			<-n.Done()
			mustKnowNoLeader(t, n)
		})
	}
}

// mustKnowNoLeader checks what a stopped node says about leadership.
func mustKnowNoLeader(t *testing.T, n *troupe.Node) {
	t.Helper()
	if id := n.LeaderID(); id != 0 || n.Status().LeaderID != 0 {
		t.Errorf("LeaderID is %d, in Status %d", id, n.Status().LeaderID)
	}
	late, stop := n.LeadershipChanges()
	stop()
	if first := <-late; first.LeaderID != 0 {
		t.Errorf("a new subscriber received %+v", first)
	}
	if _, open := <-late; open {
		t.Error("the channel of a new subscriber is open")
	}
	for name, call := range map[string]func(context.Context) error{
		"WaitForLeader":      func(ctx context.Context) error { _, err := n.WaitForLeader(ctx); return err },
		"TransferLeadership": func(ctx context.Context) error { return n.TransferLeadership(ctx, 1) },
		"Propose":            func(ctx context.Context) error { _, err := n.Propose(ctx, nil); return err },
		"Read":               func(ctx context.Context) error { _, err := n.Read(ctx, troupe.ReadIndex); return err },
		"Query": func(ctx context.Context) error {
			return n.Query(ctx, troupe.ReadLocal, func(troupe.StateMachine) error { return nil })
		},
	} {
		if err := call(t.Context()); !errors.Is(err, troupe.ErrStopped) || n.Err() != nil && !errors.Is(err, n.Err()) {
			t.Errorf("%s: %v; the node stopped with %v", name, err, n.Err())
		}
	}
}

func TestTransferAtFollowerNamesTheLeader(t *testing.T) {
	c := startTestCluster(t, 2, nil)
	leader := c.leader()
	term, follower := leader.Term(), c.Node(3-leader.ID())
	if err := follower.TransferLeadership(c.context(), 0); !errors.Is(err, troupe.ErrNotLeader) && leader.Term() == term {
		t.Errorf("at a follower: %v", err)
	}
	c.Network.Isolate(leader.ID())
	changes, stop := follower.LeadershipChanges()
	defer stop()
	for change := range changes {
		if change.LeaderID == 0 {
			break
		}
	}
	// The status follows the change, and a message of the leader may have been on its way.
	const want = "not the leader, and no leader is known: check that a majority of the members run and reach each other"
	waitUntil(t, "the error says that no leader is known", func() bool {
		err := follower.TransferLeadership(c.context(), 0)
		return err != nil && err.Error() == want
	})
	c.Network.HealAll()
}

// A member that knows no leader, as one that is cut off or waits to rejoin, holds up nobody.
func TestClusterFindsLeaderBesideALostMember(t *testing.T) {
	c := startTestCluster(t, 3, nil)
	c.leader()
	changes, stop := c.Node(1).LeadershipChanges()
	defer stop()
	c.Network.Isolate(1)
	for change := range changes {
		if change.LeaderID == 0 {
			break
		}
	}
	if id := c.leader().ID(); id == 1 {
		t.Error("the member that is cut off leads")
	}
}
