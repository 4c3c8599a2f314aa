// Package kvtest is a member without a cluster, for tests of the etcd services.
package kvtest

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/troupe-raft/troupe"
	"github.com/troupe-raft/troupe/internal/interleave"
	"github.com/troupe-raft/troupe/kv/mvcc"
	"github.com/troupe-raft/troupe/kv/mvcc/engine/disk"
	"github.com/troupe-raft/troupe/kv/mvcc/engine/memory"
)

// The identity of the member.
const (
	MemberID  = 0x1234
	ClusterID = 0xc0ffee
	Term      = 7
)

const storeDir = "kv"

// ErrHangUntilDeadline makes a call wait until its context ends.
var ErrHangUntilDeadline = errors.New("hang")

// Consensus is a kv.Consensus of one member: it applies each proposal at once to a store. It keeps
// its log in memory, so that the store can be closed and opened again.
type Consensus struct {
	Reads      [troupe.ReadLocal + 1]atomic.Int64 // calls of Read by mode
	OnTransfer func(to uint64) error

	fs      vfs.FS
	factory troupe.Factory
	failure atomic.Pointer[error] // of Propose and Read
	status  atomic.Pointer[troupe.Status]
	done    chan struct{}
	last    atomic.Uint64 // index of the newest command

	mu       sync.Mutex
	machine  troupe.OnDisk // guarded by mu
	commands [][]byte      // guarded by mu; the log, from index 1
}

// New returns a Consensus that is closed when the test ends.
func New(t testing.TB) (*Consensus, *mvcc.StoreRef) {
	t.Helper()
	c, ref := Open(t)
	t.Cleanup(func() { c.Close(t) })
	return c, ref
}

// Open returns a Consensus that the caller closes.
func Open(t testing.TB) (*Consensus, *mvcc.StoreRef) {
	t.Helper()
	fs := vfs.NewMem()
	c, ref := openWith(t, mvcc.Options{Engine: disk.Opener(disk.Options{FS: fs})})
	c.fs = fs
	return c, ref
}

// OpenScheduled is Open with a store in memory whose work is tasks. One task at a time may propose.
func OpenScheduled(t testing.TB, schedule *interleave.Scheduler) (*Consensus, *mvcc.StoreRef) {
	t.Helper()
	return openWith(t, mvcc.Options{Engine: memory.NewDisk().Open, Schedule: schedule})
}

func openWith(t testing.TB, o mvcc.Options) (*Consensus, *mvcc.StoreRef) {
	t.Helper()
	factory, ref := mvcc.Factory(storeDir, o)
	c := &Consensus{factory: factory, done: make(chan struct{})}
	c.status.Store(&troupe.Status{
		ID: MemberID, ClusterID: ClusterID, Role: "leader", Term: Term, LeaderID: MemberID, Serving: true,
		Members: []troupe.Member{{ID: MemberID, Name: "one", Address: "127.0.0.1:2380"}},
	})
	c.open(t)
	return c, ref
}

// Close closes the store.
func (c *Consensus) Close(t testing.TB) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.machine.Close(); err != nil {
		t.Errorf("closing the store: %v", err)
	}
}

// open opens the store and replays what it lacks.
func (c *Consensus) open(t testing.TB) {
	t.Helper()
	c.openFactory(t)
	c.replay(t)
}

func (c *Consensus) openFactory(t testing.TB) {
	t.Helper()
	machine, err := c.factory()
	if err != nil {
		t.Fatalf("opening the store: %v", err)
	}
	c.machine = machine.(troupe.OnDisk)
}

func (c *Consensus) replay(t testing.TB) {
	t.Helper()
	applied, _, err := c.machine.Recover()
	if err != nil {
		t.Fatalf("recovering the store: %v", err)
	}
	for i := int(applied); i < len(c.commands); i++ {
		c.apply(uint64(i+1), c.commands[i])
	}
}

// Reopen closes the store, calls meanwhile, and opens the store again.
func (c *Consensus) Reopen(t testing.TB, meanwhile func()) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.machine.Close(); err != nil {
		t.Fatalf("closing the store: %v", err)
	}
	meanwhile()
	c.open(t)
}

