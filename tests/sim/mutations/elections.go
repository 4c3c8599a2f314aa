package mutations

var elections = []Mutation{
	{
		Name:   "a vote is said before its sync",
		Breaks: "a granted vote leaves at once, while term and vote are on their way to the disk (E1)",
		Edits: []Edit{{"actors/node/shared.go",
			`		Then:   []*messages.Promise{promise(m.Candidate, messages.Role_ROLE_NODE, 0, answer)},
	})`, `	})
	n.tell(m.Candidate, answer)`}},
		Hunt: Hunt{Profile: "crashes"}, Caught: []string{"write, then speak"},
	},
	{
		Name:   "a candidate asks before its own vote is on disk",
		Breaks: "vote requests leave at once, and not with the sync of the new term (E1)",
		Edits: []Edit{{"actors/node/candidate.go",
			`		a.Then = append(a.Then, promise(id, messages.Role_ROLE_NODE, 0, &messages.RequestVote{
			Term: n.term, Candidate: n.self(), Transfer: transfer,
			LastIndex: n.log.Last(), LastTerm: n.log.LastTerm(),
		}))`, `		n.tell(id, &messages.RequestVote{
			Term: n.term, Candidate: n.self(), Transfer: transfer,
			LastIndex: n.log.Last(), LastTerm: n.log.LastTerm(),
		})`}},
		Hunt: Hunt{Profile: "crashes"}, Caught: []string{"write, then speak"},
	},
	{
		Name:   "the vote is not saved",
		Breaks: "the hard state goes to the disk without the vote",
		Edits: []Edit{{"actors/node/recovering.go",
			"&messages.HardState{Term: n.term, Vote: n.vote,", "&messages.HardState{Term: n.term,"}},
		Hunt: Hunt{Profile: "crashes"}, Caught: []string{"write, then speak", "a quorum elects"},
	},
	{
		Name:   "the vote is not even remembered",
		Breaks: "a voter grants and keeps no vote: the next candidate of the term gets another",
		Edits:  []Edit{{"actors/node/shared.go", "		n.vote = d.Vote\n", ""}},
		Hunt:   Hunt{Profile: "network"}, Caught: []string{"write, then speak"},
	},
	{
		Name:   "a restarted actor loses its vote",
		Breaks: "a new incarnation takes the term from the disk and forgets the vote (E14)",
		Edits: []Edit{{"actors/node/recovering.go",
			"m.HardState.GetTerm(), m.HardState.GetVote(), m.HardState.GetCommit()", "m.HardState.GetTerm(), 0, m.HardState.GetCommit()"}},
		Hunt: Hunt{Profile: "crashes"}, Caught: []string{"term and vote are monotone"},
	},
	{
		Name:   "the term is taken from the log",
		Breaks: "a new incarnation believes the term of its last entry and not the saved one",
		Edits: []Edit{{"actors/node/recovering.go",
			"	n.persistedCommit = n.commit\n", `	n.persistedCommit = n.commit
	if k := len(m.Runs); k > 0 && m.Runs[k-1].Term < n.term {
		n.term, n.vote = m.Runs[k-1].Term, 0
	}
`}},
		Hunt: Hunt{Profile: "crashes"}, Caught: []string{"term and vote are monotone"},
	},
	{
		Name:   "stepping down clears the vote",
		Breaks: "a candidate that hears the leader of its term forgets whom it voted for (E2)",
		Edits: []Edit{{"actors/node/follower.go",
			"	if higher {\n		n.term, n.vote = term, 0\n	}", "	n.term, n.vote = term, 0"}},
		Hunt: Hunt{Profile: "network"}, Caught: []string{"term and vote are monotone"},
	},
	{
		Name:   "a second vote in a term",
		Breaks: "whoever asks gets the vote, whether it was given or not",
		Edits:  []Edit{{"raft/vote.go", "(vote == 0 || vote == r.Candidate) && v.Log", "v.Log"}},
		Hunt:   Hunt{Profile: "network"}, Caught: []string{"one vote a term", "term and vote are monotone"},
	},
	{
		Name:   "up to date by length only",
		Breaks: "the voter compares lengths and not last terms (§5.4.1)",
		Edits: []Edit{{"raft/logindex.go",
			"	if lastTerm != l.LastTerm() {\n		return lastTerm > l.LastTerm()\n	}\n", ""}},
		Hunt: Hunt{Scenario: "election-restriction"}, Caught: []string{"leader completeness"},
	},
	{
		Name:   "up to date by term only",
		Breaks: "of two logs that end in the same term the voter takes the shorter one too (§5.4.1)",
		Edits: []Edit{{"raft/logindex.go",
			"	return lastIndex >= l.last\n}", "	return true\n}"}},
		Hunt: Hunt{Profile: "network"}, Caught: []string{"leader completeness"},
	},
	{
		Name:   "half is a majority",
		Breaks: "of four voters two elect a leader",
		Edits:  []Edit{{"raft/quorum.go", "need := len(m)/2 + 1", "need := (len(m) + 1) / 2"}},
		Hunt:   Hunt{Profile: "network", Nodes: 4}, Caught: []string{"a quorum elects"},
	},
	{
		Name:   "votes of an earlier term count",
		Breaks: "a candidate counts late answers to its former campaign",
		Edits: []Edit{
			{"actors/node/candidate.go", "		if !m.PreVote && m.Term == n.term {\n", "		if !m.PreVote {\n"},
		},
		Hunt: Hunt{Profile: "network"}, Caught: []string{"a quorum elects"},
	},
	{
		Name:   "pre-votes count as votes",
		Breaks: "a candidate takes late pre-votes, which promise nothing, for votes",
		Edits: []Edit{
			{"actors/node/candidate.go", "		if !m.PreVote && m.Term == n.term {\n", "		if m.Term == n.term {\n"},
		},
		Hunt: Hunt{Profile: "network"}, Caught: []string{"a quorum elects"},
	},
	{
		Name:   "a pre-vote moves the term",
		Breaks: "the term rule is applied to pre-votes too (E15)",
		Edits: []Edit{{"raft/vote.go",
			"			return VoteDecision{Grant: true, Vote: v.Vote, AnswerTerm: r.Term}",
			"			return VoteDecision{Grant: true, Vote: v.Vote, AnswerTerm: r.Term, StepDownTo: r.Term}"}},
		Hunt: Hunt{Profile: "calm"}, Caught: []string{"a pre-vote changes nothing"},
	},
	{
		Name:   "a pre-vote resets the election timer",
		Breaks: "a granted pre-vote counts as having heard of a leader (E15)",
		Edits: []Edit{{"actors/node/shared.go",
			"	if !d.Grant || m.PreVote {\n", "	if d.Grant && m.PreVote {\n		n.resetElectionTimer()\n	}\n	if !d.Grant || m.PreVote {\n"}},
		Hunt: Hunt{Package: "./actors/node", Test: "TestE15APreVoteLeavesNoTrace"},
	},
	{
		Name:   "no stickiness",
		Breaks: "who hears a leader grants pre-votes all the same: a member that was away disturbs (§9.6)",
		Edits: []Edit{{"actors/node/shared.go",
			"	sticky := n.sticky() && m.Candidate != n.leader\n", "	sticky := false\n"}},
		Hunt: Hunt{Package: "./actors/node", Test: "TestPreVoteNoDisruptionWhoHearsALeaderRefusesAndKeepsItsTerm"},
	},
	{
		Name:   "CheckQuorum is skipped",
		Breaks: "a leader that hears nobody leads on (E19)",
		Edits: []Edit{{"actors/node/heartbeats.go",
			"	return now-time.Duration(heard) < n.config.Election\n", "	return heard < 1<<62\n"}},
		Hunt: Hunt{Scenario: "check-quorum"}, Caught: []string{"script"},
	},
	{
		Name:   "CheckQuorum counts a peer that is silent",
		Breaks: "a leader counts the first of its peers as heard, whether it is or not (E19)",
		Edits: []Edit{{"actors/node/heartbeats.go",
			"		if id == n.self() {\n			return uint64(now)", "		if id == n.self() || id == n.lead.peers[0].id {\n			return uint64(now)"}},
		Hunt: Hunt{Scenario: "re-election"}, Caught: []string{"script"},
	},
	{
		Name:   "a stale leader is not answered",
		Breaks: "appends and heartbeats of an earlier term are dropped without a word: who is ahead stays alone (E17)",
		Edits:  []Edit{{"actors/node/shared.go", "		n.answerStaleLeader(m)\n", ""}},
		Hunt:   Hunt{Package: "./actors/node", Test: "TestE17AppendsAndHeartbeatsOfAnEarlierTermAreAnsweredWithOurs"},
	},
	{
		Name:   "messages of a former life are heard",
		Breaks: "what the actors of an incarnation said before a crash is taken for the present one's",
		Edits:  []Edit{{"actors/node/node.go", "	return ok && local.GetIncarnation() != n.config.Incarnation\n", "	return ok && local.GetIncarnation() == 0\n"}},
		Hunt:   Hunt{Profile: "crashes"}, Caught: []string{"life by life"},
	},
}
