package mvcc

import (
	"context"
	"fmt"

	"github.com/troupe-raft/troupe/internal/interleave"
)

// compactor removes, in the background, the rows that no read at or above the compacted revision
// can reach. It reads the events since the last compaction, not the live keys, so compaction costs
// as much as it removes.
//
// An event makes the event that it points to unreachable. A tombstone below the compacted revision
// is unreachable itself; one at the compacted revision stays, because a watch may start there.
//
//	Compact(7), key a           r|3 put ◄─ r|5 put ◄─ r|6 tombstone        d|a → 6
//	event 5 removes r|3, event 6 removes r|5 and, because it is a tombstone below 7, r|6 and d|a
//
//	Compact(7), key b           r|2 put ◄─ r|7 tombstone                   d|b → 7
//	event 7 removes r|2; it stays until the next round, which starts at 7
//
// Rounds. A round handles the events from the last round's target up to the revision that is
// compacted when it starts, a few events at a time under applyMu. Later compactions do not move its
// target: the tombstones at the target stay, and only the next round removes them. So the rows that
// remain after all rounds depend on the compacted revisions only, not on when the rounds ran. When
// a member removes rows is not visible: reads below the compacted revision are refused, the pointer
// to a compacted tombstone is never written, and HashKV waits for the removal.
type compactor struct {
	s          *Store
	schedule   *interleave.Scheduler
	stepEvents int           // events handled under one lock
	wakeup     chan struct{} // capacity 1
	quit       chan struct{}
	ended      chan struct{} // closed when the goroutine has ended
	failed     chan struct{} // closed when the store has failed
	allRemoved chan struct{} // closed and replaced whenever everything is removed; guarded by applyMu

	// The round in progress; guarded by applyMu.
	cursor revision // the next event; zero between rounds
	target int64
	times  compactionTimes
}

// defaultStepEvents takes less than a millisecond, for which Apply may have to wait.
const defaultStepEvents = 256

func (c *compactor) start(s *Store) {
	c.s = s
	c.wakeup, c.quit = make(chan struct{}, 1), make(chan struct{})
	c.allRemoved = make(chan struct{})
	c.ended = make(chan struct{})
	c.schedule.Go("compactor", c.run)
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
	c.schedule.Select(c.ended, nil, nil, nil)
}

func (c *compactor) run() {
	defer close(c.ended)
	for {
		if c.schedule.Select(c.quit, c.wakeup, nil, nil) == 0 {
			return
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

// step handles some events and reports whether there are more.
func (c *compactor) step() (more bool) {
	s := c.s
	s.applyMu.Lock()
	defer s.applyMu.Unlock()
	if s.checkWritable() != nil {
		return false
	}
	if s.tip.removedTo < s.tip.compactRev {
		c.times.beginStep(s.metrics.Load())
		if err := c.removeNext(); err != nil {
			s.failPermanently(fmt.Errorf("removing the rows compacted at %d: %w", s.tip.compactRev, err))
			return false
		}
		c.times.endStep(s.metrics.Load(), s.tip.removedTo == s.tip.compactRev)
	}
	if s.tip.removedTo < s.tip.compactRev {
		return true
	}
	close(c.allRemoved)
	c.allRemoved = make(chan struct{})
	return false
}

// removeNext handles the next events. applyMu is held.
func (c *compactor) removeNext() error {
	s := c.s
	tip := s.tip
	if c.cursor.isZero() {
		// Include the tombstones at the last round's target.
		c.cursor, c.target = revision{main: max(tip.removedTo, 0)}, tip.compactRev
	}
	it, err := s.db.NewIter(context.Background(), appendHistoryKey(nil, c.cursor), appendHistoryKey(nil, revision{main: c.target + 1}))
	if err != nil {
		return err
	}
	defer it.Close()
	m := removal{batch: s.db.NewBatch(0), tip: tip, removed: make(map[revision]struct{})}
	r := reader{src: s.db, rev: tip.rev, compactRev: tip.compactRev}
	next := revision{}
	ok := it.First()
	for looked := 0; ok && looked < c.stepEvents; looked++ {
		key, rec, err := r.event(it)
		if err != nil {
			return err
		}
		if err := c.removeUnreachable(&m, &r, key, &rec); err != nil {
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
		// After a crash, handling events again does no harm.
		m.tip.removedTo = max(tip.removedTo, next.main-1)
	} else {
		m.tip.removedTo = c.target
	}
	if err := c.commit(&m); err != nil {
		return err
	}
	c.cursor = next
	return nil
}

// commit commits a step. applyMu is held.
func (c *compactor) commit(m *removal) error {
	if m.changed {
		if err := m.batch.Set(compactionsKey, appendCompactions(nil, m.tip.compactions)); err != nil {
			return err
		}
	}
	if err := m.batch.Set(stateKey, m.tip.appendRow(nil)); err != nil {
		return err
	}
	if err := c.s.db.Commit(m.batch); err != nil {
		return err
	}
	c.s.tip = m.tip
	c.s.liveBytes.Store(m.tip.liveBytes)
	return m.batch.Close()
}

// removeUnreachable removes what an event of the round makes unreachable.
func (c *compactor) removeUnreachable(m *removal, r *reader, key []byte, rec *record) error {
	if !rec.prev.isZero() {
		if err := m.removeEvent(r, rec.prev, rec.rev.main); err != nil {
			return err
		}
		c.times.removedRows++
	}
	if rec.isLive() || rec.rev.main >= c.target {
		return nil
	}
	// No transaction puts a key after it has deleted it (CheckTxn). So what makes a tombstone
	// unreachable is a compaction at a later revision, not an event of its own.
	if err := m.removeEvent(r, rec.rev, rec.rev.main+1); err != nil {
		return err
	}
	c.times.removedRows++
	row, closer, err := r.row(appendSpaceKey(nil, spaceTombstones, key))
	if err != nil || closer == nil {
		return err
	}
	defer closer.Close()
	last, err := parseRevision(row)
	if err != nil || last != rec.rev {
		return err // the key was put or deleted again
	}
	m.tip.tombstones--
	c.s.metadataCache.remove(c.s.metadataCache.hash(key))
	return m.batch.Delete(appendSpaceKey(nil, spaceTombstones, key))
}

// WaitCompacted returns after everything compacted so far was removed from the tables
// (CompactionRequest.physical).
func (s *Store) WaitCompacted(ctx context.Context) error {
	return s.afterRemoval(ctx, s.compactRevision(), func() {})
}

// afterRemoval waits until everything that is compacted, or everything up to target, is removed.
// Then it calls `then` with applyMu held.
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
		switch s.compactor.schedule.Select(wait, ctx.Done(), s.compactor.quit, s.compactor.failed) {
		case 1:
			return ctx.Err()
		case 2:
			return ErrClosed
		case 3:
			return s.failure()
		}
	}
}
