package sim

import (
	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/persistence/vfs"
)

var electionScenarios = []Scenario{
	{Name: "initial-election", Nodes: 3, Line: "one leader, a stable term and no further election while nothing goes wrong", Script: func(s *Scene) {
		term := s.leads().view.Term
		s.pass(10 * election)
		if s.counts.Elections != 1 || s.leads().view.Term != term {
			s.fail("%d elections, term %d", s.counts.Elections, term)
		}
	}},
	{Name: "pre-vote-no-disruption", Nodes: 3, Errata: []int{15}, Line: "a follower that was cut off for 100 timeouts returns; leader and term stay", Script: func(s *Scene) {
		leader := s.leads()
		term := leader.view.Term
		away := s.others(leader)[0]
		s.cutOff(away, true)
		s.pass(100 * election)
		s.cutOff(away, false)
		s.pass(5 * election)
		if s.leads() != leader || leader.view.Term != term || away.view.Term != term {
			s.fail("the leader was %d in term %d", leader.id, term)
		}
	}},
	{Name: "re-election-after-a-kill", Nodes: 3, Line: "the leader dies and its connections break; another leads in a fraction of the election timeout", Script: func(s *Scene) {
		former := s.leads()
		s.writes(former, 3)
		former.kill(vfs.LoseAll)
		s.within(election/2, "another leader", func() bool { l := s.leads(); return l != nil && l != former })
	}},
	{Name: "silent-leader", Nodes: 3, Line: "the leader is cut off and no link tells of it; another leads, the former one steps down", Script: func(s *Scene) {
		s.weather.silent = true
		former := s.leads()
		s.cutOff(former, true)
		s.within(4*election, "another leader", func() bool { l := s.leads(); return l != nil && l != former })
		s.within(2*election, "the former one steps down", func() bool { return former.view.Role != "leader" })
	}},
	{Name: "check-quorum", Nodes: 5, Errata: []int{19}, Line: "a leader that sends and hears nothing steps down within two timeouts", Script: func(s *Scene) {
		s.weather.silent = true
		leader := s.leads()
		for _, other := range s.others(leader) {
			s.setCut(other, leader, true)
		}
		s.within(2*election, "it steps down", func() bool { return leader.view.Role != "leader" })
		s.within(5*election, "another leads", func() bool { l := s.leads(); return l != nil && l != leader })
	}},
	{Name: "asymmetric-leader", Nodes: 5, Line: "a leader that hears and is not heard is replaced", Script: func(s *Scene) {
		s.weather.silent = true
		leader := s.leads()
		for _, other := range s.others(leader) {
			s.setCut(leader, other, true)
		}
		s.within(5*election, "another leads", func() bool { l := s.leads(); return l != nil && l != leader })
		s.within(election, "the former one knows", func() bool { return leader.view.Role != "leader" })
	}},
	{Name: "bridge-partition", Nodes: 5, Errata: []int{19}, Line: "two halves joined only through one member: one leader that commits, and no endless elections", Script: func(s *Scene) { // 1, 2 – 3 – 4, 5
		for _, a := range s.members[:2] {
			for _, b := range s.members[3:] {
				s.setCut(a, b, true)
				s.setCut(b, a, true)
			}
		}
		s.pass(5 * election)
		s.within(5*election, "a leader", func() bool { return s.leads() != nil })
		elections := s.counts.Elections
		s.pass(20 * election)
		if s.counts.Elections > elections+1 {
			s.fail("%d elections while nothing changed", s.counts.Elections-elections)
		}
		s.within(election, "a leader", func() bool { return s.leads() != nil })
		s.writes(s.leads(), 5)
	}},
	{Name: "stale-leader-returns", Nodes: 5, Line: "a cut leader took entries; others commit without it; at its return they are replaced", Script: func(s *Scene) {
		former := s.leads()
		s.cutOff(former, true)
		s.writesLater(former, 3) // taken, and never committed by it
		s.within(5*election, "another leads", func() bool { l := s.leads(); return l != nil && l != former })
		s.writes(s.leads(), 4)
		// At the end all is well: the three are in every log once, by the new leader, since their writer says them again.
	}},
	{Name: "transfer", Nodes: 3, Line: "leadership moves under load with one election, and nothing is lost", Script: func(s *Scene) {
		leader := s.leads()
		target := s.others(leader)[0]
		s.writes(leader, 5)
		s.writesLater(leader, 5)
		leader.post(actors.NodePath, &messages.TransferLeadership{Target: target.id})
		elections := s.counts.Elections
		s.within(election, "the target leads", func() bool { return s.leads() == target })
		s.pass(2 * election)
		if s.counts.Elections != elections+1 || s.leads() != target {
			s.fail("%d elections", s.counts.Elections-elections)
		}
	}},
	{Name: "transfer-target-dies", Nodes: 3, Errata: []int{20}, Line: "a transfer whose target dies is given up, and proposals are taken again", Script: func(s *Scene) {
		leader := s.leads()
		target := s.others(leader)[0]
		leader.post(actors.NodePath, &messages.TransferLeadership{Target: target.id})
		target.kill(vfs.LoseAll)
		s.pass(3 * election)
		s.within(5*election, "a leader", func() bool { return s.leads() != nil })
		s.writes(s.leads(), 3)
	}},
}
