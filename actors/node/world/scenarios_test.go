package world

import (
	"testing"
	"time"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/persistence/vfs"
)

// The scenarios of elections and replication, each over many seeds: a script instead of misfortune.

const scenarioSeeds = 40

// scenario runs a script in a world of so many members, which has a leader that all follow. At the end all must be well.
func scenario(t *testing.T, size int, script func(*scene)) {
	t.Helper()
	for seed := uint64(1); seed <= scenarioSeeds; seed++ {
		s := &scene{t: t, world: newScripted(seed, size)}
		s.within(5*election, "a first leader", s.well)
		script(s)
		s.heal()
		s.within(20*election, "all is well again", s.well)
		s.end()
	}
}

type scene struct {
	*world
	t *testing.T
}

func (s *scene) check() {
	s.t.Helper()
	if s.failure != "" {
		report(s.t, s.world)
	}
}

// within lets things happen until what is awaited has.
func (s *scene) within(d time.Duration, what string, happened func() bool) {
	s.t.Helper()
	for until := s.now + d; !happened(); s.step() {
		if s.now > until {
			s.fail("not within %v: %s%s", d, what, s.state())
		}
		s.check()
	}
}

// pass lets time go by.
func (s *scene) pass(d time.Duration) {
	s.t.Helper()
	for until := s.now + d; s.now < until; s.step() {
		s.check()
	}
}

// leads is who leads and is followed by at least a majority.
func (s *scene) leads() *member {
	for _, m := range s.members {
		followers := 0
		for _, f := range s.members {
			if f.up && f.view.Leader == m.id && f.view.Term == m.view.Term {
				followers++
			}
		}
		if m.up && m.view.Role == "leader" && followers > s.size/2 {
			return m
		}
	}
	return nil
}

func (s *scene) others(than *member) (all []*member) {
	for _, m := range s.members {
		if m != than {
			all = append(all, m)
		}
	}
	return all
}

func (s *scene) cutOff(m *member, cut bool) {
	for _, other := range s.others(m) {
		s.setCut(m, other, cut)
		s.setCut(other, m, cut)
	}
}

// writes lets a member write, and waits until all it wrote is acknowledged.
func (s *scene) writes(m *member, n int) {
	s.t.Helper()
	for range n {
		s.commands++
		m.handle.write(s.commands)
	}
	s.within(5*election, "the writes are acknowledged", func() bool { return len(m.handle.waiting) == 0 })
}

func TestInitialElectionOneLeaderAndNoFurtherElection(t *testing.T) {
	scenario(t, 3, func(s *scene) {
		term := s.leads().view.Term
		s.pass(10 * election)
		if s.counts.elections != 1 || s.leads().view.Term != term {
			s.fail("%d elections, term %d", s.counts.elections, term)
		}
		s.check()
	})
}

func TestPreVoteNoDisruptionOfAFollowerThatWasAway(t *testing.T) {
	scenario(t, 3, func(s *scene) {
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
		s.check()
	})
}

func TestReElectionAfterAKillTakesAFractionOfTheElectionTimeout(t *testing.T) {
	scenario(t, 3, func(s *scene) {
		former := s.leads()
		s.writes(former, 3)
		former.kill(vfs.LoseAll)
		s.within(election/2, "another leader", func() bool { l := s.leads(); return l != nil && l != former })
	})
}

func TestALeaderThatVanishesSilentlyCostsTheElectionTimeout(t *testing.T) {
	scenario(t, 3, func(s *scene) {
		s.profile.silent = true
		former := s.leads()
		s.cutOff(former, true)
		s.within(4*election, "another leader", func() bool { l := s.leads(); return l != nil && l != former })
		s.within(2*election, "the former one steps down", func() bool { return former.view.Role != "leader" })
	})
}

func TestE19CheckQuorumALeaderThatHearsNobodyStepsDown(t *testing.T) {
	scenario(t, 5, func(s *scene) {
		s.profile.silent = true
		leader := s.leads()
		for _, other := range s.others(leader) {
			s.setCut(other, leader, true)
		}
		s.within(2*election, "it steps down", func() bool { return leader.view.Role != "leader" })
		s.within(5*election, "another leads", func() bool { l := s.leads(); return l != nil && l != leader })
	})
}

func TestAsymmetricLeaderOneThatIsNotHeardIsReplaced(t *testing.T) {
	scenario(t, 5, func(s *scene) {
		s.profile.silent = true
		leader := s.leads()
		for _, other := range s.others(leader) {
			s.setCut(leader, other, true)
		}
		s.within(5*election, "another leads", func() bool { l := s.leads(); return l != nil && l != leader })
		s.within(election, "the former one knows", func() bool { return leader.view.Role != "leader" })
	})
}

