package mvcc

import (
	"context"
	"fmt"
	"math"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
)

// RangeChunks calls yield with a range in chunks of about chunkBytes, as etcd's RangeStream does.
// The last chunk also carries Header.Revision, Count and More. The range is that of one revision,
// which the first chunk determines if the request names none. Index is that of a read point.
//
// A range in key order is read chunk by chunk, and no view is held while yield runs: a receiver
// that is slow keeps no rows alive. So a compaction at a later revision ends the range with
// ErrCompacted, as in etcd. With another sort target and no sort order, which sorts upwards, the
// whole range is read first. A budget of the context is charged either way; yield may release what
// earlier chunks have reserved.
//
// If the store is closed meanwhile, the range continues with the one that is opened next, for which
// it waits at most for maxWait.
//
// It returns ErrInvalidCommand for a sort order other than that of the keys, and for revision
// filters.
func (r *StoreRef) RangeChunks(
	ctx context.Context, index uint64, maxWait time.Duration, req *pb.RangeRequest, chunkBytes int, yield func(*pb.RangeResponse) error,
) error {
	if !isKeyOrder(req.SortTarget, req.SortOrder) || hasRevisionFilters(req) {
		return fmt.Errorf("a range in chunks cannot be sorted or filtered: %w", ErrInvalidCommand)
	}
	keys := newKeyRange(req.Key, req.RangeEnd)
	c := chunkedRange{
		ref: r, index: index, maxWait: maxWait, keys: keys, revision: req.Revision, keysOnly: req.KeysOnly,
		left: req.Limit, chunkBytes: chunkBytes, yield: yield,
	}
	if c.left <= 0 {
		c.left = math.MaxInt64
	}
	if req.CountOnly || keys.single() || req.SortTarget != pb.RangeRequest_KEY {
		return c.sendWhole(ctx, req)
	}
	if store := r.IfOpen(); store != nil {
		store.metrics.countReads(1)
	}
	for more := true; more; {
		chunk, done, err := c.next(ctx)
		if err == nil {
			err = yield(chunk)
		}
		if err != nil {
			return err
		}
		more = !done
	}
	return nil
}

// chunkedRange is the state of a range that is returned in chunks.
type chunkedRange struct {
	ref        *StoreRef
	index      uint64 // that a view must contain
	maxWait    time.Duration
	keys       keyRange // what is left
	revision   int64    // of the keys; 0 before the first chunk if the request names none
	header     int64    // the newest revision at the first chunk
	keysOnly   bool
	left       int64 // of the limit
	sent       int64
	chunkBytes int
	yield      func(*pb.RangeResponse) error
}

// sendWhole reads the whole range at once.
func (c *chunkedRange) sendWhole(ctx context.Context, req *pb.RangeRequest) error {
	var whole *pb.RangeResponse
	err := c.withView(ctx, func(v *View) (err error) {
		whole, err = v.Range(ctx, req)
		return err
	})
	if err != nil {
		return err
	}
	for {
		n, size := 0, 0
		for n < len(whole.Kvs) && size < c.chunkBytes {
			size += chunkedBytes(whole.Kvs[n])
			n++
		}
		if n == len(whole.Kvs) {
			return c.yield(whole)
		}
		if err := c.yield(&pb.RangeResponse{Kvs: whole.Kvs[:n:n]}); err != nil {
			return err
		}
		whole.Kvs = whole.Kvs[n:]
	}
}

// withView calls read with a view that contains the index.
func (c *chunkedRange) withView(ctx context.Context, read func(*View) error) error {
	bounded, cancel := c.ref.schedule.WithTimeout(ctx, c.maxWait)
	defer cancel()
	return c.ref.Read(bounded, c.index, read)
}

// next reads the next chunk.
func (c *chunkedRange) next(ctx context.Context) (chunk *pb.RangeResponse, done bool, err error) {
	err = c.withView(ctx, func(v *View) (err error) {
		chunk, done, err = c.nextOf(ctx, v)
		return err
	})
	return chunk, done, err
}

func (c *chunkedRange) nextOf(ctx context.Context, v *View) (chunk *pb.RangeResponse, done bool, err error) {
	if err := v.begin(); err != nil {
		return nil, false, err
	}
	defer v.end(&err)
	at, err := v.reader.revisionAt(c.revision)
	if err != nil {
		return nil, false, err
	}
	chunk, rest, err := c.read(ctx, &v.reader, at)
	if err != nil {
		return nil, false, err
	}
	if c.header == 0 {
		c.header, c.index, c.revision = v.reader.rev, v.applied, at
	}
	got := int64(len(chunk.Kvs))
	c.sent, c.left = c.sent+got, c.left-got
	if rest != nil && c.left > 0 {
		c.keys.start = rest
		return chunk, false, nil
	}
	chunk.Header, chunk.Count, chunk.More = &pb.ResponseHeader{Revision: c.header}, c.sent, rest != nil
	if chunk.More {
		remaining, err := v.reader.count(ctx, keyRange{start: rest, end: c.keys.end, toEnd: c.keys.toEnd}, at)
		if err != nil {
			return nil, false, err
		}
		chunk.Count += remaining
	}
	return chunk, true, nil
}

// read reads from the start of the range up to the limit or the size of a chunk; rest is the first
// key that was not read.
func (c *chunkedRange) read(ctx context.Context, r *reader, at int64) (chunk *pb.RangeResponse, rest []byte, err error) {
	chunk = &pb.RangeResponse{}
	var slab kvSlab
	size := 0
	budget, refused := readBudgetOf(ctx), error(nil)
	err = r.visit(ctx, c.keys, at, !c.keysOnly, func(key []byte, rec *record) bool {
		if int64(len(chunk.Kvs)) == c.left || size >= c.chunkBytes {
			rest = append([]byte(nil), key...)
			return false
		}
		if budget != nil {
			if refused = budget.Reserve(len(key) + len(rec.value) + keyValueOverheadBytes); refused != nil {
				return false
			}
		}
		kv := slab.keyValue(key, rec, !c.keysOnly)
		size += chunkedBytes(kv)
		if c.keysOnly {
			kv.Lease = 0 // as in finishRange
		}
		chunk.Kvs = append(chunk.Kvs, kv)
		return true
	})
	return chunk, rest, joinErrors(err, refused)
}

// chunkedBytes is about what a key-value adds to the message of its chunk.
func chunkedBytes(kv *mvccpb.KeyValue) int { return len(kv.Key) + len(kv.Value) + 32 }
