package mvcc

import (
	"context"
	"fmt"
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// compactor removes, in the background, the rows that no read at or above the compacted revision can reach. Which rows those
// are is the same at every member; when they go is each member's own affair, and shows nowhere.
//
// It walks the events since the last compaction, not the keys that are there: an event makes the one that it points
// back to unreachable, and a tombstone below the compacted revision is itself of no use any more. (One at the compacted
// revision stays until the next time: a watch may still start there.) So compaction costs what it removes.
type compactor struct {
	s          *Store
	stepEvents int           // events looked at in one turn
	wakeup     chan struct{} // capacity 1
	quit       chan struct{}
	done       sync.WaitGroup
	failed     chan struct{} // closed when the store has failed
	allRemoved chan struct{} // closed and made anew whenever all is removed; guarded by applyMu

	// A round looks at the events from the revision removed to last up to target, a piece a turn. It keeps to its target
	// although more is compacted meanwhile: a tombstone at the target stays, and only a round of its own, which begins
	// there, takes it. So what is gone once all rounds are through depends on the revisions compacted, not on when.
	cursor revision // the next event to look at, zero between two rounds; guarded by applyMu
	target int64    // guarded by applyMu
}

// defaultStepEvents is how many events are looked at in one turn, unless the options say otherwise: below a millisecond that
// Apply may have to wait.
const defaultStepEvents = 256

func (c *compactor) start(s *Store) {
	c.s = s
	c.wakeup, c.quit = make(chan struct{}, 1), make(chan struct{})
	c.allRemoved = make(chan struct{})
	c.done.Add(1)
	go c.run()
	if s.tip.removedTo < s.tip.compactRev {
		c.wake()
	}
}

func (c *compactor) wake() {
	select {
	case c.wakeup <- struct{}{}:
	default:
	}
}

func (c *compactor) stop() {
	close(c.quit)
	c.done.Wait()
}

func (c *compactor) run() {
	defer c.done.Done()
	for {
		select {
		case <-c.quit:
			return
		case <-c.wakeup:
		}
		for c.step() {
			select {
			case <-c.quit:
				return
			default:
			}
		}
	}
}

// step does one piece and reports whether there is more.
func (c *compactor) step() (more bool) {
	s := c.s
	s.applyMu.Lock()
	defer s.applyMu.Unlock()
	if s.checkWritable() != nil {
		return false
	}
	if s.tip.removedTo < s.tip.compactRev {
		if err := c.removeNext(); err != nil {
			s.failPermanently(fmt.Errorf("removing what was compacted at %d: %w", s.tip.compactRev, err))
			return false
		}
	}
	if s.tip.removedTo < s.tip.compactRev {
		return true
	}
	close(c.allRemoved)
	c.allRemoved = make(chan struct{})
	return false
}

// remove handles the next events. applyMu is held.
func (c *compactor) removeNext() error {
	s := c.s
	tip := s.tip
	if c.cursor.isZero() {
		// Tombstones at the revision compacted before are looked at again.
		c.cursor, c.target = revision{main: max(tip.removedTo, 0)}, tip.compactRev
	}
	it, err := s.db.NewIter(&pebble.IterOptions{
		LowerBound: appendHistoryKey(nil, c.cursor), UpperBound: appendHistoryKey(nil, revision{main: c.target + 1}),
	})
	if err != nil {
		return err
	}
	defer it.Close()
	batch := s.db.NewBatch()
	r := reader{src: s.db, rev: tip.rev, compactRev: tip.compactRev}
	next := revision{}
	ok := it.First()
	for looked := 0; ok && looked < c.stepEvents; looked++ {
		key, rec, err := r.event(it)
		if err != nil {
			return err
		}
		if err := c.removeUnreachable(batch, &r, &tip, key, &rec); err != nil {
			return err
		}
		ok = it.Next()
	}
	if err := it.Error(); err != nil {
		return err
	}
	if ok {
		if next, err = parseRevision(it.Key()[1:]); err != nil {
			return err
		}
		// Should we crash, what is done again does no harm.
		tip.removedTo = max(tip.removedTo, next.main-1)
	} else {
		tip.removedTo = c.target
	}
	if err := batch.Set(stateKey, tip.appendRow(nil), nil); err != nil {
		return err
	}
	if err := s.commit(batch); err != nil {
		return err
	}
	s.tip, c.cursor = tip, next
	return batch.Close()
}

// removeUnreachable removes what an event at or below the round's target makes unreachable.
func (c *compactor) removeUnreachable(batch *pebble.Batch, r *reader, tip *state, key []byte, rec *record) error {
	if !rec.prev.isZero() {
		if err := batch.Delete(appendHistoryKey(nil, rec.prev), nil); err != nil {
			return err
		}
	}
	if !rec.isTombstone() || rec.rev.main >= c.target {
		return nil
	}
	if err := batch.Delete(appendHistoryKey(nil, rec.rev), nil); err != nil {
		return err
	}
	row, closer, err := r.row(appendSpaceKey(nil, spaceTombstones, key))
	if err != nil || closer == nil {
		return err
	}
	defer closer.Close()
	last, err := parseRevision(row)
	if err != nil || last != rec.rev {
		return err // the key lives again, or has died once more
	}
	tip.tombstones--
	c.s.metadataCache.remove(c.s.metadataCache.hash(key))
	return batch.Delete(appendSpaceKey(nil, spaceTombstones, key), nil)
}

// WaitCompacted returns once everything compacted so far is removed from the tables (CompactionRequest.physical).
func (s *Store) WaitCompacted(ctx context.Context) error {
	return s.afterRemoval(ctx, s.compactRevision(), func() {})
}

// afterRemoval waits until nothing is left to be removed, or at least everything compacted up to target is, and calls then
// while nobody writes.
func (s *Store) afterRemoval(ctx context.Context, target int64, then func()) error {
	for {
		s.applyMu.Lock()
		if err := s.checkWritable(); err != nil {
			s.applyMu.Unlock()
			return err
		}
		if s.tip.removedTo >= min(target, s.tip.compactRev) {
			then()
			s.applyMu.Unlock()
			return nil
		}
		wait := s.compactor.allRemoved
		s.applyMu.Unlock()
		select {
		case <-wait:
		case <-ctx.Done():
			return ctx.Err()
		case <-s.compactor.quit:
			return ErrClosed
		case <-s.compactor.failed:
			return s.failure()
		}
	}
}
