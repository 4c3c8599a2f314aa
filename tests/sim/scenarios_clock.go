package sim

import (
	"slices"
	"time"
)

// Raft's safety is to need no clock, and its liveness only those of a majority.
var clockScenarios = []Scenario{
	{Name: "clock-jump", Nodes: 3, Script: clockJump,
		Line: "a clock jumps an hour, stands still or runs at double speed, a leader's and a follower's: service goes on, and no read is stale"},
}

var wrongClocks = []func(*member){
	func(m *member) { m.setClock(trueRate, time.Hour) },
	func(m *member) { m.setClock(trueRate, -time.Hour) },
	func(m *member) { m.setClock(0, 0) },
	func(m *member) { m.setClock(2*trueRate, 0) },
}

func clockJump(s *Scene) {
	oneClockWrong(s, s.leads(), wrongClocks[s.random.IntN(len(wrongClocks))])
	s.settled(10 * election)
	oneClockWrong(s, s.others(s.leads())[s.random.IntN(2)], wrongClocks[s.random.IntN(len(wrongClocks))])
}

// oneClockWrong has the others of three lead and commit before long, first with the member that has the wrong clock and
// then while it is cut off, whatever it believes of itself meanwhile.
func oneClockWrong(s *Scene, odd *member, wrong func(*member)) {
	s.put(s.leads(), 1, "before")
	wrong(odd)
	reads := []*asked{s.ask(odd)}
	served := func() bool { l := s.leads(); return l != nil && l.up && l.program.opened }
	if s.chance(0.5) { // else it is cut off while it still is what it was
		s.within(5*election, "somebody leads", served)
		s.pass(2 * election)
		s.within(5*election, "somebody leads", served)
		s.put(s.leads(), 1, "beside it")
		reads = append(reads, s.ask(odd))
	}

	s.cutOff(odd, true)
	leader := s.another(odd, 5*election)
	s.put(leader, 1, "without it")
	late := []*asked{s.ask(odd), s.ask(odd)}
	s.pass(election)
	if slices.ContainsFunc(late, func(a *asked) bool { return a.points > 0 }) {
		s.fail("member %d answered a read while it was cut off", odd.id)
	}
	s.cutOff(odd, false)
	s.within(5*election, "it follows", func() bool { return odd.view.LeaderID != 0 && odd.view.LeaderID != odd.id })
	reads = append(reads, s.ask(odd), s.ask(s.leads()))
	s.pass(heartbeat) // their points, if any, are held against what was acknowledged
	if reads[len(reads)-1].points == 0 {
		s.fail("the leader %d answers no reads:%s", s.leads().id, s.state())
	}
	odd.setClockRight()
}
