package troupe_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/troupe-raft/troupe"
	"github.com/troupe-raft/troupe/persistence/vfs"
)

// gate blocks the callers of wait while it is closed.
type gate struct {
	mu   sync.Mutex
	open chan struct{} // a closed channel while the gate is open
}

func newGate() *gate {
	g := &gate{open: make(chan struct{})}
	close(g.open)
	return g
}

func (g *gate) wait() {
	g.mu.Lock()
	open := g.open
	g.mu.Unlock()
	<-open
}

func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open = make(chan struct{})
}

func (g *gate) release() {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.open)
}

// gatedCounter is a counter that applies nothing while its gate is closed.
type gatedCounter struct {
	*counter
	gate *gate
}

func (c *gatedCounter) Apply(b *troupe.Batch) ([][]byte, error) {
	c.gate.wait()
	return c.counter.Apply(b)
}

// gatedFS is a filesystem whose writes and syncs wait while its gate is closed.
type gatedFS struct {
	vfs.FS
	gate *gate
}

type gatedFile struct {
	vfs.File
	gate *gate
}

func (f *gatedFS) Create(path string) (vfs.File, error) {
	file, err := f.FS.Create(path)
	return &gatedFile{file, f.gate}, err
}

func (f *gatedFS) OpenReadWrite(path string) (vfs.File, error) {
	file, err := f.FS.OpenReadWrite(path)
	return &gatedFile{file, f.gate}, err
}

func (f *gatedFile) Sync() error     { f.gate.wait(); return f.File.Sync() }
func (f *gatedFile) SyncData() error { f.gate.wait(); return f.File.SyncData() }
func (f *gatedFile) WriteAt(p []byte, off int64) (int, error) {
	f.gate.wait()
	return f.File.WriteAt(p, off)
}

func isLimitError(err error, limit string) bool {
	var reached *troupe.LimitError
	return errors.Is(err, troupe.ErrOverloaded) && errors.As(err, &reached) && reached.Limit == limit
}

// fillToLimit makes calls until the limit is reached, and checks that each of many more is refused.
// It returns the outcomes of the first ones.
func fillToLimit(t *testing.T, most int, limit string, waiting func() int, more int, call func() error) (answers chan error) {
	t.Helper()
	answers = make(chan error, most)
	for range most {
		go func() { answers <- call() }()
	}
	waitUntil(t, "the pending calls reach "+limit, func() bool { return waiting() == most })
	for range more {
		if err := call(); !isLimitError(err, limit) {
			t.Fatalf("above %s: %v", limit, err)
		}
	}
	return answers
}

// flood makes n calls at once. It reports refusals for the limit, and all other outcomes.
func flood(n int, limit string, call func() error) (refused chan struct{}, others chan error) {
	refused, others = make(chan struct{}, n), make(chan error, n)
	for range n {
		go func() {
			if err := call(); !isLimitError(err, limit) {
				others <- err
				return
			}
			refused <- struct{}{}
		}()
	}
	return refused, others
}

// waitUntil waits until a condition holds.
func waitUntil(t *testing.T, what string, isSo func() bool) {
	t.Helper()
	for end := time.Now().Add(testTimeout); !isSo(); <-time.After(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("timed out waiting until %s", what)
		}
	}
}

// receiveN receives n values from a channel.
func receiveN[T any](t *testing.T, what string, from <-chan T, n int) (all []T) {
	t.Helper()
	timeout := time.After(testTimeout)
	for len(all) < n {
		select {
		case one := <-from:
			all = append(all, one)
		case <-timeout:
			t.Fatalf("%s: %d of %d", what, len(all), n)
		}
	}
	return all
}

func heapBytes() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}

func refusalCount(n *troupe.Node, limit string) uint64 {
	for _, r := range n.Metrics().Refusals {
		if r.Limit == limit {
			return r.Count
		}
	}
	return 0
}

