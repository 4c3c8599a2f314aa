package simulation

import (
	"context"
	"fmt"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/internal/sim/scenario"
	"github.com/troupe-raft/troupe/internal/sim/world"
	"github.com/troupe-raft/troupe/kv"
	"github.com/troupe-raft/troupe/kv/mvcc"
)

var requestScenarios = []scenario.Scenario{
	{Name: "key-value-txn-in-doubt", Nodes: 3, Application: scripted(storesFallBehind), Script: run(txnInDoubt),
		Description: "the leader fails when it alone knows that a transaction is committed; the client's member sends it again: it takes effect once, and its response is that of this effect"},
	{Name: "key-value-stale-leader", Nodes: 3, Application: scripted(func() settings { return settings{} }), Script: run(staleLeader),
		Description: "a leader is cut off or paused while another one commits: in each linearizable mode its Range, read-only Txn and RangeStream return the new value, or nothing"},
	{Name: "key-value-hash-after-compaction", Nodes: 3, Application: scripted(removalInSteps), Script: run(hashAfterCompaction),
		Description: "a member is away during two compactions: HashKV is equal at all members, and that of a compacted revision is the one from before"},
	{Name: "key-value-quota", Nodes: 3, Application: scripted(smallQuota), Script: run(quotaReachedAndLeft),
		Description: "puts reach the quota: all members refuse puts and raise NOSPACE, also after a restart; they accept again once keys are deleted and compacted"},
}

// txnInDoubt: executed twice, the transaction would put the key "again".
func txnInDoubt(s *script, leader *member) {
	asked, other := s.others(leader)[0], s.others(leader)[1]
	_, w := s.watchAt(other, "\x00", "\x00", 0, false)
	s.awaitWatches()
	commit, rev := leader.View.Commit, s.app.model.rev
	s.DropRule(leader.Member, nil, "Heartbeat", "AppendEntries").Where(func(m proto.Message) bool {
		c, ok := m.(interface{ GetCommit() uint64 })
		return ok && c.GetCommit() > commit
	})
	leader.EndRunAt("machine", "Committed", 1, s.RandomTiming(), func() { leader.PowerCut(s.Random.IntN) })
	r := s.txn(asked, &pb.TxnRequest{
		Compare: []*pb.Compare{versionIs([]byte("once"), pb.Compare_EQUAL, 0)},
		Success: []*pb.RequestOp{s.putOp("once"), {Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}}}}},
		Failure: []*pb.RequestOp{s.putOp("again")},
	})
	s.Within(world.ElectionTimeout, "the leader stops", func() bool { return !leader.Up() })
	if r.ended || asked.View.Commit > commit || other.View.Commit > commit {
		s.Failf("the leader did not stop between its commit and the notice of it:%s", s.DescribeMembers())
	}
	if s.Chance(0.5) {
		// Its actors restart when they learn of the commit, on a store without its newest batches.
		asked.disk.FailFlush = errFlush
		asked.CrashAt("machine", "Committed", 1+s.Random.IntN(2), s.RandomTiming())
	}
	response := s.await(r).(*pb.TxnResponse)
	asked.disk.FailFlush = nil
	if !response.Succeeded || response.Header.Revision != rev+1 {
		s.Failf("the response is %v; the revision before was %d", response, rev)
	}
	leader.Boot()
	s.awaitStores()
	s.awaitWatches()
	for _, m := range s.app.members {
		if found := s.await(s.get(m, "again", "index")).(*pb.RangeResponse); found.Count != 0 {
			s.Failf("member %d has executed the transaction twice: %v", m.ID(), found)
		}
	}
	if w.received != 1 {
		s.Failf("a watch has received %d events", w.received)
	}
}

// linearizableModes are the read modes whose reads see what was acknowledged before.
var linearizableModes = []string{"", "log", "index", "lease"}

func staleLeader(s *script, old *member) {
	s.Conditions.HidesCuts = true
	s.await(s.put(old, "k"))
	paused := s.Chance(0.5)
	if paused {
		old.PausedUntil = s.Now() + s.RandomDuration(3*world.ElectionTimeout, 5*world.ElectionTimeout)
	} else {
		s.Isolate(old.Member, true)
	}
	next := s.on(s.AwaitSuccessor(10*world.ElectionTimeout, old.Member))
	s.await(s.put(next, "k"))
	var reads []*request
	ask := func() {
		for _, kind := range readKinds {
			for _, mode := range linearizableModes {
				reads = append(reads, kind.read(s, old, "k", mode))
			}
		}
	}
	ask()
	if paused {
		s.Within(5*world.ElectionTimeout, "the former leader goes on", func() bool { return s.Now() >= old.PausedUntil })
		ask()
	} else {
		s.Never(2*world.ElectionTimeout, "a member without a majority answers", func() bool {
			for _, r := range reads {
				if r.answered() {
					return true
				}
			}
			return false
		})
		ask()
		s.Isolate(old.Member, false)
	}
	answered := 0
	for _, r := range reads {
		if s.end(r).answered() {
			answered++ // and checked: its revision is that of the second put, or a later one
		}
	}
	if answered < len(linearizableModes)*len(readKinds) {
		s.Failf("%d of %d reads were answered", answered, len(reads))
	}
	for _, kind := range readKinds {
		s.await(kind.read(s, old, "k", "local"))
	}
}

