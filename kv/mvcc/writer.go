package mvcc

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/kv/mvcc/engine"
	"github.com/troupe-raft/troupe/statemachine"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
)

// writer applies one batch. Its changes go into one batch of the engine. Usually that is never
// read: a put needs only the metadata of its key, and the metadata cache holds that of every key
// written in the batch. The first command that must read the batch's own changes turns it into an
// indexed batch.
type writer struct {
	s              *Store
	ctx            context.Context
	batch          engine.Batch
	tip            state    // the store's tip after the commit
	tablesRev      int64    // revision of the tables
	changes        uint32   // number of changes of the current command
	resultBuf      []byte   // memory of short results
	rowBuf         []byte   // scratch
	keyBuf         []byte   // scratch
	changedBuckets []string // first keys
	commandEvents  []*Event // of the current command, if there is an observer
	observed       []revisionEvents
	metrics        *Metrics // nil: nothing is measured
	began          time.Time
	ops            opCounts

	observedBytes int // of all events of the batch
	compacted     bool

	batchBytes int // of batch, about
	staged     bool
	touched    []touchedKey // of a batch that is not staged
	undoKey    []byte       // scratch
}

// revisionEvents are the events of a revision; nil if they were too many.
type revisionEvents struct {
	rev    int64
	events []*Event
}

func newWriter(s *Store, b *statemachine.Batch) *writer {
	size := 256
	for i := range b.Commands {
		size += 2*len(b.Commands[i].Data) + 4*maxRowOverhead
	}
	w := &writer{
		s: s, ctx: context.Background(), tip: s.tip, tablesRev: s.tip.rev,
		batch:     s.db.NewBatch(size),
		resultBuf: make([]byte, 0, 8*len(b.Commands)),
		touched:   s.touchedScratch[:0],
		metrics:   s.metrics.Load(),
	}
	if w.metrics != nil {
		w.began = time.Now()
	}
	return w
}

func (w *writer) close() {
	if w.batch != nil {
		w.batch.Close()
	}
	if cap(w.touched) <= maxTouchedScratch {
		clear(w.touched) // they refer to keys
		w.s.touchedScratch = w.touched[:0]
	}
}

// applyCommand applies one command and returns its result. A refusal is a result; an error is one
// of the store.
func (w *writer) applyCommand(data []byte) ([]byte, error) {
	w.changes, w.commandEvents = 0, nil
	result, err := w.dispatch(data)
	if isRefusal(err) {
		if w.changes != 0 {
			panic(fmt.Sprintf("mvcc: command refused after %d changes: %v", w.changes, err))
		}
		return refusalResult(err), nil
	}
	if err != nil {
		return nil, err
	}
	if w.changes != 0 {
		w.tip.rev++
		if w.s.observer != nil {
			w.observed = append(w.observed, revisionEvents{w.tip.rev, w.commandEvents})
		}
	}
	return result, w.stageIfLarge()
}

func isRefusal(err error) bool {
	return err != nil && slices.Contains(refusals[1:], err)
}

func (w *writer) dispatch(data []byte) ([]byte, error) {
	if len(data) == 0 {
		return nil, ErrInvalidCommand
	}
	switch body := data[1:]; data[0] {
	case KindPut:
		return w.putCommand(body)
	case KindDeleteRange:
		return w.deleteCommand(body)
	case KindTxn:
		return w.txnCommand(body)
	case KindCompact:
		return w.compactCommand(body)
	case KindMemberAttributes:
		return w.attributesCommand(body)
	}
	return nil, ErrInvalidCommand
}

func (w *writer) putCommand(body []byte) ([]byte, error) {
	p, ok := parsePut(body)
	if !ok {
		return nil, ErrInvalidCommand
	}
	prev, err := w.applyPut(&p)
	if err != nil {
		return nil, err
	}
	if !p.prevKV || prev == nil {
		return w.revisionResult(w.tip.rev + 1), nil
	}
	return appendResult(nil, w.tip.rev+1, &pb.PutResponse{PrevKv: prev})
}

