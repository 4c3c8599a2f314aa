package mvcc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/troupe-raft/troupe/kv/mvcc/engine"
	"go.etcd.io/etcd/api/v3/mvccpb"
)

// reader reads one state of the store: a View's snapshot, or the current batch over the tables.
type reader struct {
	src        engine.Reader
	rev        int64 // the newest revision in src
	compactRev int64
	tombstones int64 // at least the number of rows in space d
	counts     countTree
	stopping   *atomic.Bool // the store is being closed: long reads end
}

// revisionAt checks the revision of a request (0: the newest) and returns the one to read at.
func (r *reader) revisionAt(asked int64) (int64, error) {
	switch {
	case asked > r.rev:
		return 0, ErrFutureRev
	case asked <= 0:
		return r.rev, nil
	case asked < r.compactRev:
		return 0, ErrCompacted
	}
	return asked, nil
}

// row returns a row, which is valid until the closer is closed. Both are nil if there is none.
func (r *reader) row(key []byte) (row []byte, closer io.Closer, err error) {
	row, closer, err = r.src.Get(key)
	if errors.Is(err, engine.ErrNotFound) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("reading a row of space %c: %w", key[0], err)
	}
	return row, closer, nil
}

// get returns a key's state at a revision, or nil if the key did not exist. The result shares the
// memory of key.
func (r *reader) get(key []byte, at int64) (*mvccpb.KeyValue, error) {
	var scratch [64]byte
	row, closer, err := r.row(appendSpaceKey(scratch[:0], spaceCurrent, key))
	if err != nil {
		return nil, err
	}
	if closer == nil {
		if at == r.rev || r.tombstones == 0 {
			return nil, nil
		}
		return r.getDeleted(key, at)
	}
	defer closer.Close()
	rec, err := parseCurrent(row)
	if err != nil {
		return nil, err
	}
	if rec.rev.main > at {
		return r.getBefore(key, rec.prev, at)
	}
	if rec.valueInHistory {
		return r.getBefore(key, rec.rev, at)
	}
	return rec.keyValue(key, bytes.Clone(rec.value)), nil
}

// getDeleted is get for a key that is not live at the newest revision.
func (r *reader) getDeleted(key []byte, at int64) (*mvccpb.KeyValue, error) {
	row, closer, err := r.row(appendSpaceKey(nil, spaceTombstones, key))
	if err != nil || closer == nil {
		return nil, err
	}
	defer closer.Close()
	tombstone, err := parseRevision(row)
	if err != nil || tombstone.main <= at {
		return nil, err
	}
	return r.getBefore(key, tombstone, at)
}

// getBefore returns the state of an event's key at an earlier or the same revision.
func (r *reader) getBefore(key []byte, from revision, at int64) (*mvccpb.KeyValue, error) {
	rec, closer, err := r.eventAt(from, at)
	if err != nil || closer == nil {
		return nil, err
	}
	defer closer.Close()
	if !rec.isLive() {
		return nil, nil
	}
	return rec.keyValue(key, bytes.Clone(rec.value)), nil
}

// eventAt follows the pointers from an event back to the newest one at or below a revision. closer
// is nil if there is none.
func (r *reader) eventAt(from revision, at int64) (rec record, closer io.Closer, err error) {
	var scratch [1 + revisionBytes]byte
	for !from.isZero() {
		row, closer, err := r.row(appendHistoryKey(scratch[:0], from))
		if err != nil {
			return record{}, nil, err
		}
		if closer == nil {
			if from.main <= r.compactRev {
				return record{}, nil, nil // it was a tombstone, removed by compaction
			}
			return record{}, nil, fmt.Errorf("event %d.%d is missing, compacted at %d: %w", from.main, from.sub, r.compactRev, ErrCorrupt)
		}
		_, rec, err := parseEvent(from, row)
		if err != nil {
			return record{}, nil, errors.Join(err, closer.Close())
		}
		if from.main <= at {
			return rec, closer, nil
		}
		from = rec.prev
		if err := closer.Close(); err != nil {
			return record{}, nil, err
		}
	}
	return record{}, nil, nil
}

func (r *record) keyValue(key, value []byte) *mvccpb.KeyValue {
	return &mvccpb.KeyValue{
		Key: key, Value: value, CreateRevision: r.create, ModRevision: r.rev.main, Version: r.version, Lease: r.lease,
	}
}

