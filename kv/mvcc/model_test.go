package mvcc

import (
	"bytes"
	"cmp"
	"slices"
	"sort"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
)

// model is etcd's store in the simplest form: a list of all events, replayed for each request.
type model struct {
	rev, compacted int64
	history        []modelChange
}

type modelChange struct {
	rev     int64
	key     string
	deleted bool
	kv      *mvccpb.KeyValue
}

func newModel() *model { return &model{rev: 1, compacted: -1} }

// at returns the live keys at a revision, in order.
func (m *model) at(rev int64) []*mvccpb.KeyValue {
	live := map[string]*mvccpb.KeyValue{}
	for _, c := range m.history {
		if c.rev > rev {
			break
		}
		if c.deleted {
			delete(live, c.key)
		} else {
			live[c.key] = c.kv
		}
	}
	var keys []string
	for k := range live {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	var kvs []*mvccpb.KeyValue
	for _, k := range keys {
		kvs = append(kvs, live[k])
	}
	return kvs
}

func modelIn(key string, start, end []byte) bool {
	switch {
	case len(end) == 0:
		return key == string(start)
	case bytes.Equal(end, []byte{0}):
		return key >= string(start)
	}
	return key >= string(start) && key < string(end)
}

func (m *model) find(rev int64, start, end []byte) (kvs []*mvccpb.KeyValue) {
	for _, kv := range m.at(rev) {
		if modelIn(string(kv.Key), start, end) {
			kvs = append(kvs, kv)
		}
	}
	return kvs
}

// modelTxn is a write in progress: its changes are at rev+1.
type modelTxn struct {
	*model
	changed bool
}

func (t *modelTxn) revision() int64 {
	if t.changed {
		return t.rev + 1
	}
	return t.rev
}

func (t *modelTxn) finish() {
	if t.changed {
		t.rev++
	}
}

func clone(kv *mvccpb.KeyValue) *mvccpb.KeyValue {
	return &mvccpb.KeyValue{Key: kv.Key, Value: kv.Value, CreateRevision: kv.CreateRevision, ModRevision: kv.ModRevision, Version: kv.Version, Lease: kv.Lease}
}

func (t *modelTxn) getRange(r *pb.RangeRequest) (*pb.RangeResponse, error) {
	rev := r.Revision
	if rev > t.revision() {
		return nil, ErrFutureRev
	}
	if rev <= 0 {
		rev = t.revision()
	}
	if rev < t.compacted {
		return nil, ErrCompacted
	}
	all := t.find(rev, r.Key, r.RangeEnd)
	resp := &pb.RangeResponse{Header: &pb.ResponseHeader{Revision: t.revision()}, Count: int64(len(all))}
	if r.CountOnly {
		return resp, nil
	}
	filtered := r.MinModRevision != 0 || r.MaxModRevision != 0 || r.MinCreateRevision != 0 || r.MaxCreateRevision != 0
	if r.Limit > 0 && r.SortOrder == pb.RangeRequest_NONE && !filtered && int64(len(all)) > r.Limit+1 {
		all = all[:r.Limit+1] // etcd reads no more, and sorts what it has read
	}
	var kvs []*mvccpb.KeyValue
	for _, kv := range all {
		switch {
		case r.MinModRevision != 0 && kv.ModRevision < r.MinModRevision:
		case r.MaxModRevision != 0 && kv.ModRevision > r.MaxModRevision:
		case r.MinCreateRevision != 0 && kv.CreateRevision < r.MinCreateRevision:
		case r.MaxCreateRevision != 0 && kv.CreateRevision > r.MaxCreateRevision:
		default:
			kvs = append(kvs, clone(kv))
		}
	}
	sortModel(r, kvs)
	if r.Limit > 0 && int64(len(kvs)) > r.Limit {
		kvs, resp.More = kvs[:r.Limit], true
	}
	for _, kv := range kvs {
		if r.KeysOnly {
			kv.Value = nil
			if r.SortTarget != pb.RangeRequest_VALUE {
				kv.Lease = 0
			}
		}
	}
	resp.Kvs = kvs
	return resp, nil
}

// sortModel sorts as etcd does.
func sortModel(r *pb.RangeRequest, kvs []*mvccpb.KeyValue) {
	less := map[pb.RangeRequest_SortTarget]func(a, b *mvccpb.KeyValue) int{
		pb.RangeRequest_KEY:     func(a, b *mvccpb.KeyValue) int { return bytes.Compare(a.Key, b.Key) },
		pb.RangeRequest_VALUE:   func(a, b *mvccpb.KeyValue) int { return bytes.Compare(a.Value, b.Value) },
		pb.RangeRequest_VERSION: func(a, b *mvccpb.KeyValue) int { return cmp.Compare(a.Version, b.Version) },
		pb.RangeRequest_CREATE:  func(a, b *mvccpb.KeyValue) int { return cmp.Compare(a.CreateRevision, b.CreateRevision) },
		pb.RangeRequest_MOD:     func(a, b *mvccpb.KeyValue) int { return cmp.Compare(a.ModRevision, b.ModRevision) },
	}[r.SortTarget]
	order := r.SortOrder
	if order == pb.RangeRequest_NONE && r.SortTarget != pb.RangeRequest_KEY {
		order = pb.RangeRequest_ASCEND
	}
	byTarget := modelSort{kvs, less}
	switch {
	case order == pb.RangeRequest_DESCEND:
		sort.Sort(sort.Reverse(byTarget))
	case order == pb.RangeRequest_ASCEND && r.SortTarget != pb.RangeRequest_KEY:
		sort.Sort(byTarget)
	}
}

type modelSort struct {
	kvs  []*mvccpb.KeyValue
	less func(a, b *mvccpb.KeyValue) int
}

func (s modelSort) Len() int           { return len(s.kvs) }
func (s modelSort) Swap(i, j int)      { s.kvs[i], s.kvs[j] = s.kvs[j], s.kvs[i] }
func (s modelSort) Less(i, j int) bool { return s.less(s.kvs[i], s.kvs[j]) < 0 }

func (t *modelTxn) checkPut(p *pb.PutRequest) error {
	if (p.IgnoreValue || p.IgnoreLease) && len(t.find(t.revision(), p.Key, nil)) == 0 {
		return ErrKeyNotFound
	}
	return nil
}

func (t *modelTxn) put(p *pb.PutRequest) (*pb.PutResponse, error) {
	if err := t.checkPut(p); err != nil {
		return nil, err
	}
	rev := t.rev + 1
	kv := &mvccpb.KeyValue{Key: p.Key, Value: p.Value, Lease: p.Lease, CreateRevision: rev, ModRevision: rev, Version: 1}
	resp := &pb.PutResponse{Header: &pb.ResponseHeader{Revision: rev}}
	if old := t.find(t.revision(), p.Key, nil); len(old) == 1 {
		kv.CreateRevision, kv.Version = old[0].CreateRevision, old[0].Version+1
		if p.IgnoreValue {
			kv.Value = old[0].Value
		}
		if p.IgnoreLease {
			kv.Lease = old[0].Lease
		}
		if p.PrevKv {
			resp.PrevKv = clone(old[0])
		}
	}
	t.history = append(t.history, modelChange{rev: rev, key: string(p.Key), kv: kv})
	t.changed = true
	return resp, nil
}

func (t *modelTxn) del(d *pb.DeleteRangeRequest) *pb.DeleteRangeResponse {
	resp := &pb.DeleteRangeResponse{}
	for _, kv := range t.find(t.revision(), d.Key, d.RangeEnd) {
		t.history = append(t.history, modelChange{rev: t.rev + 1, key: string(kv.Key), deleted: true, kv: &mvccpb.KeyValue{Key: kv.Key, ModRevision: t.rev + 1}})
		t.changed = true
		resp.Deleted++
		if d.PrevKv {
			resp.PrevKvs = append(resp.PrevKvs, clone(kv))
		}
	}
	resp.Header = &pb.ResponseHeader{Revision: t.revision()}
	return resp
}

// txnPlan is a transaction whose branches are selected and not executed.
type txnPlan struct {
	r      *pb.TxnRequest
	holds  bool
	nested []*txnPlan
}

func (t *modelTxn) plan(r *pb.TxnRequest) *txnPlan {
	p := &txnPlan{r: r, holds: true}
	for _, c := range r.Compare {
		p.holds = p.holds && t.compare(c)
	}
	for _, op := range p.ops() {
		if n := op.GetRequestTxn(); n != nil {
			p.nested = append(p.nested, t.plan(n))
		}
	}
	return p
}

func (p *txnPlan) ops() []*pb.RequestOp {
	if p.holds {
		return p.r.Success
	}
	return p.r.Failure
}

func (t *modelTxn) compare(c *pb.Compare) bool {
	kvs := t.find(t.rev, c.Key, c.RangeEnd)
	if len(kvs) == 0 {
		if c.Target == pb.Compare_VALUE {
			return false
		}
		kvs = []*mvccpb.KeyValue{{}}
	}
	for _, kv := range kvs {
		o := map[pb.Compare_CompareTarget]int{
			pb.Compare_VALUE:   bytes.Compare(kv.Value, c.GetValue()),
			pb.Compare_CREATE:  cmp.Compare(kv.CreateRevision, c.GetCreateRevision()),
			pb.Compare_MOD:     cmp.Compare(kv.ModRevision, c.GetModRevision()),
			pb.Compare_VERSION: cmp.Compare(kv.Version, c.GetVersion()),
			pb.Compare_LEASE:   cmp.Compare(kv.Lease, c.GetLease()),
		}[c.Target]
		if !map[pb.Compare_CompareResult]bool{
			pb.Compare_EQUAL: o == 0, pb.Compare_NOT_EQUAL: o != 0, pb.Compare_GREATER: o > 0, pb.Compare_LESS: o < 0,
		}[c.Result] {
			return false
		}
	}
	return true
}

func (t *modelTxn) check(p *txnPlan) error {
	nested := p.nested
	for _, op := range p.ops() {
		var err error
		switch o := op.Request.(type) {
		case *pb.RequestOp_RequestRange:
			// As in etcd, stricter than a range outside a transaction: a negative revision is compacted.
			switch rev := o.RequestRange.Revision; {
			case rev > t.rev:
				err = ErrFutureRev
			case rev != 0 && rev < t.compacted:
				err = ErrCompacted
			}
		case *pb.RequestOp_RequestPut:
			err = t.checkPut(o.RequestPut)
		case *pb.RequestOp_RequestTxn:
			err = t.check(nested[0])
			nested = nested[1:]
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (t *modelTxn) run(p *txnPlan) *pb.TxnResponse {
	resp := &pb.TxnResponse{Header: &pb.ResponseHeader{}, Succeeded: p.holds}
	nested := p.nested
	for _, op := range p.ops() {
		out := &pb.ResponseOp{}
		switch o := op.Request.(type) {
		case *pb.RequestOp_RequestRange:
			r, err := t.getRange(o.RequestRange)
			if err != nil {
				panic(err)
			}
			out.Response = &pb.ResponseOp_ResponseRange{ResponseRange: r}
		case *pb.RequestOp_RequestPut:
			r, err := t.put(o.RequestPut)
			if err != nil {
				panic(err)
			}
			out.Response = &pb.ResponseOp_ResponsePut{ResponsePut: r}
		case *pb.RequestOp_RequestDeleteRange:
			out.Response = &pb.ResponseOp_ResponseDeleteRange{ResponseDeleteRange: t.del(o.RequestDeleteRange)}
		case *pb.RequestOp_RequestTxn:
			out.Response = &pb.ResponseOp_ResponseTxn{ResponseTxn: t.run(nested[0])}
			nested = nested[1:]
		}
		resp.Responses = append(resp.Responses, out)
	}
	return resp
}

func (m *model) txn(r *pb.TxnRequest) (*pb.TxnResponse, error) {
	t := &modelTxn{model: m}
	p := t.plan(r)
	if err := t.check(p); err != nil {
		return nil, err
	}
	resp := t.run(p)
	resp.Header.Revision = t.revision()
	t.finish()
	return resp, nil
}

func (m *model) put(p *pb.PutRequest) (*pb.PutResponse, error) {
	t := &modelTxn{model: m}
	defer t.finish()
	return t.put(p)
}

func (m *model) del(d *pb.DeleteRangeRequest) *pb.DeleteRangeResponse {
	t := &modelTxn{model: m}
	defer t.finish()
	return t.del(d)
}

func (m *model) getRange(r *pb.RangeRequest) (*pb.RangeResponse, error) {
	return (&modelTxn{model: m}).getRange(r)
}

func (m *model) compact(rev int64) (*pb.CompactionResponse, error) {
	switch {
	case rev <= m.compacted:
		return nil, ErrCompacted
	case rev > m.rev:
		return nil, ErrFutureRev
	}
	m.compacted = rev
	return &pb.CompactionResponse{Header: &pb.ResponseHeader{Revision: m.rev}}, nil
}

// events returns the events of a range in the revisions from … to.
func (m *model) events(from, to int64, key, end []byte, prev bool) (events []*mvccpb.Event) {
	for _, c := range m.history {
		if c.rev < from || c.rev > to || !modelIn(c.key, key, end) {
			continue
		}
		e := &mvccpb.Event{Kv: c.kv}
		if c.deleted {
			e.Type = mvccpb.Event_DELETE
		}
		if prev && (c.deleted || c.kv.Version > 1) && c.rev-1 >= m.compacted {
			if old := m.find(c.rev-1, []byte(c.key), nil); len(old) == 1 {
				e.PrevKv = old[0]
			}
		}
		events = append(events, e)
	}
	return events
}
