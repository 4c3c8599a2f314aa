package mvcc

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"

	"github.com/troupe-raft/troupe/kv/mvcc/engine"
)

// A batch of Apply is usually one batch of the engine. If it changes so much that this would not
// fit in memory (a delete of millions of keys), it is staged: committed to the engine in parts,
// while readers keep the view before it, whose snapshot is taken first. The last part has the state
// row, and makes the whole valid.
//
// A crash may leave the first parts on the disk. So each part that is not the last one holds undo
// rows: for each key, its state before the batch. When the store is opened, undo rows of the state
// that it has reached mean that a staged batch was lost in the middle: rollBack restores these
// keys and removes the events, and the log is applied again from there. Undo rows of another state
// are left from a batch that was complete; they are removed.
//
//	part 1        part 2        part 3, the last
//	u c d r …     u c d r …     c d r … b m|s      then, in small batches: u removed
//	└─ lost without part 3 ─┘   └─ valid
//
// Undo rows are needed for the first part too, when it is too late to write them with each change.
// So the writer keeps the keys of the part (touched) until it knows whether there is a second one.
//
// The memory of a batch is that of one part, whatever the number of keys: besides the command, its
// result, the events for the observer (all three limited), and the first keys of changed buckets,
// one for about 100 keys.

const (
	// defaultStageBytes is about the size of a part. A smaller batch is not staged.
	defaultStageBytes = 16 << 20
	// maxObservedBytes limits the events of one batch for the observer.
	maxObservedBytes = 32 << 20
)

// stepRows returns how many rows are restored or removed with one batch.
func (s *Store) stepRows() int { return max(1, s.stageBytes/4096) }

// before is a key's state before the batch: that of an event, or none.
type before struct {
	rev  revision
	live bool
}

const beforeBytes = 1 + revisionBytes

// touchedKey is a key that the batch has changed, with its state before the batch.
type touchedKey struct {
	key    []byte
	before before
}

// maxTouchedScratch limits the memory of touched that is kept from one batch to the next.
const maxTouchedScratch = 4096

// undoPrefix returns the prefix of the undo rows of a batch that follows an applied index.
func undoPrefix(applied uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{spaceUndo}, applied)
}

// touch notes the state of a key before its first change in the batch.
func (w *writer) touch(key []byte, m *metadata) error {
	if m.rev.main > w.tablesRev {
		return nil // the batch has changed it before
	}
	t := touchedKey{key, before{m.rev, m.isLive()}}
	if !w.staged {
		w.touched = append(w.touched, t)
		return nil
	}
	return w.writeUndo(&t)
}

func (w *writer) writeUndo(t *touchedKey) error {
	live := byte(0)
	if t.before.live {
		live = 1
	}
	w.undoKey = append(append(w.undoKey[:0], undoPrefix(w.s.tip.applied)...), t.key...)
	return w.set(w.undoKey, appendRevision([]byte{live}, t.before.rev))
}

// set and remove write a row of the batch and count it.
func (w *writer) set(key, row []byte) error {
	w.batchBytes += len(key) + len(row) + rowOverheadBytes
	return w.batch.Set(key, row)
}

func (w *writer) remove(key []byte) error {
	w.batchBytes += len(key) + rowOverheadBytes
	return w.batch.Delete(key)
}

// rowOverheadBytes is about what a row takes in a batch and in a memtable, besides key and row.
const rowOverheadBytes = 64

// stageIfLarge commits the changes so far as a part if they are many. No iterator of the batch may
// be open.
func (w *writer) stageIfLarge() error {
	if w.batchBytes < w.s.stageBytes {
		return nil
	}
	return w.stage()
}

func (w *writer) stage() error {
	s := w.s
	if !w.staged {
		w.staged = true
		for i := range w.touched {
			if err := w.writeUndo(&w.touched[i]); err != nil {
				return fmt.Errorf("writing an undo row: %w", err)
			}
		}
		w.touched = nil
		// From here on the engine is ahead of the published view.
		s.viewMu.Lock()
		s.takeSnapshot(s.published.Load())
		s.viewMu.Unlock()
	}
	part := w.batch
	w.batch = nil // whether it succeeds or not
	if err := s.db.Commit(part); err != nil {
		return fmt.Errorf("committing a part: %w", err)
	}
	if err := part.Close(); err != nil {
		return fmt.Errorf("after committing a part: %w", err)
	}
	w.batch, w.batchBytes = s.db.NewBatch(0), 0
	// The tables have the changes, so the cache may lose entries.
	s.metadataCache.staged()
	if s.onStage != nil {
		s.onStage()
	}
	return nil
}

