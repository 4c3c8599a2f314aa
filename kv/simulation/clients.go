package simulation

import (
	"context"
	"fmt"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/internal/interleave"
	"github.com/troupe-raft/troupe/internal/sim/world"
)

// client makes one request after the other, at a member that changes now and then.
type client struct {
	app      *application
	id       int
	member   *member
	maxPause time.Duration
	timeout  time.Duration // 0: it waits until its member stops
	inFlight int
	maxOpen  int
}

// AddClients implements world.Application.
func (a *application) AddClients() {
	w := a.world
	n := 2 + a.random.IntN(4)
	if w.Options.Clients > 0 {
		n = w.Options.Clients
	}
	for id := 1; id <= n; id++ {
		c := &client{app: a, id: id, maxPause: w.RandomDuration(20*time.Millisecond, 200*time.Millisecond), maxOpen: 1 + a.random.IntN(4)}
		if w.Chance(0.5) {
			c.timeout = w.RandomDuration(100*time.Millisecond, 4*time.Second)
		}
		a.clients = append(a.clients, c)
		w.After(w.RandomDuration(0, time.Second), c.act)
	}
	for range 1 + a.random.IntN(3) {
		s := newWatchClient(a)
		a.watches = append(a.watches, s)
		w.After(w.RandomDuration(0, 2*time.Second), s.connect)
	}
}

// Write implements world.Application.
func (a *application) Write(at *world.Member) {
	for _, m := range a.members {
		if m.Member == at && m.schedule != nil {
			c := &client{app: a, member: m}
			c.put(nil)
		}
	}
}

// act begins a request, and plans the next one.
func (c *client) act() {
	w := c.app.world
	if w.Healing {
		return
	}
	if c.member == nil || c.member.schedule == nil || w.Chance(0.1) {
		c.member = c.app.upMember()
	}
	if c.member != nil && c.inFlight < c.maxOpen {
		c.begin()
	}
	w.After(w.RandomDuration(time.Millisecond, c.maxPause), c.act)
}

func (c *client) key() []byte { return []byte{'a' + byte(c.app.random.IntN(6))} }

// span returns a key, or a range of keys.
func (c *client) span() (key, end []byte) {
	switch c.app.random.IntN(4) {
	case 0:
		return []byte{0}, []byte{0}
	case 1:
		return c.key(), []byte{'a' + byte(c.app.random.IntN(7))}
	}
	return c.key(), nil
}

// value returns a value that was never used.
func (c *client) value() []byte {
	c.app.lastNumber++
	return fmt.Appendf(nil, "%d.%d", c.id, c.app.lastNumber)
}

func (c *client) begin() {
	var o *operation
	c.inFlight++
	done := func() { c.inFlight-- }
	switch n := c.app.random.IntN(20); {
	case n < 6:
		o = c.put(done)
	case n < 8:
		o = c.deleteRange(done)
	case n < 11:
		o = c.writeTxn(done)
	case n < 12:
		o = c.compact(c.app.pick(0, 1, 3, c.app.random.IntN(30)), done)
		if c.app.random.IntN(2) == 0 { // others follow while the rows are removed
			c.deleteRange(nil)
			c.compact(0, nil)
			c.put(nil)
			c.put(nil)
		}
	case n < 13:
		o = c.hash(done)
	case n < 15:
		o = c.readTxn(done)
	default:
		o = c.read(done)
	}
	if c.timeout > 0 {
		c.member.AfterInRun(c.timeout, o.cancel)
	}
}

func (c *client) put(done func()) *operation {
	r := &pb.PutRequest{Key: c.key(), Value: c.value(), PrevKv: c.app.random.IntN(3) == 0}
	s := c.member.services.KV
	return c.member.call("put", "", true, func(ctx context.Context) (proto.Message, error) { return s.Put(ctx, r) }, checkWrite, done)
}

func (c *client) deleteRange(done func()) *operation {
	r := &pb.DeleteRangeRequest{PrevKv: c.app.random.IntN(3) == 0}
	r.Key, r.RangeEnd = c.span()
	s := c.member.services.KV
	return c.member.call("delete", "", true, func(ctx context.Context) (proto.Message, error) { return s.DeleteRange(ctx, r) }, checkWrite, done)
}

// writeTxn changes one or two keys if another one was changed, or not changed, often enough. A
// comparison with a key that never exists makes it unique.
func (c *client) writeTxn(done func()) *operation {
	r := &pb.TxnRequest{Compare: []*pb.Compare{
		versionIs(fmt.Appendf(nil, "unique %s", c.value()), pb.Compare_EQUAL, 0),
		versionIs(c.key(), pb.Compare_GREATER, int64(c.app.random.IntN(3))),
	}}
	first := c.key()
	r.Success = []*pb.RequestOp{
		{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: first, Value: c.value()}}},
		{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}}}},
	}
	if second := c.key(); string(second) != string(first) {
		r.Success = append(r.Success, &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: second, Value: c.value()}}})
	}
	r.Failure = []*pb.RequestOp{{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: c.key(), PrevKv: true}}}}
	s := c.member.services.KV
	return c.member.call("txn", "", true, func(ctx context.Context) (proto.Message, error) { return s.Txn(ctx, r) }, checkWrite, done)
}

