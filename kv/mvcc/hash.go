package mvcc

import (
	"context"
	"fmt"
	"hash/crc32"
	"math"

	"github.com/cespare/xxhash/v2"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// HashKV hashes the history up to rev (0: the newest). Members that have compacted at the same
// revisions return the same hash for the same rev. Of the revision of one of the last compactions
// it returns the hash from before that compaction, and the compacted revision from before it, as
// etcd does. It returns ErrCompacted or ErrFutureRev for other revisions.
//
// It reads the whole history, after what is compacted was removed: before, the rows of members may
// differ.
func (s *Store) HashKV(ctx context.Context, rev int64) (HashResult, error) {
	v, compactions, err := s.compactedView(ctx)
	if err != nil {
		return HashResult{}, err
	}
	defer v.Release()
	if c, found := compactionAt(compactions, rev); found && rev > 0 {
		sum, err := v.sumHistory(ctx, rev)
		return HashResult{Hash: foldHash(sum + c.removed), CompactRevision: c.before, HashRevision: rev}, err
	}
	at, err := v.reader.revisionAt(rev)
	if err != nil {
		return HashResult{}, err
	}
	sum, err := v.sumHistory(ctx, at)
	return HashResult{Hash: foldHash(sum), CompactRevision: v.reader.compactRev, HashRevision: at}, err
}

// eventHash hashes a row of space r, with its key.
func eventHash(key, row []byte) uint64 {
	var d xxhash.Digest
	d.Reset()
	d.Write(key) // it never fails; keys have one length, so the row needs no separator
	d.Write(row)
	return d.Sum64()
}

func foldHash(sum uint64) uint32 { return uint32(sum) ^ uint32(sum>>32) }

// Hash hashes everything at the newest revision, as Maintenance.Hash does.
func (s *Store) Hash(ctx context.Context) (hash uint32, rev int64, err error) {
	r, err := s.HashKV(ctx, 0)
	if err != nil {
		return 0, 0, err
	}
	hash = r.Hash
	for _, m := range s.MemberAttributes() {
		hash = crc32.Update(hash, castagnoli, appendAttributes(nil, m))
	}
	return hash, r.HashRevision, nil
}

// compactedView returns a view, not shared, of a moment when everything compacted was removed, and
// the compactions of that moment.
func (s *Store) compactedView(ctx context.Context) (v *View, compactions []compaction, err error) {
	err = s.afterRemoval(ctx, math.MaxInt64, func() {
		s.viewMu.Lock()
		defer s.viewMu.Unlock()
		now := s.published.Load()
		v = &View{s: s, applied: now.applied, reader: now.reader}
		v.refs.Store(1)
		s.takeSnapshot(v)
		compactions = s.tip.compactions
	})
	return v, compactions, err
}

// sumHistory returns the sum of the hashes of the events up to a revision. A sum does not depend on
// the order, so events that are removed can be added to it.
func (v *View) sumHistory(ctx context.Context, to int64) (sum uint64, err error) {
	if err := v.begin(); err != nil {
		return 0, err
	}
	defer v.end(&err)
	r := &v.reader
	it, err := r.src.NewIter(ctx, []byte{spaceHistory}, appendHistoryKey(nil, revision{main: to + 1}))
	if err != nil {
		return 0, fmt.Errorf("opening an iterator: %w", err)
	}
	defer it.Close()
	steps := 0
	for ok := it.First(); ok; ok = it.Next() {
		if steps++; steps%256 == 0 {
			if err := r.checkInterrupted(ctx); err != nil {
				return 0, err
			}
		}
		row, err := it.ValueAndErr()
		if err != nil {
			return 0, fmt.Errorf("hashing the history: %w", err)
		}
		sum += eventHash(it.Key(), row)
	}
	return sum, it.Error()
}