// removeRows removes the rows between two keys, a few at a time.
func (s *Store) removeRows(from, to []byte) error {
	for {
		batch := s.db.NewBatch(0)
		n, next, err := s.eachOfSome(from, to, func(key, _ []byte) error { return batch.Delete(key) })
		if err == nil && n > 0 {
			err = s.db.Commit(batch)
		}
		if err != nil {
			return fmt.Errorf("removing rows of a staged batch: %w", err)
		}
		if err := batch.Close(); err != nil || n < s.stepRows() {
			return err
		}
		from = next // what is before it is slow to skip
	}
}

// eachOfSome shows at most stepRows, and returns how many, and the key after them.
func (s *Store) eachOfSome(from, to []byte, show func(key, row []byte) error) (n int, next []byte, err error) {
	it, err := s.db.NewIter(context.Background(), from, to)
	if err != nil {
		return 0, nil, err
	}
	ok := it.First()
	for ; ok && err == nil && n < s.stepRows(); n++ {
		err = show(it.Key(), it.Value())
		next = append(append(next[:0], it.Key()...), 0)
		ok = it.Next()
	}
	return n, next, joinErrors(joinErrors(err, it.Error()), it.Close())
}

// rollBack removes what a crash has left of a staged batch. It may be interrupted and begin again.
func (s *Store) rollBack() error {
	all := []byte{spaceUndo + 1}
	prefix := undoPrefix(s.tip.applied)
	from, to := prefix, undoPrefix(s.tip.applied+1)
	restored := 0
	for {
		batch := s.db.NewBatch(0)
		n, next, err := s.eachOfSome(from, to, func(key, row []byte) error { return s.restore(batch, key[len(prefix):], row) })
		if err == nil && n > 0 {
			err = s.db.Commit(batch)
		}
		if err != nil {
			return fmt.Errorf("restoring the keys before a batch that was lost: %w", err)
		}
		if err := batch.Close(); err != nil {
			return err
		}
		restored += n
		if n < s.stepRows() {
			break
		}
		from = next
	}
	if restored > 0 {
		if err := s.removeEventsAfter(s.tip.rev); err != nil {
			return err
		}
		s.log.Info().Int("keys", restored).Int64("revision", s.tip.rev).Msg("a batch that a crash had interrupted was rolled back")
	}
	return s.removeRows([]byte{spaceUndo}, all)
}

// restore writes a key's rows as they were before the batch.
func (s *Store) restore(batch engine.Batch, key, row []byte) error {
	if len(row) != beforeBytes {
		return fmt.Errorf("an undo row of %d bytes: %w", len(row), ErrCorrupt)
	}
	rev, err := parseRevision(row[1:])
	if err != nil {
		return err
	}
	current, tombstone := appendSpaceKey(nil, spaceCurrent, key), appendSpaceKey(nil, spaceTombstones, key)
	switch {
	case rev.isZero():
		return joinErrors(batch.Delete(current), batch.Delete(tombstone))
	case row[0] == 0:
		return joinErrors(batch.Delete(current), batch.Set(tombstone, row[1:]))
	}
	event, closer, err := s.db.Get(appendHistoryKey(nil, rev))
	if err != nil {
		return fmt.Errorf("the event %d.%d of key %q: %w", rev.main, rev.sub, key, err)
	}
	defer closer.Close()
	eventKey, rec, err := parseEvent(rev, event)
	if err == nil && !bytes.Equal(eventKey, key) {
		err = fmt.Errorf("the event %d.%d is of key %q, not %q: %w", rev.main, rev.sub, eventKey, key, ErrCorrupt)
	}
	if err != nil {
		return err
	}
	rec.valueInHistory = len(rec.value) > maxInlineValueBytes
	return joinErrors(batch.Set(current, appendCurrent(nil, &rec)), batch.Delete(tombstone))
}

// removeEventsAfter removes the events after a revision, a few at a time.
func (s *Store) removeEventsAfter(rev int64) error {
	return s.removeRows(appendHistoryKey(nil, revision{main: rev + 1}), []byte{spaceHistory + 1})
}
