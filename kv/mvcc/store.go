package mvcc

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/rs/zerolog"

	"github.com/troupe-raft/troupe/internal/interleave"
	"github.com/troupe-raft/troupe/kv/mvcc/engine"
	"github.com/troupe-raft/troupe/statemachine"
)

// Store is the state machine on disk; it implements statemachine.OnDisk.
//
// Apply works on the tip, the state after everything applied. Each batch of Apply is one batch of
// the engine, with the index reached (or several, if it is large: staging.go); after its commit the
// tip is published as a View:
//
//	Apply ──► tip ──► Pebble batch ──► commit ──► View (snapshot if wanted) ──► observer
//	          ▲
//	compactor ┘ removes rows that no read can reach, a few at a time under applyMu
//
// The engine has no log of its own. After a crash it has the state of its last flush, and Raft's
// log is applied again from there (E11). Batches reach the disk in order and as a whole, so that
// state is one that has existed.
type Store struct {
	db         engine.DB
	log        zerolog.Logger
	leaseKnown func(id int64) bool
	errorLatch
	onFatal      func(error)
	metrics      metricsRef
	bucketLimits bucketLimits
	stageBytes   int
	resultBytes  int
	valueBytes   int    // of Options.MaxValueBytes
	onStage      func() // of tests; called after each part but the last of a staged batch

	// applyMu is held by Apply or the compactor while it writes. It guards this block.
	applyMu          interleave.Mutex
	tip              state
	counts           countTree
	oversizedBuckets []string // first keys of buckets to be split with the next batch
	metadataCache    *metadataCache
	keyFilter        keyFilter
	touchedScratch   []touchedKey // of the writer
	sessionIndexes   []uint64     // of the session records, ascending
	members          []MemberAttributes
	observer         Observer
	wantPrev         bool

	// viewMu is held while the engine's state is ahead of the published view, and while snapshots are
	// made and closed.
	viewMu        sync.Mutex
	published     atomic.Pointer[View]
	viewWanted    atomic.Bool
	liveBytes     atomic.Int64       // of the newest state, for readers
	openSnapshots map[*View]struct{} // views with a snapshot that is not closed

	// openMu is held for reading by every operation on a view. closed is written under openMu and
	// viewMu.
	openMu   sync.RWMutex
	closed   bool
	stopping atomic.Bool
	closing  context.Context // ends when Close begins
	endWork  context.CancelFunc

	defragmenting chan struct{} // of capacity 1; holds an element during Defragment
	compactor     compactor
}

var _ statemachine.OnDisk = (*Store)(nil)

// state is the content of the state row.
type state struct {
	applied    uint64
	rev        int64
	compactRev int64
	// removedTo is the revision up to which compaction has handled all events.
	removedTo int64
	// tombstones is the number of rows in space d.
	tombstones int64
	// liveBytes is the size of the rows in space r: keys and values of every revision that compaction
	// has not removed, with some 20 bytes for each.
	liveBytes int64
	// compactions are the newest ones, oldest first. They are in a row of their own, and the slice is
	// replaced and never changed.
	compactions []compaction
}

var (
	stateKey       = []byte{spaceMeta, 's'}
	formatKey      = []byte{spaceMeta, 'f'}
	memberKey      = []byte{spaceMeta, 'a'} // followed by the member's id, 8 bytes
	compactionsKey = []byte{spaceMeta, 'c'}
)

// emptyState is the state of an empty store: etcd's first revision is 1, and nothing is compacted.
var emptyState = state{rev: 1, compactRev: -1, removedTo: -1}

func (s *state) appendRow(buf []byte) []byte {
	buf = binary.BigEndian.AppendUint64(buf, s.applied)
	buf = binary.BigEndian.AppendUint64(buf, uint64(s.rev))
	buf = binary.BigEndian.AppendUint64(buf, uint64(s.compactRev))
	buf = binary.BigEndian.AppendUint64(buf, uint64(s.removedTo))
	buf = binary.BigEndian.AppendUint64(buf, uint64(s.tombstones))
	return binary.BigEndian.AppendUint64(buf, uint64(s.liveBytes))
}

func parseState(row []byte) (s state, err error) {
	if len(row) != 40 && len(row) != 48 {
		return s, fmt.Errorf("a state row of %d bytes: %w", len(row), ErrCorrupt)
	}
	s.applied = binary.BigEndian.Uint64(row)
	s.rev = int64(binary.BigEndian.Uint64(row[8:]))
	s.compactRev = int64(binary.BigEndian.Uint64(row[16:]))
	s.removedTo = int64(binary.BigEndian.Uint64(row[24:]))
	s.tombstones = int64(binary.BigEndian.Uint64(row[32:]))
	s.liveBytes = -1 // not in the row
	if len(row) == 48 {
		s.liveBytes = int64(binary.BigEndian.Uint64(row[40:]))
	}
	return s, nil
}

// Revision returns the newest published revision; 1 for an empty store.
func (s *Store) Revision() int64 { return s.published.Load().reader.rev }

// compactRevision returns the compacted revision; -1 for none, as in etcd.
func (s *Store) compactRevision() int64 { return s.published.Load().reader.compactRev }

// MemberAttributes returns the attributes of all members that have published them, by id.
func (s *Store) MemberAttributes() []MemberAttributes {
	s.applyMu.Lock()
	defer s.applyMu.Unlock()
	return slices.Clone(s.members)
}

// SetObserver sets the function that receives new revisions; nil for none, which makes Apply
// cheaper. It waits for the batch that is being applied: the observer receives every revision above
// that of a View taken after SetObserver has returned.
func (s *Store) SetObserver(o Observer) {
	s.applyMu.Lock()
	defer s.applyMu.Unlock()
	s.observer = o
}