func TestE19BridgePartitionOneLeaderThatCommitsAndNoEndlessElections(t *testing.T) {
	scenario(t, 5, func(s *scene) { // 1, 2 – 3 – 4, 5
		for _, a := range s.members[:2] {
			for _, b := range s.members[3:] {
				s.setCut(a, b, true)
				s.setCut(b, a, true)
			}
		}
		s.pass(5 * election)
		s.within(5*election, "a leader", func() bool { return s.leads() != nil })
		elections := s.counts.elections
		s.pass(20 * election)
		if s.counts.elections > elections+1 {
			s.fail("%d elections while nothing changed", s.counts.elections-elections)
		}
		s.within(election, "a leader", func() bool { return s.leads() != nil })
		s.writes(s.leads(), 5)
	})
}

func TestStaleLeaderReturnsItsEntriesAreReplaced(t *testing.T) {
	scenario(t, 5, func(s *scene) {
		former := s.leads()
		s.cutOff(former, true)
		for range 3 {
			s.commands++
			former.handle.write(s.commands) // taken, and never committed by it
		}
		s.within(5*election, "another leads", func() bool { l := s.leads(); return l != nil && l != former })
		s.writes(s.leads(), 4)
		// At the end all is well: the three are in every log once, by the new leader, since their writer says them again.
	})
}

func TestRejoinTwoLeadersOfBeforeEndWithTheLastOnesLog(t *testing.T) {
	scenario(t, 3, func(s *scene) {
		first := s.leads()
		s.cutOff(first, true)
		for range 3 {
			s.commands++
			first.handle.write(s.commands)
		}
		s.within(5*election, "a second leader", func() bool { l := s.leads(); return l != nil && l != first })
		second := s.leads()
		s.writes(second, 1)
		s.cutOff(second, true)
		s.cutOff(first, false)
		for _, other := range s.others(second) {
			s.setCut(second, other, true)
		}
		s.within(10*election, "a third leader", func() bool { l := s.leads(); return l != nil && l != second })
	})
}

func TestTransferOneElectionAndNothingLost(t *testing.T) {
	scenario(t, 3, func(s *scene) {
		leader := s.leads()
		target := s.others(leader)[0]
		s.writes(leader, 5)
		for range 5 {
			s.commands++
			leader.handle.write(s.commands)
		}
		leader.post(actors.NodePath, &messages.TransferLeadership{Target: target.id})
		elections := s.counts.elections
		s.within(election, "the target leads", func() bool { return s.leads() == target })
		s.pass(2 * election)
		if s.counts.elections != elections+1 || s.leads() != target {
			s.fail("%d elections", s.counts.elections-elections)
		}
		s.check()
	})
}

func TestE20ATransferWhoseTargetDiesIsGivenUp(t *testing.T) {
	scenario(t, 3, func(s *scene) {
		leader := s.leads()
		target := s.others(leader)[0]
		leader.post(actors.NodePath, &messages.TransferLeadership{Target: target.id})
		target.kill(vfs.LoseAll)
		s.pass(3 * election)
		s.within(5*election, "a leader", func() bool { return s.leads() != nil })
		s.writes(s.leads(), 3)
	})
}

func TestBasicAgreementAndCommitNotice(t *testing.T) {
	scenario(t, 3, func(s *scene) {
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
		s.check()
	})
}

func TestMessageCountTenWritesAndAnIdleSecond(t *testing.T) {
	scenario(t, 3, func(s *scene) {
		s.writes(s.leads(), 1)
		s.pass(election)
		before := s.counts.messages
		leader := s.leads()
		for range 10 {
			s.writes(leader, 1)
		}
		if n := s.counts.messages - before; n > (10+1+3)*3+10*2 {
			s.fail("%d messages for ten writes one after the other", n)
		}
		before = s.counts.messages
		s.pass(time.Second)
		if n := s.counts.messages - before; n > 2*20+4 {
			s.fail("%d messages in an idle second", n)
		}
		s.check()
	})
}

func TestAFollowerThatWasAwayCatchesUpFromTheLeadersDisk(t *testing.T) {
	scenario(t, 3, func(s *scene) {
		leader := s.leads()
		away := s.others(leader)[0]
		away.kill(vfs.LoseAll)
		for range 10 {
			s.writes(s.leads(), 15) // far more than is kept in memory
		}
		away.return_()
		s.within(5*election, "it has caught up", func() bool { return away.view.LastIndex == leader.view.LastIndex })
	})
}

func TestAllDieAndReturn(t *testing.T) {
	scenario(t, 3, func(s *scene) {
		s.writes(s.leads(), 10)
		for _, m := range s.members {
			m.kill(vfs.LoseAll)
		}
		for _, m := range s.members {
			m.return_()
		}
		s.within(2*election, "a leader", func() bool { return s.leads() != nil })
	})
}