// revisionResult returns a result that is only a revision.
func (w *writer) revisionResult(rev int64) []byte {
	at := len(w.resultBuf)
	w.resultBuf = binary.AppendUvarint(append(w.resultBuf, statusOK), uint64(rev))
	return w.resultBuf[at:len(w.resultBuf):len(w.resultBuf)]
}

func (w *writer) deleteCommand(body []byte) ([]byte, error) {
	d := &pb.DeleteRangeRequest{}
	if proto.Unmarshal(body, d) != nil || len(d.Key) == 0 {
		return nil, ErrInvalidCommand
	}
	size := resultSize{store: w}
	if err := size.addDelete(w.ctx, d); err != nil {
		return nil, err
	}
	resp, err := w.deleteRange(w.ctx, d)
	if err != nil {
		return nil, err
	}
	rev := resp.Header.Revision
	resp.Header = nil
	return appendResult(nil, rev, resp)
}

func (w *writer) txnCommand(body []byte) ([]byte, error) {
	r := &pb.TxnRequest{}
	if proto.Unmarshal(body, r) != nil {
		return nil, ErrInvalidCommand
	}
	if err := CheckTxn(r); err != nil {
		return nil, err
	}
	t := txn{ctx: w.ctx, store: w}
	resp, err := t.run(r)
	w.ops.ranges += t.ranges
	if err != nil {
		return nil, err
	}
	resp.Header = nil
	return appendResult(nil, w.revision(), resp)
}

func (w *writer) compactCommand(body []byte) ([]byte, error) {
	c := &pb.CompactionRequest{}
	if proto.Unmarshal(body, c) != nil {
		return nil, ErrInvalidCommand
	}
	switch {
	case c.Revision <= w.tip.compactRev:
		return nil, ErrCompacted
	case c.Revision > w.tip.rev:
		return nil, ErrFutureRev
	}
	w.tip.compactions = addCompaction(w.tip.compactions, compaction{rev: c.Revision, before: w.tip.compactRev})
	w.tip.compactRev, w.compacted = c.Revision, true
	return w.revisionResult(w.tip.rev), nil
}

func (w *writer) attributesCommand(body []byte) ([]byte, error) {
	a, ok := decodeAttributes(body)
	if !ok {
		return nil, ErrInvalidCommand
	}
	if err := w.batch.Set(binary.BigEndian.AppendUint64(slices.Clone(memberKey), a.ID), body); err != nil {
		return nil, err
	}
	w.s.setMember(a)
	return w.revisionResult(w.tip.rev), nil
}

func (s *Store) setMember(a MemberAttributes) {
	i, found := slices.BinarySearchFunc(s.members, a.ID, func(m MemberAttributes, id uint64) int { return cmp.Compare(m.ID, id) })
	if found {
		s.members[i] = a
	} else {
		s.members = slices.Insert(s.members, i, a)
	}
}

// revision returns the newest revision for the current command: its own if it has changed
// something.
func (w *writer) revision() int64 {
	if w.changes != 0 {
		return w.tip.rev + 1
	}
	return w.tip.rev
}

// nextChange returns the revision of the next change of the current command.
func (w *writer) nextChange() revision { return revision{main: w.tip.rev + 1, sub: w.changes} }

// maxResult implements txnStore.
func (w *writer) maxResult() int { return w.s.resultBytes }

// revisions implements txnStore.
func (w *writer) revisions() (newest, compacted int64) { return w.tip.rev, w.tip.compactRev }

// reader implements txnStore. It reads the tables with the batch's changes so far.
func (w *writer) reader() (*reader, error) {
	r := &reader{
		src: w.s.db, rev: w.revision(), compactRev: w.tip.compactRev, tombstones: w.tip.tombstones, counts: w.s.counts,
		stopping: &notStopping, // the current batch is finished although the store is being closed
	}
	if !w.batch.Empty() {
		if err := w.index(); err != nil {
			return nil, err
		}
		r.src = w.batch
	}
	return r, nil
}