// requireBoundedMailboxes checks that no mailbox holds more than the pending proposals and what
// peers and children send (docs/limits.md), and waits until these proposals are handled: an actor
// handles them though its disk or its state machine is blocked. The messages of a batch in progress
// count until all of them are handled.
func requireBoundedMailboxes(t *testing.T, n *troupe.Node, proposals int) {
	t.Helper()
	const others = 1000
	deepest := func() troupe.ActorMetrics {
		return slices.MaxFunc(n.Metrics().Actors, func(a, b troupe.ActorMetrics) int { return cmp.Compare(a.MailboxDepth, b.MailboxDepth) })
	}
	waitUntil(t, "the actors have handled the proposals", func() bool {
		a := deepest()
		if a.MailboxDepth > proposals+others {
			t.Errorf("%d messages wait in the mailbox of %s; %d proposals are allowed", a.MailboxDepth, a.Name, proposals)
		}
		return t.Failed() || a.MailboxDepth <= others
	})
}

func (c *testCluster) follower() *troupe.Node {
	return c.Node(c.leader().ID()%3 + 1)
}

func TestE45StuckStateMachineIsBounded(t *testing.T) {
	const maxReads, moreReads, maxWrites, moreWrites, memory = 2000, 100_000, 50, 2000, 1 << 20
	gates := map[uint64]*gate{1: newGate(), 2: newGate(), 3: newGate()}
	c := startTestCluster(t, 3, func(config *troupe.Config) {
		config.Limits.MaxPendingReads, config.Limits.MaxPendingRequests, config.Limits.LogMemoryBytes = maxReads, maxWrites, memory
		inner, gate := config.StateMachine, gates[config.ID]
		config.StateMachine = func() (troupe.StateMachine, error) {
			m, err := inner()
			return &gatedCounter{m.(*counter), gate}, err
		}
	})
	leader, stuck := c.leader(), c.follower()
	c.propose(stuck.ID(), "before")
	gates[stuck.ID()].close()
	release := sync.OnceFunc(gates[stuck.ID()].release)
	defer release()
	for i := range 128 { // 8 MiB that are committed and not applied
		c.propose(leader.ID(), fmt.Sprint(i, strings.Repeat("x", 64<<10)))
	}
	waitUntil(t, "the backlog is on disk, and no longer in memory", func() bool {
		return stuck.Status().LastIndex >= leader.Status().CommitIndex && stuck.Metrics().LogMemoryBytes <= memory
	})

	ctx, before := c.context(), heapBytes()
	read := fillToLimit(t, maxReads, "MaxPendingReads", func() int { return stuck.Metrics().PendingReads }, moreReads, func() error {
		_, err := stuck.Read(ctx, troupe.ReadIndex)
		return err
	})
	written := fillToLimit(t, maxWrites, "MaxPendingRequests", func() int { return stuck.Metrics().PendingProposals }, moreWrites, func() error {
		_, err := stuck.Propose(ctx, []byte("a write at the blocked member"))
		return err
	})
	m := stuck.Metrics()
	if m.PendingReads != maxReads || m.UnappliedReadPoints > 1024 || m.PendingProposals != maxWrites {
		t.Errorf("%d reads, %d read points and %d writes are pending", m.PendingReads, m.UnappliedReadPoints, m.PendingProposals)
	}
	if n, k := refusalCount(stuck, "MaxPendingReads"), refusalCount(stuck, "MaxPendingRequests"); n != moreReads || k != moreWrites {
		t.Errorf("%d reads and %d writes were counted as refused", n, k)
	}
	requireBoundedMailboxes(t, stuck, maxWrites)
	// Each pending call has a goroutine of some KiB. All reads together would need ten times this.
	if after := heapBytes(); after > before+(maxReads+maxWrites)*(16<<10)+(16<<20) {
		t.Errorf("memory grew from %d to %d MiB", before>>20, after>>20)
	}
	release()
	for _, err := range append(receiveN(t, "reads that end", read, maxReads), receiveN(t, "writes that end", written, maxWrites)...) {
		if err != nil {
			t.Fatalf("after the state machine continued: %v", err)
		}
	}
	if m := stuck.Metrics(); m.PendingReads != 0 || m.PendingProposals != 0 || m.UnappliedReadPoints != 0 {
		t.Errorf("%d reads, %d read points, %d writes are still pending", m.PendingReads, m.UnappliedReadPoints, m.PendingProposals)
	}
}

