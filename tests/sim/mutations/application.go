package mutations

var application = []Mutation{
	{
		Name:   "apply before commit",
		Breaks: "the state machine is fed with what is durable, committed or not",
		Edits:  []Edit{{"actors/node/shared.go", "	through := min(n.commit, n.durable)\n", "	through := n.durable\n"}},
		Hunt:   Hunt{Profile: "calm"}, Caught: []string{"apply after commit"},
	},
	{
		Name:   "apply before the own disk has it",
		Breaks: "the state machine is fed with what others' disks committed and the own may lose (E11)",
		Edits:  []Edit{{"actors/node/shared.go", "	through := min(n.commit, n.durable)\n", "	through := n.commit\n"}},
		Hunt:   Hunt{Profile: "everything"}, Caught: []string{"apply after the own disk"},
	},
	{
		Name:   "an entry is applied before the term of its commit is saved",
		Breaks: "a node applies what a new leader tells it to be committed, and may come back under a former one that has other entries (E11)",
		Edits:  []Edit{{"actors/node/shared.go", "n.pull.From > through || n.durableTerm < n.term {", "n.pull.From > through {"}},
		Hunt:   Hunt{Profile: "beyond-the-budget"}, Caught: []string{"apply after the own disk"},
	},
	{
		Name:   "apply twice after a restart",
		Breaks: "a state machine on disk is given its last entry again",
		Edits:  []Edit{{"actors/machine/machine.go", "	m.applied = applied\n}", "	m.applied = applied - min(applied, 1)\n}"}},
		Hunt:   Hunt{Profile: "crashes"}, Caught: []string{"apply once in order", "exactly once"},
	},
	{
		Name:   "the ledger is not recovered",
		Breaks: "a state machine on disk comes back without the answers it gave: a repeated proposal is applied again",
		Edits:  []Edit{{"actors/machine/machine.go", "recoverLedger(applied, records, m.limits)", "recoverLedger(applied, records[:len(records)-min(len(records), 3)], m.limits)"}},
		Hunt:   Hunt{Profile: "crashes"}, Caught: []string{"exactly once", "state machine safety", "reads see a prefix"},
	},
	{
		Name:   "a repeated proposal is applied again",
		Breaks: "the ledger does not see that it knows a command",
		Edits:  []Edit{{"actors/machine/ledger.go", "	case kept:\n		return isKept, a\n", "	case kept:\n		return isNew, a\n"}},
		Hunt:   Hunt{Profile: "network"}, Caught: []string{"exactly once"},
	},
	{
		Name:   "an answer to an earlier pull is applied",
		Breaks: "the Machine takes whatever entries it is handed, also those it has applied",
		Edits:  []Edit{{"actors/machine/machine.go", "	case c.Entries.GetFirst() == m.applied+1 && len(c.Entries.Data) > 0:\n", "	case len(c.Entries.GetData()) > 0:\n"}},
		Hunt:   Hunt{Package: "./actors/machine", Test: "TestAnAnswerToAnEarlierPullIsDropped"},
	},
	{
		Name:   "served before the replay is through",
		Breaks: "a node that starts shows an older state than it had shown before",
		Edits:  []Edit{{"actors/machine/machine.go", "	if m.serving || m.applied < m.config.ReplayThrough {\n", "	if m.serving {\n"}},
		Hunt:   Hunt{Profile: "crashes"}, Caught: []string{"serve after replay"},
	},
	{
		Name:   "a second credit",
		Breaks: "the Node keeps the Machine's credit and feeds it again and again",
		Edits:  []Edit{{"actors/node/shared.go", "	p := n.pull\n	n.pull = nil\n", "	p := n.pull\n"}},
		Hunt:   Hunt{Profile: "calm"}, Caught: []string{"bounded mailboxes"},
	},
	{
		Name:   "an answer to another origin is taken",
		Breaks: "the handle takes a result of its former origin for the command of that number in the present one",
		Edits:  []Edit{{"handle/proposals.go", "	if m.Origin != p.origin {", "	if p.origin == 0 {"}},
		Hunt:   Hunt{Profile: "everything"}, Caught: []string{"exactly once"},
	},
}
