package mutations

var replication = []Mutation{
	{
		Name:   "an append is acknowledged before its sync",
		Breaks: "the answer leaves at once, the entries go to the disk meanwhile",
		Edits: []Edit{{"actors/node/follower.go",
			`		Then:         []*messages.Promise{promise(m.Leader, messages.Role_ROLE_REPLICATOR, index, answer)},
	}
`, `	}
	n.send(n.env.Peer(m.Leader, messages.Role_ROLE_REPLICATOR), answer)
`}},
		Hunt: Hunt{Profile: "calm"}, Caught: []string{"write, then speak"},
	},
	{
		Name:   "a repeated append is acknowledged before the first one's sync",
		Breaks: "nothing in it is new, so it is answered at once, though the entries are still on their way to the disk",
		Edits:  []Edit{{"actors/node/follower.go", "	if fresh == nil && termHeld && index <= n.durable {\n", "	if fresh == nil && termHeld {\n"}},
		Hunt:   Hunt{Profile: "network"}, Caught: []string{"write, then speak"},
	},
	{
		Name:   "an append is acknowledged before its term is saved",
		Breaks: "what is acknowledged is on the disk, the term in which it is acknowledged is not (E1)",
		Edits:  []Edit{{"actors/node/follower.go", "	termHeld := n.durableTerm == n.term\n", "	termHeld := true\n"}},
		Hunt:   Hunt{Scenario: "acknowledged-in-its-term"}, Caught: []string{"write, then speak"},
	},
	{
		Name:   "the leader's own disk counts before its sync",
		Breaks: "a leader commits with its own entries that are on no disk yet (E10)",
		Edits:  []Edit{{"actors/node/leader.go", "	if id == n.self() {\n		return n.durable\n", "	if id == n.self() {\n		return n.log.Last()\n"}},
		Hunt:   Hunt{Profile: "calm"}, Caught: []string{"commit needs a quorum"},
	},
	{
		Name:   "an old term's entry is committed by counting",
		Breaks: "Figure 8: an entry of an earlier term on a majority is taken for committed (E44)",
		Edits:  []Edit{{"raft/commit.go", "if t, ok := log.Term(index); !ok || t != term {", "if _, ok := log.Term(index); !ok {"}},
		Hunt:   Hunt{Profile: "network"}, Caught: []string{"commits of the own term"},
	},
	{
		Name:   "a middle that is not the majority's",
		Breaks: "of four voters, what two have counts as committed",
		Edits:  []Edit{{"raft/quorum.go", "return sorted[len(m)/2]", "return sorted[(len(m)-1)/2]"}},
		Hunt:   Hunt{Profile: "calm", Nodes: 4}, Caught: []string{"commit needs a quorum"},
	},
	{
		Name:   "an old append truncates",
		Breaks: "an append that ends before the log does cuts off what follows, though nothing conflicts",
		Edits: []Edit{
			{"actors/node/follower.go", "		if conflict := n.log.FindConflict(m.Entries); conflict > 0 {\n",
				`		conflict := n.log.FindConflict(m.Entries)
		if conflict == 0 && acknowledged > n.commit {
			truncateFrom = n.truncate(acknowledged + 1)
		}
		if conflict > 0 {
`},
			{"actors/node/follower.go", "	if fresh == nil && termHeld && index <= n.durable {\n", "	if fresh == nil && truncateFrom == 0 && termHeld && index <= n.durable {\n"},
		},
		Hunt: Hunt{Profile: "network"}, Caught: []string{"a conflict before a truncation", "committed entries stay"},
	},
	{
		Name:   "the term before the entries is not checked",
		Breaks: "a follower takes entries after an entry of another term (§5.3)",
		Edits:  []Edit{{"raft/logindex.go", "	return ok && term == prevTerm\n", "	return ok && term+prevTerm > 0\n"}},
		Hunt:   Hunt{Profile: "network"}, Caught: []string{"log matching", "state machine safety"},
	},
	{
		Name:   "a follower commits what it does not share",
		Breaks: "the commit index is taken up to the own last entry, not to the last one that the append proves",
		Edits: []Edit{{"actors/node/follower.go",
			"	n.advanceCommit(min(m.Commit, acknowledged))\n", "	n.advanceCommit(min(m.Commit, n.log.Last()))\n"}},
		Hunt: Hunt{Profile: "network"}, Caught: []string{"state machine safety"},
	},
	{
		Name:   "a heartbeat names a commit index that its receiver lacks",
		Breaks: "heartbeats carry the leader's commit index as it is, and a follower has other entries there",
		Edits: []Edit{{"actors/node/heartbeats.go",
			"		commit := min(n.commit, p.match)\n		p.told = max(p.told, commit)\n", "		commit := n.commit\n		p.told = max(p.told, commit)\n"}},
		Hunt: Hunt{Profile: "network"}, Caught: []string{"state machine safety"},
	},
	{
		Name:   "an acknowledgement of truncated entries counts",
		Breaks: "the disk's late word about entries that were replaced meanwhile makes the new ones durable (E12)",
		Edits: []Edit{{"actors/node/truncations.go",
			"	return min(mark.Index, (*t)[0].index-1)\n", "	return mark.Index\n"}},
		Hunt: Hunt{Package: "./actors/node", Test: "TestE12AnAcknowledgementFromBeforeTwoTruncationsCountsForNeither"},
	},
	{
		Name:   "the last truncation is taken for the first",
		Breaks: "of two truncations since the disk's word only the later one counts, though the earlier cut deeper (E12)",
		Edits: []Edit{{"actors/node/truncations.go",
			"	return min(mark.Index, (*t)[0].index-1)\n", "	return min(mark.Index, (*t)[len(*t)-1].index-1)\n"}},
		Hunt: Hunt{Scenario: "two-truncations"}, Caught: []string{"write, then speak"},
	},
	{
		Name:   "forwards of an earlier term are taken",
		Breaks: "a leader takes what was forwarded to it before it stepped down and was elected again: it may be a copy of what was refused",
		Edits:  []Edit{{"actors/node/proposals.go", "		if m.Term < n.term {\n", "		if m.Term == 0 {\n"}},
		Hunt:   Hunt{Scenario: "late-forward"}, Caught: []string{"late forwards are refused"},
	},
	{
		Name:   "a promise about truncated entries is kept",
		Breaks: "an answer in the same batch as the truncation of what it acknowledges leaves all the same (E12)",
		Edits:  []Edit{{"actors/logstore/batch.go", "			b.promises[i] = nil\n", "			_ = i\n"}},
		Hunt:   Hunt{Scenario: "truncation-on-disk"}, Caught: []string{"write, then speak"},
	},
	{
		Name:   "answers to an earlier leadership count",
		Breaks: "a replicator takes an acknowledgement of a former term for one of its own",
		Edits: []Edit{{"actors/replicator/replicator.go",
			"if m.Term < r.config.Term || !m.Accepted", "if !m.Accepted"}},
		Hunt: Hunt{Package: "./actors/replicator", Test: "TestE42AnAcknowledgementOfAnEarlierTermMovesNothing"},
	},
	{
		Name:   "progress of an earlier leadership counts",
		Breaks: "what a replicator of a former term reported is taken for a matchIndex of this one",
		Edits:  []Edit{{"actors/node/leader.go", "	if p == nil || m.Term != n.term {", "	if p == nil {"}},
		Hunt:   Hunt{Package: "./actors/node", Test: "TestProgressOfAnEarlierLeadershipMovesNothing"},
	},
	{
		Name:   "truncated slots are used again",
		Breaks: "memory that was truncated writes over what others were handed of it",
		Edits:  []Edit{{"actors/node/memory.go", "	m.data = m.data[:keep:keep]", "	m.data = m.data[:keep]"}},
		Hunt:   Hunt{Package: "./actors/node", Test: "TestWhatMemoryHandedOutIsNotWrittenOverAfterATruncation"},
	},
	{
		Name:   "refusals of an earlier stream count",
		Breaks: "a replicator backs off for a refusal that was meant for what it said before (E43)",
		Edits:  []Edit{{"actors/replicator/replicator.go", "!m.Accepted && m.Stream != r.stream || ", ""}},
		Hunt:   Hunt{Scenario: "stale-answers"}, Caught: []string{"script"},
	},
	{
		Name:   "a notice names a commit index that its receiver lacks",
		Breaks: "the belated news of a commit is not bounded by what this very follower is known to have",
		Edits:  []Edit{{"actors/node/heartbeats.go", "			n.notice(p, min(n.commit, p.match))", "			n.notice(p, n.commit)"}},
		Hunt:   Hunt{Scenario: "backup"}, Caught: []string{"state machine safety"},
	},
	{
		Name:   "nextIndex falls to matchIndex",
		Breaks: "what was sent in hope is taken back below what is acknowledged (E42)",
		Edits:  []Edit{{"raft/progress.go", "{ p.Next = max(min(next, p.Next), p.Match+1) }", "{ p.Next = max(min(next-1, p.Next), 1) }"}},
		Hunt:   Hunt{Profile: "network"}, Caught: []string{"nextIndex above matchIndex"},
	},
	{
		Name:   "the window is not reset",
		Breaks: "what was in flight under a former behaviour counts for ever (E43)",
		Edits:  []Edit{{"actors/replicator/replicator.go", "	r.window.Reset()\n", ""}},
		Hunt:   Hunt{Profile: "network"}, Caught: []string{"liveness", "no panic"},
	},
	{
		Name:   "the window has no end",
		Breaks: "a replicator streams on however much is unacknowledged (E45)",
		Edits: []Edit{{"raft/progress.go",
			"return w.n == len(w.ring) || w.n > 0 && w.bytes >= w.maxBytes", "return w.n == len(w.ring)"}},
		Hunt: Hunt{Profile: "network"}, Caught: []string{"bounded window"},
	},
	{
		Name:   "a wrong conflict hint",
		Breaks: "the follower names no term, so that the leader backs off entry by entry (§5.3)",
		Edits:  []Edit{{"raft/logindex.go", "	return r.term, r.first\n", "	return 0, max(prevIndex, r.first-r.first)\n"}},
		Hunt:   Hunt{Scenario: "figure-7-f"}, Caught: []string{"script"},
	},
	{
		Name:   "uncommitted proposals have no bound",
		Breaks: "a leader without a quorum takes proposals for ever (E45)",
		Edits:  []Edit{{"actors/node/proposals.go", "		pending += n.lead.uncommittedBytes\n", ""}},
		Hunt:   Hunt{Package: "./actors/node", Test: "TestE45ProposalsAreBoundedUntilTheyAreCommitted"},
	},
	{
		Name:   "memory keeps everything",
		Breaks: "the log in memory is evicted only half way, and grows with the log (E45)",
		Edits:  []Edit{{"actors/node/shared.go", "	n.memory.evict(n.config.Limits.MemoryBytes, n.durable)\n", "	n.memory.evict(n.config.Limits.MemoryBytes, n.durable/2)\n"}},
		Hunt:   Hunt{Profile: "calm"}, Caught: []string{"bounded memory"},
	},
	{
		Name:   "memory forgets what is on no disk",
		Breaks: "entries are evicted before the own disk has them, and then read from there",
		Edits:  []Edit{{"actors/node/memory.go", "m.bytes > limit && k < len(m.data) && m.first+uint64(k) <= through", "m.bytes > limit && k < len(m.data) && m.first+uint64(k) <= through+1"}},
		Hunt:   Hunt{Package: "./actors/node", Test: "TestNothingLeavesMemoryBeforeItIsOnDisk"},
	},
	{
		Name:   "a truncated configuration stays in effect",
		Breaks: "truncating a configuration entry rolls back the log and not what was derived from it (E31)",
		Edits:  []Edit{{"actors/node/follower.go", "	if n.configurations.Truncate(conflict) {\n		n.configurationChanged()\n	}\n", ""}},
		Hunt:   Hunt{Package: "./actors/node", Test: "TestE30AConfigurationIsInEffectWhenAppendedAndE31NotWhenTruncated"},
	},
}