// The leader's disk blocks for less than an election timeout, which is long here, while its
// followers sync.
func TestE45LeaderWithStuckDiskIsBounded(t *testing.T) {
	const maxUncommitted, memory, writes, size = 1 << 20, 256 << 10, 2000, 16 << 10
	gates := map[uint64]*gate{1: newGate(), 2: newGate(), 3: newGate()}
	c := startTestCluster(t, 3, func(config *troupe.Config) {
		steady(config)
		config.Limits.MaxUncommittedBytes, config.Limits.LogMemoryBytes = maxUncommitted, memory
		config.Limits.MaxPendingRequests = writes
		config.FS = &gatedFS{config.FS, gates[config.ID]}
	})
	leader := c.leader()
	for id := range gates {
		c.propose(id, fmt.Sprintf("before, at %d", id))
	}
	gates[leader.ID()].close()
	release := sync.OnceFunc(gates[leader.ID()].release)
	defer release()
	ctx := c.context()
	type outcomes struct {
		refused chan struct{}
		others  chan error
		missing int
	}
	var all []outcomes
	for _, n := range c.Nodes() {
		refused, others := flood(writes, "MaxUncommittedBytes", func() error {
			_, err := n.Propose(ctx, append([]byte(fmt.Sprint(n.ID())), make([]byte, size)...))
			return err
		})
		// What fits is not refused. Commands that were sent twice may be in the log as well.
		const least = writes - 2*maxUncommitted/size
		receiveN(t, fmt.Sprintf("refused at %d", n.ID()), refused, least)
		all = append(all, outcomes{refused, others, writes - least})
	}
	m := leader.Metrics()
	if m.UncommittedBytes > maxUncommitted || m.LogMemoryBytes > maxUncommitted+memory+64<<10 {
		t.Errorf("%d bytes uncommitted or not on disk, %d bytes of the log in memory", m.UncommittedBytes, m.LogMemoryBytes)
	}
	requireBoundedMailboxes(t, leader, writes)
	release()
	if r := c.propose(leader.ID(), "after"); r.Index == 0 {
		t.Error("no index")
	}
	for _, o := range all {
		for range o.missing {
			select {
			case <-o.refused:
			case err := <-o.others:
				if err != nil {
					t.Errorf("neither refused nor applied: %v", err)
				}
			}
		}
	}
	if role := leader.Status().Role; role != "leader" {
		t.Errorf("the leader is now %s", role)
	}
}

func TestE45MemberWithoutLeaderIsBounded(t *testing.T) {
	const limit, more = 50, 1000
	c := startTestCluster(t, 3, func(config *troupe.Config) {
		config.Limits.MaxPendingRequests, config.Limits.MaxPendingReads = limit, limit
	})
	c.propose(1, "before")
	for id := uint64(1); id <= 3; id++ {
		c.Node(id).Kill()
	}
	alone, err := c.Start(c.context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(c.context())
	forWrites := c.context()
	written := fillToLimit(t, limit, "MaxPendingRequests", func() int { return alone.Metrics().PendingProposals }, more, func() error {
		_, err := alone.Propose(forWrites, []byte("x"))
		return err
	})
	read := fillToLimit(t, limit, "MaxPendingReads", func() int { return alone.Metrics().PendingReads }, more, func() error {
		_, err := alone.Read(ctx, troupe.ReadIndex)
		return err
	})
	cancel()
	for _, err := range receiveN(t, "reads that end", read, limit) {
		if !errors.Is(err, troupe.ErrCanceled) || !errors.Is(err, context.Canceled) {
			t.Fatalf("after the context ended: %v", err)
		}
	}
	if m := alone.Metrics(); m.PendingReads != 0 || m.PendingProposals != limit {
		t.Errorf("%d reads and %d writes are pending", m.PendingReads, m.PendingProposals)
	}
	if _, err := c.Start(c.context(), 2); err != nil {
		t.Fatal(err)
	}
	for _, err := range receiveN(t, "writes that end", written, limit) {
		if err != nil {
			t.Fatalf("after there was a leader: %v", err)
		}
	}
}
