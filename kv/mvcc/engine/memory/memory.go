// Package memory is a storage engine in memory, for the simulator and for tests: a B-tree with
// copy-on-write snapshots. It has no goroutine, clock or randomness. What a crash leaves is for its
// user to choose.
package memory

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"

	"github.com/tidwall/btree"

	"github.com/troupe-raft/troupe/kv/mvcc/engine"
)

type row struct{ key, value []byte }

type tree = btree.BTreeG[row]

func newTree() *tree {
	return btree.NewBTreeGOptions(func(a, b row) bool { return bytes.Compare(a.key, b.key) < 0 }, btree.Options{NoLocks: true})
}

// maxUnflushed is how many states a Disk keeps besides the one that is flushed, unless
// Disk.MaxUnflushed says otherwise.
const maxUnflushed = 4

// Disk is the storage of an engine. It survives Close, and Crash takes from it what was not
// flushed. One engine at a time is open on it.
//
// The engine keeps the states after the newest commits, oldest first, as Pebble keeps memtables
// without a log: the first state is on the disk, and a crash leaves it or any later one. A commit
// beyond MaxUnflushed flushes the oldest.
type Disk struct {
	// MaxUnflushed is how many commits a crash may lose at most. It must not change while an engine is
	// open.
	MaxUnflushed int
	// FailFlush, if not nil, is the error of every flush, which then has no effect. It is set while no
	// method of the engine runs.
	FailFlush error

	mu     sync.Mutex
	states []*tree // guarded by mu; the last one is the newest
	open   *db     // guarded by mu; nil: none
}

// NewDisk returns an empty disk.
func NewDisk() *Disk { return &Disk{MaxUnflushed: maxUnflushed, states: []*tree{newTree()}} }

// ErrInUse means that another engine is open on the disk.
var ErrInUse = errors.New("memory: the disk is in use")

// Open implements engine.Open. There is one engine on a disk, whatever dir is.
func (d *Disk) Open(string, engine.Events) (engine.DB, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.open != nil {
		return nil, ErrInUse
	}
	d.open = &db{disk: d}
	return d.open, nil
}

// Unflushed returns how many of the newest commits a crash may lose.
func (d *Disk) Unflushed() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.states) - 1
}

// Crash ends the open engine, if there is one, and loses the newest commits, at most the unflushed
// ones.
func (d *Disk) Crash(lost int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.open = nil
	left := max(1, len(d.states)-lost)
	d.states = []*tree{d.states[left-1]}
}

// db is an open engine.
type db struct {
	disk      *Disk
	snapshots int   // guarded by disk.mu
	written   int64 // guarded by disk.mu
}

var _ engine.DB = (*db)(nil)

// newest returns a copy of the newest state, which later commits do not change.
func (d *db) newest() *tree {
	d.disk.mu.Lock()
	defer d.disk.mu.Unlock()
	return d.disk.states[len(d.disk.states)-1].Copy()
}

// Get implements engine.Reader.
func (d *db) Get(key []byte) ([]byte, io.Closer, error) {
	d.disk.mu.Lock()
	defer d.disk.mu.Unlock()
	return get(d.disk.states[len(d.disk.states)-1], key)
}

// NewIter implements engine.Reader.
func (d *db) NewIter(_ context.Context, lower, upper []byte) (engine.Iterator, error) {
	return newIter(d.newest(), lower, upper), nil
}

// NewBatch implements engine.DB.
func (d *db) NewBatch(int) engine.Batch { return &batch{} }

// NewIndexedBatch implements engine.DB.
func (d *db) NewIndexedBatch(of engine.Batch) (engine.Batch, error) {
	changes := of.(*batch).changes
	b := &batch{changes: append([]change(nil), changes...), rows: d.newest()}
	for i := range changes {
		changes[i].apply(b.rows)
	}
	return b, nil
}

// Commit implements engine.DB.
func (d *db) Commit(b engine.Batch) error {
	s := d.disk
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open != d {
		return errors.New("memory: commit to a closed engine")
	}
	next := s.states[len(s.states)-1].Copy()
	changes := b.(*batch).changes
	for i := range changes {
		changes[i].apply(next)
		d.written += int64(len(changes[i].key) + len(changes[i].value))
	}
	s.states = append(s.states, next)
	if len(s.states) > s.MaxUnflushed+1 {
		s.states = append(s.states[:0], s.states[1:]...)
	}
	return nil
}

// NewSnapshot implements engine.DB.
func (d *db) NewSnapshot() engine.Snapshot {
	rows := d.newest()
	d.disk.mu.Lock()
	defer d.disk.mu.Unlock()
	d.snapshots++
	return &snapshot{db: d, rows: rows}
}

// Flush implements engine.DB.
func (d *db) Flush() error {
	d.disk.mu.Lock()
	defer d.disk.mu.Unlock()
	if err := d.disk.FailFlush; err != nil {
		return err
	}
	d.disk.states = []*tree{d.disk.states[len(d.disk.states)-1]}
	return nil
}

// Compact implements engine.DB. Deleted rows occupy no space.
func (d *db) Compact(context.Context, []byte, []byte) error { return d.Flush() }

// Metrics implements engine.DB.
func (d *db) Metrics() engine.Metrics {
	m := engine.Metrics{}
	d.newest().Scan(func(r row) bool {
		m.TableBytes += int64(len(r.key) + len(r.value))
		return true
	})
	d.disk.mu.Lock()
	defer d.disk.mu.Unlock()
	m.DiskBytes, m.Snapshots, m.WrittenBytes = m.TableBytes, d.snapshots, d.written
	return m
}

// Close implements engine.DB. As in Pebble, what was not flushed is not on the disk.
func (d *db) Close() error {
	d.disk.mu.Lock()
	defer d.disk.mu.Unlock()
	if d.disk.open != d {
		return errors.New("memory: closed twice")
	}
	d.disk.open = nil
	d.disk.states = d.disk.states[:1]
	if d.snapshots != 0 {
		return errors.New("memory: closed with open snapshots")
	}
	return nil
}

// Abandon implements engine.DB.
func (d *db) Abandon() {
	d.disk.mu.Lock()
	defer d.disk.mu.Unlock()
	if d.disk.open == d {
		d.disk.open = nil
	}
}
