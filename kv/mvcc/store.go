package mvcc

import (
	"context"

	"github.com/troupe-raft/troupe/actors/machine"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// Store is the state machine on disk; it implements machine.OnDisk.
type Store struct{}

var _ machine.OnDisk = (*Store)(nil)

// Open opens the store in dir, made if missing.
func Open(dir string, o Options) (*Store, error) { return nil, ErrClosed }

// Apply applies a batch: one transaction with Batch.Last and the ledger record.
func (s *Store) Apply(b *machine.Batch) ([][]byte, error) { return nil, ErrClosed }

// Recover tells the last batch held and the ledger.
func (s *Store) Recover() (applied uint64, ledger []machine.LedgerRecord, err error) {
	return 0, nil, ErrClosed
}

// Close flushes and closes. Views still out answer ErrClosed from then on.
func (s *Store) Close() error { return nil }

// Revision is the newest published revision; 1 for an empty store.
func (s *Store) Revision() int64 { return 1 }

// CompactRevision is the revision last compacted; -1 for none (as etcd has it).
func (s *Store) CompactRevision() int64 { return -1 }

// View is the newest published view. It must be released.
func (s *Store) View() *View { return &View{} }

// WaitCompacted returns once everything compacted so far is removed from the tables (CompactionRequest.physical).
func (s *Store) WaitCompacted(ctx context.Context) error { return ErrClosed }

// HashKV hashes the history up to rev (0: the newest). ErrCompacted, ErrFutureRev.
func (s *Store) HashKV(ctx context.Context, rev int64) (HashResult, error) {
	return HashResult{}, ErrClosed
}

// Hash hashes everything at the newest revision, as Maintenance.Hash asks.
func (s *Store) Hash(ctx context.Context) (hash uint32, rev int64, err error) {
	return 0, 0, ErrClosed
}

// Size is the size on disk, and what of it holds live data.
func (s *Store) Size() (total, inUse int64) { return 0, 0 }

// MemberAttributes are those published so far, by id.
func (s *Store) MemberAttributes() []MemberAttributes { return nil }

// SetObserver sets who is told of new revisions; nil for nobody, which makes Apply cheaper. It waits for the batch that is
// being applied: every revision above View().Revision(), taken after SetObserver has returned, is told.
func (s *Store) SetObserver(o Observer) {}

// SetWantPrev says whether events told to the observer carry PrevKv, from the next batch on; it waits as SetObserver does.
func (s *Store) SetWantPrev(want bool) {}

// View is the state of one moment. It may be used from several goroutines, until Release.
type View struct{}

// Release gives the view back. It must be called once.
func (v *View) Release() {}

// Applied is the index of the log that the view reflects.
func (v *View) Applied() uint64 { return 0 }

// Revision is the view's newest revision.
func (v *View) Revision() int64 { return 0 }

// CompactRevision is the revision last compacted; -1 for none.
func (v *View) CompactRevision() int64 { return 0 }

// Keys is the number of live keys.
func (v *View) Keys() int64 { return 0 }

// Range answers the request. Header.Revision is filled. ErrCompacted, ErrFutureRev.
func (v *View) Range(ctx context.Context, r *pb.RangeRequest) (*pb.RangeResponse, error) {
	return nil, ErrClosed
}

// RangeChunks answers a range in key order, chunk by chunk of about chunkBytes, in bounded memory, as etcd's RangeStream
// does: all chunks carry keys, the last one carries also Header.Revision, Count and More. Sort orders other than
// ascending by key, and revision filters, are not possible and refused with ErrInvalidCommand.
func (v *View) RangeChunks(ctx context.Context, r *pb.RangeRequest, chunkBytes int, yield func(*pb.RangeResponse) error) error {
	return ErrClosed
}

// Txn answers a transaction for which TxnIsReadOnly holds.
func (v *View) Txn(ctx context.Context, r *pb.TxnRequest) (*pb.TxnResponse, error) {
	return nil, ErrClosed
}

// Events reads the history from fromRev to toRev (inclusive; 0: the view's newest), of the keys in the range, in order.
// It stops at a revision's end once maxBytes are gathered; nextRev is where to go on, above toRev when done. rangeEnd is as in
// RangeRequest. ErrCompacted below the compaction.
func (v *View) Events(ctx context.Context, fromRev, toRev int64, key, rangeEnd []byte, wantPrev bool, maxBytes int) (events []*Event, nextRev int64, err error) {
	return nil, 0, ErrClosed
}

// CheckTxn refuses, with ErrDuplicateKey, a transaction that could write a key twice.
func CheckTxn(r *pb.TxnRequest) error { return nil }
