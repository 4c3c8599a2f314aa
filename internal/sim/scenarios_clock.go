package sim

import (
	"slices"
	"time"
)

// Raft's safety is to need no clock, and its liveness only those of a majority.
var clockScenarios = []Scenario{
	{Name: "clock-jump", Nodes: 3, Script: clockJump,
		Description: "a clock jumps an hour, stands still or runs at double speed, a leader's and a follower's: service goes on, and no read is stale"},
}

var wrongClocks = []func(*member){
	func(m *member) { m.setClock(trueRate, time.Hour) },
	func(m *member) { m.setClock(trueRate, -time.Hour) },
	func(m *member) { m.setClock(0, 0) },
	func(m *member) { m.setClock(2*trueRate, 0) },
}

func clockJump(s *Driver) {
	oneClockWrong(s, s.majorityLeader(), wrongClocks[s.random.IntN(len(wrongClocks))])
	s.awaitAllFollow(10 * electionTimeout)
	oneClockWrong(s, s.others(s.majorityLeader())[s.random.IntN(2)], wrongClocks[s.random.IntN(len(wrongClocks))])
}

// oneClockWrong has the others of three lead and commit before long, first with the member that has the wrong clock and
// then while it is cut off, whatever it believes of itself meanwhile.
func oneClockWrong(s *Driver, odd *member, wrong func(*member)) {
	s.put(s.majorityLeader(), 1, "before")
	wrong(odd)
	reads := []*readRequest{s.requestRead(odd)}
	served := func() bool { l := s.majorityLeader(); return l != nil && l.up && l.embedder.registered }
	if s.chance(0.5) { // else it is cut off while it still is what it was
		s.within(5*electionTimeout, "somebody leads", served)
		s.advance(2 * electionTimeout)
		s.within(5*electionTimeout, "somebody leads", served)
		s.put(s.majorityLeader(), 1, "beside it")
		reads = append(reads, s.requestRead(odd))
	}

	s.isolate(odd, true)
	leader := s.awaitNewLeader(odd, 5*electionTimeout)
	s.put(leader, 1, "without it")
	late := []*readRequest{s.requestRead(odd), s.requestRead(odd)}
	s.advance(electionTimeout)
	if slices.ContainsFunc(late, func(a *readRequest) bool { return a.responses > 0 }) {
		s.fail("member %d answered a read while it was cut off", odd.id)
	}
	s.isolate(odd, false)
	s.within(5*electionTimeout, "it follows", func() bool { return odd.view.LeaderID != 0 && odd.view.LeaderID != odd.id })
	reads = append(reads, s.requestRead(odd), s.requestRead(s.majorityLeader()))
	s.advance(heartbeatInterval) // their points, if any, are held against what was acknowledged
	if reads[len(reads)-1].responses == 0 {
		s.fail("the leader %d answers no reads:%s", s.majorityLeader().id, s.describeMembers())
	}
	odd.repairClock()
}
