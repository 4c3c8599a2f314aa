package disk

import (
	"context"
	"io"

	"github.com/cockroachdb/pebble/v2"

	"github.com/troupe-raft/troupe/kv/mvcc/engine"
)

func get(r pebble.Reader, key []byte) ([]byte, io.Closer, error) {
	row, closer, err := r.Get(key)
	if err == pebble.ErrNotFound {
		return nil, nil, engine.ErrNotFound
	}
	return row, closer, err
}

func newIter(ctx context.Context, r pebble.Reader, lower, upper []byte) (engine.Iterator, error) {
	it, err := r.NewIterWithContext(ctx, &pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return nil, err
	}
	return it, nil
}

// batch is one pointer, so that an interface that holds it needs no memory.
type batch struct{ b *pebble.Batch }

func (b batch) Get(key []byte) ([]byte, io.Closer, error) { return get(b.b, key) }

func (b batch) NewIter(ctx context.Context, lower, upper []byte) (engine.Iterator, error) {
	return newIter(ctx, b.b, lower, upper)
}

func (b batch) Set(key, value []byte) error { return b.b.Set(key, value, nil) }
func (b batch) Delete(key []byte) error     { return b.b.Delete(key, nil) }
func (b batch) Empty() bool                 { return b.b.Empty() }
func (b batch) Indexed() bool               { return b.b.Indexed() }
func (b batch) Close() error                { return b.b.Close() }

// snapshot is one pointer too.
type snapshot struct{ s *pebble.Snapshot }

func (s snapshot) Get(key []byte) ([]byte, io.Closer, error) { return get(s.s, key) }

func (s snapshot) NewIter(ctx context.Context, lower, upper []byte) (engine.Iterator, error) {
	return newIter(ctx, s.s, lower, upper)
}

func (s snapshot) Close() error { return s.s.Close() }
