package mutations

import "github.com/troupe-raft/troupe/internal/mutation"

var application = []Mutation{
	{
		Name:   "apply before commit",
		Breaks: "the state machine is fed with what is durable, committed or not",
		Edits: []mutation.Edit{mutation.In("actors/node", "applicableThrough").Replace(
			`min(_l.commitIndex, _l.durableIndex)`,
			`_l.durableIndex`)},
		Hunt: Hunt{Profile: "calm"}, Caught: []string{"apply after commit"},
	},
	{
		Name:   "apply before the own disk has it",
		Breaks: "the state machine is fed with what others' disks committed and the own may lose (E11)",
		Edits: []mutation.Edit{mutation.In("actors/node", "applicableThrough").Replace(
			`min(_l.commitIndex, _l.durableIndex)`,
			`_l.commitIndex`)},
		Hunt: Hunt{Profile: "everything"}, Caught: []string{"apply after durable"},
	},
	{
		Name:   "an entry is applied before the term of its commit is saved",
		Breaks: "a node applies what a new leader tells it to be committed, and may come back under a former one that has other entries (E11)",
		Edits: []mutation.Edit{mutation.In("actors/node", "applicableThrough").Delete(
			`if _l.durableTerm < _term { ___nothing }`)},
		Hunt: Hunt{Profile: "beyond-the-budget"}, Caught: []string{"apply after durable"},
	},
	{
		Name:   "apply twice after a restart",
		Breaks: "a state machine on disk is given its last entry again",
		Edits: []mutation.Edit{mutation.In("actors/machine", "Machine.recoverOnDisk").Replace(
			`_m.applied = _applied`,
			`_m.applied = _applied - min(_applied, 1)`)},
		Hunt: Hunt{Profile: "crashes"}, Caught: []string{"apply once in order", "exactly once"},
	},
	{
		Name:   "the ledger is not recovered",
		Breaks: "a state machine on disk comes back without the answers it gave: a repeated proposal is applied again",
		Edits: []mutation.Edit{mutation.In("actors/machine", "Machine.recoverOnDisk").Replace(
			`recoverSessionTable(_applied, _records, _limits)`,
			`recoverSessionTable(_applied, _records[:len(_records)-min(len(_records), 3)], _limits)`)},
		Hunt: Hunt{Profile: "crashes"}, Caught: []string{"exactly once", "state machine safety", "reads see a prefix"},
	},
	{
		Name:   "a repeated proposal is applied again",
		Breaks: "the ledger does not see that it knows a command",
		Edits: []mutation.Edit{mutation.In("actors/machine", "sessionTable.admit").Replace(
			`return isCached, _a`,
			`return isNew, _a`)},
		Hunt: Hunt{Profile: "network"}, Caught: []string{"exactly once"},
	},
	{
		Name:   "an answer to an earlier pull is applied",
		Breaks: "the Machine takes whatever entries it is handed, also those it has applied",
		Edits: []mutation.Edit{mutation.In("actors/machine", "Machine.committed").Replace(
			`_c.Entries.GetFirst() == _m.applied+1 && len(_c.Entries.Data) > 0`,
			`len(_c.Entries.GetData()) > 0`)},
		Hunt: Hunt{Package: "./actors/machine", Test: "TestAnAnswerToAnEarlierPullIsDropped"},
	},
	{
		Name:   "served before the replay is through",
		Breaks: "a node that starts shows an older state than it had shown before",
		Edits: []mutation.Edit{mutation.In("actors/machine", "reportServing").Replace(
			`_m.serving || _m.applied < _m.config.ReplayThrough`,
			`_m.serving`)},
		Hunt: Hunt{Profile: "crashes"}, Caught: []string{"serve after replay"},
	},
	{
		Name:   "a second credit",
		Breaks: "the Node keeps the Machine's credit and feeds it again and again",
		Edits:  []mutation.Edit{mutation.In("actors/node", "sendCommitted").Delete(`_n.pendingPull = nil`)},
		Hunt:   Hunt{Profile: "calm"}, Caught: []string{"bounded mailboxes"},
	},
	{
		Name:   "an answer to another origin is taken",
		Breaks: "the handle takes a result of its former origin for the command of that number in the present one",
		Edits: []mutation.Edit{mutation.In("internal/session", "proposals.deliverResults").Replace(
			`_m.SessionId != _p.sessionID`,
			`_p.sessionID == 0`)},
		Hunt: Hunt{Profile: "everything"}, Caught: []string{"exactly once"},
	},
}
