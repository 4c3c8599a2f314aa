package mvcc

import (
	"bytes"
	"context"
	"math"
	"sort"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
)

// rangeRequest executes a RangeRequest with all options of etcd.
func (r *reader) rangeRequest(ctx context.Context, req *pb.RangeRequest) (*pb.RangeResponse, error) {
	at, err := r.revisionAt(req.Revision)
	if err != nil {
		return nil, err
	}
	keys := newKeyRange(req.Key, req.RangeEnd)
	resp := &pb.RangeResponse{Header: &pb.ResponseHeader{Revision: r.rev}}
	if req.CountOnly {
		resp.Count, err = r.count(ctx, keys, at)
		return resp, err
	}
	if keys.single() {
		kv, err := r.get(req.Key, at)
		if err != nil {
			return nil, err
		}
		if kv != nil {
			resp.Count = 1
			if passesFilters(req, &record{metadata: metadata{rev: revision{main: kv.ModRevision}, create: kv.CreateRevision}}) {
				resp.Kvs = []*mvccpb.KeyValue{kv}
			}
		}
	} else if err := r.collect(ctx, req, keys, at, resp); err != nil {
		return nil, err
	}
	finishRange(req, resp)
	return resp, nil
}

// collect reads as many keys as the request needs into resp, and the count.
func (r *reader) collect(ctx context.Context, req *pb.RangeRequest, keys keyRange, at int64, resp *pb.RangeResponse) error {
	limit := readLimit(req)
	values := !req.KeysOnly || req.SortTarget == pb.RangeRequest_VALUE
	filtered := hasRevisionFilters(req)
	var slab kvSlab
	exhausted := true
	meter, refused := readBudgetOf(ctx), error(nil)
	err := r.visit(ctx, keys, at, values, func(key []byte, rec *record) bool {
		if int64(len(resp.Kvs)) == limit {
			exhausted = false
			return false
		}
		resp.Count++
		if !filtered || passesFilters(req, rec) {
			if meter != nil {
				if refused = meter.Reserve(len(key) + len(rec.value) + keyValueOverheadBytes); refused != nil {
					return false
				}
			}
			resp.Kvs = append(resp.Kvs, slab.keyValue(key, rec, values))
		}
		return true
	})
	if err == nil {
		err = refused
	}
	if err != nil || exhausted {
		return err
	}
	resp.Count, err = r.count(ctx, keys, at)
	return err
}

// finishRange sorts, applies the limit, and removes what was not asked for, as etcd does.
func finishRange(req *pb.RangeRequest, resp *pb.RangeResponse) {
	sortRange(req, resp.Kvs)
	if req.Limit > 0 && int64(len(resp.Kvs)) > req.Limit {
		resp.Kvs = resp.Kvs[:req.Limit]
		resp.More = true
	}
	if req.KeysOnly {
		fast := req.SortTarget != pb.RangeRequest_VALUE
		for _, kv := range resp.Kvs {
			kv.Value = nil
			if fast {
				kv.Lease = 0 // etcd 3.7 reads these from its index, which has no leases
			}
		}
	}
}

// readLimit returns how many keys must be read: one more than the limit, to know whether there are
// more; all of them if the order depends on values that are read. (As in etcd, a sort target
// without an order does not sort.)
func readLimit(req *pb.RangeRequest) int64 {
	if req.Limit <= 0 || !isKeyOrder(req.SortTarget, req.SortOrder) || hasRevisionFilters(req) {
		return math.MaxInt64
	}
	if req.Limit == math.MaxInt64 {
		return req.Limit
	}
	return req.Limit + 1
}

// isKeyOrder reports whether the order is that of the rows, so that no sorting is needed.
func isKeyOrder(target pb.RangeRequest_SortTarget, order pb.RangeRequest_SortOrder) bool {
	return order == pb.RangeRequest_NONE || (target == pb.RangeRequest_KEY && order == pb.RangeRequest_ASCEND)
}

func hasRevisionFilters(r *pb.RangeRequest) bool {
	return r.MinModRevision != 0 || r.MaxModRevision != 0 || r.MinCreateRevision != 0 || r.MaxCreateRevision != 0
}

