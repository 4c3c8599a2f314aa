package simulation

import (
	"bytes"
	"fmt"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/kv/mvcc"
)

// model is etcd's store in the simplest form: all events, in order. The commands of the log make
// it, in the order of their indexes.
type model struct {
	rev, compacted int64
	events         []*mvccpb.Event // with PrevKv
	results        map[uint64]modelResult
	through        uint64 // the commands up to this index are applied
}

// modelResult is what a command returns at every member.
type modelResult struct {
	rev      int64
	response proto.Message
	err      error
}

func newModel() *model { return &model{rev: 1, compacted: -1, results: map[uint64]modelResult{}} }

// inRange reports whether a key is in the range of a request.
func inRange(key, start, end []byte) bool {
	switch {
	case len(end) == 0:
		return bytes.Equal(key, start)
	case len(end) == 1 && end[0] == 0:
		return bytes.Compare(key, start) >= 0
	}
	return bytes.Compare(key, start) >= 0 && bytes.Compare(key, end) < 0
}

// at returns the live keys of a range at a revision, in order.
func (m *model) at(rev int64, start, end []byte) (kvs []*mvccpb.KeyValue) {
	for _, e := range m.events {
		if e.Kv.ModRevision > rev {
			break
		}
		if !inRange(e.Kv.Key, start, end) {
			continue
		}
		i, found := slices.BinarySearchFunc(kvs, e.Kv.Key, func(kv *mvccpb.KeyValue, key []byte) int { return bytes.Compare(kv.Key, key) })
		switch {
		case e.Type == mvccpb.Event_DELETE:
			kvs = slices.Delete(kvs, i, i+1)
		case found:
			kvs[i] = e.Kv
		default:
			kvs = slices.Insert(kvs, i, e.Kv)
		}
	}
	return kvs
}

// apply applies a command of the log.
func (m *model) apply(index uint64, command []byte) modelResult {
	w := &modelWrite{model: m, rev: m.rev}
	response, err := w.dispatch(command)
	m.rev, m.through = w.rev, index
	m.results[index] = modelResult{m.rev, response, err}
	return m.results[index]
}

// modelWrite is one command: its changes are at the revision after that of the model.
type modelWrite struct {
	*model
	rev int64 // the newest revision, of the command itself if it has changed something
}

func (w *modelWrite) dispatch(command []byte) (proto.Message, error) {
	body := command[1:]
	switch command[0] {
	case mvcc.KindPut:
		r := &pb.PutRequest{}
		mustUnmarshal(body, r)
		return w.put(r), nil
	case mvcc.KindDeleteRange:
		r := &pb.DeleteRangeRequest{}
		mustUnmarshal(body, r)
		return w.deleteRange(r), nil
	case mvcc.KindTxn:
		r := &pb.TxnRequest{}
		mustUnmarshal(body, r)
		return w.txn(r), nil
	case mvcc.KindCompact:
		r := &pb.CompactionRequest{}
		mustUnmarshal(body, r)
		switch {
		case r.Revision <= w.compacted:
			return nil, mvcc.ErrCompacted
		case r.Revision > w.rev:
			return nil, mvcc.ErrFutureRev
		}
		w.compacted = r.Revision
		return &pb.CompactionResponse{}, nil
	}
	panic(fmt.Sprintf("a command of kind %d", command[0]))
}

func mustUnmarshal(body []byte, m proto.Message) {
	if err := proto.Unmarshal(body, m); err != nil {
		panic(err)
	}
}

func (w *modelWrite) live(key []byte) *mvccpb.KeyValue {
	if kvs := w.at(w.rev, key, nil); len(kvs) > 0 {
		return kvs[0]
	}
	return nil
}

func (w *modelWrite) put(r *pb.PutRequest) *pb.PutResponse {
	prev := w.live(r.Key)
	w.rev = w.model.rev + 1
	kv := &mvccpb.KeyValue{Key: r.Key, Value: r.Value, CreateRevision: w.rev, ModRevision: w.rev, Version: 1}
	if prev != nil {
		kv.CreateRevision, kv.Version = prev.CreateRevision, prev.Version+1
	}
	w.events = append(w.events, &mvccpb.Event{Kv: kv, PrevKv: prev})
	response := &pb.PutResponse{}
	if r.PrevKv {
		response.PrevKv = prev
	}
	return response
}

