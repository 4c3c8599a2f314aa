package sim

import "slices"

// Leaders whom the network, or their disk, leaves alone.

var partitionScenarios = []Scenario{
	{Name: "check-quorum", Nodes: 5, Errata: []int{19}, Script: checkQuorum,
		Line: "a leader that sends and hears nothing steps down within two timeouts; who waits for a read is refused at once"},
	{Name: "asymmetric-leader", Nodes: 5, Errata: []int{19}, Script: asymmetricLeader,
		Line: "a leader that hears and is not heard is replaced, and never acknowledges anything again"},
	{Name: "bridge-partition", Nodes: 5, Errata: []int{19}, Script: bridgePartition,
		Line: "two halves joined only through one member: one leader that commits, soon, and no endless elections"},
	{Name: "stale-leader-returns", Nodes: 5, Script: staleLeaderReturns,
		Line: "a cut leader took entries, others commit without it: at its return its entries are replaced, and its callers were told nothing false"},
	{Name: "stale-leader-dies", Nodes: 5, Script: staleLeaderDies,
		Line: "a cut leader took entries and dies: at its return they are replaced, and none of them ever takes effect"},
}

func checkQuorum(s *Scene) {
	s.weather.silent = true
	leader := s.leads()
	s.writes(leader, 1)
	s.deaf(leader, true)
	s.pass(heartbeat) // what was on its way
	reads := []*asked{s.ask(leader), s.ask(leader)}
	s.within(2*election, "it steps down", func() bool {
		for _, a := range reads {
			if leader.view.Role == "leader" && !a.waits() {
				s.fail("a read was answered without a quorum: %+v", *a)
			}
		}
		return leader.view.Role != "leader"
	})
	s.within(heartbeat/10, "its reads are refused", func() bool { return reads[0].refused != 0 && reads[1].refused != 0 })
	late := s.ask(leader)
	s.within(heartbeat/10, "a new read is refused", func() bool { return late.refused != 0 })
	s.another(leader, 5*election)
	if late.points+reads[0].points+reads[1].points > 0 {
		s.fail("a read was answered although nobody was heard")
	}
}

func asymmetricLeader(s *Scene) {
	s.weather.silent = true
	old := s.leads()
	s.writes(old, 1)
	s.mute(old, true)
	s.pass(heartbeat / 2) // what it had said before is answered
	writes := s.say(old, 3)
	read := s.ask(old)
	leader := s.another(old, 5*election)
	s.writes(leader, 2)
	s.within(election, "the former one knows", func() bool { return old.view.Role != "leader" && old.view.Term == leader.view.Term })
	s.reigns(leader, 5*election)
	if are(pending, writes) != 3 || read.points > 0 {
		s.fail("nobody hears member %d, and yet %d writes and %d reads were answered", old.id, are(Answered, writes), read.points)
	}
}

// bridgePartition: 1, 2 – 3 – 4, 5. Whoever led before, at an end or in the middle.
func bridgePartition(s *Scene) {
	left, right := s.members[:2], s.members[3:]
	s.apart(left, right, true)
	s.pass(5 * election)
	s.within(5*election, "a leader", func() bool { return s.leads() != nil })
	s.reigns(s.leads(), 20*election)
	leader := s.leads()
	began := s.now
	s.writes(leader, 5)
	if s.now-began > heartbeat {
		s.fail("the leader needed %v to commit", s.now-began)
	}
	// The end that the leader is not at hears nobody but each other and the bridge, and must not take the bridge along.
	if slices.Contains(left, leader) || slices.Contains(right, leader) {
		s.within(election, "the bridge follows", func() bool { return s.members[2].view.Leader == leader.id })
	}
}

// cutWithEntries is a leader of five that is cut off with three writes, at the indexes from the first on.
func cutWithEntries(s *Scene) (former *member, first uint64, writes []*operation) {
	former = s.leads()
	s.writes(former, 1)
	s.cutOff(former, true)
	first = former.view.LastIndex + 1
	writes = s.say(former, 3)
	s.taken(former, 3)
	return former, first, writes
}

// replaced has the entries of a former leader, from index first on, stand in no log.
func (s *Scene) replaced(former *member, term, first uint64) {
	for _, m := range s.members {
		for i := first; i < first+3; i++ {
			if s.termInLog(m, i) == term {
				s.fail("entry %d of term %d of the former leader %d stands in the log of %d", i, term, former.id, m.id)
			}
		}
	}
}

func staleLeaderReturns(s *Scene) {
	former, first, writes := cutWithEntries(s)
	term := former.view.Term
	leader := s.another(former, 5*election)
	s.writes(leader, 4)
	s.pass(3 * election)
	if are(pending, writes) != 3 || former.view.Commit >= first {
		s.fail("member %d is cut off and tells its callers that %d of 3 writes took effect", former.id, are(Answered, writes))
	}
	s.cutOff(former, false)
	s.within(2*election, "the former one follows, with the leader's log", func() bool {
		return former.view.Term == leader.view.Term && former.view.LastIndex >= leader.view.LastIndex
	})
	s.reigns(leader, 2*election)
	s.replaced(former, term, first)
	// Its program says them again: each takes effect once, by the new leader (the ghost sees to once).
	s.answered(writes, election)
}

func staleLeaderDies(s *Scene) {
	former, first, writes := cutWithEntries(s)
	term := former.view.Term
	s.powerCut(former)
	if are(Unknown, writes) != 3 {
		s.fail("the process died, and its callers know what became of their writes")
	}
	leader := s.another(former, 5*election)
	s.writes(leader, 4)
	s.cutOff(former, false)
	s.returns(former)
	s.within(3*election, "the former one has the leader's log", func() bool {
		return former.view.Leader == leader.id && former.view.LastIndex == leader.view.LastIndex && former.view.Commit == leader.view.Commit
	})
	s.replaced(former, term, first)
	for _, o := range writes {
		if at := s.tookEffectAt(o.number); at != 0 {
			s.fail("write %d took effect at %d; its only copy was replaced", o.number, at)
		}
	}
}
