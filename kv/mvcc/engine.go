package mvcc

import (
	"context"
	"fmt"
)

// flush flushes everything to the disk.
func (s *Store) flush() error {
	if err := s.db.Flush(); err != nil {
		return fmt.Errorf("flushing: %w", err)
	}
	return nil
}

// LiveBytes returns the size of the live data: keys and values of every revision that compaction
// has not removed, before compression, with some 20 bytes for each. It is exact at any time, and
// members that have applied and removed the same have the same.
func (s *Store) LiveBytes() int64 { return s.liveBytes.Load() }

// Size returns the bytes on the disk, and those of the live data (LiveBytes). Compression may make
// the former smaller; total is never below inUse.
func (s *Store) Size() (total, inUse int64) {
	inUse = s.LiveBytes()
	return max(s.DiskBytes(), inUse), inUse
}

// DiskBytes returns the bytes on the disk. They include what the engine has not yet removed.
func (s *Store) DiskBytes() int64 {
	s.openMu.RLock()
	defer s.openMu.RUnlock()
	if s.closed {
		return 0
	}
	return s.db.Metrics().DiskBytes
}

// Defragment removes from the disk what compaction has removed from the store: it waits for that
// removal, and then rewrites the tables that hold deleted rows. Reads and writes go on meanwhile.
// It ends with the context's error when the context ends. A second call waits for the first.
func (s *Store) Defragment(ctx context.Context) error {
	select {
	case s.defragmenting <- struct{}{}:
		defer func() { <-s.defragmenting }()
	case <-ctx.Done():
		return ctx.Err()
	case <-s.closing.Done():
		return ErrClosed
	}
	if err := s.WaitCompacted(ctx); err != nil {
		return err
	}
	s.openMu.RLock()
	defer s.openMu.RUnlock()
	if s.closed {
		return ErrClosed
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.closing, cancel)()
	err := s.flush()
	if err == nil {
		err = s.db.Compact(ctx, []byte{0}, []byte{0xff})
	}
	switch {
	case err == nil:
		return s.failure()
	case s.closing.Err() != nil:
		return ErrClosed
	}
	return fmt.Errorf("rewriting the tables: %w", err)
}

// Engine describes the storage engine's memory and background work.
type Engine struct {
	// MemTableBytes are not flushed yet; CacheBytes are in the block cache.
	MemTableBytes, CacheBytes int64
	// L0Sublevels are layers of tables that are not compacted (writes wait at 64). CompactionDebt
	// is the number of bytes that compactions still have to write.
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
		MemTableBytes: m.MemTableBytes, CacheBytes: m.CacheBytes, L0Sublevels: m.L0Sublevels,
		CompactionDebt: m.CompactionDebt, Snapshots: m.Snapshots,
	}
}

// engineFailed ends the store.
func (s *Store) engineFailed(err error) {
	if s.failure() == nil {
		s.failPermanently(fmt.Errorf("the storage engine failed in the background: %w", err))
	}
}
