package sim

import (
	"time"

	"github.com/troupe-raft/troupe/persistence/vfs"
)

var churnScenarios = []Scenario{
	{Name: "unreliable-agreement", Nodes: 5, Script: unreliableAgreement,
		Line: "a tenth of the messages is lost, the others take up to 27 ms and overtake each other: 200 writes at once all commit"},
	{Name: "churn", Nodes: 5, Seeds: 50, Script: churn,
		Line: "three clients write while members die, return and are cut off: each acknowledged value is in the log, and took effect once"},
	{Name: "churn-unreliable", Nodes: 5, Seeds: 50, Script: func(s *Scene) { s.unreliable(); churn(s) },
		Line: "the same on a network that loses and reorders"},
	{Name: "figure-8-unreliable", Nodes: 5, Seeds: 30, Errata: []int{44}, Script: figure8Unreliable,
		Line: "1000 rounds of leaders that die or are cut off, with long reordering from half time on; the logs agree within 10 s of calm"},
}

// unreliable is the network of the lab's tests: a tenth is lost, the rest takes up to 27 ms, in any order.
func (s *Scene) unreliable() {
	s.weather.loss, s.weather.latency, s.weather.reorders = 0.1, 27*time.Millisecond, true
}

func unreliableAgreement(s *Scene) {
	s.settles()
	s.unreliable()
	var all []*operation
	for _, m := range s.members {
		all = append(all, s.say(m, 40)...)
	}
	s.answered(all, 20*election)
}

// churner writes one value after the other, at whatever member is up.
type churner struct {
	scene    *Scene
	underWay *operation
	until    time.Duration
	acked    []*operation
}

func (c *churner) act() {
	s := c.scene
	if s.calm {
		return
	}
	if o := c.underWay; o == nil || o.outcome != pending || s.now > c.until {
		if o != nil && o.outcome == Answered {
			c.acked = append(c.acked, o)
		}
		c.underWay = nil
		if m := s.anyone(); m.up {
			c.underWay, c.until = s.says(m, 0), s.now+2*election
		}
	}
	s.after(s.between(20*time.Millisecond, 200*time.Millisecond), c.act)
}

func churn(s *Scene) {
	clients := make([]*churner, 3)
	for i := range clients {
		clients[i] = &churner{scene: s}
		clients[i].act()
	}
	for range 25 {
		m := s.anyone()
		if l := s.leader(); l != nil && s.chance(0.5) {
			m = l
		}
		if s.chance(0.3) {
			s.cutOff(m, true)
		}
		if m.up && s.chance(0.4) {
			m.kill(s.random.IntN)
		}
		s.pass(s.between(heartbeat, election*6/10))
		back := s.anyone()
		back.return_()
		s.cutOff(back, false)
	}
	s.heal()
	s.within(20*election, "all is well again", s.well)
	acked := 0
	for _, c := range clients {
		acked += len(c.acked)
		for _, o := range c.acked {
			if at := s.tookEffectAt(o.number); at != o.index {
				s.fail("command %d was acknowledged at index %d and took effect at %d", o.number, o.index, at)
			}
		}
	}
	if acked == 0 {
		s.fail("nothing was acknowledged in all that time")
	}
	for _, m := range s.members {
		log := s.commandsOnDisk(m)
		for _, c := range clients {
			for _, o := range c.acked {
				if log[o.index] != o.number {
					s.fail("command %d was acknowledged at index %d; there, the log of member %d has %d", o.number, o.index, m.id, log[o.index])
				}
			}
		}
	}
}

func figure8Unreliable(s *Scene) {
	s.settles()
	s.unreliable()
	for round := range 1000 {
		if round == 500 {
			s.weather.late = 2.0 / 3 // long reordering: up to twenty times the usual
		}
		for _, m := range s.members {
			if m.up && m.view.Role == "leader" {
				s.says(m, 0)
			}
		}
		if s.chance(0.1) {
			s.pass(s.between(0, election/2))
		} else {
			s.pass(13 * time.Millisecond)
		}
		if l := s.leader(); l != nil && s.chance(0.5) {
			if s.chance(0.5) {
				l.kill(vfs.LoseUnsynced)
			} else {
				s.cutOff(l, true)
			}
		}
		if s.connectedMembers() < 3 {
			m := s.anyone()
			m.return_()
			s.cutOff(m, false)
		}
	}
	s.heal()
	s.within(10*time.Second, "the logs agree", s.well)
}

// connectedMembers counts who is up and not cut off from all.
func (s *Scene) connectedMembers() (n int) {
	for _, m := range s.members {
		alone := true
		for _, other := range s.others(m) {
			alone = alone && !s.connected(m, other)
		}
		if m.up && !alone {
			n++
		}
	}
	return n
}
