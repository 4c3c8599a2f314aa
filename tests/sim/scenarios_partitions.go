package sim

import (
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/messages"
)

// Leaders whom the network, or their disk, leaves alone.

var partitionScenarios = []Scenario{
	{Name: "check-quorum", Nodes: 5, Errata: []int{19}, Script: checkQuorum,
		Line: "a leader that sends and hears nothing steps down within two timeouts; who waits for a read is refused at once"},
	{Name: "asymmetric-leader", Nodes: 5, Errata: []int{19}, Script: asymmetricLeader,
		Line: "a leader that hears and is not heard is replaced, and never acknowledges anything again"},
	{Name: "bridge-partition", Nodes: 5, Errata: []int{19}, Script: bridgePartition,
		Line: "two halves joined only through one member: a leader at an end leads on, its successor is found soon, and both commit"},
	{Name: "deaf-to-the-leader", Nodes: 5, Errata: []int{15, 19}, Script: deafToTheLeader,
		Line: "a follower hears all but the leader, and is heard by all: leader and term stay"},
	{Name: "old-pre-votes", Nodes: 5, Errata: []int{16}, Script: oldPreVotes,
		Line: "pre-votes of one campaign do not count in a later one: two and two of five disturb no leader"},
	{Name: "stale-leader-returns", Nodes: 5, Script: staleLeaderReturns,
		Line: "a cut leader took entries, others commit without it: at its return its entries are replaced, and its callers were told nothing false"},
	{Name: "stale-leader-dies", Nodes: 5, Script: staleLeaderDies,
		Line: "a cut leader took entries and dies: at its return they are replaced, and none of them ever takes effect"},
	{Name: "short-break", Nodes: 3, Script: shortBreak,
		Line: "a follower's connection to the leader breaks under what it forwards and is back at once: nobody campaigns, and its clients wait for no timeout"},
}

// shortBreak: the handle's patience is an election timeout. It is for a leader that says nothing, not for a connection that
// was lost with what was on it and is back.
func shortBreak(s *Scene) {
	leader := s.settles()
	f := s.others(leader)[s.random.IntN(2)]
	s.throw(patient, f) // it would campaign 30 ms after the break
	s.beats(leader)
	forwarded := s.tap(f, leader, nil, "ForwardedProposals")
	writes := s.say(f, 3)
	s.within(heartbeat/10, "they are forwarded", func() bool { return forwarded.count > 0 })
	s.setCut(f, leader, true)
	s.setCut(leader, f, true)
	s.after(8*time.Millisecond, func() { // both ends have been told by then
		s.setCut(f, leader, false)
		s.setCut(leader, f, false)
	})
	elections := s.counts.Elections
	s.answered(writes, heartbeat/2)
	if s.counts.Elections != elections || f.view.Role != "follower" {
		s.fail("member %d is %s after %d elections", f.id, f.view.Role, s.counts.Elections-elections)
	}
}

func checkQuorum(s *Scene) {
	s.weather.silent = true
	leader := s.leads()
	s.writes(leader, 1)
	s.deaf(leader, true)
	s.pass(heartbeat) // what was on its way
	reads := []*asked{s.ask(leader), s.ask(leader)}
	s.within(2*election, "it steps down", func() bool {
		for _, a := range reads {
			if leader.view.Role == "leader" && !a.waits() {
				s.fail("a read was answered without a quorum: %+v", *a)
			}
		}
		return leader.view.Role != "leader"
	})
	s.within(heartbeat/10, "its reads are refused", func() bool { return reads[0].refused != 0 && reads[1].refused != 0 })
	late := s.ask(leader)
	s.within(heartbeat/10, "a new read is refused", func() bool { return late.refused != 0 })
	s.another(leader, 5*election)
	if late.points+reads[0].points+reads[1].points > 0 {
		s.fail("a read was answered although nobody was heard")
	}
}

func asymmetricLeader(s *Scene) {
	s.weather.silent = true
	old := s.leads()
	s.writes(old, 1)
	s.mute(old, true)
	s.pass(heartbeat / 2) // what it had said before is answered
	writes := s.say(old, 3)
	read := s.ask(old)
	leader := s.another(old, 5*election)
	s.writes(leader, 2)
	s.within(election, "the former one knows", func() bool { return old.view.Role != "leader" && old.view.Term == leader.view.Term })
	s.reigns(leader, 5*election)
	if are(pending, writes) != 3 || read.points > 0 {
		s.fail("nobody hears member %d, and yet %d writes and %d reads were answered", old.id, are(Answered, writes), read.points)
	}
}

// ledBy has one of some members lead; who leads now hands over if need be.
func (s *Scene) ledBy(some ...*member) *member {
	leader := s.leads()
	if slices.Contains(some, leader) {
		return leader
	}
	target := some[s.random.IntN(len(some))]
	s.transfer(leader, target)
	s.within(election, "the target leads", func() bool { return s.leads() == target })
	return target
}

