package scenario

import (
	"testing"

	"github.com/troupe-raft/troupe/internal/sim/world"
)

func TestInitialStateStartsInTheMiddle(t *testing.T) {
	sc := Scenario{
		Name: "in-the-middle", Nodes: 3,
		Setup: func(w *world.World) {
			w.SetInitialState(1, world.InitialState{Log: []uint64{1, 1, 1, 2, 2}, Term: 3})
			w.SetInitialState(2, world.InitialState{Log: []uint64{1, 1, 1, 3}, Vote: 2, Commit: 2})
			w.SetInitialState(3, world.InitialState{Log: []uint64{1}, Commit: 1})
			w.Members[0].NotStarted = true
		},
		Script: func(s *Driver) {
			leader := s.Members[1]
			s.within(5*world.ElectionTimeout, "the only complete log wins", func() bool { return s.majorityLeader() == leader })
			if leader.View.Term < 4 {
				s.fail("member 2 has voted in term 3 and leads in term %d", leader.View.Term)
			}
			s.Members[0].Boot()
			s.within(5*world.ElectionTimeout, "the member that started late has the leader's log", func() bool {
				return s.majorityLeader() == leader && s.Members[0].Applied == leader.View.LastIndex
			})
			if s.Checker.EffectIndex(world.InitialCommand(4, 3)) != 4 {
				s.fail("the command at index 4 of term 3 was not applied there")
			}
			if s.Checker.EffectIndex(world.InitialCommand(4, 2)) != 0 {
				s.fail("the command at index 4 of term 2 was applied")
			}
		},
	}
	for seed := range uint64(50) {
		check(t, sc.Run(world.Options{Seed: seed}))
	}
}
