package conformance

import (
	"bytes"
	"fmt"
	"math/rand/v2"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// requestGenerator generates requests to the KV service: valid ones on few keys, and all kinds of
// invalid ones. The same seed generates the same requests, given the same revisions.
type requestGenerator struct {
	*rand.Rand
	// The store's revisions, from the responses: requests use past, compacted and future ones.
	revision, compacted int64
	// serializable allows serializable reads: only with one member, since others may lag.
	serializable bool
}

// keys are few, so that calls use the same ones; some are prefixes of others, some the first or
// last keys in order.
var keys = []string{"a", "aa", "ab", "b", "b/1", "b/2", "b/3", "b0", "c", "c\x00", "d", "\x00", "\xff", "\xff\xff", "key", "é"}

func (c *requestGenerator) chance(percent int) bool { return c.IntN(100) < percent }

func (c *requestGenerator) key() []byte {
	if c.chance(1) {
		return nil
	}
	return []byte(keys[c.IntN(len(keys))])
}

// rangeEnd returns no end, the next key, the end of a prefix, "all keys from here", or any key.
func (c *requestGenerator) rangeEnd(key []byte) []byte {
	switch c.IntN(6) {
	case 0:
		return []byte{0}
	case 1:
		return append(append([]byte(nil), key...), 0)
	case 2:
		prefix := append([]byte(nil), key...)
		for i := len(prefix) - 1; i >= 0; i-- {
			if prefix[i] < 0xff {
				prefix[i]++
				return prefix[:i+1]
			}
		}
		return []byte{0}
	case 3:
		return c.key()
	default:
		return nil
	}
}

// pastRevision returns mostly 0, often a readable revision, sometimes a compacted, a future or a
// negative one.
func (c *requestGenerator) pastRevision() int64 {
	switch n := c.IntN(40); {
	case n < 22:
		return 0
	case n < 36:
		return c.compacted + c.Int64N(c.revision-c.compacted+1)
	case n < 38:
		return c.Int64N(c.compacted + 1)
	case n < 39:
		return c.revision + c.Int64N(3)
	default:
		return -1 - c.Int64N(3)
	}
}

func (c *requestGenerator) value() []byte {
	if c.chance(10) {
		return nil
	}
	if c.chance(3) {
		return bytes.Repeat([]byte("long "), 100+c.IntN(1000)) // above the store's limit for inline values
	}
	return fmt.Appendf(nil, "%d", c.IntN(8))
}

// tooLargeRequest is above the limit of a request, or even of a message.
func (c *requestGenerator) tooLargeRequest() proto.Message {
	r := &pb.PutRequest{Key: c.key(), Value: make([]byte, 3<<19+1000+c.IntN(2)<<20)}
	if c.chance(50) {
		return r
	}
	return &pb.TxnRequest{Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: r}}}}
}

func (c *requestGenerator) put() *pb.PutRequest {
	r := &pb.PutRequest{Key: c.key(), Value: c.value(), PrevKv: c.chance(20)}
	if c.chance(2) {
		r.Lease = 1 + c.Int64N(1000) // never granted
	}
	if c.chance(4) {
		r.IgnoreValue = true
		if c.chance(70) {
			r.Value = nil
		}
	}
	if c.chance(4) {
		r.IgnoreLease = true
	}
	return r
}

func (c *requestGenerator) readRange() *pb.RangeRequest {
	key := c.key()
	r := &pb.RangeRequest{
		Key: key, RangeEnd: c.rangeEnd(key), Revision: c.pastRevision(),
		KeysOnly: c.chance(10), CountOnly: c.chance(10), Serializable: c.serializable && c.chance(10),
	}
	if c.chance(30) {
		r.Limit = c.Int64N(6) - 1
	}
	if c.chance(30) {
		r.SortOrder = pb.RangeRequest_SortOrder(c.IntN(3))
		r.SortTarget = pb.RangeRequest_SortTarget(c.IntN(5))
	}
	if c.chance(1) {
		r.SortOrder = 7
	}
	if c.chance(1) {
		r.SortTarget = 7
	}
	for _, bound := range []*int64{&r.MinModRevision, &r.MaxModRevision, &r.MinCreateRevision, &r.MaxCreateRevision} {
		if c.chance(5) {
			*bound = c.Int64N(c.revision + 2)
		}
	}
	return r
}

// streamedRange is a range requested as a stream.
type streamedRange struct{ *pb.RangeRequest }

// streamRange returns seldom what a stream cannot do. A sort target without an order is served, and
// compared up to ten keys: of more, etcd v3.7.3 sorts each chunk of ten by itself and continues
// after whatever key came last, so that keys are missing and come twice.
func (c *requestGenerator) streamRange() proto.Message {
	r := c.readRange()
	if c.chance(80) {
		r.SortOrder, r.SortTarget = 0, 0
		r.MinModRevision, r.MaxModRevision, r.MinCreateRevision, r.MaxCreateRevision = 0, 0, 0, 0
		if c.chance(20) {
			r.SortTarget = pb.RangeRequest_SortTarget(c.IntN(5))
		}
	}
	if r.SortOrder == pb.RangeRequest_NONE && r.SortTarget != pb.RangeRequest_KEY {
		r.Key, r.RangeEnd, r.Limit = []byte("b"), []byte("c"), 0
	}
	return streamedRange{r}
}

func (c *requestGenerator) deleteRange() *pb.DeleteRangeRequest {
	key := c.key()
	r := &pb.DeleteRangeRequest{Key: key, PrevKv: c.chance(30)}
	if c.chance(25) {
		r.RangeEnd = c.rangeEnd(key)
	}
	return r
}

