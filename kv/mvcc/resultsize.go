package mvcc

import (
	"context"
	"math"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// maxResultBytes limits what one command reads into its result: the ranges of a transaction that
// writes, and the previous values of a delete. Every member holds the result in memory, and none
// may refuse it for its own lack of memory, since all must have the same. So the limit is the same
// everywhere, and a command above it is refused before it has changed anything. Single keys are not
// counted: max-txn-ops and max-request-bytes limit them.
const maxResultBytes = 64 << 20

// resultSize adds up the result of a command before it is executed. What the command itself puts is
// not in it.
type resultSize struct {
	store txnStore
	bytes int
}

// addRange adds up to limit keys of a range, and returns ErrResultTooLarge if they are too large.
func (z *resultSize) addRange(ctx context.Context, keys keyRange, limit int64, values bool) error {
	maximum := z.store.maxResult()
	if keys.single() || maximum == 0 {
		return nil
	}
	r, err := z.store.reader()
	if err != nil {
		return err
	}
	return z.addKeys(ctx, r, keys, r.rev, limit, values, maximum)
}

// addRequest adds the response to a range request.
func (z *resultSize) addRequest(ctx context.Context, q *pb.RangeRequest) error {
	keys, maximum := newKeyRange(q.Key, q.RangeEnd), z.store.maxResult()
	if keys.single() || q.CountOnly || maximum == 0 {
		return nil
	}
	r, err := z.store.reader()
	if err != nil {
		return err
	}
	at, err := r.revisionAt(q.Revision)
	if err != nil {
		return err
	}
	return z.addKeys(ctx, r, keys, at, readLimit(q), !q.KeysOnly || q.SortTarget == pb.RangeRequest_VALUE, maximum)
}

func (z *resultSize) addKeys(ctx context.Context, r *reader, keys keyRange, at, limit int64, values bool, maximum int) error {
	err := r.visit(ctx, keys, at, values, func(key []byte, rec *record) bool {
		if limit--; limit < 0 {
			return false
		}
		z.bytes += len(key) + keyValueOverheadBytes
		if values {
			z.bytes += len(rec.value)
		}
		return z.bytes <= maximum
	})
	if err == nil && z.bytes > maximum {
		return ErrResultTooLarge
	}
	return err
}

// addDelete adds the previous values of a delete.
func (z *resultSize) addDelete(ctx context.Context, d *pb.DeleteRangeRequest) error {
	if !d.PrevKv {
		return nil
	}
	return z.addRange(ctx, newKeyRange(d.Key, d.RangeEnd), math.MaxInt64, true)
}