// bridgePartition: 1, 2 – 3 – 4, 5, and the leader at an end. The other end hears nobody but itself and the bridge; its log
// is complete. It must not take the bridge along, now and then, for ever.
func bridgePartition(s *Scene) {
	left, bridge, right := s.members[:2], s.members[2], s.members[3:]
	s.weather.silent = s.chance(0.5)
	leader := s.ledBy(left[0], left[1], right[0], right[1])
	s.settled(election)
	s.apart(left, right, true)
	s.reigns(leader, 10*election)
	began := s.now
	s.writes(leader, 5)
	if s.now-began > heartbeat {
		s.fail("the leader needed %v to commit", s.now-began)
	}
	leader.kill(s.random.IntN)
	next := s.another(leader, 10*election) // the bridge, or the other end with it
	s.reigns(next, 10*election)
	began = s.now
	s.writes(next, 5)
	if s.now-began > heartbeat || next != bridge && slices.Contains(left, next) == slices.Contains(left, leader) {
		s.fail("member %d leads and needed %v to commit", next.id, s.now-began)
	}
}

// deafToTheLeader is the partition that kept a cluster without service for hours elsewhere: one member lacks one direction
// of one connection.
func deafToTheLeader(s *Scene) {
	leader := s.leads()
	away := s.others(leader)[s.random.IntN(4)]
	s.weather.silent = s.chance(0.5)
	s.setCut(leader, away, true)
	s.reigns(leader, 10*election)
	s.writes(leader, 3)
	if away.view.Term != leader.view.Term {
		s.fail("the member that does not hear the leader is in term %d, the leader in %d", away.view.Term, leader.view.Term)
	}
}

// oldPreVotes: a member gets a pre-vote of one other, and later, when the first hears the leader again, of a second. Each
// time it had two of five, never three.
func oldPreVotes(s *Scene) {
	leader := s.leads()
	s.reigns(leader, election) // nothing more is written: all logs are equal
	asks, first, second := s.others(leader)[0], s.others(leader)[1], s.others(leader)[2]
	rest := s.without([]*member{asks})
	s.throw(eager, asks)
	s.throw(patient, first, second)
	granted := s.tap(nil, asks, nil, "VoteResponse").when(func(m proto.Message) bool { return m.(*messages.VoteResponse).Granted })
	for _, friend := range []*member{first, second} {
		before := granted.count
		s.apart([]*member{asks}, rest, true)
		s.apart([]*member{friend}, s.members, true)
		s.apart([]*member{asks}, []*member{friend}, false)
		s.within(5*election, "its pre-vote is granted", func() bool { return granted.count > before })
		s.reigns(leader, election/2)
		s.apart([]*member{asks}, []*member{friend}, true)
		s.apart([]*member{friend}, s.without([]*member{asks, friend}), false)
		s.within(2*election, "its friend hears the leader again", func() bool { return friend.view.LeaderID == leader.id })
	}
	s.cutOff(asks, false)
	s.reigns(leader, 3*election)
}

// cutWithEntries is a leader of five that is cut off with three writes, at the indexes from the first on.
func cutWithEntries(s *Scene) (former *member, first uint64, writes []*operation) {
	former = s.leads()
	s.writes(former, 1)
	s.cutOff(former, true)
	first = former.view.LastIndex + 1
	writes = s.say(former, 3)
	s.taken(former, 3)
	return former, first, writes
}

// replaced has the entries of a former leader, from index first on, stand in no log.
func (s *Scene) replaced(former *member, term, first uint64) {
	for _, m := range s.members {
		for i := first; i < first+3; i++ {
			if s.termInLog(m, i) == term {
				s.fail("entry %d of term %d of the former leader %d stands in the log of %d", i, term, former.id, m.id)
			}
		}
	}
}

func staleLeaderReturns(s *Scene) {
	former, first, writes := cutWithEntries(s)
	term := former.view.Term
	leader := s.another(former, 5*election)
	s.writes(leader, 4)
	s.pass(3 * election)
	if are(pending, writes) != 3 || former.view.Commit >= first {
		s.fail("member %d is cut off and tells its callers that %d of 3 writes took effect", former.id, are(Answered, writes))
	}
	s.cutOff(former, false)
	s.within(2*election, "the former one follows, with the leader's log", func() bool {
		return former.view.Term == leader.view.Term && former.view.LastIndex >= leader.view.LastIndex
	})
	s.reigns(leader, 2*election)
	s.replaced(former, term, first)
	// Its program says them again: each takes effect once, by the new leader (the ghost sees to once).
	s.answered(writes, election)
}

func staleLeaderDies(s *Scene) {
	former, first, writes := cutWithEntries(s)
	term := former.view.Term
	s.powerCut(former)
	if are(Unknown, writes) != 3 {
		s.fail("the process died, and its callers know what became of their writes")
	}
	leader := s.another(former, 5*election)
	s.writes(leader, 4)
	s.cutOff(former, false)
	s.returns(former)
	s.within(3*election, "the former one has the leader's log", func() bool {
		return former.view.LeaderID == leader.id && former.view.LastIndex == leader.view.LastIndex && former.view.Commit == leader.view.Commit
	})
	s.replaced(former, term, first)
	for _, o := range writes {
		if at := s.tookEffectAt(o.number); at != 0 {
			s.fail("write %d took effect at %d; its only copy was replaced", o.number, at)
		}
	}
}
