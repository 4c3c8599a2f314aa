package troupe_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/troupe-raft/troupe"
)

// counter is an in-memory state machine that counts commands; the result is the count so far. It
// also counts each command, to find one that took effect twice.
type counter struct {
	mu      sync.Mutex
	sum     uint64
	applied map[string]int
	last    uint64
}

func newCounter() *counter { return &counter{applied: map[string]int{}} }

func (c *counter) Apply(b *troupe.Batch) ([][]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var results [][]byte
	for _, command := range b.Commands {
		c.applied[string(command.Data)]++
		c.sum++
		results = append(results, binary.BigEndian.AppendUint64(nil, c.sum))
	}
	c.last = b.Last
	return results, nil
}

func (c *counter) Close() error               { return nil }
func (c *counter) Snapshot(w io.Writer) error { return errors.New("not used in these tests") }
func (c *counter) Restore(r io.Reader) error  { return errors.New("not used in these tests") }
func (c *counter) state() (sum, applied uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sum, c.last
}

// counts returns how often each command was applied.
func (c *counter) counts() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	copied := make(map[string]int, len(c.applied))
	for k, v := range c.applied {
		copied[k] = v
	}
	return copied
}

// testCluster is a cluster of counters.
type testCluster struct {
	*troupe.Cluster
	t        *testing.T
	mu       sync.Mutex
	counters map[uint64]*counter // the latest of each member
}

// testTimeout bounds every wait of these tests. It is long because the tests wait for events.
const testTimeout = 2 * time.Minute

// steady makes the election timeout longer than any stall of a loaded machine, so that the leader
// stays. The first election does not wait for it.
func steady(config *troupe.Config) { config.Timing.ElectionTimeout = 2 * testTimeout }

