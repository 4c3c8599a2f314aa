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

// lookup finds the metadata of a key as the batch in hand has left it; the zero metadata if there is no trace of the key.
func (w *writer) lookup(key []byte) (keyHash, metadata, error) {
	cache := w.s.metadataCache
	h := cache.hash(key)
	if m, ok := cache.get(h); ok {
		return h, m, nil
	}
	if w.s.keyFilter.absent(h) {
		return h, metadata{}, nil
	}
	// Not in the cache, so not written in this batch: the tables have the last word.
	w.keyBuf = appendSpaceKey(w.keyBuf[:0], spaceCurrent, key)
	row, closer, err := w.tableRow(w.keyBuf)
	if err != nil {
		return h, metadata{}, err
	}
	if closer != nil {
		defer closer.Close()
		rec, err := parseCurrent(row)
		m := metadata{rev: rec.rev, create: rec.create, version: rec.version, lease: rec.lease}
		if err == nil {
			cache.put(h, m)
		}
		return h, m, err
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

// tableRow reads a row as it was before the batch in hand.
func (w *writer) tableRow(key []byte) ([]byte, io.Closer, error) {
	r := reader{src: w.s.db}
	return r.row(key)
}

// metadata, as txnStore has it.
func (w *writer) metadata(key []byte) (metadata, error) {
	_, m, err := w.lookup(key)
	return m, err
}

// keyValue reads a live key whole.
func (w *writer) keyValue(key []byte, m *metadata) (*mvccpb.KeyValue, error) {
	var kv *mvccpb.KeyValue
	var err error
	if m.rev.main <= w.tablesRev {
		// Untouched by this batch: no need for an index on it.
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

// applyPut puts and returns the state before, if that was asked for or is needed.
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
	told, err := w.observerPrev(p.key, &m, prev)
	if err != nil {
		return nil, err
	}
	rec := record{rev: w.nextChange(), version: m.version + 1, create: m.create, lease: p.lease, value: p.value, prev: m.rev}
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
	w.s.metadataCache.put(h, metadata{rev: rec.rev, create: rec.create, version: rec.version, lease: rec.lease})
	if m.rev.isZero() || w.s.keyFilter.scanFrom != nil { // a key that moves from d to c while the scan is between them is seen in neither
		w.s.keyFilter.add(h)
	}
	w.changes++
	if w.s.observer != nil {
		w.observe(p.key, &rec, told)
	}
	return prev, nil
}

// observerPrev is the state before the command, for the observer if it wants that. prev is the state before the change, if it
// was read already.
func (w *writer) observerPrev(key []byte, m *metadata, prev *mvccpb.KeyValue) (*mvccpb.KeyValue, error) {
	switch {
	case w.s.observer == nil || !w.s.wantPrev || !m.isLive():
		return nil, nil
	case m.rev.main <= w.tip.rev && prev != nil:
		return prev, nil
	case m.rev.main <= w.tip.rev:
		return w.keyValue(key, m)
	}
	// The command has changed the key before: watchers are told what was there before all of it.
	r, err := w.reader()
	if err != nil {
		return nil, err
	}
	return r.get(bytes.Clone(key), w.tip.rev)
}

// revive makes a key live that was not: it counts, and its tombstone is no longer the key's last word.
func (w *writer) makeLive(key []byte, m *metadata, rec *record) error {
	w.countKey(key, +1)
	if m.rev.isZero() {
		return nil
	}
	if m.rev.main <= w.tip.compactRev {
		// Nothing at or before this tombstone can be read. Members remove such rows at different times; the history they
		// write must be the same.
		rec.prev = revision{}
	}
	w.tip.tombstones--
	w.keyBuf = appendSpaceKey(w.keyBuf[:0], spaceTombstones, key)
	if err := w.batch.Delete(w.keyBuf, nil); err != nil {
		return fmt.Errorf("removing the tombstone row: %w", err)
	}
	return nil
}

func (w *writer) writePut(key []byte, rec *record) error {
	w.keyBuf = appendHistoryKey(w.keyBuf[:0], rec.rev)
	w.rowBuf = appendEvent(w.rowBuf[:0], key, rec)
	if err := w.batch.Set(w.keyBuf, w.rowBuf, nil); err != nil {
		return fmt.Errorf("writing event %d.%d: %w", rec.rev.main, rec.rev.sub, err)
	}
	rec.valueInHistory = len(rec.value) > maxInlineValueBytes
	w.keyBuf = appendSpaceKey(w.keyBuf[:0], spaceCurrent, key)
	w.rowBuf = appendCurrent(w.rowBuf[:0], rec)
	if err := w.batch.Set(w.keyBuf, w.rowBuf, nil); err != nil {
		return fmt.Errorf("writing key %q: %w", key, err)
	}
	return nil
}

// remove deletes a live key.
func (w *writer) deleteKey(key []byte, h keyHash, m *metadata, prev *mvccpb.KeyValue) error {
	told, err := w.observerPrev(key, m, prev)
	if err != nil {
		return err
	}
	rec := record{rev: w.nextChange(), prev: m.rev}
	rec.create = rec.rev.main
	w.keyBuf = appendHistoryKey(w.keyBuf[:0], rec.rev)
	w.rowBuf = appendEvent(w.rowBuf[:0], key, &rec)
	if err := w.batch.Set(w.keyBuf, w.rowBuf, nil); err != nil {
		return fmt.Errorf("writing event %d.%d: %w", rec.rev.main, rec.rev.sub, err)
	}
	w.keyBuf = appendSpaceKey(w.keyBuf[:0], spaceCurrent, key)
	if err := w.batch.Delete(w.keyBuf, nil); err != nil {
		return fmt.Errorf("deleting key %q: %w", key, err)
	}
	w.keyBuf[0] = spaceTombstones
	w.rowBuf = appendRevision(w.rowBuf[:0], rec.rev)
	if err := w.batch.Set(w.keyBuf, w.rowBuf, nil); err != nil {
		return fmt.Errorf("writing the tombstone row of %q: %w", key, err)
	}
	w.countKey(key, -1)
	w.tip.tombstones++
	w.s.metadataCache.put(h, metadata{rev: rec.rev})
	w.changes++
	if w.s.observer != nil {
		w.observe(key, &rec, told)
	}
	return nil
}

// deleteRange, as txnStore has it.
func (w *writer) deleteRange(ctx context.Context, d *pb.DeleteRangeRequest) (*pb.DeleteRangeResponse, error) {
	resp := &pb.DeleteRangeResponse{}
	values := d.PrevKv || (w.s.observer != nil && w.s.wantPrev)
	doomed, err := w.liveKeys(ctx, newKeyRange(d.Key, d.RangeEnd), values)
	if err != nil {
		return nil, err
	}
	for i := range doomed {
		k := &doomed[i]
		prev := k.kv
		if !values {
			prev = nil
		}
		if err := w.deleteKey(k.kv.Key, w.s.metadataCache.hash(k.kv.Key), &k.meta, prev); err != nil {
			return nil, err
		}
		if d.PrevKv {
			resp.PrevKvs = append(resp.PrevKvs, k.kv)
		}
	}
	resp.Deleted = int64(len(doomed))
	resp.Header = &pb.ResponseHeader{Revision: w.revision()}
	return resp, nil
}

type liveKey struct {
	kv   *mvccpb.KeyValue
	meta metadata
}

// liveKeys reads the live keys of a range, as the batch has left it.
func (w *writer) liveKeys(ctx context.Context, keys keyRange, values bool) (found []liveKey, err error) {
	if keys.single() {
		_, m, err := w.lookup(keys.start)
		if err != nil || !m.isLive() {
			return nil, err
		}
		kv := &mvccpb.KeyValue{Key: keys.start}
		if values {
			if kv, err = w.keyValue(keys.start, &m); err != nil {
				return nil, err
			}
		}
		return []liveKey{{kv, m}}, nil
	}
	r, err := w.reader()
	if err != nil {
		return nil, err
	}
	var slab kvSlab
	err = r.visit(ctx, keys, r.rev, values, func(key []byte, rec *record) bool {
		m := metadata{rev: rec.rev, create: rec.create, version: rec.version, lease: rec.lease}
		found = append(found, liveKey{slab.keyValue(key, rec, values), m})
		return true
	})
	return found, err
}

// checkPut, as txnStore has it.
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

// put, as txnStore has it. It was checked before.
func (w *writer) put(p *pb.PutRequest) (*pb.PutResponse, error) {
	prev, err := w.applyPut(newPutCommand(p))
	if err != nil {
		if isRefusal(err) {
			// ignore_value of a key that an earlier operation of the transaction has deleted.
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
