package sim

import "testing"

func TestAStoryThatBeginsInTheMiddle(t *testing.T) {
	sc := Scenario{
		Name: "in-the-middle", Nodes: 3,
		Given: func(w *World) {
			w.given(1, past{log: []uint64{1, 1, 1, 2, 2}, term: 3})
			w.given(2, past{log: []uint64{1, 1, 1, 3}, vote: 2, commit: 2})
			w.given(3, past{log: []uint64{1}, commit: 1})
			w.members[0].absent = true
		},
		Script: func(s *Scene) {
			leader := s.members[1]
			s.within(5*election, "the only complete log wins", func() bool { return s.leads() == leader })
			if leader.view.Term < 4 {
				s.fail("member 2 has voted in term 3 and leads in term %d", leader.view.Term)
			}
			s.members[0].boot()
			s.within(5*election, "the one that was absent has the leader's log", func() bool {
				return s.leads() == leader && s.members[0].applied == leader.view.LastIndex
			})
			if s.ghost.commands[pastCommand(4, 3)] != 4 {
				s.fail("the command at index 4 of term 3 was not applied there")
			}
			if _, applied := s.ghost.commands[pastCommand(4, 2)]; applied {
				s.fail("the command at index 4 of term 2 was applied")
			}
		},
	}
	for seed := range uint64(50) {
		check(t, sc.Play(Options{Seed: seed}))
	}
}