// visitFunc receives the keys of a range in order. Key and value are valid during the call. It
// reports whether to continue.
type visitFunc func(key []byte, rec *record) (more bool)

// visit calls show for the keys of a range as of a revision. Without values, records may lack them.
func (r *reader) visit(ctx context.Context, keys keyRange, at int64, values bool, show visitFunc) error {
	lower, upper := keys.bounds(spaceCurrent)
	current, err := r.src.NewIter(ctx, lower, upper)
	if err != nil {
		return fmt.Errorf("opening an iterator: %w", err)
	}
	w := rangeWalk{r: r, ctx: ctx, at: at, values: values, show: show}
	if at < r.rev && r.tombstones > 0 {
		err = w.visitWithTombstones(current, keys)
	} else {
		err = w.visitCurrent(current)
	}
	if closeErr := current.Close(); err == nil && closeErr != nil {
		err = fmt.Errorf("iterating: %w", closeErr)
	}
	return err
}

// rangeWalk is the state of one visit.
type rangeWalk struct {
	r      *reader
	ctx    context.Context
	at     int64
	values bool
	show   visitFunc
	rec    record
	steps  int
}

// visitCurrent visits the current rows, if no deleted key can be in the result.
func (w *rangeWalk) visitCurrent(current engine.Iterator) error {
	for ok := current.First(); ok; ok = current.Next() {
		more, err := w.currentRow(current)
		if err != nil || !more {
			return err
		}
	}
	return current.Error()
}

// visitWithTombstones visits the current rows and the tombstones together, in key order. No key has
// both.
func (w *rangeWalk) visitWithTombstones(current engine.Iterator, keys keyRange) error {
	lower, upper := keys.bounds(spaceTombstones)
	dead, err := w.r.src.NewIter(w.ctx, lower, upper)
	if err != nil {
		return fmt.Errorf("opening an iterator: %w", err)
	}
	defer dead.Close()
	currentOK, deadOK := current.First(), dead.First()
	for currentOK || deadOK {
		var more bool
		if currentOK && (!deadOK || bytes.Compare(current.Key()[1:], dead.Key()[1:]) < 0) {
			more, err = w.currentRow(current)
			currentOK = more && current.Next()
		} else {
			more, err = w.tombstoneRow(dead)
			deadOK = more && dead.Next()
		}
		if err != nil || !more {
			return err
		}
	}
	return errors.Join(current.Error(), dead.Error())
}

func (w *rangeWalk) currentRow(it engine.Iterator) (more bool, err error) {
	if err := w.checkInterrupted(); err != nil {
		return false, err
	}
	row, err := it.ValueAndErr()
	if err != nil {
		return false, fmt.Errorf("reading a row: %w", err)
	}
	w.rec, err = parseCurrent(row)
	if err != nil {
		return false, err
	}
	switch {
	case w.rec.rev.main > w.at:
		return w.showBefore(it.Key()[1:], w.rec.prev)
	case w.rec.valueInHistory && w.values:
		return w.showBefore(it.Key()[1:], w.rec.rev)
	}
	return w.show(it.Key()[1:], &w.rec), nil
}

func (w *rangeWalk) tombstoneRow(it engine.Iterator) (more bool, err error) {
	if err := w.checkInterrupted(); err != nil {
		return false, err
	}
	tombstone, err := parseRevision(it.Value())
	if err != nil {
		return false, err
	}
	if tombstone.main <= w.at {
		return true, nil
	}
	return w.showBefore(it.Key()[1:], tombstone)
}

// showBefore shows the key as of the visit's revision, from an event back.
func (w *rangeWalk) showBefore(key []byte, from revision) (more bool, err error) {
	rec, closer, err := w.r.eventAt(from, w.at)
	if err != nil || closer == nil {
		return err == nil, err
	}
	defer closer.Close()
	if !rec.isLive() {
		return true, nil
	}
	w.rec = rec
	return w.show(key, &w.rec), nil
}

// checkInterrupted checks now and then whether the visit should end.
func (w *rangeWalk) checkInterrupted() error {
	if w.steps++; w.steps%256 != 0 {
		return nil
	}
	return w.r.checkInterrupted(w.ctx)
}

func (r *reader) checkInterrupted(ctx context.Context) error {
	if r.stopping.Load() {
		return ErrClosed
	}
	return ctx.Err()
}
