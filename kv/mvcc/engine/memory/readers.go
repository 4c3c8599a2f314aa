package memory

import (
	"bytes"
	"context"
	"errors"
	"io"

	"github.com/tidwall/btree"

	"github.com/troupe-raft/troupe/kv/mvcc/engine"
)

type noCloser struct{}

func (noCloser) Close() error { return nil }

func get(rows *tree, key []byte) ([]byte, io.Closer, error) {
	r, found := rows.Get(row{key: key})
	if !found {
		return nil, nil, engine.ErrNotFound
	}
	return r.value, noCloser{}, nil
}

// iterator iterates over a state that does not change.
type iterator struct {
	rows         *tree
	at           btree.IterG[row]
	lower, upper []byte
}

func newIter(rows *tree, lower, upper []byte) *iterator {
	return &iterator{rows: rows, at: rows.Iter(), lower: lower, upper: upper}
}

func (i *iterator) SetBounds(lower, upper []byte) { i.lower, i.upper = lower, upper }

func (i *iterator) First() bool { return i.at.Seek(row{key: i.lower}) && i.inBounds() }
func (i *iterator) Next() bool  { return i.at.Next() && i.inBounds() }

func (i *iterator) inBounds() bool {
	return i.upper == nil || bytes.Compare(i.at.Item().key, i.upper) < 0
}

func (i *iterator) Key() []byte                  { return i.at.Item().key }
func (i *iterator) Value() []byte                { return i.at.Item().value }
func (i *iterator) ValueAndErr() ([]byte, error) { return i.Value(), nil }
func (i *iterator) Error() error                 { return nil }

func (i *iterator) Close() error {
	i.at.Release()
	return nil
}

type snapshot struct {
	db     *db
	rows   *tree
	closed bool // guarded by db.disk.mu
}

func (s *snapshot) Get(key []byte) ([]byte, io.Closer, error) { return get(s.rows, key) }

func (s *snapshot) NewIter(_ context.Context, lower, upper []byte) (engine.Iterator, error) {
	return newIter(s.rows, lower, upper), nil
}

func (s *snapshot) Close() error {
	s.db.disk.mu.Lock()
	defer s.db.disk.mu.Unlock()
	if s.closed {
		return errors.New("memory: a snapshot closed twice")
	}
	s.closed = true
	s.db.snapshots--
	return nil
}

// change is one change of a batch.
type change struct {
	key, value []byte
	deletes    bool
}

func (c *change) apply(rows *tree) {
	if c.deletes {
		rows.Delete(row{key: c.key})
	} else {
		rows.Set(row{c.key, c.value})
	}
}

type batch struct {
	changes []change
	rows    *tree // with the changes; nil: the batch is not indexed
}

var errNotIndexed = errors.New("memory: the batch is not indexed")

func (b *batch) Get(key []byte) ([]byte, io.Closer, error) {
	if b.rows == nil {
		return nil, nil, errNotIndexed
	}
	return get(b.rows, key)
}

func (b *batch) NewIter(_ context.Context, lower, upper []byte) (engine.Iterator, error) {
	if b.rows == nil {
		return nil, errNotIndexed
	}
	return newIter(b.rows.Copy(), lower, upper), nil
}

func (b *batch) add(c change) error {
	b.changes = append(b.changes, c)
	if b.rows != nil {
		c.apply(b.rows)
	}
	return nil
}

func (b *batch) Set(key, value []byte) error {
	return b.add(change{key: bytes.Clone(key), value: bytes.Clone(value)})
}

func (b *batch) Delete(key []byte) error { return b.add(change{key: bytes.Clone(key), deletes: true}) }
func (b *batch) Empty() bool             { return len(b.changes) == 0 }
func (b *batch) Indexed() bool           { return b.rows != nil }
func (b *batch) Close() error            { return nil }
