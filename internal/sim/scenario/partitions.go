package scenario

import (
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/internal/sim/history"
	"github.com/troupe-raft/troupe/internal/sim/world"
	"github.com/troupe-raft/troupe/messages"
)

// Leaders without contact to a majority, because of the network or of their disk.

var partitionScenarios = []Scenario{
	{Name: "check-quorum", Nodes: 5, Errata: []int{19}, Script: checkQuorum,
		Description: "an isolated leader steps down within two timeouts; pending reads are refused at once"},
	{Name: "asymmetric-leader", Nodes: 5, Errata: []int{19}, Script: asymmetricLeader,
		Description: "a leader that receives and cannot send is replaced, and never acknowledges anything again"},
	{Name: "bridge-partition", Nodes: 5, Errata: []int{19}, Script: bridgePartition,
		Description: "two halves connected only through one member: a leader at an end stays, its successor is found soon, and both commit"},
	{Name: "cut-from-the-leader", Nodes: 5, Errata: []int{15, 19}, Script: cutFromTheLeader,
		Description: "a follower receives from all but the leader, and all receive from it: leader and term stay"},
	{Name: "old-pre-votes", Nodes: 5, Errata: []int{16}, Script: oldPreVotes,
		Description: "pre-votes of one campaign do not count in a later one: two and two of five disturb no leader"},
	{Name: "stale-leader-returns", Nodes: 5, Script: staleLeaderReturns,
		Description: "an isolated leader appends entries, others commit without it: when it returns its entries are replaced, and its callers got no wrong reply"},
	{Name: "stale-leader-killed", Nodes: 5, Script: staleLeaderKilled,
		Description: "an isolated leader appends entries and is killed: when it returns they are replaced, and none of them ever takes effect"},
	{Name: "short-break", Nodes: 3, Script: shortBreak,
		Description: "a follower's connection to the leader breaks while it forwards and is back at once: no election, and its clients wait for no timeout"},
}

// shortBreak: the session retries after an election timeout. That is for a leader that sends
// nothing, and not for a connection that broke with messages on it and is back.
func shortBreak(s *Driver) {
	leader := s.awaitSessions()
	f := s.others(leader)[s.Random.IntN(2)]
	s.overrideRandom(longestTimeouts, f) // it would campaign 30 ms after the break
	s.awaitHeartbeat(leader)
	forwarded := s.ObserveRule(f, leader, nil, "ForwardedProposals")
	writes := s.submitWrites(f, 3)
	s.within(world.HeartbeatInterval/10, "they are forwarded", func() bool { return forwarded.Count > 0 })
	s.SetCut(f, leader, true)
	s.SetCut(leader, f, true)
	s.After(8*time.Millisecond, func() { // both ends have the report by then
		s.SetCut(f, leader, false)
		s.SetCut(leader, f, false)
	})
	elections := s.Counts.Elections
	s.awaitAnswered(writes, world.HeartbeatInterval/2)
	if s.Counts.Elections != elections || f.View.Role != "follower" {
		s.fail("member %d is %s after %d elections", f.ID(), f.View.Role, s.Counts.Elections-elections)
	}
}

func checkQuorum(s *Driver) {
	s.Conditions.HidesCuts = true
	leader := s.majorityLeader()
	s.writeAndWait(leader, 1)
	s.cutInbound(leader, true)
	s.advance(world.HeartbeatInterval) // for messages under way
	reads := []*readRequest{s.requestRead(leader), s.requestRead(leader)}
	s.within(2*world.ElectionTimeout, "it steps down", func() bool {
		for _, a := range reads {
			if leader.View.Role == "leader" && !a.waiting() {
				s.fail("a read was answered without a quorum: %+v", *a)
			}
		}
		return leader.View.Role != "leader"
	})
	s.within(world.HeartbeatInterval/10, "its reads are refused", func() bool { return reads[0].refused != 0 && reads[1].refused != 0 })
	late := s.requestRead(leader)
	s.within(world.HeartbeatInterval/10, "a new read is refused", func() bool { return late.refused != 0 })
	s.awaitSuccessor(5*world.ElectionTimeout, leader)
	if late.responses+reads[0].responses+reads[1].responses > 0 {
		s.fail("a read was answered although the leader received nothing")
	}
}

