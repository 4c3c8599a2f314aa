package simulation

import (
	"context"
	"fmt"
	"hash/fnv"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/kv/mvcc"
	"github.com/troupe-raft/troupe/statemachine"
)

// applied compares the result of a command at a member with the model's. The first member that
// applies it makes the model.
func (a *application) applied(m *member, c *statemachine.Command, result []byte) (number uint64) {
	if c.Index > a.model.through {
		a.model.apply(c.Index, c.Data)
	}
	want := a.model.results[c.Index]
	rev, got, err := decodeResult(c.Data[0], result)
	if err != want.err || err == nil && (rev != want.rev || !proto.Equal(withoutHeaders(got), withoutHeaders(want.response))) {
		a.world.Fail("state machine safety", "member %d applies command %d of kind %d: revision %d, %v, %v; want revision %d, %v, %v",
			m.ID(), c.Index, c.Data[0], rev, got, err, want.rev, want.response, want.err)
	}
	if kind := c.Data[0]; kind != mvcc.KindPut && kind != mvcc.KindTxn {
		return c.Index // two clients may propose the same deletion
	}
	h := fnv.New64a()
	h.Write(c.Data)
	return h.Sum64() | 1<<63
}

func decodeResult(kind byte, result []byte) (rev int64, response proto.Message, err error) {
	switch kind {
	case mvcc.KindPut:
		r, err := mvcc.DecodePut(result)
		return r.GetHeader().GetRevision(), r, err
	case mvcc.KindDeleteRange:
		r, err := mvcc.DecodeDeleteRange(result)
		return r.GetHeader().GetRevision(), r, err
	case mvcc.KindTxn:
		r, err := mvcc.DecodeTxn(result)
		return r.GetHeader().GetRevision(), r, err
	default:
		r, err := mvcc.DecodeCompaction(result)
		return r.GetHeader().GetRevision(), r, err
	}
}

// operation is one request of a client, with what clients knew when it was called.
type operation struct {
	app    *application
	member *member
	what   string
	// linearizable: the response must contain what was acknowledged before the call.
	linearizable bool
	minRevision  int64
	minCompacted int64
	index        uint64 // of the command in the log, once it is applied here
	over         bool
	cancel       context.CancelFunc
	check        func(o *operation, response proto.Message, err error)
	done         func()
}

// call makes a request at a member. check receives the response; done is called at the end.
func (m *member) call(what, mode string, linearizable bool, handle func(context.Context) (proto.Message, error),
	check func(*operation, proto.Message, error), done func(),
) *operation {
	a := m.app
	a.counts.calls++
	ctx, cancel := incoming(mode)
	o := &operation{
		app: a, member: m, what: what, linearizable: linearizable, minRevision: a.acknowledgedRevision,
		minCompacted: a.acknowledgedCompacted, cancel: cancel, check: check, done: done,
	}
	m.operations = append(m.operations, o)
	m.schedule.Go(what, func() {
		response, err := handle(context.WithValue(ctx, operationKey{}, o))
		o.end(response, err)
	})
	return o
}

// end ends the operation. After the end of its member nothing is known of its effect.
func (o *operation) end(response proto.Message, err error) {
	if o.over {
		return
	}
	o.over = true
	o.cancel()
	for i, other := range o.member.operations {
		if other == o {
			o.member.operations = append(o.member.operations[:i], o.member.operations[i+1:]...)
			break
		}
	}
	if err != errMemberEnded {
		if err == nil {
			o.app.counts.answered++
		}
		o.check(o, response, err)
	}
	if o.done != nil {
		o.done()
	}
}

func (o *operation) fail(invariant, format string, values ...any) {
	o.app.world.Fail(invariant, "member %d: %s: %s", o.member.ID(), o.what, fmt.Sprintf(format, values...))
}

// acknowledge notes that a client knows of a revision.
func (a *application) acknowledge(revision int64) {
	a.acknowledgedRevision = max(a.acknowledgedRevision, revision)
}

