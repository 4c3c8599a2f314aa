package mvcc

import (
	"cmp"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/rs/zerolog"
	"github.com/troupe-raft/troupe/internal/defaults"
)

// flush flushes everything to the disk. The engine retries without end, so a failure of the store
// ends the wait.
func (s *Store) flush() error {
	done, err := s.db.AsyncFlush()
	if err != nil {
		return fmt.Errorf("flushing: %w", err)
	}
	select {
	case <-done:
		return nil
	case <-s.compactor.failed:
		return s.failure()
	}
}

// Size returns the bytes on the disk, and those of them that hold live data.
func (s *Store) Size() (total, inUse int64) {
	s.openMu.RLock()
	defer s.openMu.RUnlock()
	if s.closed {
		return 0, 0
	}
	m := s.db.Metrics()
	live := m.Total()
	inUse = live.TablesSize + int64(m.MemTable.Size)
	return max(int64(m.DiskSpaceUsage()), inUse), inUse
}

// Engine describes the storage engine's memory and background work.
type Engine struct {
	// MemTableBytes are not flushed yet; CacheBytes are in the block cache.
	MemTableBytes, CacheBytes int64
	// L0Sublevels are layers of tables that are not compacted (writes wait at 64). CompactionDebt is
	// the number of bytes that compactions still have to write.
	L0Sublevels    int
	CompactionDebt int64
	// Snapshots are those that reads hold open.
	Snapshots int
}

// Engine describes the storage engine. All fields are zero after Close.
func (s *Store) Engine() (e Engine) {
	s.openMu.RLock()
	defer s.openMu.RUnlock()
	if s.closed {
		return e
	}
	m := s.db.Metrics()
	return Engine{
		MemTableBytes: int64(m.MemTable.Size), CacheBytes: m.BlockCache.Size, L0Sublevels: int(m.Levels[0].Sublevels),
		CompactionDebt: int64(m.Compact.EstimatedDebt), Snapshots: m.Snapshots.Count,
	}
}

// engineOptions returns Pebble's options, chosen by measurement (docs/kv-format.md).
func (s *Store) engineOptions(o Options) *pebble.Options {
	memTable := cmp.Or(o.memTableBytes, defaults.StoreMemTableBytes)
	opts := &pebble.Options{
		FS: o.FS,
		// The engine takes the memory of its memtables, three during a flush, from the cache.
		CacheSize:          cmp.Or(o.cacheBytes, defaults.StoreCacheBytes) + 3*memTable,
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
		Logger:                      engineLogger{s},
		EventListener:               &pebble.EventListener{BackgroundError: s.engineFailed},
	}
	s.stallGuard.memTableBytes = memTable
	s.stallGuard.listen(opts.EventListener)
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

// engineFailed ends the store. The engine would retry a failed background write without end while
// its memtables fill up.
func (s *Store) engineFailed(err error) {
	if s.failure() == nil {
		s.failPermanently(fmt.Errorf("the storage engine failed in the background: %w", err))
	}
}

// engineLogger forwards the engine's messages. Fatalf ends the store, not the process. The engine
// goes on after it, but its answers are discarded (View.end).
type engineLogger struct{ s *Store }

func (l engineLogger) Infof(format string, args ...any) {
	l.s.log.Debug().Msgf(format, args...)
}

func (l engineLogger) Errorf(format string, args ...any) {
	l.s.log.WithLevel(zerolog.ErrorLevel).Msgf(format, args...)
}

func (l engineLogger) Fatalf(format string, args ...any) {
	l.s.engineFailed(fmt.Errorf(format, args...))
}