func removalInSteps() settings {
	return settings{maxUnflushed: 1000, configure: func(o *mvcc.Options, _ *kv.ServerConfig) { o.CompactionStepEvents = 1 }}
}

// hashes returns HashKV of a revision at all members, which must be equal.
func (s *script) hashes(revision int64) *pb.HashKVResponse {
	var asked []*request
	for _, m := range s.app.members {
		asked = append(asked, s.hash(m, revision))
	}
	var first *pb.HashKVResponse
	for i, r := range asked {
		got := s.await(r).(*pb.HashKVResponse)
		if i == 0 {
			first = got
		}
		if got.Hash != first.Hash || got.CompactRevision != first.CompactRevision || got.HashRevision != first.HashRevision {
			s.Failf("HashKV of revision %d: member %d returns %v, member 1 %v", revision, i+1, got, first)
		}
	}
	return first
}

func hashAfterCompaction(s *script, leader *member) {
	write := func() {
		for i := range 12 {
			key := string(rune('a' + s.Random.IntN(3)))
			if i%4 == 3 {
				s.await(s.deletion(leader, key, ""))
			} else {
				s.await(s.put(leader, key))
			}
		}
	}
	write()
	first := s.app.model.rev
	write()
	second := s.app.model.rev
	s.awaitStores()
	before := []*pb.HashKVResponse{s.hashes(first), s.hashes(second)}
	away := s.others(leader)[s.Random.IntN(2)]
	away.KillProcess()
	s.await(s.compact(leader, first, s.Chance(0.5)))
	s.end(s.hash(leader, 0)) // while rows are removed
	s.await(s.put(leader, "d"))
	between := s.await(s.hash(leader, second)).(*pb.HashKVResponse)
	s.await(s.compact(leader, second, false))
	s.hash(leader, second)
	away.Boot()
	s.awaitStores()
	for i, want := range []*pb.HashKVResponse{before[0], between} {
		got := s.hashes([]int64{first, second}[i])
		if got.Hash != want.Hash || got.CompactRevision != want.CompactRevision {
			s.Failf("HashKV of the compacted revision %d is %v; before the compaction it was %v", got.HashRevision, got, want)
		}
	}
	if now := s.hashes(0); now.CompactRevision != second || before[1].CompactRevision != -1 {
		s.Failf("HashKV is %v, compacted at %d; it was %v", now, second, before[1])
	}
}

const quotaBytes = 1500

func smallQuota() settings {
	return settings{configure: func(_ *mvcc.Options, c *kv.ServerConfig) { c.QuotaBytes = quotaBytes }}
}

// alarmed returns whether a member raises NOSPACE. Alarm and Status must agree.
func (s *script) alarmed(m *member) bool {
	alarms, err := m.services.Maintenance.Alarm(context.Background(), &pb.AlarmRequest{})
	if err != nil {
		s.Failf("the alarms of member %d: %v", m.ID(), err)
	}
	status, err := m.services.Maintenance.Status(context.Background(), &pb.StatusRequest{})
	if err != nil {
		s.Failf("the status of member %d: %v", m.ID(), err)
	}
	raised := len(alarms.Alarms) > 0
	if raised != strings.Contains(fmt.Sprint(status.Errors), "NOSPACE") {
		s.Failf("member %d has the alarms %v and the status %v", m.ID(), alarms.Alarms, status.Errors)
	}
	return raised
}

// mustRefusePuts checks what all members refuse and accept above the quota.
func (s *script) mustRefusePuts() {
	for _, m := range s.app.members {
		s.Within(world.ElectionTimeout, "the member raises an alarm", func() bool { return s.alarmed(m) })
		for _, r := range []*request{s.put(m, "more"), s.txn(m, &pb.TxnRequest{Success: []*pb.RequestOp{s.putOp("more")}})} {
			if s.end(r); r.err != rpctypes.ErrGRPCNoSpace {
				s.Failf("above the quota, a %s at member %d ends with %v", r.what, m.ID(), r.err)
			}
		}
		s.await(s.get(m, "more", ""))
	}
}

func quotaReachedAndLeft(s *script, leader *member) {
	for writes := 0; ; writes++ {
		r := s.end(s.put(s.random(), fmt.Sprintf("key %d", writes)))
		if r.err == rpctypes.ErrGRPCNoSpace {
			break
		}
		if s.await(r); writes*30 > quotaBytes {
			s.Failf("%d puts were accepted", writes)
		}
	}
	s.awaitStores()
	s.mustRefusePuts()
	// A member that starts again counts as before, whatever it has lost.
	restarted := s.random()
	restarted.KillProcess()
	restarted.Boot()
	s.awaitStores()
	s.mustRefusePuts()
	writer := s.on(s.AwaitSuccessor(10 * world.ElectionTimeout))
	s.await(s.deletion(writer, "key", "kez"))
	s.awaitStores()
	s.mustRefusePuts() // the deleted values are there for reads of the past
	s.await(s.compact(writer, s.app.model.rev, s.Chance(0.5)))
	for _, m := range s.app.members {
		s.Within(world.ElectionTimeout, "the alarm ends", func() bool { return !s.alarmed(m) })
		s.await(s.put(m, "accepted"))
		s.await(s.txn(m, &pb.TxnRequest{Success: []*pb.RequestOp{s.putOp("accepted")}}))
	}
}