// ReopenBehind closes the store and opens an empty one in its place, as after the loss of what was
// not flushed. It calls whileBehind and then replays the log.
func (c *Consensus) ReopenBehind(t testing.TB, whileBehind func()) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.machine.Close(); err != nil {
		t.Fatalf("closing the store: %v", err)
	}
	if err := c.fs.RemoveAll(storeDir); err != nil {
		t.Fatalf("removing the store: %v", err)
	}
	c.openFactory(t)
	whileBehind()
	c.replay(t)
}

func (c *Consensus) apply(index uint64, command []byte) []byte {
	results, err := c.machine.Apply(&troupe.Batch{
		Last:          index,
		Commands:      []troupe.Command{{Index: index, Term: Term, Data: command}},
		SessionUpdate: func([][]byte) troupe.SessionUpdate { return troupe.SessionUpdate{} },
	})
	if err != nil {
		panic(err)
	}
	return results[0]
}

// Propose implements kv.Consensus.
func (c *Consensus) Propose(ctx context.Context, command []byte) (troupe.Result, error) {
	if err := c.failure.Load(); err != nil {
		return troupe.Result{}, c.fail(ctx, *err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.commands = append(c.commands, append([]byte(nil), command...))
	index := uint64(len(c.commands))
	c.last.Store(index)
	return troupe.Result{Index: index, AppliedTerm: Term, Value: c.apply(index, command)}, nil
}

// Proposals returns how many commands were proposed.
func (c *Consensus) Proposals() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.commands)
}

// Put proposes a put.
func (c *Consensus) Put(t testing.TB, key, value string) {
	t.Helper()
	if _, err := c.Propose(context.Background(), EncodePut(t, key, value)); err != nil {
		t.Fatal(err)
	}
}

// EncodePut returns the command of a put.
func EncodePut(t testing.TB, key, value string) []byte {
	t.Helper()
	command, err := mvcc.EncodePut(&pb.PutRequest{Key: []byte(key), Value: []byte(value)})
	if err != nil {
		t.Fatal(err)
	}
	return command
}

// Read implements kv.Consensus.
func (c *Consensus) Read(ctx context.Context, mode troupe.ReadMode) (troupe.ReadPoint, error) {
	c.Reads[mode].Add(1)
	if err := c.failure.Load(); err != nil && mode != troupe.ReadLocal {
		return troupe.ReadPoint{}, c.fail(ctx, *err)
	}
	return troupe.ReadPoint{Index: c.last.Load(), Term: Term}, nil
}

func (c *Consensus) fail(ctx context.Context, err error) error {
	if err == ErrHangUntilDeadline {
		<-ctx.Done()
		return errors.Join(troupe.ErrTimeout, ctx.Err())
	}
	return err
}

// SetFailure makes Propose and Read return err; nil ends that.
func (c *Consensus) SetFailure(err error) {
	if err == nil {
		c.failure.Store(nil)
		return
	}
	c.failure.Store(&err)
}

// SetStatus changes what Status returns.
func (c *Consensus) SetStatus(change func(*troupe.Status)) {
	changed := *c.status.Load()
	change(&changed)
	c.status.Store(&changed)
}

// Status implements kv.Consensus.
func (c *Consensus) Status() troupe.Status { return *c.status.Load() }

// Term implements kv.Consensus.
func (c *Consensus) Term() uint64 { return c.Status().Term }

// Done implements kv.Consensus.
func (c *Consensus) Done() <-chan struct{} { return c.done }

// Err implements kv.Consensus.
func (c *Consensus) Err() error { return nil }

// TransferLeadership calls OnTransfer, or without one waits until the context ends.
func (c *Consensus) TransferLeadership(ctx context.Context, to uint64) error {
	if c.OnTransfer == nil {
		return c.fail(ctx, ErrHangUntilDeadline)
	}
	return c.OnTransfer(to)
}

// Metrics returns zeros.
func (c *Consensus) Metrics() troupe.Metrics { return troupe.Metrics{} }
