package cluster

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/troupe-raft/troupe/tests/procs"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func TestRandomKillsUnderLoadAreLinearizable(t *testing.T) {
	kills := 20
	if testing.Short() {
		kills = 4
	}
	random, c, live, l := startRandomFaults(t)
	var outages []time.Duration
	for range kills {
		victim := c.Members[random.IntN(len(c.Members))]
		if random.IntN(2) == 0 {
			victim, _ = mustLeader(t, c)
		}
		mustSucceed(t, victim.Kill())
		outages = append(outages, l.awaitWrites(t, 50+random.Int64N(100)))
		mustSucceed(t, victim.Start(contextWithin(t, 2*time.Minute)))
		l.awaitWrites(t, 50+random.Int64N(100))
	}
	operations := l.finish()
	verify(t, c, operations, live)
	slices.Sort(outages)
	t.Logf("%d kills: first acknowledged write after a median of %v, at most %v", kills, outages[len(outages)/2], outages[len(outages)-1])
}

func TestRandomPausesUnderLoadAreLinearizable(t *testing.T) {
	pauses := 8
	if testing.Short() {
		pauses = 2
	}
	random, c, live, l := startRandomFaults(t)
	for i := range pauses {
		victim := c.Members[random.IntN(len(c.Members))]
		// A paused leader closes no connection, and is still in the role of leader when it resumes.
		if i%2 == 0 {
			victim, _ = mustLeader(t, c)
		}
		mustSucceed(t, victim.Pause())
		l.awaitWrites(t, 50+random.Int64N(100))
		mustSucceed(t, victim.Resume())
		l.awaitWrites(t, 50+random.Int64N(100))
	}
	verify(t, c, l.finish(), live)
}

// startRandomFaults starts a cluster, a watch and a load, and logs the seed of random.
func startRandomFaults(t *testing.T) (random *rand.Rand, c *procs.Cluster, live func(last int64) []event, l *load) {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	c = startCluster(t, 3)
	live = watchLive(t, c)
	l = startLoad(t, c)
	l.awaitWrites(t, 50)
	return rand.New(rand.NewPCG(seed, 0)), c, live, l
}

func TestKillOfAllMembersLosesNothing(t *testing.T) {
	c := startCluster(t, 3)
	live := watchLive(t, c)
	l := startLoad(t, c)
	for range 2 {
		l.awaitWrites(t, 100)
		for _, m := range c.Members {
			mustSucceed(t, m.Kill())
		}
		mustSucceed(t, c.Start(contextWithin(t, 2*time.Minute)))
	}
	l.awaitWrites(t, 100)
	verify(t, c, l.finish(), live)
}

// verify checks the operations of a load against the events and the state of the cluster.
func verify(t *testing.T, c *procs.Cluster, operations []operation, live func(last int64) []event) {
	t.Helper()
	mustLeader(t, c)
	ctx := contextWithin(t, 2*time.Minute)
	// The history is complete once a watch has returned this write.
	lastWrite, err := dial(t, c.Endpoints()...).Put(ctx, loadPrefix+"end", "end")
	mustSucceed(t, err)
	last := lastWrite.Header.Revision
	var history []event
	for i, m := range c.Members {
		events := readHistory(t, dial(t, m.Endpoint()), loadPrefix, last)
		if i == 0 {
			history = events
			checkEveryRevisionOnce(t, history, last)
		}
		checkSameHistory(t, "a watch from the first revision at "+m.Name, events, history)
	}
	checkSameHistory(t, "the watch during the load", live(last), history)
	checkSameHashes(t, c, last)
	checkAcknowledgedWrites(t, operations, history)
	checkOldReads(t, operations, history)
	placed, unknown, applied := placeUnknownWrites(operations, history)
	checkLinearizable(t, placed)
	t.Logf("%d operations, %d of unknown outcome, of which %d took effect; %d events", len(operations), unknown, applied, len(history))
}

// checkEveryRevisionOnce checks that each revision after the first has one event: only the load
// writes.
func checkEveryRevisionOnce(t *testing.T, history []event, last int64) {
	t.Helper()
	next := int64(2)
	for _, e := range history {
		if e.revision != next {
			t.Fatalf("revision %d follows %d", e.revision, next-1)
		}
		next++
	}
	if next != last+1 {
		t.Fatalf("the history ends with revision %d, want %d", next-1, last)
	}
}

func checkSameHashes(t *testing.T, c *procs.Cluster, revision int64) {
	t.Helper()
	ctx := contextWithin(t, 2*time.Minute)
	var first uint32
	for i, m := range c.Members {
		client := dial(t, m.Endpoint())
		// After a linearizable read the member has applied all writes.
		if _, err := client.Get(ctx, "up-to-date"); err != nil {
			t.Fatal(err)
		}
		hash, err := client.HashKV(ctx, m.Endpoint(), revision)
		mustSucceed(t, err)
		if i == 0 {
			first = hash.Hash
		}
		if hash.Hash != first {
			t.Errorf("hash %d of %s, %d of %s", hash.Hash, m.Name, first, c.Members[0].Name)
		}
	}
}

// watchLive starts a watch before the first write. Its client changes to another member when one
// ends. The returned function waits for the revision last and returns the events.
func watchLive(t *testing.T, c *procs.Cluster) func(last int64) []event {
	client := dial(t, c.Endpoints()...)
	ctx, stop := context.WithCancel(t.Context())
	t.Cleanup(stop)
	var mu sync.Mutex
	var events []event
	arrived := make(chan struct{}, 1)
	watch := client.Watch(clientv3.WithRequireLeader(ctx), loadPrefix, clientv3.WithPrefix(), clientv3.WithRev(1))
	var watchErr error
	go func() {
		for {
			for response := range watch {
				mu.Lock()
				events = append(events, watchEvents(response)...)
				watchErr = response.Err()
				mu.Unlock()
				select {
				case arrived <- struct{}{}:
				default:
				}
			}
			if ctx.Err() != nil {
				return
			}
			// The member without a leader canceled the watch: continue after the last event.
			mu.Lock()
			next := int64(1)
			if len(events) > 0 {
				next = events[len(events)-1].revision + 1
			}
			mu.Unlock()
			watch = client.Watch(clientv3.WithRequireLeader(ctx), loadPrefix, clientv3.WithPrefix(), clientv3.WithRev(next))
		}
	}()
	return func(last int64) []event {
		t.Helper()
		ctx := contextWithin(t, 2*time.Minute)
		for {
			mu.Lock()
			if n := len(events); n > 0 && events[n-1].revision >= last {
				defer mu.Unlock()
				return slices.Clone(events)
			}
			mu.Unlock()
			select {
			case <-arrived:
			case <-ctx.Done():
				t.Fatalf("the watch received no revision %d (%v)", last, watchErr)
			}
		}
	}
}