func (w *writer) index() error {
	if w.batch.Indexed() {
		return nil
	}
	indexed, err := w.s.db.NewIndexedBatch(w.batch)
	if err != nil {
		return fmt.Errorf("indexing the batch: %w", err)
	}
	old := w.batch
	w.batch = indexed
	return old.Close()
}

func (w *writer) updateSessions(u statemachine.SessionUpdate) error {
	s := w.s
	dropped := 0
	for dropped < len(s.sessionIndexes) && s.sessionIndexes[dropped] < u.DropBelow {
		if err := w.batch.Delete(sessionRecordKey(s.sessionIndexes[dropped])); err != nil {
			return fmt.Errorf("dropping session record %d: %w", s.sessionIndexes[dropped], err)
		}
		dropped++
	}
	s.sessionIndexes = s.sessionIndexes[dropped:]
	if len(u.Put.Data) == 0 {
		return nil
	}
	if n := len(s.sessionIndexes); n == 0 || s.sessionIndexes[n-1] < u.Put.Index {
		s.sessionIndexes = append(s.sessionIndexes, u.Put.Index)
	}
	if err := w.batch.Set(sessionRecordKey(u.Put.Index), u.Put.Data); err != nil {
		return fmt.Errorf("storing session record %d: %w", u.Put.Index, err)
	}
	return nil
}

func sessionRecordKey(index uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{spaceSessions}, index)
}

// commit writes the batch and publishes the state after it.
func (w *writer) commit() error {
	s := w.s
	if err := w.writeBuckets(); err != nil {
		return err
	}
	if w.compacted {
		if err := w.batch.Set(compactionsKey, appendCompactions(nil, w.tip.compactions)); err != nil {
			return fmt.Errorf("storing the compactions: %w", err)
		}
	}
	if err := w.batch.Set(stateKey, w.tip.appendRow(w.rowBuf[:0])); err != nil {
		return err
	}
	before := s.tip.applied
	if err := w.commitLast(); err != nil || !w.staged {
		return err
	}
	return s.removeRows(undoPrefix(before), undoPrefix(before+1))
}

// commitLast commits the batch, or its last part, and publishes the state after it.
func (w *writer) commitLast() error {
	s := w.s
	s.viewMu.Lock()
	defer s.viewMu.Unlock()
	batch := w.batch
	w.batch = nil // whether it succeeds or not
	committing := time.Time{}
	if w.metrics != nil {
		committing = time.Now()
	}
	if err := s.db.Commit(batch); err != nil {
		return fmt.Errorf("committing: %w", err)
	}
	if w.metrics != nil {
		w.metrics.commits.Observe(time.Since(committing).Seconds())
	}
	if err := batch.Close(); err != nil {
		return fmt.Errorf("after committing: %w", err)
	}
	s.tip = w.tip
	s.publish()
	s.metadataCache.committed(s.tip.rev)
	return nil
}

// eventOverheadBytes is about what an event takes in memory besides keys and values.
const eventOverheadBytes = 320

// observe keeps an event for the observer. It copies key and value, because the command's memory is
// reused.
func (w *writer) observe(key []byte, rec *record, prev *mvccpb.KeyValue) {
	w.observedBytes += len(key) + len(rec.value) + len(prev.GetKey()) + len(prev.GetValue()) + eventOverheadBytes
	if w.observedBytes > maxObservedBytes {
		w.commandEvents = nil
		return
	}
	e := &Event{Type: mvccpb.Event_PUT, PrevKv: prev}
	buf := make([]byte, len(key)+len(rec.value))
	copy(buf, key)
	copy(buf[len(key):], rec.value)
	if !rec.isLive() {
		e.Type = mvccpb.Event_DELETE
		e.Kv = &mvccpb.KeyValue{Key: buf, ModRevision: rec.rev.main}
	} else {
		e.Kv = rec.keyValue(buf[:len(key):len(key)], buf[len(key):])
	}
	w.commandEvents = append(w.commandEvents, e)
}
