package sim

import (
	"time"

	"github.com/troupe-raft/troupe/persistence/vfs"
)

var replicationScenarios = []Scenario{
	{Name: "rejoin", Nodes: 3, Line: "a cut leader with three entries, a second leader with one, swapped; the logs end equal", Script: func(s *Scene) {
		first := s.leads()
		s.cutOff(first, true)
		s.writesLater(first, 3)
		s.within(5*election, "a second leader", func() bool { l := s.leads(); return l != nil && l != first })
		second := s.leads()
		s.writes(second, 1)
		s.cutOff(second, true)
		s.cutOff(first, false)
		for _, other := range s.others(second) {
			s.setCut(second, other, true)
		}
		s.within(10*election, "a third leader", func() bool { l := s.leads(); return l != nil && l != second })
	}},
	{Name: "basic-agreement", Nodes: 3, Line: "three writes stand on all members; followers apply within a round trip", Script: func(s *Scene) {
		s.writes(s.leads(), 3)
		began := s.now
		s.within(heartbeat/2, "all have applied", func() bool {
			for _, m := range s.members {
				if m.applied != m.view.LastIndex {
					return false
				}
			}
			return true
		})
		if s.now-began > 20*time.Millisecond {
			s.fail("the followers applied %v after the leader", s.now-began)
		}
	}},
	{Name: "message-count", Nodes: 3, Line: "ten writes and an idle second cost a bounded number of messages", Script: func(s *Scene) {
		s.writes(s.leads(), 1)
		s.pass(election)
		before := s.counts.Messages
		leader := s.leads()
		for range 10 {
			s.writes(leader, 1)
		}
		if n := s.counts.Messages - before; n > (10+1+3)*3+10*2 {
			s.fail("%d messages for ten writes one after the other", n)
		}
		before = s.counts.Messages
		s.pass(time.Second)
		if n := s.counts.Messages - before; n > 2*20+4 {
			s.fail("%d messages in an idle second", n)
		}
	}},
	{Name: "follower-catches-up", Nodes: 3, Line: "a follower misses far more than memory keeps, and is fed from the leader's disk", Script: func(s *Scene) {
		leader := s.leads()
		away := s.others(leader)[0]
		away.kill(vfs.LoseAll)
		for range 10 {
			s.writes(s.leads(), 15) // far more than is kept in memory
		}
		away.return_()
		s.within(5*election, "it has caught up", func() bool { return away.view.LastIndex == leader.view.LastIndex })
	}},
	{Name: "all-die-and-return", Nodes: 3, Line: "all members lose power at once; one leads again soon", Script: func(s *Scene) {
		s.writes(s.leads(), 10)
		for _, m := range s.members {
			m.kill(vfs.LoseAll)
		}
		for _, m := range s.members {
			m.return_()
		}
		s.within(2*election, "a leader", func() bool { return s.leads() != nil })
	}},
}