func passesFilters(r *pb.RangeRequest, rec *record) bool {
	return (r.MaxModRevision == 0 || rec.rev.main <= r.MaxModRevision) &&
		(r.MinModRevision == 0 || rec.rev.main >= r.MinModRevision) &&
		(r.MaxCreateRevision == 0 || rec.create <= r.MaxCreateRevision) &&
		(r.MinCreateRevision == 0 || rec.create >= r.MinCreateRevision)
}

// sortRange sorts with sort.Sort and sort.Reverse, which are not stable, as etcd does: keys that
// compare as equal come in etcd's order, on which clients may rely.
func sortRange(req *pb.RangeRequest, kvs []*mvccpb.KeyValue) {
	order := req.SortOrder
	if req.SortTarget != pb.RangeRequest_KEY && order == pb.RangeRequest_NONE {
		order = pb.RangeRequest_ASCEND
	}
	if isKeyOrder(req.SortTarget, order) {
		return
	}
	var by sort.Interface
	switch req.SortTarget {
	case pb.RangeRequest_KEY:
		by = sortedKVs{kvs, func(a, b *mvccpb.KeyValue) bool { return bytes.Compare(a.Key, b.Key) < 0 }}
	case pb.RangeRequest_VERSION:
		by = sortedKVs{kvs, func(a, b *mvccpb.KeyValue) bool { return a.Version < b.Version }}
	case pb.RangeRequest_CREATE:
		by = sortedKVs{kvs, func(a, b *mvccpb.KeyValue) bool { return a.CreateRevision < b.CreateRevision }}
	case pb.RangeRequest_MOD:
		by = sortedKVs{kvs, func(a, b *mvccpb.KeyValue) bool { return a.ModRevision < b.ModRevision }}
	case pb.RangeRequest_VALUE:
		by = sortedKVs{kvs, func(a, b *mvccpb.KeyValue) bool { return bytes.Compare(a.Value, b.Value) < 0 }}
	default:
		return
	}
	switch order {
	case pb.RangeRequest_ASCEND:
		sort.Sort(by)
	case pb.RangeRequest_DESCEND:
		sort.Sort(sort.Reverse(by))
	}
}

type sortedKVs struct {
	kvs  []*mvccpb.KeyValue
	less func(a, b *mvccpb.KeyValue) bool
}

func (s sortedKVs) Len() int           { return len(s.kvs) }
func (s sortedKVs) Swap(i, j int)      { s.kvs[i], s.kvs[j] = s.kvs[j], s.kvs[i] }
func (s sortedKVs) Less(i, j int) bool { return s.less(s.kvs[i], s.kvs[j]) }

// kvSlab allocates the key-values of a result in groups.
type kvSlab struct {
	kvs  []mvccpb.KeyValue
	buf  []byte
	made int
}

func (s *kvSlab) keyValue(key []byte, rec *record, withValue bool) *mvccpb.KeyValue {
	if len(s.kvs) == 0 {
		s.kvs = make([]mvccpb.KeyValue, min(max(4, s.made), 256))
	}
	kv := &s.kvs[0]
	s.kvs = s.kvs[1:]
	s.made++
	kv.Key = s.bytes(key)
	if withValue {
		kv.Value = s.bytes(rec.value)
	}
	kv.CreateRevision, kv.ModRevision, kv.Version, kv.Lease = rec.create, rec.rev.main, rec.version, rec.lease
	return kv
}

const maxSlabBytes = 16 << 10

// bytes copies b.
func (s *kvSlab) bytes(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	if len(b) > cap(s.buf)-len(s.buf) {
		if len(b) > maxSlabBytes/4 {
			return bytes.Clone(b) // it would waste the rest of a slab
		}
		s.buf = make([]byte, 0, min(max(512, 2*cap(s.buf)), maxSlabBytes))
		if len(b) > cap(s.buf) {
			s.buf = make([]byte, 0, maxSlabBytes)
		}
	}
	at := len(s.buf)
	s.buf = append(s.buf, b...)
	return s.buf[at:len(s.buf):len(s.buf)]
}
