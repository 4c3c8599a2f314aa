package mutations

import "github.com/troupe-raft/troupe/internal/mutation"

var application = []Mutation{
	{
		Name:   "apply before commit",
		Breaks: "the Machine receives entries that are durable and not committed",
		Edits: []mutation.Edit{mutation.In("actors/node", "applicableThrough").Replace(
			`min(_l.commitIndex, _l.durableIndex)`,
			`_l.durableIndex`)},
		Hunt: Hunt{Profile: "calm"}, Caught: []string{"apply after commit"},
	},
	{
		Name:   "apply before the entry is durable here",
		Breaks: "the Machine receives entries that other members committed and this disk may lose (E11)",
		Edits: []mutation.Edit{mutation.In("actors/node", "applicableThrough").Replace(
			`min(_l.commitIndex, _l.durableIndex)`,
			`_l.commitIndex`)},
		Hunt: Hunt{Profile: "everything"}, Caught: []string{"apply after durable"},
	},
	{
		Name:   "apply before the term of the commit is durable",
		Breaks: "a node applies what a new leader committed, and can restart in an earlier term with other entries (E11)",
		Edits: []mutation.Edit{mutation.In("actors/node", "applicableThrough").Delete(
			`if _l.durableTerm < _term { ___nothing }`)},
		Hunt: Hunt{Profile: "beyond-the-budget"}, Caught: []string{"apply after durable"},
	},
	{
		Name:   "apply twice after a restart",
		Breaks: "an on-disk state machine receives its last entry again",
		Edits: []mutation.Edit{mutation.In("actors/machine", "Machine.recoverOnDisk").Replace(
			`_m.applied = _applied`,
			`_m.applied = _applied - min(_applied, 1)`)},
		Hunt: Hunt{Profile: "crashes"}, Caught: []string{"apply once in order", "exactly once", "session tables equal"},
	},
	{
		Name:   "session table is not recovered",
		Breaks: "an on-disk state machine restarts without cached replies: a repeated proposal is applied again",
		Edits: []mutation.Edit{mutation.In("actors/machine", "Machine.recoverOnDisk").Replace(
			`recoverSessionTable(_applied, _records, _limits)`,
			`recoverSessionTable(_applied, _records[:len(_records)-min(len(_records), 3)], _limits)`)},
		Hunt: Hunt{Profile: "crashes"}, Caught: []string{"exactly once", "state machine safety", "reads see a prefix", "session tables equal"},
	},
	{
		Name:   "repeated proposal is applied again",
		Breaks: "the session table does not recognise a command that it holds",
		Edits: []mutation.Edit{mutation.In("actors/machine", "sessionTable.admit").Replace(
			`return isCached, _a`,
			`return isNew, _a`)},
		Hunt: Hunt{Profile: "network"}, Caught: []string{"exactly once"},
	},
	{
		Name:   "response to an earlier pull is applied",
		Breaks: "the Machine applies any entries that it receives, also those it has applied",
		Edits: []mutation.Edit{mutation.In("actors/machine", "Machine.committed").Replace(
			`_c.Entries.GetFirst() == _m.applied+1 && len(_c.Entries.Data) > 0`,
			`len(_c.Entries.GetData()) > 0`)},
		Hunt: Hunt{Package: "./actors/machine", Test: "TestResponseToAnEarlierPullIsDropped"},
	},
	{
		Name:   "reads served before the replay ends",
		Breaks: "a starting node serves an older state than it served before",
		Edits: []mutation.Edit{mutation.In("actors/machine", "reportServing").Replace(
			`_m.serving || _m.applied < _m.config.ReplayThrough`,
			`_m.serving`)},
		Hunt: Hunt{Profile: "crashes"}, Caught: []string{"serve after replay"},
	},
	{
		Name:   "credit is used twice",
		Breaks: "the Node keeps the Machine's credit and sends entries for it again",
		Edits:  []mutation.Edit{mutation.In("actors/node", "sendCommitted").Delete(`_n.pendingPull = nil`)},
		Hunt:   Hunt{Profile: "calm"}, Caught: []string{"bounded mailboxes"},
	},
	{
		Name:   "result of another session is accepted",
		Breaks: "a session takes a result of its earlier id for the command with the same number",
		Edits: []mutation.Edit{mutation.In("internal/session", "proposals.deliverResults").Replace(
			`_m.SessionId == _p.registration.sessionID && !_p.deliverOutcomes(_m)`,
			`_p.registration.sessionID != 0 && !_p.deliverOutcomes(_m)`)},
		Hunt: Hunt{Profile: "everything"}, Caught: []string{"exactly once"},
	},
}
