// Package disk is the storage engine on disk: Pebble, with options chosen by measurement
// (docs/kv-format.md).
package disk

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/rs/zerolog"

	"github.com/troupe-raft/troupe/internal/defaults"
	"github.com/troupe-raft/troupe/kv/mvcc/engine"
)

// Options configure the engine. The zero value is valid.
type Options struct {
	// FS is the filesystem; nil is the operating system's.
	FS vfs.FS
	// CacheBytes limits the cache of blocks read from the disk. Default 64 MiB.
	CacheBytes int64
	// MemTableBytes is the size of a memtable, of which up to four exist. A crash loses their content.
	// Default 32 MiB.
	MemTableBytes int64
	// MaxOpenTables bounds the tables, which are files, that the engine keeps open. Default 1,000; the
	// engine uses 74 at least.
	MaxOpenTables int
}

// Opener returns a function that opens the engine.
func Opener(o Options) engine.Open {
	return func(dir string, events engine.Events) (engine.DB, error) { return open(dir, o, events) }
}

const (
	removalPoll    = 10 * time.Millisecond
	maxRemovalWait = 10 * time.Second
)

// DB is an open Pebble. It has no log of its own: after a crash it has the state of its last flush.
type DB struct {
	db         *pebble.DB
	events     engine.Events
	stallGuard stallGuard
	stallLog   stallLog
	failure    atomic.Pointer[error]
	failed     chan struct{} // closed when failure is set
}

var _ engine.DB = (*DB)(nil)

// corruption is an error of damaged files.
type corruption struct{ error }

// Is makes the error match engine.ErrCorrupt.
func (corruption) Is(target error) bool { return target == engine.ErrCorrupt }

// Unwrap returns Pebble's error.
func (c corruption) Unwrap() error { return c.error }

func open(dir string, o Options, events engine.Events) (*DB, error) {
	d := &DB{events: events, failed: make(chan struct{})}
	db, err := pebble.Open(dir, d.pebbleOptions(o))
	if pebble.IsCorruptionError(err) {
		err = corruption{err}
	}
	d.db = db
	return d, err
}

func (d *DB) pebbleOptions(o Options) *pebble.Options {
	memTable := cmp.Or(o.MemTableBytes, defaults.StoreMemTableBytes)
	opts := &pebble.Options{
		FS: o.FS,
		// Pebble takes the memory of its memtables, three during a flush, from the cache.
		CacheSize:          cmp.Or(o.CacheBytes, defaults.StoreCacheBytes) + 3*memTable,
		DisableWAL:         true,
		FormatMajorVersion: pebble.FormatTableFormatV6,
		MemTableSize:       uint64(memTable),
		// A flush that is a little late must not stop writes.
		MemTableStopWritesThreshold: memTableStallCount,
		L0CompactionThreshold:       4,
		L0StopWritesThreshold:       l0StallSublevels,
		LBaseMaxBytes:               128 << 20,
		MaxOpenFiles:                cmp.Or(o.MaxOpenTables, defaults.StoreOpenTables),
		CompactionConcurrencyRange:  func() (lower, upper int) { return 1, 2 },
		Logger:                      logger{d},
		EventListener:               &pebble.EventListener{BackgroundError: d.fail},
	}
	d.stallGuard.memTableBytes = memTable
	d.stallGuard.listen(opts.EventListener)
	d.stallLog.log = d.events.Log
	d.stallLog.listen(opts.EventListener)
	if opts.FS == nil {
		opts.FS = vfs.Default
	}
	opts.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return pebble.DBCompressionFastest })
	for i := range opts.Levels {
		opts.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
		opts.Levels[i].BlockSize = 8 << 10
		opts.Levels[i].IndexBlockSize = 64 << 10
		opts.TargetFileSizes[i] = 8 << 20
	}
	return opts
}

// fail records the first failure in the background. Pebble would retry a failed write without end
// while its memtables fill up.
func (d *DB) fail(err error) {
	if d.failure.CompareAndSwap(nil, &err) {
		close(d.failed)
		d.events.Failed(err)
	}
}