func versionIs(key []byte, result pb.Compare_CompareResult, version int64) *pb.Compare {
	return &pb.Compare{Key: key, Target: pb.Compare_VERSION, Result: result, TargetUnion: &pb.Compare_Version{Version: version}}
}

// compact compacts at a revision some way back from the newest one that clients know of.
func (c *client) compact(back int, done func()) *operation {
	a := c.app
	r := &pb.CompactionRequest{Revision: max(1, a.acknowledgedRevision-int64(back)), Physical: a.random.IntN(3) == 0}
	s := c.member.services.KV
	return c.member.call("compact", "", true, func(ctx context.Context) (proto.Message, error) { return s.Compact(ctx, r) },
		func(o *operation, response proto.Message, err error) {
			if err == nil {
				a.acknowledgedCompacted = max(a.acknowledgedCompacted, r.Revision)
			}
			checkWrite(o, response, err)
		}, done)
}

func (c *client) hash(done func()) *operation {
	r := &pb.HashKVRequest{}
	if c.app.random.IntN(2) == 0 {
		r.Revision = c.app.acknowledgedRevision
	}
	s := c.member.services.Maintenance
	return c.member.call("hash", "", false, func(ctx context.Context) (proto.Message, error) { return s.HashKV(ctx, r) }, checkHash, done)
}

// readModes are the read modes of the metadata, "" for none, and whether they are linearizable.
var readModes = []struct {
	name         string
	linearizable bool
}{{"", true}, {"", true}, {"log", true}, {"index", true}, {"lease", true}, {"leader", false}, {"local", false}}

func (c *client) read(done func()) *operation {
	random := c.app.random
	mode := readModes[random.IntN(len(readModes))]
	r := &pb.RangeRequest{CountOnly: random.IntN(6) == 0, KeysOnly: random.IntN(6) == 0}
	r.Key, r.RangeEnd = c.span()
	if random.IntN(4) == 0 {
		r.Limit = 1 + random.Int64N(3)
	}
	if random.IntN(3) == 0 {
		r.Revision = max(1, c.app.acknowledgedRevision-int64(random.IntN(20)))
	}
	if mode.name == "" && random.IntN(3) == 0 {
		r.Serializable, mode.linearizable = true, false
	}
	m, s, what := c.member, c.member.services.KV, "range "
	handle := func(ctx context.Context) (proto.Message, error) { return s.Range(ctx, r) }
	if random.IntN(4) == 0 {
		what, handle = "range stream ", m.streamRange(r)
	}
	return m.call(what+mode.name, mode.name, mode.linearizable, handle, checkRange(r), done)
}

// streamRange returns what requests a range as a stream.
func (m *member) streamRange(r *pb.RangeRequest) func(context.Context) (proto.Message, error) {
	return func(ctx context.Context) (proto.Message, error) {
		received := &rangeStream{ctx: ctx, schedule: m.schedule}
		err := m.services.KV.RangeStream(r, received)
		return &received.merged, err
	}
}

// rangeStream is the client's side of a RangeStream. It merges the chunks.
type rangeStream struct {
	pb.KV_RangeStreamServer // what the service does not use
	ctx                     context.Context
	schedule                *interleave.Scheduler
	merged                  pb.RangeResponse
}

// Context implements grpc.ServerStream.
func (s *rangeStream) Context() context.Context { return s.ctx }

// Send implements pb.KV_RangeStreamServer.
func (s *rangeStream) Send(chunk *pb.RangeStreamResponse) error {
	proto.Merge(&s.merged, chunk.RangeResponse)
	s.schedule.Yield()
	return s.ctx.Err()
}

// readTxn reads two ranges of one revision.
func (c *client) readTxn(done func()) *operation {
	serializable := c.app.random.IntN(3) == 0
	r := &pb.TxnRequest{Compare: []*pb.Compare{versionIs(c.key(), pb.Compare_GREATER, 1)}}
	for range 2 {
		g := &pb.RangeRequest{Serializable: serializable}
		g.Key, g.RangeEnd = c.span()
		r.Success = append(r.Success, &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: g}})
	}
	r.Failure = r.Success[:1]
	s := c.member.services.KV
	return c.member.call("read-only txn", "", !serializable,
		func(ctx context.Context) (proto.Message, error) { return s.Txn(ctx, r) }, checkReadTxn(r), done)
}
