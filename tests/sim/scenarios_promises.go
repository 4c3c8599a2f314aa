package sim

// What is said only when the disk has it, and leaders whose disk fails them.

var promiseScenarios = []Scenario{
	{Name: "single-voter-sync", Nodes: 1, Errata: []int{10}, Script: singleVoterSync,
		Line: "a cluster of one loses power before its syncs: nothing that they were to cover was acknowledged, or known for committed"},
}

func singleVoterSync(s *Scene) {
	m := s.members[0]
	var all, lost []*operation
	for range 3 {
		all = append(all, s.scribble(m))
		s.answered(all[len(all)-1:], election)
		durable, dead := uint64(0), false
		m.dies("log", "Flush", 1, crashBefore, func() {
			durable, dead = m.view.Durable, true
			if m.view.Commit > durable {
				s.World.fail("write, then speak", "index %d is committed; the only disk has %d", m.view.Commit, durable)
			}
			s.powerCut(m)
		})
		batch := s.say(m, 1+s.random.IntN(4))
		s.within(election, "the power fails before the sync", func() bool { return dead })
		if n := are(Answered, batch); n > 0 {
			s.fail("%d writes were acknowledged that were on no disk", n)
		}
		lost = append(lost, batch...)
		s.keeps(all, m)
		s.returns(m)
		s.another(nil, election)
	}
	for _, o := range lost {
		if at := s.tookEffectAt(o.number); at != 0 {
			s.fail("write %d took effect at %d, and was on no disk when the power failed", o.number, at)
		}
	}
}