func startTestCluster(t *testing.T, size int, configure func(*troupe.Config)) *testCluster {
	t.Helper()
	c := &testCluster{t: t, counters: map[uint64]*counter{}}
	ctx := c.context()
	cluster, err := troupe.StartCluster(ctx, troupe.ClusterOptions{
		Size: size,
		StateMachine: func(id uint64) troupe.Factory {
			return func() (troupe.StateMachine, error) {
				machine := newCounter()
				c.mu.Lock()
				defer c.mu.Unlock()
				c.counters[id] = machine
				return machine, nil
			}
		},
		Configure: func(config *troupe.Config) {
			if os.Getenv("TROUPE_TEST_LOG") != "" {
				config.Logger = zerolog.New(zerolog.ConsoleWriter{Out: os.Stderr, NoColor: true, TimeFormat: "05.000"}).
					With().Timestamp().Uint64("member", config.ID).Logger()
			}
			if configure != nil {
				configure(config)
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	c.Cluster = cluster
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
		defer cancel()
		if err := cluster.Stop(ctx); err != nil {
			t.Errorf("stopping the cluster: %v", err)
		}
	})
	return c
}

func (c *testCluster) context() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	c.t.Cleanup(cancel)
	return ctx
}

func (c *testCluster) counter(id uint64) *counter {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.counters[id]
}

func (c *testCluster) leader() *troupe.Node {
	c.t.Helper()
	n, err := c.WaitForLeader(c.context())
	if err != nil {
		c.t.Fatal(err)
	}
	return n
}

func (c *testCluster) propose(id uint64, command string) troupe.Result {
	c.t.Helper()
	r, err := c.Node(id).Propose(c.context(), []byte(command))
	if err != nil {
		c.t.Fatalf("proposing %q at member %d: %v", command, id, err)
	}
	return r
}

// requireAgreement waits until all running members have applied the same commands, and checks that
// none was applied twice.
func (c *testCluster) requireAgreement() {
	c.t.Helper()
	ctx := c.context()
	want := map[string]int(nil)
	for _, n := range c.Nodes() {
		if _, err := n.Read(ctx, troupe.ReadIndex); err != nil {
			c.t.Fatalf("member %d: %v", n.ID(), err)
		}
	}
	for _, n := range c.Nodes() {
		got := c.counter(n.ID()).counts()
		if want == nil {
			want = got
		}
		if len(got) != len(want) || len(got) == 0 {
			c.t.Errorf("member %d applied %d commands, another %d", n.ID(), len(got), len(want))
		}
		for command, times := range got {
			if times != 1 || want[command] != 1 {
				c.t.Errorf("member %d applied %q %d times, another %d", n.ID(), command, times, want[command])
			}
		}
	}
}

func TestProposalIsAppliedOnceByAllMembers(t *testing.T) {
	c := startTestCluster(t, 3, nil)
	for i := range 30 {
		r := c.propose(uint64(i%3+1), fmt.Sprintf("command-%d", i))
		if got := binary.BigEndian.Uint64(r.Value); got != uint64(i+1) {
			t.Fatalf("command %d has the result %d", i+1, got)
		}
	}
	c.requireAgreement()
}

func TestSingleMemberServesAllReadModes(t *testing.T) {
	c := startTestCluster(t, 1, nil)
	c.propose(1, "x")
	for _, mode := range []troupe.ReadMode{troupe.ReadIndex, troupe.ReadLog, troupe.ReadLease, troupe.ReadLeader, troupe.ReadLocal} {
		if _, err := c.Node(1).Read(c.context(), mode); err != nil {
			t.Errorf("%v: %v", mode, err)
		}
	}
	c.requireAgreement()
}

func TestReadsSeeAcknowledgedWrites(t *testing.T) {
	c := startTestCluster(t, 3, nil)
	for i := range 50 {
		c.propose(uint64(i%3+1), fmt.Sprint(i))
		reader := c.Node(uint64((i+1)%3 + 1))
		for _, mode := range []troupe.ReadMode{troupe.ReadIndex, troupe.ReadLog, troupe.ReadLease, troupe.ReadLeader} {
			if _, err := reader.Read(c.context(), mode); err != nil {
				t.Fatal(err)
			}
			if sum, _ := c.counter(reader.ID()).state(); sum < uint64(i+1) {
				t.Fatalf("after write %d a read with %v at member %d saw %d", i+1, mode, reader.ID(), sum)
			}
		}
	}
}

func TestWritesSurviveLeaderLoss(t *testing.T) {
	c := startTestCluster(t, 3, nil)
	for round := range 5 {
		leader := c.leader()
		survivor := c.Node(leader.ID()%3 + 1)
		done := make(chan error, 1)
		go func() {
			for i := range 20 {
				if _, err := survivor.Propose(c.context(), fmt.Appendf(nil, "%d-%d", round, i)); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
		leader.Kill()
		if err := <-done; err != nil {
			t.Fatalf("round %d: a client of another member got %v", round, err)
		}
		if _, err := c.Start(c.context(), leader.ID()); err != nil {
			t.Fatal(err)
		}
		c.requireAgreement()
	}
}

func TestLeadershipTransferTargets(t *testing.T) {
	c := startTestCluster(t, 3, steady)
	leader := c.leader()
	// The leader leads already; etcd's clients request this too.
	itself := leader.TransferLeadership(c.context(), leader.ID())
	stranger := leader.TransferLeadership(c.context(), 99)
	if itself != nil || !errors.Is(stranger, troupe.ErrNotVoter) {
		t.Errorf("to the leader itself: %v; to an unknown member: %v", itself, stranger)
	}
	next := leader.ID()%3 + 1
	if err := leader.TransferLeadership(c.context(), next); err != nil {
		t.Errorf("to a follower: %v", err)
	}
}

func TestMinorityAcknowledgesNothing(t *testing.T) {
	c := startTestCluster(t, 3, nil)
	leader := c.leader()
	c.propose(leader.ID(), "before")
	c.Network.Isolate(leader.ID())
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	_, err := leader.Propose(ctx, []byte("in the minority"))
	if !errors.Is(err, troupe.ErrTimeout) && !errors.Is(err, troupe.ErrNoLeader) {
		t.Fatalf("the error of a leader without followers is %v", err)
	}
	if _, err := leader.Read(ctx, troupe.ReadIndex); err == nil {
		t.Fatal("a leader without followers confirmed a read")
	}
	other := leader.ID()%3 + 1
	c.propose(other, "in the majority")
	c.Network.HealAll()
	c.requireAgreement()
}

// Every actor fails, at once and at each type of message that it receives, while three clients
// write. No acknowledged write is lost, and none is applied twice.
func TestEveryActorFailsUnderLoad(t *testing.T) {
	crashes := []troupe.CrashPoint{
		{Actor: ""}, {Actor: "log"}, {Actor: "log/reader"}, {Actor: "machine"},
		{Actor: "", Message: "AppendEntries"}, {Actor: "", Message: "Durable"}, {Actor: "", Message: "Durable", After: true},
		{Actor: "", Message: "Flush"}, {Actor: "", Message: "Propose"}, {Actor: "", Message: "Recovered"},
		{Actor: "", Message: "Heartbeat"}, {Actor: "", Message: "HeartbeatResponse"}, {Actor: "", Message: "ReplicationProgress"},
		{Actor: "", Message: "RequestVote", After: true}, {Actor: "", Message: "VoteResponse"},
		{Actor: "log", Message: "Append"}, {Actor: "log", Message: "Append", After: true}, {Actor: "log", Message: "Flush"},
		{Actor: "log", Message: "Flush", After: true}, {Actor: "machine", Message: "Committed"},
		{Actor: "machine", Message: "Committed", After: true}, {Actor: "machine", Message: "Committed", Times: 2},
		{Actor: "peer-0x1", Message: "AppendResponse"}, {Actor: "peer-0x2", Message: "AppendResponse"},
		{Actor: "peer-0x3", Message: "Replicate"}, {Actor: "peer-0x1", Message: "Replicate", After: true},
	}
	c := startTestCluster(t, 3, func(config *troupe.Config) {
		config.CrashInjection = true
		config.RestartLimit.Max, config.RestartLimit.Within = 1000, time.Minute
	})
	c.leader()
	var stop atomic.Bool
	var clients sync.WaitGroup
	for id := uint64(1); id <= 3; id++ {
		clients.Go(func() {
			for i := 0; !stop.Load(); i++ {
				if _, err := c.Node(id).Propose(c.context(), fmt.Appendf(nil, "client %d write %d", id, i)); err != nil {
					t.Errorf("client %d: %v", id, err)
					return
				}
			}
		})
	}
	for _, crash := range crashes {
		for id := uint64(1); id <= 3; id++ {
			if crash.Actor == fmt.Sprintf("peer-%#x", id) {
				continue // a node has no Replicator for itself
			}
			before := c.Node(id).Status().Restarts
			if err := c.Node(id).Crash(crash); err != nil {
				t.Fatal(err)
			}
			if crash.Message == "" {
				_ = c.Node(id).CrashNow(crash.Actor) // it may be restarting
			}
			// The write succeeds whether or not the actor received a message of that type.
			c.propose(id, fmt.Sprintf("after %+v at %d (restarts before: %d)", crash, id, before))
		}
	}
	stop.Store(true)
	clients.Wait()
	for _, n := range c.Nodes() {
		if n.Status().Restarts == 0 {
			t.Errorf("member %d was never restarted: no crash was injected", n.ID())
		}
	}
	c.requireAgreement()
}

func TestRestartLimitStopsOneNodeOnly(t *testing.T) {
	c := startTestCluster(t, 3, func(config *troupe.Config) {
		config.CrashInjection = true
		config.RestartLimit.Max, config.RestartLimit.Within = 3, time.Hour
	})
	c.leader()
	victim := c.Node(2)
	if err := victim.Crash(troupe.CrashPoint{Actor: "machine", Message: "Committed", Times: 100}); err != nil {
		t.Fatal(err)
	}
	c.propose(1, "x")
	select {
	case <-victim.Done():
	case <-time.After(testTimeout):
		t.Fatal("the node does not stop")
	}
	if s := victim.Status(); s.Role != "stopped" || s.Err == nil {
		t.Fatalf("the status of a node that stopped is %+v", s)
	}
	if _, err := victim.Propose(c.context(), []byte("y")); !errors.Is(err, troupe.ErrStopped) {
		t.Fatalf("a proposal at a stopped node: %v", err)
	}
	c.propose(1, "the others go on")
	c.propose(3, "all of them")
}
