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