// deleteInTxn never deletes all keys from one on. A transaction must not put a key that it deletes,
// and etcd v3.7.3 does not notice that for such a range (it compares its end, a zero byte, as a
// key): it deletes and puts the key in one revision, and if the put was to keep the old value,
// every member crashes, at each restart too. Troupe refuses both (TestTxnThatCrashesEtcdIsRefused),
// so there is nothing to compare.
func (c *requestGenerator) deleteInTxn() *pb.DeleteRangeRequest {
	r := c.deleteRange()
	if len(r.RangeEnd) == 1 && r.RangeEnd[0] == 0 {
		r.RangeEnd = nil
	}
	return r
}

func (c *requestGenerator) compare() *pb.Compare {
	r := &pb.Compare{
		Key:    c.key(),
		Result: pb.Compare_CompareResult(c.IntN(4)),
		Target: pb.Compare_CompareTarget(c.IntN(5)),
	}
	switch r.Target {
	case pb.Compare_VERSION:
		r.TargetUnion = &pb.Compare_Version{Version: c.Int64N(4)}
	case pb.Compare_CREATE:
		r.TargetUnion = &pb.Compare_CreateRevision{CreateRevision: c.Int64N(c.revision + 1)}
	case pb.Compare_MOD:
		r.TargetUnion = &pb.Compare_ModRevision{ModRevision: c.Int64N(c.revision + 1)}
	case pb.Compare_VALUE:
		r.TargetUnion = &pb.Compare_Value{Value: c.value()}
	case pb.Compare_LEASE:
		r.TargetUnion = &pb.Compare_Lease{Lease: c.Int64N(2)}
	}
	if c.chance(25) {
		r.RangeEnd = c.rangeEnd(r.Key)
	}
	if c.chance(2) {
		r.Result = 4 + pb.Compare_CompareResult(c.IntN(2)) // no such comparison
	}
	if c.chance(2) {
		r.Target = 5 + pb.Compare_CompareTarget(c.IntN(2)) // no such target
	}
	if c.chance(3) {
		r.TargetUnion = nil // a target without an operand
	}
	return r
}

func (c *requestGenerator) txn(depth int) *pb.TxnRequest {
	r := &pb.TxnRequest{}
	for range c.IntN(3) {
		r.Compare = append(r.Compare, c.compare())
	}
	for _, branch := range []*[]*pb.RequestOp{&r.Success, &r.Failure} {
		for range c.IntN(4) {
			*branch = append(*branch, c.operation(depth))
		}
	}
	if !c.serializable && len(r.Success)+len(r.Failure) == 0 {
		// etcd serves a transaction without operations as a serializable one.
		r.Success = append(r.Success, &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: []byte("a")}}})
	}
	if c.chance(1) { // above the limit of operations
		for range 129 {
			r.Success = append(r.Success, &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: []byte("a")}}})
		}
	}
	return r
}

// wideTxn has many operations in the outer and in the nested transaction, at the limit of their
// sum.
func (c *requestGenerator) wideTxn() *pb.TxnRequest {
	outer, inner := 60+c.IntN(10), 60+c.IntN(10)
	nested := &pb.TxnRequest{}
	for i := range inner {
		r := &pb.PutRequest{Key: fmt.Appendf(nil, "wide/%d", i)}
		nested.Success = append(nested.Success, &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: r}})
	}
	r := &pb.TxnRequest{Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestTxn{RequestTxn: nested}}}}
	for i := range outer - 1 {
		r.Success = append(r.Success, &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{
			RequestDeleteRange: &pb.DeleteRangeRequest{Key: fmt.Appendf(nil, "wider/%d", i), PrevKv: true}}})
	}
	return r
}

func (c *requestGenerator) operation(depth int) *pb.RequestOp {
	if c.chance(1) {
		return &pb.RequestOp{} // without a request
	}
	switch n := c.IntN(20); {
	case n < 9:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: c.put()}}
	case n < 14:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: c.readRange()}}
	case n < 17:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: c.deleteInTxn()}}
	case n < 19 && depth > 0:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: c.txn(depth - 1)}}
	default:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: c.key(), Value: c.value()}}}
	}
}

func (c *requestGenerator) compaction() *pb.CompactionRequest {
	r := &pb.CompactionRequest{Revision: c.compacted + c.Int64N((c.revision-c.compacted)/3+1), Physical: c.chance(50)}
	switch c.IntN(12) {
	case 0:
		r.Revision = c.compacted - c.Int64N(c.compacted+1)
	case 1:
		r.Revision = c.revision + 1 + c.Int64N(3)
	case 2:
		r.Revision = -1
	case 3:
		r.Revision = c.compacted
	case 4:
		r.Revision = c.revision
	case 5:
		r.Revision = 0
	}
	return r
}

// next returns a request of a random kind.
func (c *requestGenerator) next() proto.Message {
	switch n := c.IntN(1000); {
	case n < 300:
		return c.put()
	case n < 580:
		return c.readRange()
	case n < 620:
		return c.streamRange()
	case n < 740:
		return c.deleteRange()
	case n < 970:
		return c.txn(3)
	case n < 975:
		return c.wideTxn()
	case n < 980:
		return c.tooLargeRequest()
	default:
		return c.compaction()
	}
}

// observe takes the store's revisions from a response of the reference.
func (c *requestGenerator) observe(request, response proto.Message) {
	if header := headerOf(response); header != nil {
		c.revision = max(c.revision, header.Revision)
	}
	if r, ok := request.(*pb.CompactionRequest); ok && response != nil {
		c.compacted = r.Revision
	}
}

func headerOf(response proto.Message) *pb.ResponseHeader {
	if r, ok := response.(interface{ GetHeader() *pb.ResponseHeader }); ok {
		return r.GetHeader()
	}
	return nil
}
