package mvcc

import (
	"bytes"
	"cmp"
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// txnStore is what a transaction runs on: a view, or the current batch.
type txnStore interface {
	// metadata returns a key's newest state; not live if it does not exist.
	metadata(key []byte) (metadata, error)
	// reader returns a reader of the state with the transaction's changes so far.
	reader() (*reader, error)
	// revisions returns the newest revision before the transaction and the compacted one.
	revisions() (newest, compacted int64)
	// maxResult returns the limit of the result in bytes, 0 for none.
	maxResult() int
	// checkPut returns the refusal of a put. It is called before anything is changed.
	checkPut(p *pb.PutRequest) error
	put(p *pb.PutRequest) (*pb.PutResponse, error)
	deleteRange(ctx context.Context, d *pb.DeleteRangeRequest) (*pb.DeleteRangeResponse, error)
}

// txn executes a transaction in three steps, as etcd does: all compares, nested ones too, select
// the branches, on the state before the transaction; then each operation of these branches is
// checked, and one refusal refuses the whole; then the operations are executed.
type txn struct {
	ctx      context.Context
	store    txnStore
	size     resultSize
	branches []bool // whether the compares of each transaction hold, outer before inner
	ranges   int    // executed
}

// run executes the transaction. The caller sets the revision in the header. An error is a refusal,
// which changed nothing, or one of the store.
func (t *txn) run(r *pb.TxnRequest) (*pb.TxnResponse, error) {
	if err := t.compareAll(r); err != nil {
		return nil, err
	}
	t.size.store = t.store
	if _, err := t.check(r, t.branches); err != nil {
		return nil, err
	}
	resp, _, err := t.execute(r, t.branches)
	return resp, err
}

func branch(r *pb.TxnRequest, succeeded bool) []*pb.RequestOp {
	if succeeded {
		return r.GetSuccess()
	}
	return r.GetFailure()
}

func (t *txn) compareAll(r *pb.TxnRequest) error {
	holds := true
	for _, c := range r.GetCompare() {
		var err error
		if holds, err = t.compare(c); err != nil {
			return err
		}
		if !holds {
			break
		}
	}
	t.branches = append(t.branches, holds)
	for _, op := range branch(r, holds) {
		if nested, ok := op.GetRequest().(*pb.RequestOp_RequestTxn); ok {
			if err := t.compareAll(nested.RequestTxn); err != nil {
				return err
			}
		}
	}
	return nil
}

// compare reports whether the comparison holds for every key of its range. All numbers of a key
// that does not exist are 0, and no comparison of its value holds.
func (t *txn) compare(c *pb.Compare) (bool, error) {
	keys := newKeyRange(c.GetKey(), c.GetRangeEnd())
	if keys.single() && c.GetTarget() != pb.Compare_VALUE {
		m, err := t.store.metadata(keys.start)
		if err != nil {
			return false, err
		}
		if !m.isLive() {
			m = metadata{}
		}
		return compareRecord(c, &record{metadata: m}), nil
	}
	r, err := t.store.reader()
	if err != nil {
		return false, err
	}
	any, holds := false, true
	look := func(_ []byte, rec *record) bool {
		any, holds = true, compareRecord(c, rec)
		return holds
	}
	if keys.single() {
		kv, err := r.get(keys.start, r.rev)
		if err != nil {
			return false, err
		}
		if kv != nil {
			look(nil, &record{value: kv.Value})
		}
	} else if err := r.visit(t.ctx, keys, r.rev, c.GetTarget() == pb.Compare_VALUE, look); err != nil {
		return false, err
	}
	if !any {
		return c.GetTarget() != pb.Compare_VALUE && compareRecord(c, &record{}), nil
	}
	return holds, nil
}

func compareRecord(c *pb.Compare, rec *record) bool {
	var order int
	switch c.GetTarget() {
	case pb.Compare_VALUE:
		order = bytes.Compare(rec.value, c.GetValue())
	case pb.Compare_CREATE:
		order = cmp.Compare(rec.create, c.GetCreateRevision())
	case pb.Compare_MOD:
		order = cmp.Compare(rec.rev.main, c.GetModRevision())
	case pb.Compare_VERSION:
		order = cmp.Compare(rec.version, c.GetVersion())
	case pb.Compare_LEASE:
		order = cmp.Compare(rec.lease, c.GetLease())
	}
	switch c.GetResult() {
	case pb.Compare_EQUAL:
		return order == 0
	case pb.Compare_NOT_EQUAL:
		return order != 0
	case pb.Compare_GREATER:
		return order > 0
	case pb.Compare_LESS:
		return order < 0
	}
	return true // as in etcd for an unknown result
}

// check checks the operations of the selected branches. branches starts with r's own entry; it
// returns the entries that are left.
func (t *txn) check(r *pb.TxnRequest, path []bool) (rest []bool, err error) {
	ops := branch(r, path[0])
	rest = path[1:]
	for _, op := range ops {
		switch o := op.GetRequest().(type) {
		case *pb.RequestOp_RequestRange:
			if err = t.checkRange(o.RequestRange); err == nil {
				err = t.size.addRequest(t.ctx, o.RequestRange)
			}
		case *pb.RequestOp_RequestPut:
			err = t.store.checkPut(o.RequestPut)
		case *pb.RequestOp_RequestDeleteRange:
			if err = ErrInvalidCommand; len(o.RequestDeleteRange.GetKey()) > 0 {
				err = t.size.addDelete(t.ctx, o.RequestDeleteRange)
			}
		case *pb.RequestOp_RequestTxn:
			rest, err = t.check(o.RequestTxn, rest)
		}
		if err != nil {
			return nil, err
		}
	}
	return rest, nil
}

func (t *txn) checkRange(q *pb.RangeRequest) error {
	newest, compacted := t.store.revisions()
	switch {
	case len(q.GetKey()) == 0:
		return ErrInvalidCommand
	case q.Revision == 0:
		return nil
	case q.Revision > newest:
		return ErrFutureRev
	case q.Revision < compacted:
		return ErrCompacted
	}
	return nil
}

func (t *txn) execute(r *pb.TxnRequest, path []bool) (resp *pb.TxnResponse, rest []bool, err error) {
	resp = &pb.TxnResponse{Header: &pb.ResponseHeader{}, Succeeded: path[0]}
	ops := branch(r, path[0])
	resp.Responses = make([]*pb.ResponseOp, len(ops))
	rest = path[1:]
	for i, op := range ops {
		out := &pb.ResponseOp{}
		resp.Responses[i] = out
		switch o := op.GetRequest().(type) {
		case *pb.RequestOp_RequestRange:
			var got *pb.RangeResponse
			got, err = t.executeRange(o.RequestRange)
			out.Response = &pb.ResponseOp_ResponseRange{ResponseRange: got}
		case *pb.RequestOp_RequestPut:
			var got *pb.PutResponse
			got, err = t.store.put(o.RequestPut)
			out.Response = &pb.ResponseOp_ResponsePut{ResponsePut: got}
		case *pb.RequestOp_RequestDeleteRange:
			var got *pb.DeleteRangeResponse
			got, err = t.store.deleteRange(t.ctx, o.RequestDeleteRange)
			out.Response = &pb.ResponseOp_ResponseDeleteRange{ResponseDeleteRange: got}
		case *pb.RequestOp_RequestTxn:
			var got *pb.TxnResponse
			got, rest, err = t.execute(o.RequestTxn, rest)
			out.Response = &pb.ResponseOp_ResponseTxn{ResponseTxn: got}
		}
		if err != nil {
			return nil, nil, err
		}
	}
	return resp, rest, nil
}

func (t *txn) executeRange(q *pb.RangeRequest) (*pb.RangeResponse, error) {
	t.ranges++
	r, err := t.store.reader()
	if err != nil {
		return nil, err
	}
	return r.rangeRequest(t.ctx, q)
}

// viewTxnStore executes read-only transactions.
type viewTxnStore struct{ r *reader }

func (v viewTxnStore) reader() (*reader, error) { return v.r, nil }

func (v viewTxnStore) revisions() (newest, compacted int64) { return v.r.rev, v.r.compactRev }

// maxResult is 0: the budget of the context limits a read.
func (v viewTxnStore) maxResult() int { return 0 }

func (v viewTxnStore) metadata(key []byte) (metadata, error) {
	row, closer, err := v.r.row(appendSpaceKey(nil, spaceCurrent, key))
	if err != nil || closer == nil {
		return metadata{}, err
	}
	defer closer.Close()
	rec, err := parseCurrent(row)
	return rec.metadata, err
}

// Transactions of a view are read-only, so these are never called.

func (v viewTxnStore) checkPut(*pb.PutRequest) error { return ErrInvalidCommand }

func (v viewTxnStore) put(*pb.PutRequest) (*pb.PutResponse, error) { return nil, ErrInvalidCommand }

func (v viewTxnStore) deleteRange(context.Context, *pb.DeleteRangeRequest) (*pb.DeleteRangeResponse, error) {
	return nil, ErrInvalidCommand
}
