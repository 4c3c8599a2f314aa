package cluster

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/troupe-raft/troupe/tests/procs"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// A leader that its clients reach and its peers do not: the partition in which a careless one goes
// on answering.
func TestPartitionedLeaderRefusesRequests(t *testing.T) {
	lab := newNetLab(t, 3)
	c := lab.start(steady)
	live := watchLive(t, c)
	l := startLoad(t, c)
	l.awaitWrites(t, 50)
	old, others := mustLeader(t, c)
	client := dial(t, old.Endpoint())
	watch := client.Watch(clientv3.WithRequireLeader(contextWithin(t, 5*time.Minute)), "nothing", clientv3.WithCreatedNotify())
	if created := <-watch; !created.Created {
		t.Fatalf("the watch at the leader: %v", created.Err())
	}
	for _, other := range others {
		lab.dropOneWay(index(c, old), index(c, other))
		lab.dropOneWay(index(c, other), index(c, old))
	}
	began := time.Now()
	next, err := procs.LeaderOf(contextWithin(t, 2*time.Minute), others)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("another leads after %v", time.Since(began))
	if ended := <-watch; !errors.Is(ended.Err(), rpctypes.ErrNoLeader) {
		t.Errorf("a watch that requires a leader ended with %v", ended.Err())
	}
	mustRefuseWithoutPeers(t, client)
	l.awaitWrites(t, 100)
	term := termOf(t, next)
	for _, other := range others {
		lab.restoreOneWay(index(c, old), index(c, other))
		lab.restoreOneWay(index(c, other), index(c, old))
	}
	if now, _ := mustLeader(t, c); now != next || termOf(t, now) != term {
		t.Errorf("it came back to %s in term %d and brought about %s in term %d", next.Name, term, now.Name, termOf(t, now))
	}
	l.awaitWrites(t, 100)
	verify(t, c, l.finish(), live)
}

// mustRefuseWithoutPeers asks a member that has lost its majority.
func mustRefuseWithoutPeers(t *testing.T, client *clientv3.Client) {
	t.Helper()
	known := []error{rpctypes.ErrNoLeader, rpctypes.ErrTimeout, rpctypes.ErrTimeoutDueToLeaderFail, rpctypes.ErrTimeoutDueToConnectionLost, context.DeadlineExceeded}
	for what, ask := range map[string]func(context.Context) error{
		"a linearizable read": func(ctx context.Context) error { _, err := client.Get(ctx, "k"); return err },
		"a put":               func(ctx context.Context) error { _, err := client.Put(ctx, "k", "v"); return err },
		"a delete":            func(ctx context.Context) error { _, err := client.Delete(ctx, "k"); return err },
	} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		err := ask(ctx)
		cancel()
		documented := false
		for _, k := range known {
			documented = documented || errors.Is(err, k)
		}
		if !documented {
			t.Errorf("%s without a majority: %v", what, err)
		}
	}
	if _, err := client.Get(contextWithin(t, time.Minute), "k", clientv3.WithSerializable()); err != nil {
		t.Errorf("a serializable read, which needs no others: %v", err)
	}
}

func termOf(t *testing.T, m *procs.Member) uint64 {
	t.Helper()
	status, err := dial(t, m.Endpoint()).Status(contextWithin(t, time.Minute), m.Endpoint())
	if err != nil {
		t.Fatal(err)
	}
	return status.RaftTerm
}

// A follower that hears the other follower and is not heard by the leader: it must not unseat a
// leader that the majority follows, however long it campaigns.
func TestOneWayLossDoesNotUnseatLeader(t *testing.T) {
	lab := newNetLab(t, 3)
	c := lab.start(steady)
	live := watchLive(t, c)
	l := startLoad(t, c)
	l.awaitWrites(t, 50)
	for _, way := range []string{"to the follower", "to the leader"} {
		// A machine that stalls for an election timeout unseats a leader too; a follower that disturbs
		// does so each time.
		const tries = 3
		for try := 1; ; try++ {
			disturbed := runOneWayLoss(t, lab, c, l, way == "to the leader")
			if disturbed == "" {
				break
			}
			if t.Logf("what was lost %s, try %d: %s", way, try, disturbed); try == tries {
				t.Fatal("the leader was unseated each time")
			}
		}
	}
	verify(t, c, l.finish(), live)
}

// runOneWayLoss loses what passes between the leader and a follower in one direction, for longer
// than the follower can wait before it campaigns, and tells what became of the leader and its term
// if they did not stay.
func runOneWayLoss(t *testing.T, lab *netLab, c *procs.Cluster, l *load, toLeader bool) (disturbed string) {
	t.Helper()
	leader, followers := mustLeader(t, c)
	term := termOf(t, leader)
	from, to := index(c, leader), index(c, followers[0])
	if toLeader {
		from, to = to, from
	}
	lab.dropOneWay(from, to)
	quiet := time.NewTimer(6 * time.Second)
	for waiting := true; waiting; {
		select {
		case <-quiet.C:
			waiting = false
		default:
			l.awaitWrites(t, 20)
		}
	}
	// The follower that is cut off may not know of another leader, so that only the other one is
	// asked.
	now, err := procs.LeaderOf(contextWithin(t, time.Minute), []*procs.Member{leader, followers[1]})
	if err != nil || now != leader || termOf(t, now) != term {
		disturbed = fmt.Sprintf("%s led in term %d; then %v, term %d", leader.Name, term, err, termOf(t, leader))
	}
	lab.restoreOneWay(from, to)
	if now, _ := mustLeader(t, c); disturbed == "" && (now != leader || termOf(t, now) != term) {
		disturbed = fmt.Sprintf("after it: %s in term %d, not %s in term %d", now.Name, termOf(t, now), leader.Name, term)
	}
	return disturbed
}

// Cables: the leader's, then everybody's, while clients go on trying.
func TestNetworkOutagesLoseNothing(t *testing.T) {
	lab := newNetLab(t, 3)
	c := lab.start()
	live := watchLive(t, c)
	l := startLoad(t, c)
	l.awaitWrites(t, 50)
	old, others := mustLeader(t, c)
	lab.unplug(index(c, old))
	began := time.Now()
	if _, err := procs.LeaderOf(contextWithin(t, 2*time.Minute), others); err != nil {
		t.Fatal(err)
	}
	t.Logf("another leads after %v", time.Since(began))
	l.awaitWrites(t, 50)
	lab.plug(index(c, old))
	mustLeader(t, c)
	for i := range c.Members {
		lab.unplug(i)
	}
	for i := range c.Members {
		lab.plug(i)
	}
	l.awaitWrites(t, 50)
	verify(t, c, l.finish(), live)
}