// checkHeader checks the revision of a response and acknowledges it.
func (o *operation) checkHeader(h *pb.ResponseHeader) {
	rev := h.GetRevision()
	if rev > o.app.model.rev {
		o.fail("reads see a prefix", "revision %d, and %d is the newest", rev, o.app.model.rev)
	}
	if o.linearizable && rev < o.minRevision {
		o.fail("linearizable reads", "a stale response: revision %d, and %d was acknowledged before", rev, o.minRevision)
	}
	o.app.acknowledge(rev)
}

// checkWrite checks the response to a write against the effect of its command.
func checkWrite(o *operation, response proto.Message, err error) {
	if err != nil {
		o.checkCompactError(err)
		return
	}
	want, known := o.app.model.results[o.index]
	if !known || want.err != nil || !proto.Equal(withoutHeaders(response), withoutHeaders(want.response)) {
		o.fail("exactly once", "the response is %v; the command at index %d had %v, %v", response, o.index, want.response, want.err)
		return
	}
	header := response.(interface{ GetHeader() *pb.ResponseHeader }).GetHeader()
	if header.GetRevision() != want.rev {
		o.fail("exactly once", "revision %d; the command at index %d had %d", header.GetRevision(), o.index, want.rev)
	}
	if header.GetMemberId() != o.member.ID() || header.GetClusterId() != 1 {
		o.fail("exactly once", "the header is %v", header)
	}
	o.checkHeader(header)
}

// checkCompactError checks that what is refused as compacted or as the future is so.
func (o *operation) checkCompactError(err error) {
	if err == rpctypes.ErrGRPCCompacted && o.app.model.compacted < 0 {
		o.fail("reads see a prefix", "%v, and nothing was compacted", err)
	}
}

// checkRange checks the response to a range.
func checkRange(r *pb.RangeRequest) func(*operation, proto.Message, error) {
	return func(o *operation, response proto.Message, err error) {
		switch {
		case err == rpctypes.ErrGRPCCompacted && r.Revision >= o.app.model.compacted:
			o.fail("reads see a prefix", "%v; the compacted revision is %d", err, o.app.model.compacted)
		case err == rpctypes.ErrGRPCFutureRev && o.linearizable && r.Revision <= o.minRevision:
			o.fail("linearizable reads", "%v; %d was acknowledged before", err, o.minRevision)
		case err != nil:
			return
		case o.linearizable && r.Revision > 0 && r.Revision < o.minCompacted:
			o.fail("linearizable reads", "a response at revision %d; the compaction at %d was acknowledged before", r.Revision, o.minCompacted)
		}
		if err != nil {
			return
		}
		got := response.(*pb.RangeResponse)
		o.checkHeader(got.Header)
		if want := o.app.model.getRange(r, got.Header.Revision); !proto.Equal(withoutHeaders(got), want) {
			o.fail("reads see a prefix", "at revision %d found %v, want %v", got.Header.Revision, got, want)
		}
	}
}

// checkReadTxn checks the response to a transaction that only reads.
func checkReadTxn(r *pb.TxnRequest) func(*operation, proto.Message, error) {
	return func(o *operation, response proto.Message, err error) {
		if err != nil {
			return
		}
		got := response.(*pb.TxnResponse)
		o.checkHeader(got.Header)
		w := &modelWrite{model: o.app.model, rev: got.Header.Revision}
		if want := w.txn(r); !proto.Equal(withoutHeaders(got), want) {
			o.fail("reads see a prefix", "at revision %d found %v, want %v", got.Header.Revision, got, want)
		}
	}
}

// hashedState identifies what HashKV hashes.
type hashedState struct{ rev, compacted int64 }

// checkHash compares HashKV with what any member returned for the same revisions.
func checkHash(o *operation, response proto.Message, err error) {
	if err != nil {
		return
	}
	got := response.(*pb.HashKVResponse)
	of := hashedState{got.HashRevision, got.CompactRevision}
	if was, known := o.app.hashes[of]; known && was != got.Hash {
		o.fail("equal state machines", "hash %x at revision %d, compacted at %d; another one was %x", got.Hash, of.rev, of.compacted, was)
	}
	o.app.hashes[of] = got.Hash
}
