package sim

import "testing"

func TestAStoryThatBeginsInTheMiddle(t *testing.T) {
	sc := Scenario{
		Name: "in-the-middle", Nodes: 3,
		Setup: func(w *World) {
			w.setInitialState(1, initialState{log: []uint64{1, 1, 1, 2, 2}, term: 3})
			w.setInitialState(2, initialState{log: []uint64{1, 1, 1, 3}, vote: 2, commit: 2})
			w.setInitialState(3, initialState{log: []uint64{1}, commit: 1})
			w.members[0].notStarted = true
		},
		Script: func(s *Driver) {
			leader := s.members[1]
			s.within(5*electionTimeout, "the only complete log wins", func() bool { return s.majorityLeader() == leader })
			if leader.view.Term < 4 {
				s.fail("member 2 has voted in term 3 and leads in term %d", leader.view.Term)
			}
			s.members[0].boot()
			s.within(5*electionTimeout, "the one that was absent has the leader's log", func() bool {
				return s.majorityLeader() == leader && s.members[0].applied == leader.view.LastIndex
			})
			if s.checker.EffectIndex(initialCommand(4, 3)) != 4 {
				s.fail("the command at index 4 of term 3 was not applied there")
			}
			if s.checker.EffectIndex(initialCommand(4, 2)) != 0 {
				s.fail("the command at index 4 of term 2 was applied")
			}
		},
	}
	for seed := range uint64(50) {
		check(t, sc.Run(Options{Seed: seed}))
	}
}
