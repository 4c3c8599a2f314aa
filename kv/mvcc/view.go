package mvcc

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/troupe-raft/troupe/kv/mvcc/engine"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// View is the state of one moment: index, revision, data and counts belong together. Several
// goroutines may use it, until Release.
//
// Apply publishes one view for each batch. The view's snapshot of the engine is taken at once if a
// view was wanted since the last batch, else by the first call of Store.View. So without readers,
// writes do not pay for snapshots; with readers, no reader waits for a batch.
type View struct {
	s       *Store
	applied uint64
	reader  reader // its src is snapshot
	// refs counts the users, and the store while this view is the published one. 0 is final.
	refs atomic.Int64
	// snapshot is set once, under Store.viewMu, while the tables have this view's state; then
	// hasSnapshot is.
	snapshot    engine.Snapshot
	hasSnapshot atomic.Bool
}

// View returns the newest published view. The caller must release it.
func (s *Store) View() *View {
	if !s.viewWanted.Load() {
		s.viewWanted.Store(true)
	}
	for {
		v := s.published.Load()
		if !v.hasSnapshot.Load() {
			s.viewMu.Lock()
			v = s.published.Load()
			s.takeSnapshot(v)
			s.viewMu.Unlock()
		}
		if v.acquire() {
			return v
		}
	}
}

func (v *View) acquire() bool {
	for {
		n := v.refs.Load()
		if n == 0 {
			return false // replaced and released meanwhile
		}
		if v.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// takeSnapshot takes the published view's snapshot. viewMu is held, so the tables have its state.
func (s *Store) takeSnapshot(v *View) {
	if s.closed || v.hasSnapshot.Load() {
		return
	}
	v.snapshot = s.db.NewSnapshot()
	v.reader.src = v.snapshot
	v.hasSnapshot.Store(true)
	s.openSnapshots[v] = struct{}{}
}

// Release releases the view. Each user calls it once.
func (v *View) Release() {
	switch n := v.refs.Add(-1); {
	case n > 0:
		return
	case n < 0:
		panic("mvcc: a view released twice")
	}
	s := v.s
	s.viewMu.Lock()
	defer s.viewMu.Unlock()
	if _, open := s.openSnapshots[v]; open {
		delete(s.openSnapshots, v)
		s.closeSnapshot(v)
	}
}

func (s *Store) closeSnapshot(v *View) {
	if err := v.snapshot.Close(); err != nil {
		s.log.Error().Err(err).Msg("cannot close a snapshot of the engine")
	}
}

// Revision returns the view's newest revision.
func (v *View) Revision() int64 { return v.reader.rev }

// CompactRevision returns the compacted revision; -1 for none.
func (v *View) CompactRevision() int64 { return v.reader.compactRev }

// Keys returns the number of live keys.
func (v *View) Keys() int64 { return v.reader.counts.total() }

// begin starts an operation on the view, for which Close waits. end must follow it.
func (v *View) begin() error {
	v.s.openMu.RLock()
	if v.s.closed {
		v.s.openMu.RUnlock()
		return ErrClosed
	}
	return nil
}

// end ends an operation. It replaces the result by the failure of the engine, if there was one: a
// failed engine may have returned anything.
func (v *View) end(err *error) {
	v.s.openMu.RUnlock()
	if failure := v.s.failure(); failure != nil {
		*err = failure
	}
}

// Range executes the request. Header.Revision is set. It returns ErrCompacted or ErrFutureRev for
// such revisions.
func (v *View) Range(ctx context.Context, r *pb.RangeRequest) (resp *pb.RangeResponse, err error) {
	if err := v.begin(); err != nil {
		return nil, err
	}
	defer v.end(&err)
	v.s.metrics.countReads(1)
	return v.reader.rangeRequest(ctx, r)
}

// Txn executes a transaction for which TxnIsReadOnly is true.
func (v *View) Txn(ctx context.Context, r *pb.TxnRequest) (resp *pb.TxnResponse, err error) {
	if !TxnIsReadOnly(r) {
		return nil, fmt.Errorf("a view cannot execute a transaction that writes: %w", ErrInvalidCommand)
	}
	if err := v.begin(); err != nil {
		return nil, err
	}
	defer v.end(&err)
	t := txn{ctx: ctx, store: viewTxnStore{&v.reader}}
	resp, err = t.run(r)
	v.s.metrics.countReads(t.ranges)
	if err != nil {
		return nil, err
	}
	resp.Header.Revision = v.reader.rev
	return resp, nil
}
