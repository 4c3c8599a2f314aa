// Package engine is what the store of package mvcc needs of a storage engine: an ordered map of
// rows, changed by batches that the disk holds as a whole or not at all, and snapshots of it.
//
// Two engines exist. Package disk is Pebble, which servers use. Package memory is a B-tree without
// goroutines, clock or randomness, which the simulator uses. TestEnginesAgree holds them equal.
package engine

import (
	"context"
	"errors"
	"io"

	"github.com/rs/zerolog"
)

var (
	// ErrNotFound means that there is no row under a key.
	ErrNotFound = errors.New("engine: no such row")
	// ErrCorrupt means that files of the engine are damaged. Open returns an error that matches it.
	ErrCorrupt = errors.New("engine: damaged files")
)

// Open opens the engine in a directory, and creates it if it does not exist.
type Open func(dir string, events Events) (DB, error)

// Events are what an engine reports while it is open. The functions are called on any goroutine.
type Events struct {
	// Failed is called when a write in the background has failed. The engine's answers mean nothing
	// from then on.
	Failed func(error)
	Log    zerolog.Logger
}

// Reader reads one state of the rows: the newest one, that of a snapshot, or that of a batch over
// the newest one.
type Reader interface {
	// Get returns a row, which is valid until the closer is closed, or ErrNotFound.
	Get(key []byte) (row []byte, closer io.Closer, err error)
	// NewIter returns an iterator over the keys in [lower, upper); nil is no bound. It does not see
	// what is committed later, and keeps the bounds until it is closed.
	NewIter(ctx context.Context, lower, upper []byte) (Iterator, error)
}

// Iterator visits rows in ascending order of their keys. It begins before the first row.
type Iterator interface {
	// SetBounds changes the bounds. First must follow. The bounds before must have been in order:
	// Pebble may skip rows otherwise.
	SetBounds(lower, upper []byte)
	// First and Next report whether there is such a row.
	First() bool
	Next() bool
	// Key and Value are those of the current row, valid until the iterator moves.
	Key() []byte
	Value() []byte
	ValueAndErr() ([]byte, error)
	Error() error
	Close() error
}

// Batch collects changes. Its methods copy keys and values; a key is never empty. It reads only if
// it is indexed; then it reads its own changes over the rows.
type Batch interface {
	Reader
	Set(key, value []byte) error
	Delete(key []byte) error
	Empty() bool
	Indexed() bool
	// Close releases the batch. It must not be used after that, and not be closed twice.
	Close() error
}

// Snapshot is a state of the rows that later commits do not change.
type Snapshot interface {
	Reader
	Close() error
}

// DB is an open engine. Readers may use it on any goroutine; one goroutine at a time commits.
type DB interface {
	Reader
	// NewBatch returns a batch that is not indexed, with memory for about so many bytes.
	NewBatch(bytes int) Batch
	// NewIndexedBatch returns an indexed batch with the changes of another batch, which stays open.
	NewIndexedBatch(of Batch) (Batch, error)
	// Commit applies a batch. Readers see it as a whole from then on. It reaches the disk with a
	// later flush, after all batches before it. If the engine fails meanwhile, Commit returns early,
	// and the batch must not be used or closed.
	Commit(b Batch) error
	NewSnapshot() Snapshot
	// Flush returns when everything that is committed is on the disk, or the engine has failed.
	Flush() error
	// Compact flushes all rows in [from, to) and rewrites them, so that deleted ones occupy no space
	// any more.
	Compact(ctx context.Context, from, to []byte) error
	Metrics() Metrics
	// Close waits for background work. All readers must be closed before.
	Close() error
	// Abandon closes the engine without waiting, and without a promise about what is on the disk. It
	// is for an engine on a failed disk, where Close may not return.
	Abandon()
}

// Metrics are sizes in bytes, unless they say otherwise.
type Metrics struct {
	TableBytes     int64 // of the tables in use
	DiskBytes      int64 // everything on the disk
	MemTableBytes  int64 // not flushed
	CacheBytes     int64 // in the block cache
	L0Sublevels    int   // layers of tables that are not compacted
	CompactionDebt int64 // that compactions still have to write
	Snapshots      int   // number of open ones
	WrittenBytes   int64 // by flushes and compactions since the engine was opened
}
