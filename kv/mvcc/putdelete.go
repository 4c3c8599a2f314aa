package mvcc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
)

// lookup returns the metadata of a key with the batch's changes; zero if there is no row of the
// key.
func (w *writer) lookup(key []byte) (keyHash, metadata, error) {
	cache := w.s.metadataCache
	h := cache.hash(key)
	if m, ok := cache.get(h); ok {
		return h, m, nil
	}
	if w.s.keyFilter.absent(h) {
		return h, metadata{}, nil
	}
	// Not in the cache, so the key was not written in this batch, and the tables hold its newest
	// state.
	w.keyBuf = appendSpaceKey(w.keyBuf[:0], spaceCurrent, key)
	row, closer, err := w.tableRow(w.keyBuf)
	if err != nil {
		return h, metadata{}, err
	}
	if closer != nil {
		defer closer.Close()
		rec, err := parseCurrent(row)
		if err == nil {
			cache.put(h, rec.metadata)
		}
		return h, rec.metadata, err
	}
	if w.tip.tombstones == 0 {
		w.s.keyFilter.recordMiss()
		return h, metadata{}, nil
	}
	w.keyBuf[0] = spaceTombstones
	row, closer, err = w.tableRow(w.keyBuf)
	if err != nil || closer == nil {
		w.s.keyFilter.recordMiss()
		return h, metadata{}, err
	}
	defer closer.Close()
	rev, err := parseRevision(row)
	return h, metadata{rev: rev}, err
}

// tableRow reads a row as it was before the batch.
func (w *writer) tableRow(key []byte) ([]byte, io.Closer, error) {
	r := reader{src: w.s.db}
	return r.row(key)
}

// metadata implements txnStore.
func (w *writer) metadata(key []byte) (metadata, error) {
	_, m, err := w.lookup(key)
	return m, err
}

// keyValue reads a live key with its value.
func (w *writer) keyValue(key []byte, m *metadata) (*mvccpb.KeyValue, error) {
	var kv *mvccpb.KeyValue
	var err error
	if m.rev.main <= w.tablesRev {
		// The batch has not changed the key, so it need not be indexed.
		r := reader{src: w.s.db, rev: w.tablesRev, compactRev: w.tip.compactRev}
		kv, err = r.get(key, w.tablesRev)
	} else {
		r, rerr := w.reader()
		if rerr != nil {
			return nil, rerr
		}
		kv, err = r.get(key, r.rev)
	}
	if err == nil && kv == nil {
		err = fmt.Errorf("key %q of revision %d.%d is not in the tables: %w", key, m.rev.main, m.rev.sub, ErrCorrupt)
	}
	if err == nil {
		kv.Key = bytes.Clone(key)
	}
	return kv, err
}

// checkPutCommand checks what etcd checks before a put.
func (w *writer) checkPutCommand(p *putCommand, m *metadata) error {
	switch {
	case len(p.key) == 0:
		return ErrInvalidCommand
	case p.lease != 0 && w.s.leaseKnown != nil && !w.s.leaseKnown(p.lease):
		return ErrLeaseNotFound
	case (p.ignoreValue || p.ignoreLease) && !m.isLive():
		return ErrKeyNotFound
	}
	return nil
}

// applyPut puts a key. It returns the state before if the command asks for it or needs it.
func (w *writer) applyPut(p *putCommand) (prev *mvccpb.KeyValue, err error) {
	h, m, err := w.lookup(p.key)
	if err != nil {
		return nil, err
	}
	if err := w.checkPutCommand(p, &m); err != nil {
		return nil, err
	}
	if m.isLive() && (p.prevKV || p.ignoreValue) {
		if prev, err = w.keyValue(p.key, &m); err != nil {
			return nil, err
		}
	}
	observed, err := w.observerPrev(p.key, &m, prev)
	if err != nil {
		return nil, err
	}
	if err := w.touch(p.key, &m); err != nil {
		return nil, err
	}
	rec := record{
		metadata: metadata{rev: w.nextChange(), version: m.version + 1, create: m.create, lease: p.lease},
		value:    p.value, prev: m.rev,
	}
	if p.ignoreValue {
		rec.value = prev.Value
	}
	if p.ignoreLease {
		rec.lease = m.lease
	}
	if !m.isLive() {
		rec.create = rec.rev.main
		if err := w.makeLive(p.key, &m, &rec); err != nil {
			return nil, err
		}
	}
	if err := w.writePut(p.key, &rec); err != nil {
		return nil, err
	}
	w.s.metadataCache.put(h, rec.metadata)
	// A key that moves from space d to c while the filter's scan is between them is seen in
	// neither.
	if m.rev.isZero() || w.s.keyFilter.scanFrom != nil {
		w.s.keyFilter.add(h)
	}
	w.changes++
	w.ops.puts++
	w.ops.putBytes += len(p.key) + len(rec.value)
	if w.s.observer != nil {
		w.observe(p.key, &rec, observed)
	}
	return prev, nil
}