// SetWantPrev sets whether the observer's events carry PrevKv from the next batch on; it waits as
// SetObserver does. Without PrevKv, a put reads only metadata.
func (s *Store) SetWantPrev(want bool) {
	s.applyMu.Lock()
	defer s.applyMu.Unlock()
	s.wantPrev = want
}

// Apply applies a batch as one batch of the engine: the changes, the index reached, and the session
// records. It returns a result for each command; an error ends the store.
func (s *Store) Apply(b *statemachine.Batch) ([][]byte, error) {
	s.applyMu.Lock()
	defer s.applyMu.Unlock()
	if err := s.checkWritable(); err != nil {
		return nil, err
	}
	results, err := s.applyBatch(b)
	if err != nil {
		err = fmt.Errorf("applying up to index %d: %w", b.Last, err)
		s.failPermanently(err) // the caches are ahead of the tables
		return nil, err
	}
	return results, nil
}

func (s *Store) applyBatch(b *statemachine.Batch) ([][]byte, error) {
	if b.Last <= s.tip.applied {
		panic(fmt.Sprintf("mvcc: a batch up to index %d is applied again, the store is at %d", b.Last, s.tip.applied))
	}
	if err := s.scanKeysForFilter(); err != nil {
		return nil, err
	}
	w := newWriter(s, b)
	defer w.close()
	if err := w.splitBuckets(); err != nil {
		return nil, err
	}
	results := make([][]byte, len(b.Commands))
	for i := range b.Commands {
		var err error
		if results[i], err = w.measureApply(b.Commands[i].Data); err != nil {
			return nil, fmt.Errorf("command at index %d: %w", b.Commands[i].Index, err)
		}
	}
	w.tip.applied = b.Last
	if b.SessionUpdate != nil {
		if err := w.updateSessions(b.SessionUpdate(results)); err != nil {
			return nil, err
		}
	}
	if err := w.commit(); err != nil {
		return nil, err
	}
	w.measureBatch(len(b.Commands))
	for _, o := range w.observed {
		s.observer(o.rev, o.events)
	}
	if w.tip.removedTo < w.tip.compactRev {
		s.compactor.wake()
	}
	return results, nil
}

// checkWritable returns an error if the store accepts no writes any more. applyMu is held.
func (s *Store) checkWritable() error {
	if err := s.failure(); err != nil {
		return err
	}
	if s.stopping.Load() {
		return ErrClosed
	}
	return nil
}

// failPermanently ends the store with err and calls OnFatal.
func (s *Store) failPermanently(err error) {
	if !s.fail(err) {
		return
	}
	close(s.compactor.failed)
	s.log.Error().Err(err).Msg("the key-value store cannot go on")
	if s.onFatal == nil {
		panic(err)
	}
	s.onFatal(err)
}

// publish makes the tip the newest view. applyMu and viewMu are held.
func (s *Store) publish() {
	tree := s.counts
	s.counts.nextEdition()
	v := &View{s: s, applied: s.tip.applied}
	v.reader = reader{
		rev: s.tip.rev, compactRev: s.tip.compactRev, tombstones: s.tip.tombstones, counts: tree, stopping: &s.stopping,
	}
	v.refs.Store(1)
	s.liveBytes.Store(s.tip.liveBytes)
	if s.viewWanted.Swap(false) {
		s.takeSnapshot(v)
	}
	if old := s.published.Swap(v); old != nil && old.refs.Add(-1) == 0 {
		if _, open := s.openSnapshots[old]; open {
			delete(s.openSnapshots, old)
			s.closeSnapshot(old)
		}
	}
}

// Recover returns the last index applied and the session records.
func (s *Store) Recover() (applied uint64, records []statemachine.SessionRecord, err error) {
	s.applyMu.Lock()
	defer s.applyMu.Unlock()
	if err := s.checkWritable(); err != nil {
		return 0, nil, err
	}
	err = s.eachRow(spaceSessions, func(key, row []byte) error {
		if len(key) != 8 {
			return fmt.Errorf("a session record under a key of %d bytes: %w", len(key), ErrCorrupt)
		}
		records = append(records, statemachine.SessionRecord{Index: binary.BigEndian.Uint64(key), Data: slices.Clone(row)})
		return nil
	})
	if err != nil {
		return 0, nil, fmt.Errorf("reading the session records: %w", err)
	}
	return s.tip.applied, records, nil
}

// eachRow calls show for all rows of a space, without the space's byte.
func (s *Store) eachRow(space byte, show func(key, row []byte) error) error {
	it, err := s.db.NewIter(context.Background(), []byte{space}, []byte{space + 1})
	if err != nil {
		return err
	}
	for ok := it.First(); ok && err == nil; ok = it.Next() {
		err = show(it.Key()[1:], it.Value())
	}
	return joinErrors(err, it.Close())
}

// Close flushes and closes the store. Views that are not released return ErrClosed from then on.
func (s *Store) Close() error {
	if s.stopping.Swap(true) {
		return nil
	}
	s.endWork()
	s.compactor.stop()
	s.applyMu.Lock()
	defer s.applyMu.Unlock()
	var err error
	if s.failure() == nil {
		err = s.flush()
	}
	s.openMu.Lock()
	defer s.openMu.Unlock()
	s.viewMu.Lock()
	defer s.viewMu.Unlock()
	s.closed = true
	for v := range s.openSnapshots {
		s.closeSnapshot(v)
	}
	clear(s.openSnapshots)
	if s.failure() != nil {
		s.db.Abandon() // nothing is left to be written
		return s.failure()
	}
	if closeErr := s.db.Close(); closeErr != nil {
		err = errors.Join(err, fmt.Errorf("closing the engine: %w", closeErr))
	}
	return err
}