func asymmetricLeader(s *Driver) {
	s.Conditions.HidesCuts = true
	old := s.majorityLeader()
	s.writeAndWait(old, 1)
	s.cutOutbound(old, true)
	s.advance(world.HeartbeatInterval / 2) // requests that it had received before are answered
	writes := s.submitWrites(old, 3)
	read := s.requestRead(old)
	leader := s.awaitSuccessor(5*world.ElectionTimeout, old)
	s.writeAndWait(leader, 2)
	s.within(world.ElectionTimeout, "the former one knows", func() bool { return old.View.Role != "leader" && old.View.Term == leader.View.Term })
	s.staysLeader(leader, 5*world.ElectionTimeout)
	if countOutcome(history.Pending, writes) != 3 || read.responses > 0 {
		s.fail("no member receives from member %d, and yet %d writes and %d reads were answered", old.ID(), countOutcome(history.Answered, writes), read.responses)
	}
}

// makeLeader makes one of some members lead, by a transfer if need be.
func (s *Driver) makeLeader(some ...*world.Member) *world.Member {
	leader := s.majorityLeader()
	if slices.Contains(some, leader) {
		return leader
	}
	target := some[s.Random.IntN(len(some))]
	s.transfer(leader, target)
	s.within(world.ElectionTimeout, "the target leads", func() bool { return s.majorityLeader() == target })
	return target
}

// bridgePartition: 1, 2 – 3 – 4, 5, and the leader at an end. The other end is connected only to
// itself and the bridge; its log is complete. It must not win over the bridge again and again.
func bridgePartition(s *Driver) {
	left, bridge, right := s.Members[:2], s.Members[2], s.Members[3:]
	s.Conditions.HidesCuts = s.Chance(0.5)
	leader := s.makeLeader(left[0], left[1], right[0], right[1])
	s.awaitAllFollow(world.ElectionTimeout)
	s.cutBetween(left, right, true)
	s.staysLeader(leader, 10*world.ElectionTimeout)
	began := s.Now()
	s.writeAndWait(leader, 5)
	if s.Now()-began > world.HeartbeatInterval {
		s.fail("the leader needed %v to commit", s.Now()-began)
	}
	leader.PowerCut(s.Random.IntN)
	next := s.awaitSuccessor(10*world.ElectionTimeout, leader) // the bridge, or the other end with it
	s.staysLeader(next, 10*world.ElectionTimeout)
	began = s.Now()
	s.writeAndWait(next, 5)
	if s.Now()-began > world.HeartbeatInterval || next != bridge && slices.Contains(left, next) == slices.Contains(left, leader) {
		s.fail("member %d leads and needed %v to commit", next.ID(), s.Now()-began)
	}
}

// cutFromTheLeader is the partition that kept a cluster of another system without service for
// hours: one member lacks one direction of one connection.
func cutFromTheLeader(s *Driver) {
	leader := s.majorityLeader()
	away := s.others(leader)[s.Random.IntN(4)]
	s.Conditions.HidesCuts = s.Chance(0.5)
	s.SetCut(leader, away, true)
	s.staysLeader(leader, 10*world.ElectionTimeout)
	s.writeAndWait(leader, 3)
	if away.View.Term != leader.View.Term {
		s.fail("the member without contact to the leader is in term %d, the leader in %d", away.View.Term, leader.View.Term)
	}
}