// observerPrev returns the state before the command if the observer wants it. prev is the state
// before the change, if it was read already.
func (w *writer) observerPrev(key []byte, m *metadata, prev *mvccpb.KeyValue) (*mvccpb.KeyValue, error) {
	switch {
	case w.s.observer == nil || !w.s.wantPrev || !m.isLive():
		return nil, nil
	case m.rev.main <= w.tip.rev && prev != nil:
		return prev, nil
	case m.rev.main <= w.tip.rev:
		return w.keyValue(key, m)
	}
	// The command has changed the key before: watchers receive the state before the whole command.
	r, err := w.reader()
	if err != nil {
		return nil, err
	}
	return r.get(bytes.Clone(key), w.tip.rev)
}

// makeLive makes a key live: it is counted, and its tombstone row is removed.
func (w *writer) makeLive(key []byte, m *metadata, rec *record) error {
	w.countKey(key, +1)
	if m.rev.isZero() {
		return nil
	}
	if m.rev.main <= w.tip.compactRev {
		// The tombstone is compacted, so nothing at or before it can be read. Members remove such
		// rows at different times, but must write the same history.
		rec.prev = revision{}
	}
	w.tip.tombstones--
	w.keyBuf = appendSpaceKey(w.keyBuf[:0], spaceTombstones, key)
	if err := w.remove(w.keyBuf); err != nil {
		return fmt.Errorf("removing the tombstone row: %w", err)
	}
	return nil
}

func (w *writer) writeEvent(key []byte, rec *record) error {
	w.keyBuf = appendHistoryKey(w.keyBuf[:0], rec.rev)
	w.rowBuf = appendEvent(w.rowBuf[:0], key, rec)
	w.tip.liveBytes += int64(len(w.keyBuf) + len(w.rowBuf))
	if err := w.set(w.keyBuf, w.rowBuf); err != nil {
		return fmt.Errorf("writing event %d.%d: %w", rec.rev.main, rec.rev.sub, err)
	}
	return nil
}

func (w *writer) writePut(key []byte, rec *record) error {
	if err := w.writeEvent(key, rec); err != nil {
		return err
	}
	rec.valueInHistory = len(rec.value) > maxInlineValueBytes
	w.keyBuf = appendSpaceKey(w.keyBuf[:0], spaceCurrent, key)
	w.rowBuf = appendCurrent(w.rowBuf[:0], rec)
	if err := w.set(w.keyBuf, w.rowBuf); err != nil {
		return fmt.Errorf("writing key %q: %w", key, err)
	}
	return nil
}

// deleteKey deletes a live key.
func (w *writer) deleteKey(key []byte, h keyHash, m *metadata, prev *mvccpb.KeyValue) error {
	observed, err := w.observerPrev(key, m, prev)
	if err != nil {
		return err
	}
	if err := w.touch(key, m); err != nil {
		return err
	}
	rec := record{metadata: metadata{rev: w.nextChange()}, prev: m.rev}
	rec.create = rec.rev.main
	if err := w.writeEvent(key, &rec); err != nil {
		return err
	}
	w.keyBuf = appendSpaceKey(w.keyBuf[:0], spaceCurrent, key)
	if err := w.remove(w.keyBuf); err != nil {
		return fmt.Errorf("deleting key %q: %w", key, err)
	}
	w.keyBuf[0] = spaceTombstones
	w.rowBuf = appendRevision(w.rowBuf[:0], rec.rev)
	if err := w.set(w.keyBuf, w.rowBuf); err != nil {
		return fmt.Errorf("writing the tombstone row of %q: %w", key, err)
	}
	w.countKey(key, -1)
	w.tip.tombstones++
	w.s.metadataCache.put(h, metadata{rev: rec.rev})
	w.changes++
	if w.s.observer != nil {
		w.observe(key, &rec, observed)
	}
	return nil
}

