package scenario

import (
	"slices"
	"time"

	"github.com/troupe-raft/troupe/internal/sim/world"
)

// Raft's safety needs no clock, and its liveness only those of a majority.
var clockScenarios = []Scenario{
	{Name: "clock-jump", Nodes: 3, Script: clockJump,
		Description: "a clock jumps an hour, stands still or runs at double speed, at a leader and at a follower: service continues, and no read is stale"},
}

var wrongClocks = []func(*world.Member){
	func(m *world.Member) { m.SetClock(world.TrueRate, time.Hour) },
	func(m *world.Member) { m.SetClock(world.TrueRate, -time.Hour) },
	func(m *world.Member) { m.SetClock(0, 0) },
	func(m *world.Member) { m.SetClock(2*world.TrueRate, 0) },
}

func clockJump(s *Driver) {
	oneClockWrong(s, s.majorityLeader(), wrongClocks[s.Random.IntN(len(wrongClocks))])
	s.awaitAllFollow(10 * world.ElectionTimeout)
	oneClockWrong(s, s.others(s.majorityLeader())[s.Random.IntN(2)], wrongClocks[s.Random.IntN(len(wrongClocks))])
}

// oneClockWrong checks that the other two of three lead and commit soon, first with the member that
// has the wrong clock and then while it is isolated, whatever role it takes itself for.
func oneClockWrong(s *Driver, odd *world.Member, wrong func(*world.Member)) {
	s.put(s.majorityLeader(), 1, "before")
	wrong(odd)
	reads := []*readRequest{s.requestRead(odd)}
	served := func() bool { l := s.majorityLeader(); return l != nil && l.Up() && l.Embedder.Registered() }
	if s.Chance(0.5) { // else it is isolated in its former role
		s.within(5*world.ElectionTimeout, "a member leads", served)
		s.advance(2 * world.ElectionTimeout)
		s.within(5*world.ElectionTimeout, "a member leads", served)
		s.put(s.majorityLeader(), 1, "beside it")
		reads = append(reads, s.requestRead(odd))
	}

	s.Isolate(odd, true)
	leader := s.awaitSuccessor(5*world.ElectionTimeout, odd)
	s.put(leader, 1, "without it")
	late := []*readRequest{s.requestRead(odd), s.requestRead(odd)}
	s.advance(world.ElectionTimeout)
	if slices.ContainsFunc(late, func(a *readRequest) bool { return a.responses > 0 }) {
		s.fail("member %d answered a read while it was cut off", odd.ID())
	}
	s.Isolate(odd, false)
	s.within(5*world.ElectionTimeout, "it follows", func() bool { return odd.View.LeaderID != 0 && odd.View.LeaderID != odd.ID() })
	reads = append(reads, s.requestRead(odd), s.requestRead(s.majorityLeader()))
	// Its read points, if any, are compared with what was acknowledged.
	s.advance(world.HeartbeatInterval)
	if reads[len(reads)-1].responses == 0 {
		s.fail("the leader %d answers no reads:%s", s.majorityLeader().ID(), s.DescribeMembers())
	}
	odd.RepairClock()
}
