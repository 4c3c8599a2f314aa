package disk

import (
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
)

// stallGuard predicts when a commit may have to wait for the engine. The engine blocks writers,
// with no way to cancel, when its memtables are full or there are too many tables in L0; on a
// failed disk, that is without end. But Apply must return, so that the node can stop. A goroutine
// for each commit would solve that, at a cost of more than a microsecond a batch; so only commits
// near a stall get one.
type stallGuard struct {
	memTableBytes  int64
	committedBytes atomic.Int64
	flushingBytes  atomic.Int64 // committedBytes at the start of the last flush
	flushedBytes   atomic.Int64 // at least so many of committedBytes are flushed
	flushes        atomic.Int64 // since the end of the last compaction
}

// The engine stalls at memTableStallCount memtables, and at l0StallSublevels layers in L0, of which
// a flush adds one. The guard's limits are half of these, because it assumes that a flush includes
// everything committed before it starts.
const (
	memTableStallCount       = 4
	l0StallSublevels         = 64
	memTableRowOverheadBytes = 96 // of a row in a memtable
)

// mayStall counts a batch and reports whether its commit may have to wait.
func (g *stallGuard) mayStall(batch *pebble.Batch) bool {
	g.committedBytes.Add(int64(batch.Len()) + int64(batch.Count())*memTableRowOverheadBytes)
	return g.committedBytes.Load()-g.flushedBytes.Load() > memTableStallCount/2*g.memTableBytes || g.flushes.Load() > l0StallSublevels/2
}

// listen adds the guard's callbacks.
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
