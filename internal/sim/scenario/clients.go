package scenario

import (
	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/internal/sim/history"
	"github.com/troupe-raft/troupe/internal/sim/world"
	"github.com/troupe-raft/troupe/messages"
)

// What clients can rely on when members fail.

var clientScenarios = []Scenario{
	{Name: "every-operation", Nodes: 3, Script: everyOperation,
		Description: "each write and each mode of reading, at a leader and at a follower"},
	{Name: "copies-of-forwarded-writes", Nodes: 3, Setup: func(w *world.World) { w.UncommittedBytes = 60 }, Script: copiesOfForwardedWrites,
		Description: "the network duplicates what followers forward to a leader with a low limit: refused writes take no effect, answered ones one"},
	{Name: "late-forward", Nodes: 3, Script: lateForward,
		Description: "forwarded proposals reach their leader when it leads again in a later term: dropped, since they may be copies of refused ones"},
	{Name: "abandoned-writes", Nodes: 3, Script: abandonedWrites,
		Description: "clients give up writes that an isolated leader appended: each takes effect once or never, and later writes are answered"},
	{Name: "unproposed-writes", Nodes: 3, Script: unproposedWrites,
		Description: "clients give up writes at a follower that knows no leader: it says that they were not proposed, and none takes effect"},
	{Name: "stale-modes", Nodes: 5, Script: staleModes,
		Description: "an isolated leader answers reads of modes leader and local with what it has, and no others"},
}

func everyOperation(s *Driver) {
	leader := s.majorityLeader()
	for _, m := range []*world.Member{leader, s.others(leader)[s.Random.IntN(2)]} {
		key := uint32(m.ID())
		s.put(m, key, "a")
		if before := s.append(m, key, "b"); before != "a" {
			s.fail("an append finds %q", before)
		}
		if s.swap(m, key, "a", "c") || !s.swap(m, key, "ab", "c") {
			s.fail("a swap with a wrong value took effect, or one with the right value did not")
		}
		for _, mode := range []history.Op{history.GetLog, history.GetIndex, history.GetLease, history.GetLocal, history.GetLeader} {
			s.expect(m, mode, key, "c")
		}
		s.remove(m, key)
		s.expect(m, history.GetIndex, key, "")
		for _, other := range s.others(m) {
			s.expect(other, history.GetIndex, key, "")
		}
	}
}

// copiesOfForwardedWrites: with room for about one command, some copies of a message meet a leader
// with room and others one without. The history checks every reply and every refusal.
func copiesOfForwardedWrites(s *Driver) {
	leader := s.awaitSessions()
	s.Conditions.DuplicateRate = 1
	var all []*history.Operation
	for range 12 {
		for _, m := range s.others(leader) {
			all = append(all, s.submitPadded(m, 20))
		}
		s.advance(s.RandomDuration(0, s.Conditions.MaxLatency))
	}
	s.within(10*world.ElectionTimeout, "all are answered or refused", func() bool {
		for _, o := range all {
			if o.Outcome == history.Pending {
				return false
			}
		}
		return true
	})
	s.Conditions.DuplicateRate = 0
	s.advance(world.ElectionTimeout) // for copies that are late
	for _, o := range all {
		if at := s.effectIndex(o.Number); (at != 0) != (o.Outcome == history.Answered) {
			s.fail("command %d is %v, and took effect at %d", o.Number, o.Outcome, at)
		}
	}
}

