package mvcc

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// HashKV hashes the history up to rev (0: the newest). Members that have compacted at the same
// revision return the same hash for the same rev. It returns ErrCompacted or ErrFutureRev for other
// revisions.
//
// It reads the whole history, after what is compacted was removed: before, the rows of members may
// differ.
func (s *Store) HashKV(ctx context.Context, rev int64) (HashResult, error) {
	v, err := s.compactedView(ctx)
	if err != nil {
		return HashResult{}, err
	}
	defer v.Release()
	return v.hashHistory(ctx, rev)
}

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

// compactedView returns a view, not shared, of a moment when everything compacted was removed.
func (s *Store) compactedView(ctx context.Context) (*View, error) {
	var v *View
	err := s.afterRemoval(ctx, math.MaxInt64, func() {
		s.viewMu.Lock()
		defer s.viewMu.Unlock()
		now := s.published.Load()
		v = &View{s: s, applied: now.applied, reader: now.reader}
		v.refs.Store(1)
		s.takeSnapshot(v)
	})
	return v, err
}

func (v *View) hashHistory(ctx context.Context, rev int64) (result HashResult, err error) {
	if err := v.begin(); err != nil {
		return HashResult{}, err
	}
	defer v.end(&err)
	r := &v.reader
	at, err := r.revisionAt(rev)
	if err != nil {
		return HashResult{}, err
	}
	it, err := r.src.NewIter(ctx, []byte{spaceHistory}, appendHistoryKey(nil, revision{main: at + 1}))
	if err != nil {
		return HashResult{}, fmt.Errorf("opening an iterator: %w", err)
	}
	defer it.Close()
	var length [8]byte
	result = HashResult{CompactRevision: r.compactRev, HashRevision: at}
	steps := 0
	for ok := it.First(); ok; ok = it.Next() {
		if steps++; steps%256 == 0 {
			if err := r.checkInterrupted(ctx); err != nil {
				return HashResult{}, err
			}
		}
		row, err := it.ValueAndErr()
		if err != nil {
			return HashResult{}, fmt.Errorf("hashing the history: %w", err)
		}
		result.Hash = crc32.Update(result.Hash, castagnoli, it.Key())
		binary.BigEndian.PutUint64(length[:], uint64(len(row)))
		result.Hash = crc32.Update(result.Hash, castagnoli, length[:])
		result.Hash = crc32.Update(result.Hash, castagnoli, row)
	}
	return result, it.Error()
}
