package simulation

import (
	"context"
	"fmt"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/internal/sim/scenario"
	"github.com/troupe-raft/troupe/internal/sim/world"
)

// Scenarios returns the scenarios with the key-value store.
func Scenarios() []scenario.Scenario { return slices.Concat(watchScenarios, requestScenarios) }

// script drives a world with the key-value store. Its requests and watches are checked against the
// model, as those of the clients of a profile are.
type script struct {
	*scenario.Driver
	app *application
}

// scripted returns the application of a scenario. s returns what the script decides.
func scripted(s func() settings) world.NewApplication {
	return func(w *world.World) world.Application { return newScripted(w, s()) }
}

// run makes the script of a scenario. It begins with a leader, and a session of every member.
func run(play func(s *script, leader *member)) func(*scenario.Driver) {
	return func(d *scenario.Driver) {
		s := &script{d, d.Application().(*application)}
		play(s, s.on(d.AwaitSessions()))
	}
}

// on returns the key-value store of a member.
func (s *script) on(m *world.Member) *member { return s.app.members[m.ID()-1] }

// others returns all members but one.
func (s *script) others(than *member) (all []*member) {
	for _, m := range s.Others(than.Member) {
		all = append(all, s.on(m))
	}
	return all
}

// random returns any member.
func (s *script) random() *member { return s.on(s.RandomMember()) }

// request is a request that a script made.
type request struct {
	*operation
	response proto.Message
	err      error
	ended    bool // without response and error: its member has stopped
}

// answered reports whether the request has succeeded.
func (r *request) answered() bool { return r.ended && r.err == nil && r.response != nil }

// call begins a request at a member that is up, and does not wait.
func (s *script) call(m *member, what, mode string, linearizable bool,
	handle func(context.Context) (proto.Message, error), check func(*operation, proto.Message, error),
) *request {
	r := &request{}
	r.operation = m.call(what, mode, linearizable, handle, func(o *operation, response proto.Message, err error) {
		r.response, r.err = response, err
		check(o, response, err)
	}, func() { r.ended = true })
	return r
}

// end waits for the end of a request.
func (s *script) end(r *request) *request {
	s.Within(20*world.ElectionTimeout, "the "+r.what+" ends", func() bool { return r.ended })
	return r
}

// await waits for the response to a request.
func (s *script) await(r *request) proto.Message {
	if !s.end(r).answered() {
		s.Failf("the %s at member %d ends with %v", r.what, r.member.ID(), r.err)
	}
	return r.response
}

// put puts a value that was never used.
func (s *script) put(m *member, key string) *request {
	s.app.lastNumber++
	r := &pb.PutRequest{Key: []byte(key), Value: fmt.Appendf(nil, "value %030d", s.app.lastNumber)}
	return s.call(m, "put", "", true, func(ctx context.Context) (proto.Message, error) { return m.services.KV.Put(ctx, r) }, checkWrite)
}

// deletion deletes the keys from one to another one; "" for one key.
func (s *script) deletion(m *member, key, end string) *request {
	r := &pb.DeleteRangeRequest{Key: []byte(key), RangeEnd: []byte(end)}
	return s.call(m, "delete", "", true, func(ctx context.Context) (proto.Message, error) { return m.services.KV.DeleteRange(ctx, r) }, checkWrite)
}

func (s *script) txn(m *member, r *pb.TxnRequest) *request {
	return s.call(m, "txn", "", true, func(ctx context.Context) (proto.Message, error) { return m.services.KV.Txn(ctx, r) }, checkWrite)
}

// putOp is a put in a transaction.
func (s *script) putOp(key string) *pb.RequestOp {
	s.app.lastNumber++
	put := &pb.PutRequest{Key: []byte(key), Value: fmt.Appendf(nil, "value %d", s.app.lastNumber)}
	return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: put}}
}

func (s *script) compact(m *member, revision int64, physical bool) *request {
	r := &pb.CompactionRequest{Revision: revision, Physical: physical}
	return s.call(m, "compact", "", true, func(ctx context.Context) (proto.Message, error) { return m.services.KV.Compact(ctx, r) },
		func(o *operation, response proto.Message, err error) {
			if err == nil {
				s.app.acknowledgedCompacted = max(s.app.acknowledgedCompacted, revision)
			}
			checkWrite(o, response, err)
		})
}

func (s *script) hash(m *member, revision int64) *request {
	r := &pb.HashKVRequest{Revision: revision}
	return s.call(m, "hash", "", false, func(ctx context.Context) (proto.Message, error) { return m.services.Maintenance.HashKV(ctx, r) }, checkHash)
}

// readKinds are the requests that read, as a script makes them of one key in a mode.
var readKinds = []struct {
	name string
	read func(s *script, m *member, key, mode string) *request
}{
	{"range", (*script).get},
	{"read-only txn", (*script).getByTxn},
	{"range stream", (*script).getByStream},
}

// isLinearizable reports whether reads of a mode are.
func isLinearizable(mode string) bool { return mode != "leader" && mode != "local" }

func (s *script) get(m *member, key, mode string) *request {
	r := &pb.RangeRequest{Key: []byte(key)}
	return s.call(m, "range "+mode, mode, isLinearizable(mode),
		func(ctx context.Context) (proto.Message, error) { return m.services.KV.Range(ctx, r) }, checkRange(r))
}

func (s *script) getByStream(m *member, key, mode string) *request {
	r := &pb.RangeRequest{Key: []byte(key)}
	return s.call(m, "range stream "+mode, mode, isLinearizable(mode), m.streamRange(r), checkRange(r))
}

func (s *script) getByTxn(m *member, key, mode string) *request {
	get := &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: []byte(key)}}}
	r := &pb.TxnRequest{Success: []*pb.RequestOp{get}}
	return s.call(m, "read-only txn "+mode, mode, isLinearizable(mode),
		func(ctx context.Context) (proto.Message, error) { return m.services.KV.Txn(ctx, r) }, checkReadTxn(r))
}

// watchAt opens a stream with one watch of a range at a member. When it ends, the client opens
// another one there. from is the first revision; 0: what follows.
func (s *script) watchAt(m *member, key, end string, from int64, prevKV bool) (*watchClient, *watched) {
	w := &watched{next: from, request: &pb.WatchCreateRequest{WatchId: 1, Key: []byte(key), RangeEnd: []byte(end), PrevKv: prevKV}}
	c := &watchClient{app: s.app, at: m, watches: []*watched{w}}
	s.app.watches = append(s.app.watches, c)
	c.connect()
	return c, w
}

// awaitWatches waits until all watches have received everything.
func (s *script) awaitWatches() {
	s.Within(10*world.ElectionTimeout, "all watches have received everything", func() bool {
		return !slices.ContainsFunc(s.app.watches, func(c *watchClient) bool { return !c.complete() })
	})
}

// awaitStores waits until the stores of all members are open, and have all changes and compactions.
func (s *script) awaitStores() {
	s.Within(20*world.ElectionTimeout, "all stores have everything", func() bool {
		return !slices.ContainsFunc(s.app.members, func(m *member) bool { return !m.caughtUp() })
	})
}

func (m *member) caughtUp() bool {
	if m.schedule == nil || m.store.IfOpen() == nil {
		return false
	}
	v := m.store.IfOpen().View()
	defer v.Release()
	return v.Revision() == m.app.model.rev && v.CompactRevision() == m.app.model.compacted
}