// oldPreVotes: a member gets a pre-vote of one other, and later, when the first is in contact with
// the leader again, of a second. Each time it had two of five, never three.
func oldPreVotes(s *Driver) {
	leader := s.majorityLeader()
	s.staysLeader(leader, world.ElectionTimeout) // nothing more is written: all logs are equal
	asks, first, second := s.others(leader)[0], s.others(leader)[1], s.others(leader)[2]
	rest := s.membersExcept([]*world.Member{asks})
	s.overrideRandom(shortestTimeouts, asks)
	s.overrideRandom(longestTimeouts, first, second)
	granted := s.ObserveRule(nil, asks, nil, "VoteResponse").Where(func(m proto.Message) bool { return m.(*messages.VoteResponse).Granted })
	for _, friend := range []*world.Member{first, second} {
		before := granted.Count
		s.cutBetween([]*world.Member{asks}, rest, true)
		s.cutBetween([]*world.Member{friend}, s.Members, true)
		s.cutBetween([]*world.Member{asks}, []*world.Member{friend}, false)
		s.within(5*world.ElectionTimeout, "its pre-vote is granted", func() bool { return granted.Count > before })
		s.staysLeader(leader, world.ElectionTimeout/2)
		s.cutBetween([]*world.Member{asks}, []*world.Member{friend}, true)
		s.cutBetween([]*world.Member{friend}, s.membersExcept([]*world.Member{asks, friend}), false)
		s.within(2*world.ElectionTimeout, "the granting member is in contact with the leader again", func() bool { return friend.View.LeaderID == leader.ID() })
	}
	s.Isolate(asks, false)
	s.staysLeader(leader, 3*world.ElectionTimeout)
}

// isolateWithEntries isolates a leader of five with three writes, at the indexes from first on.
func isolateWithEntries(s *Driver) (former *world.Member, first uint64, writes []*history.Operation) {
	former = s.majorityLeader()
	s.writeAndWait(former, 1)
	s.Isolate(former, true)
	first = former.View.LastIndex + 1
	writes = s.submitWrites(former, 3)
	s.awaitAppended(former, 3)
	return former, first, writes
}

// checkReplaced checks that the entries of a former leader, from index first on, are in no log.
func (s *Driver) checkReplaced(former *world.Member, term, first uint64) {
	for _, m := range s.Members {
		for i := first; i < first+3; i++ {
			if s.termInLog(m, i) == term {
				s.fail("entry %d of term %d of the former leader %d is in the log of %d", i, term, former.ID(), m.ID())
			}
		}
	}
}

func staleLeaderReturns(s *Driver) {
	former, first, writes := isolateWithEntries(s)
	term := former.View.Term
	leader := s.awaitSuccessor(5*world.ElectionTimeout, former)
	s.writeAndWait(leader, 4)
	s.advance(3 * world.ElectionTimeout)
	if countOutcome(history.Pending, writes) != 3 || former.View.Commit >= first {
		s.fail("member %d is isolated and answers %d of 3 writes", former.ID(), countOutcome(history.Answered, writes))
	}
	s.Isolate(former, false)
	s.within(2*world.ElectionTimeout, "the former one follows, with the leader's log", func() bool {
		return former.View.Term == leader.View.Term && former.View.LastIndex >= leader.View.LastIndex
	})
	s.staysLeader(leader, 2*world.ElectionTimeout)
	s.checkReplaced(former, term, first)
	// Its session retries them: each takes effect once, by the new leader (the checker checks that it
	// is once).
	s.awaitAnswered(writes, world.ElectionTimeout)
}

func staleLeaderKilled(s *Driver) {
	former, first, writes := isolateWithEntries(s)
	term := former.View.Term
	s.powerCut(former)
	if countOutcome(history.Unknown, writes) != 3 {
		s.fail("the process was killed, and yet its callers know the outcome of their writes")
	}
	leader := s.awaitSuccessor(5*world.ElectionTimeout, former)
	s.writeAndWait(leader, 4)
	s.Isolate(former, false)
	s.restart(former)
	s.within(3*world.ElectionTimeout, "the former one has the leader's log", func() bool {
		return former.View.LeaderID == leader.ID() && former.View.LastIndex == leader.View.LastIndex && former.View.Commit == leader.View.Commit
	})
	s.checkReplaced(former, term, first)
	for _, o := range writes {
		if at := s.effectIndex(o.Number); at != 0 {
			s.fail("write %d took effect at %d; its only copy was replaced", o.Number, at)
		}
	}
}