// deleteRange implements txnStore. It deletes the keys of a range some at a time, so that it needs
// bounded memory for any number of keys.
func (w *writer) deleteRange(ctx context.Context, d *pb.DeleteRangeRequest) (*pb.DeleteRangeResponse, error) {
	w.ops.deletes++
	resp := &pb.DeleteRangeResponse{}
	values := d.PrevKv || (w.s.observer != nil && w.s.wantPrev)
	keys := newKeyRange(d.Key, d.RangeEnd)
	for more := true; more; {
		found, err := w.liveKeys(ctx, keys, values)
		if err != nil {
			return nil, err
		}
		if err := w.deleteKeys(found.keys, values, d.PrevKv, resp); err != nil {
			return nil, err
		}
		// After a part of the range the batch is staged, so that the rest is read from the tables:
		// to read from the batch is slow.
		if more = found.next != nil; more {
			keys.start = found.next
			err = w.stage()
		} else {
			err = w.stageIfLarge()
		}
		if err != nil {
			return nil, err
		}
	}
	resp.Header = &pb.ResponseHeader{Revision: w.revision()}
	return resp, nil
}

func (w *writer) deleteKeys(keys []liveKey, values, inResponse bool, resp *pb.DeleteRangeResponse) error {
	for i := range keys {
		k := &keys[i]
		prev := k.kv
		if !values {
			prev = nil
		}
		if err := w.deleteKey(k.kv.Key, w.s.metadataCache.hash(k.kv.Key), &k.meta, prev); err != nil {
			return err
		}
		if inResponse {
			resp.PrevKvs = append(resp.PrevKvs, k.kv)
		}
	}
	resp.Deleted += int64(len(keys))
	return nil
}

type liveKey struct {
	kv   *mvccpb.KeyValue
	meta metadata
}

// someKeys are the first live keys of a range; next is the first key after them, nil if there is
// none.
type someKeys struct {
	keys []liveKey
	next []byte
}

// liveKeyOverheadBytes is about what a key of a delete takes in memory: as a liveKey, with its rows
// in the batch.
const liveKeyOverheadBytes = 512

// liveKeys returns the first live keys of a range, with the batch's changes: as many as fit into a
// part.
func (w *writer) liveKeys(ctx context.Context, keys keyRange, values bool) (found someKeys, err error) {
	if keys.single() {
		_, m, err := w.lookup(keys.start)
		if err != nil || !m.isLive() {
			return found, err
		}
		kv := &mvccpb.KeyValue{Key: keys.start}
		if values {
			if kv, err = w.keyValue(keys.start, &m); err != nil {
				return found, err
			}
		}
		return someKeys{keys: []liveKey{{kv, m}}}, nil
	}
	r, err := w.reader()
	if err != nil {
		return found, err
	}
	var slab kvSlab
	size := 0
	err = r.visit(ctx, keys, r.rev, values, func(key []byte, rec *record) bool {
		if size >= w.s.stageBytes {
			found.next = bytes.Clone(key)
			return false
		}
		size += 4*len(key) + liveKeyOverheadBytes
		if values {
			size += len(rec.value)
		}
		found.keys = append(found.keys, liveKey{slab.keyValue(key, rec, values), rec.metadata})
		return true
	})
	return found, err
}

// checkPut implements txnStore.
func (w *writer) checkPut(p *pb.PutRequest) error {
	m := metadata{}
	if p.GetIgnoreValue() || p.GetIgnoreLease() {
		var err error
		if m, err = w.metadata(p.GetKey()); err != nil {
			return err
		}
	}
	return w.checkPutCommand(newPutCommand(p), &m)
}

// put implements txnStore. The put was checked before.
func (w *writer) put(p *pb.PutRequest) (*pb.PutResponse, error) {
	prev, err := w.applyPut(newPutCommand(p))
	if err != nil {
		if isRefusal(err) {
			// ignore_value, and an earlier operation of the transaction has deleted the key.
			err = fmt.Errorf("put of %q refused after it was checked: %w", p.Key, errors.Join(ErrInvalidCommand, err))
		}
		return nil, err
	}
	resp := &pb.PutResponse{Header: &pb.ResponseHeader{Revision: w.revision()}}
	if p.PrevKv {
		resp.PrevKv = prev
	}
	return resp, nil
}

func newPutCommand(p *pb.PutRequest) *putCommand {
	return &putCommand{
		key: p.GetKey(), value: p.GetValue(), lease: p.GetLease(),
		prevKV: p.GetPrevKv(), ignoreValue: p.GetIgnoreValue(), ignoreLease: p.GetIgnoreLease(),
	}
}
