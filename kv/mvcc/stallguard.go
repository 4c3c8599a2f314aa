package mvcc

import (
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
)

// stallGuard knows when a commit could have to wait for the engine. The engine makes writers wait, without a way out, when
// its memtables are full or its tables too many; on a disk that has failed that is for ever. Apply must return all the
// same, so that the node can stop. A goroutine a commit would see to it and cost every batch a microsecond or more; so there is
// one only for commits that come when flushes or compactions are far behind.
type stallGuard struct {
	memTableBytes  int64
	committedBytes atomic.Int64 // bytes
	flushingBytes  atomic.Int64 // of committed, when the flush under way began
	flushedBytes   atomic.Int64 // of committed, what is known to be flushed
	flushes        atomic.Int64 // since a compaction ended
}

// The engine stalls at memTableStallCount memtables, and at l0StallSublevels layers of tables, of which a flush adds one. We are careful at half
// of that, since a flush that begins is taken to be of everything there is.
const (
	memTableStallCount       = 4
	l0StallSublevels         = 64
	memTableRowOverheadBytes = 96 // bytes that a row takes in a memtable beside its own
)

func (g *stallGuard) nearStall() bool {
	return g.committedBytes.Load()-g.flushedBytes.Load() > memTableStallCount/2*g.memTableBytes || g.flushes.Load() > l0StallSublevels/2
}

// listen adds what the guard needs to hear.
func (g *stallGuard) listen(l *pebble.EventListener) {
	l.FlushBegin = func(pebble.FlushInfo) { g.flushingBytes.Store(g.committedBytes.Load()) }
	l.FlushEnd = func(i pebble.FlushInfo) {
		if i.Err == nil {
			g.flushedBytes.Store(g.flushingBytes.Load())
			g.flushes.Add(1)
		}
	}
	l.CompactionEnd = func(i pebble.CompactionInfo) {
		if i.Err == nil {
			g.flushes.Store(0)
		}
	}
}

// commit commits the batch, or gives up when the store has failed. In that case the batch is the engine's for ever.
func (s *Store) commit(batch *pebble.Batch) error {
	s.stallGuard.committedBytes.Add(int64(batch.Len()) + int64(batch.Count())*memTableRowOverheadBytes)
	if !s.stallGuard.nearStall() {
		return batch.Commit(pebble.NoSync)
	}
	done := make(chan error, 1)
	go func() { done <- batch.Commit(pebble.NoSync) }()
	select {
	case err := <-done:
		return err
	case <-s.compactor.failed:
		return s.failure()
	}
}