// lateForward: the session of the follower retries the command when the later term has its leader,
// so nothing is lost.
func lateForward(s *Driver) {
	leader := s.awaitSessions()
	f := s.others(leader)[s.Random.IntN(2)]
	forwards := s.HoldRule(f, leader, "ForwardedProposals")
	writes := s.submitWrites(f, 1+s.Random.IntN(3))
	s.within(world.HeartbeatInterval/10, "they are forwarded", func() bool { return forwards.Count > 0 })
	term := leader.View.Term
	leader.Post(actors.NodePath, &messages.HeartbeatResponse{Term: term + 1, From: f.ID()})
	leader.Post(actors.NodePath, &messages.Campaign{})
	s.within(world.HeartbeatInterval, "it leads in a later term", func() bool { return s.majorityLeader() == leader && leader.View.Term > term })
	refused := s.ObserveRule(leader, f, nil, "ProposalsRefused")
	last := leader.View.LastIndex
	forwards.ResendHeld()
	s.advance(world.HeartbeatInterval / 10)
	if leader.View.LastIndex > last+uint64(len(writes)) {
		s.fail("the log has grown by %d entries of %d that were submitted", leader.View.LastIndex-last, len(writes))
	}
	if refused.Count > 0 {
		s.fail("it was refused by a leader that may have taken it before")
	}
	forwards.End()
	s.awaitAnswered(writes, world.ElectionTimeout+2*world.HeartbeatInterval)
}

func abandonedWrites(s *Driver) {
	old := s.majorityLeader()
	s.writeAndWait(old, 1)
	s.Isolate(old, true)
	abandoned := s.submitWrites(old, 3)
	s.advance(s.RandomDuration(0, world.HeartbeatInterval))
	for _, o := range abandoned {
		old.Embedder.Cancel(o.Number)
		if o.Outcome != history.Unknown {
			s.fail("a write that was given up is %v", o.Outcome)
		}
	}
	later := s.submitWrites(old, 2)
	s.awaitSuccessor(5*world.ElectionTimeout, old)
	s.Isolate(old, false)
	s.awaitAnswered(later, 5*world.ElectionTimeout)
	// The old leader alone had the abandoned writes in its log, and nothing retries them.
	s.checkNoEffect("given up, and never replicated", abandoned...)
}

// unproposedWrites: clients repeat what was not proposed, so it must be true of what the session
// sent to its Node, and must not be said of what the Node forwarded.
func unproposedWrites(s *Driver) {
	leader := s.awaitSessions()
	f := s.others(leader)[s.Random.IntN(2)]
	s.Isolate(f, true)
	forwarded := s.submitWrites(f, 2) // it still knows the leader
	s.advance(world.HeartbeatInterval)
	s.within(10*world.ElectionTimeout, "it knows no leader", func() bool { return f.View.LeaderID == 0 })
	unproposed := s.submitWrites(f, 1+s.Random.IntN(3))
	s.advance(s.RandomDuration(0, 2*world.ElectionTimeout))
	for _, o := range unproposed {
		f.Embedder.Cancel(o.Number)
		if o.Outcome != history.Refused {
			s.fail("a write that no leader was known for is %v", o.Outcome)
		}
	}
	for _, o := range forwarded {
		if f.Embedder.Cancel(o.Number); o.Outcome != history.Unknown {
			s.fail("a write that was forwarded is %v", o.Outcome)
		}
	}
	s.Isolate(f, false)
	s.awaitAnswered(s.submitWrites(f, 2), 5*world.ElectionTimeout)
	s.checkNoEffect("not proposed", unproposed...)
}

// staleModes: the modes with fewer guarantees are useful at that moment.
func staleModes(s *Driver) {
	s.Conditions.HidesCuts = true
	old := s.majorityLeader()
	s.put(old, 1, "old")
	s.advance(world.HeartbeatInterval)
	s.Isolate(old, true)
	if old.View.Role == "leader" {
		s.expect(old, history.GetLeader, 1, "old")
	}
	leader := s.awaitSuccessor(5*world.ElectionTimeout, old)
	s.put(leader, 1, "new")
	s.expect(old, history.GetLocal, 1, "old")
	waits := []*history.Operation{s.begin(old, history.GetIndex, 1, "", ""), s.begin(old, history.GetLog, 1, "", ""), s.begin(old, history.GetLease, 1, "", "")}
	s.advance(2 * world.ElectionTimeout)
	for _, o := range waits {
		if o.Outcome != history.Pending {
			s.fail("%v at a member without a leader is %v", o.Kind, o.Outcome)
		}
	}
	s.Isolate(old, false)
	for _, o := range waits {
		if s.await(o).Reply.Before != "new" {
			s.fail("%v gives %q", o.Kind, o.Reply.Before)
		}
	}
}