func (w *modelWrite) deleteRange(r *pb.DeleteRangeRequest) *pb.DeleteRangeResponse {
	response := &pb.DeleteRangeResponse{}
	for _, kv := range w.at(w.rev, r.Key, r.RangeEnd) {
		response.Deleted++
		if r.PrevKv {
			response.PrevKvs = append(response.PrevKvs, kv)
		}
		w.events = append(w.events, &mvccpb.Event{
			Type: mvccpb.Event_DELETE, Kv: &mvccpb.KeyValue{Key: kv.Key, ModRevision: w.model.rev + 1}, PrevKv: kv,
		})
	}
	if response.Deleted > 0 {
		w.rev = w.model.rev + 1
	}
	return response
}

func (w *modelWrite) txn(r *pb.TxnRequest) *pb.TxnResponse {
	response := &pb.TxnResponse{Succeeded: true}
	for _, c := range r.Compare {
		response.Succeeded = response.Succeeded && w.holds(c)
	}
	ops := r.Success
	if !response.Succeeded {
		ops = r.Failure
	}
	for _, op := range ops {
		var done pb.ResponseOp
		switch o := op.Request.(type) {
		case *pb.RequestOp_RequestPut:
			done.Response = &pb.ResponseOp_ResponsePut{ResponsePut: w.put(o.RequestPut)}
		case *pb.RequestOp_RequestDeleteRange:
			done.Response = &pb.ResponseOp_ResponseDeleteRange{ResponseDeleteRange: w.deleteRange(o.RequestDeleteRange)}
		case *pb.RequestOp_RequestRange:
			done.Response = &pb.ResponseOp_ResponseRange{ResponseRange: w.getRange(o.RequestRange, w.rev)}
		}
		response.Responses = append(response.Responses, &done)
	}
	return response
}

// holds evaluates a comparison; clients compare versions only.
func (w *modelWrite) holds(c *pb.Compare) bool {
	version, want := int64(0), c.GetVersion()
	if kv := w.live(c.Key); kv != nil {
		version = kv.Version
	}
	if c.Result == pb.Compare_GREATER {
		return version > want
	}
	return version == want
}

// getRange returns the response to a range at a revision, without a header.
func (m *model) getRange(r *pb.RangeRequest, newest int64) *pb.RangeResponse {
	at := newest
	if r.Revision > 0 {
		at = r.Revision
	}
	kvs := m.at(at, r.Key, r.RangeEnd)
	response := &pb.RangeResponse{Count: int64(len(kvs))}
	if r.CountOnly {
		return response
	}
	if r.Limit > 0 && int64(len(kvs)) > r.Limit {
		kvs, response.More = kvs[:r.Limit], true
	}
	for _, kv := range kvs {
		if r.KeysOnly {
			kv = &mvccpb.KeyValue{Key: kv.Key, CreateRevision: kv.CreateRevision, ModRevision: kv.ModRevision, Version: kv.Version}
		}
		response.Kvs = append(response.Kvs, kv)
	}
	return response
}

// withoutHeaders returns a copy of a response without its headers.
func withoutHeaders(response proto.Message) proto.Message {
	response = proto.Clone(response)
	switch r := response.(type) {
	case *pb.PutResponse:
		r.Header = nil
	case *pb.DeleteRangeResponse:
		r.Header = nil
	case *pb.CompactionResponse:
		r.Header = nil
	case *pb.RangeResponse:
		r.Header = nil
	case *pb.TxnResponse:
		r.Header = nil
		for _, op := range r.Responses {
			switch o := op.Response.(type) {
			case *pb.ResponseOp_ResponsePut:
				o.ResponsePut.Header = nil
			case *pb.ResponseOp_ResponseDeleteRange:
				o.ResponseDeleteRange.Header = nil
			case *pb.ResponseOp_ResponseRange:
				o.ResponseRange.Header = nil
			}
		}
	}
	return response
}
