package mutations

var reads = []Mutation{
	{
		Name:   "reads without a quorum",
		Breaks: "a leader confirms its reads by itself",
		Edits: []Edit{{"actors/node/reads.go", "		if p := n.lead.peer(id); p != nil {\n			return p.round\n		}\n		return 0\n	})",
			"		return n.lead.round\n	})"}},
		Hunt: Hunt{Profile: "network"}, Caught: []string{"linearizable reads"},
	},
	{
		Name:   "an answer confirms every round",
		Breaks: "a heartbeat's answer of an earlier round counts for the newest (E26)",
		Edits:  []Edit{{"actors/node/heartbeats.go", "	if m.Round > p.round {\n		p.round = min(m.Round, n.lead.round)\n", "	if n.lead.round > p.round {\n		p.round = n.lead.round\n"}},
		Hunt:   Hunt{Scenario: "stale-read-old-round"}, Caught: []string{"linearizable reads"},
	},
	{
		Name:   "answers to an earlier term's rounds confirm reads",
		Breaks: "a leader that leads once more counts the answers to heartbeats of its former term, whose rounds have the same numbers (E26)",
		Edits:  []Edit{{"actors/node/shared.go", "		return m.Term < n.term\n	case *messages.HigherTerm", "		return false\n	case *messages.HigherTerm"}},
		Hunt:   Hunt{Scenario: "stale-read-old-term"}, Caught: []string{"term by term"},
	},
	{
		Name:   "reads wait on through a change of leaders",
		Breaks: "who steps down keeps the reads that it has collected, and gives them a point when it leads again",
		Edits:  []Edit{{"actors/node/leader.go", "	n.refuseReads(n.collected.takeReads(), messages.Refusal_REFUSAL_NO_LEADER)\n", ""}},
		Hunt:   Hunt{Scenario: "stale-read"}, Caught: []string{"script"},
	},
	{
		Name:   "a read joins a round that has begun",
		Breaks: "a read shares the request that the handle has sent before it was asked (E28)",
		Edits: []Edit{{"handle/reads.go", "	b := line.next\n	if b == nil {\n		r.lastID++",
			"	b := line.next\n	if line.underWay != nil && b == nil {\n		b = line.underWay\n		b.readers++\n		r.waiting++\n		return b, nil\n	}\n	if b == nil {\n		r.lastID++"}},
		Hunt: Hunt{Profile: "crashes"}, Caught: []string{"linearizable reads", "linearizability"},
	},
	{
		Name:   "a new life serves what the last one had applied",
		Breaks: "the handle keeps its applied index when the node's actors start anew, while the state machine is behind it",
		Edits:  []Edit{{"handle/reads.go", "	r.incarnation, r.applied = incarnation, 0\n", "	r.incarnation = incarnation\n"}},
		Hunt:   Hunt{Profile: "crashes"}, Caught: []string{"read after apply"},
	},
	{
		Name:   "reads before the first commit of the term",
		Breaks: "a new leader answers with what it knew to be committed as a follower (E25)",
		Edits:  []Edit{{"actors/node/reads.go", "	case n.commit < n.lead.first:\n", "	case n.lead.first == 0:\n"}},
		Hunt:   Hunt{Profile: "network"}, Caught: []string{"linearizable reads"},
	},
	{
		Name:   "half a quorum confirms a read",
		Breaks: "the leader needs one answer, however many voters there are",
		Edits: []Edit{{"actors/node/reads.go", "	confirmed := n.quorum.Committed(func(id uint64) uint64 {\n		if id == n.self() {\n			return n.lead.round\n		}\n		if p := n.lead.peer(id); p != nil {\n			return p.round\n		}\n		return 0\n	})",
			"	confirmed := uint64(0)\n	for _, p := range n.lead.peers {\n		confirmed = max(confirmed, p.round)\n	}\n	if len(n.lead.peers) == 0 {\n		confirmed = n.lead.round\n	}"}},
		Hunt: Hunt{Scenario: "read-without-quorum"}, Caught: []string{"linearizable reads", "script"},
	},
	{
		Name:   "the lease is not shortened by drift",
		Breaks: "a leader trusts its lease for its full length on a slow clock (E21)",
		Edits:  []Edit{{"raft/lease.go", "	return scale(l.Length, 1000-l.DriftPerMille)\n", "	return l.Length\n"}},
		Hunt:   Hunt{Package: "./raft", Test: "TestE21TheFollowersPromiseOutlivesTheLeadersTrust"},
	},
}
