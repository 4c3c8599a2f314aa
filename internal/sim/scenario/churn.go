package scenario

import (
	"time"

	"github.com/troupe-raft/troupe/internal/sim/history"
	"github.com/troupe-raft/troupe/internal/sim/world"
	"github.com/troupe-raft/troupe/persistence/vfs"
)

var churnScenarios = []Scenario{
	{Name: "unreliable-agreement", Nodes: 5, Script: unreliableAgreement,
		Description: "a tenth of the messages is lost, the others take up to 27 ms and arrive in any order: 200 concurrent writes all commit"},
	{Name: "churn", Nodes: 5, Seeds: 50, Script: churn,
		Description: "three clients write while members are killed, restarted and cut off: each acknowledged value is in the log, and took effect once"},
	{Name: "churn-unreliable", Nodes: 5, Seeds: 50, Script: func(s *Driver) { s.useUnreliableNetwork(); churn(s) },
		Description: "the same on a network that loses and reorders"},
	{Name: "figure-8-unreliable", Nodes: 5, Seeds: 30, Errata: []int{44}, Script: figure8Unreliable,
		Description: "1000 rounds of leaders that are killed or cut off, with long delays in the second half; the logs agree within 10 s after that"},
}

// useUnreliableNetwork sets the network of the tests of MIT 6.824: a tenth is lost, the rest takes
// up to 27 ms, in any order.
func (s *Driver) useUnreliableNetwork() {
	s.Conditions.LossRate, s.Conditions.MaxLatency, s.Conditions.Reorders = 0.1, 27*time.Millisecond, true
}

func unreliableAgreement(s *Driver) {
	s.awaitSessions()
	s.useUnreliableNetwork()
	var all []*history.Operation
	for _, m := range s.Members {
		all = append(all, s.submitWrites(m, 40)...)
	}
	s.awaitAnswered(all, 20*world.ElectionTimeout)
}

// churnClient writes one value after the other, at any member that is up.
type churnClient struct {
	scene    *Driver
	underWay *history.Operation
	until    time.Duration
	acked    []*history.Operation
}

func (c *churnClient) act() {
	s := c.scene
	if s.Healing {
		return
	}
	if o := c.underWay; o == nil || o.Outcome != history.Pending || s.Now() > c.until {
		if o != nil && o.Outcome == history.Answered {
			c.acked = append(c.acked, o)
		}
		c.underWay = nil
		if m := s.RandomMember(); m.Up() {
			c.underWay, c.until = s.submitPadded(m, 0), s.Now()+2*world.ElectionTimeout
		}
	}
	s.After(s.RandomDuration(20*time.Millisecond, 200*time.Millisecond), c.act)
}

func churn(s *Driver) {
	clients := make([]*churnClient, 3)
	for i := range clients {
		clients[i] = &churnClient{scene: s}
		clients[i].act()
	}
	for range 25 {
		m := s.RandomMember()
		if l := s.Leader(); l != nil && s.Chance(0.5) {
			m = l
		}
		if s.Chance(0.3) {
			s.Isolate(m, true)
		}
		if m.Up() && s.Chance(0.4) {
			m.PowerCut(s.Random.IntN)
		}
		s.advance(s.RandomDuration(world.HeartbeatInterval, world.ElectionTimeout*6/10))
		back := s.RandomMember()
		back.Restart()
		s.Isolate(back, false)
	}
	s.Heal()
	s.within(20*world.ElectionTimeout, "the cluster converges", s.Converged)
	acked := 0
	for _, c := range clients {
		acked += len(c.acked)
		for _, o := range c.acked {
			if at := s.effectIndex(o.Number); at != o.Index {
				s.fail("command %d was acknowledged at index %d and took effect at %d", o.Number, o.Index, at)
			}
		}
	}
	if acked == 0 {
		s.fail("nothing was acknowledged in all that time")
	}
	for _, m := range s.Members {
		log := s.commandsOnDisk(m)
		for _, c := range clients {
			for _, o := range c.acked {
				if log[o.Index] != o.Number {
					s.fail("command %d was acknowledged at index %d; there, the log of member %d has %d", o.Number, o.Index, m.ID(), log[o.Index])
				}
			}
		}
	}
}

func figure8Unreliable(s *Driver) {
	s.awaitSessions()
	s.useUnreliableNetwork()
	for round := range 1000 {
		if round == 500 {
			s.Conditions.DelayRate = 2.0 / 3 // long reordering: up to twenty times the usual delay
		}
		for _, m := range s.Members {
			if m.Up() && m.View.Role == "leader" {
				s.submitPadded(m, 0)
			}
		}
		if s.Chance(0.1) {
			s.advance(s.RandomDuration(0, world.ElectionTimeout/2))
		} else {
			s.advance(13 * time.Millisecond)
		}
		if l := s.Leader(); l != nil && s.Chance(0.5) {
			if s.Chance(0.5) {
				l.PowerCut(vfs.LoseUnsynced)
			} else {
				s.Isolate(l, true)
			}
		}
		if s.connectedMembers() < 3 {
			m := s.RandomMember()
			m.Restart()
			s.Isolate(m, false)
		}
	}
	s.Heal()
	s.within(10*time.Second, "the logs agree", s.Converged)
}

// connectedMembers counts the members that are up and not isolated.
func (s *Driver) connectedMembers() (n int) {
	for _, m := range s.Members {
		alone := true
		for _, other := range s.others(m) {
			alone = alone && !s.Connected(m, other)
		}
		if m.Up() && !alone {
			n++
		}
	}
	return n
}
