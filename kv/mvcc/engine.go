package mvcc

import "fmt"

// flush flushes everything to the disk.
func (s *Store) flush() error {
	if err := s.db.Flush(); err != nil {
		return fmt.Errorf("flushing: %w", err)
	}
	return nil
}

// Size returns the bytes on the disk, and those of them that hold live data.
func (s *Store) Size() (total, inUse int64) {
	s.openMu.RLock()
	defer s.openMu.RUnlock()
	if s.closed {
		return 0, 0
	}
	m := s.db.Metrics()
	inUse = m.TableBytes + m.MemTableBytes
	return max(m.DiskBytes, inUse), inUse
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