// logger forwards Pebble's messages. Fatalf ends the engine, not the process. Pebble goes on after
// it, but the store discards its answers.
type logger struct{ d *DB }

func (l logger) Infof(format string, args ...any) { l.d.events.Log.Debug().Msgf(format, args...) }

func (l logger) Errorf(format string, args ...any) {
	l.d.events.Log.WithLevel(zerolog.ErrorLevel).Msgf(format, args...)
}

func (l logger) Fatalf(format string, args ...any) { l.d.fail(fmt.Errorf(format, args...)) }

// Get implements engine.Reader.
func (d *DB) Get(key []byte) ([]byte, io.Closer, error) { return get(d.db, key) }

// NewIter implements engine.Reader.
func (d *DB) NewIter(ctx context.Context, lower, upper []byte) (engine.Iterator, error) {
	return newIter(ctx, d.db, lower, upper)
}

// NewBatch implements engine.DB.
func (d *DB) NewBatch(bytes int) engine.Batch {
	return batch{d.db.NewBatch(pebble.WithInitialSizeBytes(bytes))}
}

// NewIndexedBatch implements engine.DB.
func (d *DB) NewIndexedBatch(of engine.Batch) (engine.Batch, error) {
	indexed := d.db.NewIndexedBatch()
	if err := indexed.Apply(of.(batch).b, nil); err != nil {
		return nil, errors.Join(err, indexed.Close())
	}
	return batch{indexed}, nil
}

// Commit implements engine.DB.
func (d *DB) Commit(b engine.Batch) error {
	pending := b.(batch).b
	if !d.stallGuard.mayStall(pending) {
		return pending.Commit(pebble.NoSync)
	}
	done := make(chan error, 1)
	go func() { done <- pending.Commit(pebble.NoSync) }()
	select {
	case err := <-done:
		return err
	case <-d.failed:
		return *d.failure.Load()
	}
}

// NewSnapshot implements engine.DB.
func (d *DB) NewSnapshot() engine.Snapshot { return snapshot{d.db.NewSnapshot()} }

// Flush implements engine.DB. Pebble retries without end, so a failure ends the wait.
func (d *DB) Flush() error {
	done, err := d.db.AsyncFlush()
	if err != nil {
		return err
	}
	select {
	case <-done:
		return nil
	case <-d.failed:
		return *d.failure.Load()
	}
}

// Compact implements engine.DB. Pebble removes the tables that it has replaced in the background,
// and they count in Metrics until then. Compact waits for that, for a while.
func (d *DB) Compact(ctx context.Context, from, to []byte) error {
	if err := d.db.Compact(ctx, from, to, false); err != nil {
		return err
	}
	poll := time.NewTicker(removalPoll)
	defer poll.Stop()
	for end := time.Now().Add(maxRemovalWait); time.Now().Before(end) && d.db.Metrics().Table.Local.ObsoleteSize > 0; {
		select {
		case <-poll.C:
		case <-d.failed:
			return *d.failure.Load()
		case <-ctx.Done():
			return nil // all of it is compacted
		}
	}
	return nil
}

// Metrics implements engine.DB.
func (d *DB) Metrics() engine.Metrics {
	m := d.db.Metrics()
	total := m.Total()
	return engine.Metrics{
		TableBytes: total.TablesSize, DiskBytes: int64(m.DiskSpaceUsage()), MemTableBytes: int64(m.MemTable.Size),
		CacheBytes: m.BlockCache.Size, L0Sublevels: int(m.Levels[0].Sublevels), CompactionDebt: int64(m.Compact.EstimatedDebt),
		Snapshots: m.Snapshots.Count, WrittenBytes: int64(total.TableBytesFlushed + total.TableBytesCompacted),
	}
}

// Close implements engine.DB.
func (d *DB) Close() error { return d.db.Close() }

// Abandon implements engine.DB.
func (d *DB) Abandon() { go d.db.Close() }
