package mutations

import "github.com/troupe-raft/troupe/internal/mutation"

// datadirs has bugs in how members that return with another data directory are recognised, and in
// how they rejoin (E37).
var datadirs = []Mutation{
	{
		Name:   "another data directory is admitted",
		Breaks: "a member that returns with an empty disk takes part as before (P99)",
		Edits: []mutation.Edit{mutation.In("persistence", "PeerStorage.decide").Replace(
			`_known != "" || len(_s.ID) == 0`,
			`len(_s.ID) == 0`)},
		Hunt: Hunt{Scenario: "emptied-member"}, Caught: []string{"no vote after a loss", "leader completeness", "quorum elects"},
	},
	{
		Name:   "pin is not written",
		Breaks: "the storage id of a first contact is in memory only: after a restart another directory is admitted (P100)",
		Edits: []mutation.Edit{mutation.In("persistence", "PeerStorage.Admit").Replace(
			`replaceFile(___place, _b)`,
			`func([]byte) error { return nil }(_b)`)},
		Hunt: Hunt{Package: "./persistence", Test: "TestFirstContactIsPinnedDurably"},
	},
	{
		Name:   "configuration's storage ids are ignored",
		Breaks: "a member admits a directory that the log says is another one: it knows only whom it met (P102)",
		Edits:  []mutation.Edit{mutation.In("persistence", "PeerStorage.SetConfiguration").Replace(`len(_m.GetStorageId()) > 0`, `false`)},
		Hunt:   Hunt{Scenario: "emptied-member-recorded"}, Caught: []string{"no vote after a loss", "leader completeness", "script"},
	},
	{
		Name:   "lagging member refuses the leader",
		Breaks: "a member whose log lacks the entry that names a leader's new directory can never receive it (P101)",
		Edits:  []mutation.Edit{mutation.In("persistence", "PeerStorage.decide").Replace(`_storage.ConfirmedIndex > _index`, `false`)},
		Hunt:   Hunt{Package: "./persistence", Test: "TestPeersAreAdmittedByRule"},
	},
	{
		Name:   "rejoining member votes when it has caught up",
		Breaks: "a member votes as soon as its log names its new directory, committed or not (P103)",
		Edits: []mutation.Edit{mutation.In("actors/node", "Node.mayVote").Replace(
			`_n.log.configurations.Committed(_n.log.commitIndex)`,
			`_n.log.configurations.Latest()`)},
		Hunt: Hunt{Scenario: "forgotten-vote"}, Caught: []string{"no vote after a loss", "election safety"},
	},
	{
		Name:   "rejoining member counts at once",
		Breaks: "a leader commits the entry with a new directory by the acknowledgement of that directory (P104)",
		Edits:  []mutation.Edit{mutation.In("raft", "CountsInMajorities").Replace(`!_m.GetRejoined()`, `true`)},
		Hunt:   Hunt{Scenario: "forgotten-vote"}, Caught: []string{"commit needs a quorum", "no vote after a loss"},
	},
	{
		Name:   "rejoining member keeps no vote for its leader",
		Breaks: "a member may vote again in a term in which it has voted and forgotten it (P103)",
		Edits:  []mutation.Edit{mutation.In("actors/node", "Node.voteForLeader").Delete(`_n.vote = _leader`)},
		Hunt:   Hunt{Package: "./actors/node", Test: "TestE37RejoiningNodeVotesForItsLeaderOnly"},
	},
	{
		Name:   "former directory's acknowledgements count",
		Breaks: "a leader takes a late acknowledgement of a lost directory for one of the new directory (P104)",
		Edits:  []mutation.Edit{mutation.In("actors/replicator", "Replicator.receive").Replace(`_r.config.Replaced`, `false`)},
		Hunt:   Hunt{Package: "./actors/replicator", Test: "TestE37ResponsesOfTheFormerDirectoryDoNotCount"},
	},
	{
		Name:   "refused member goes on",
		Breaks: "a member that its peers refuse waits without end, and can vote for one that never met it (P105)",
		Edits:  []mutation.Edit{mutation.In("actors/node", "Node.handleStorageRefused").Replace(`raft.RefusalStops`, `-1`)},
		Hunt:   Hunt{Scenario: "emptied-member"}, Caught: []string{"script"},
	},
	{
		Name:   "lost entries are not reported",
		Breaks: "a member with an older copy of its directory goes on (P106)",
		Edits:  []mutation.Edit{mutation.In("actors/node", "leader.refuseLostEntries").Replace(`_l.sendToPeer(_to, _refusal)`, `_ = _refusal`)},
		Hunt:   Hunt{Scenario: "older-copy"}, Caught: []string{"script"},
	},
	{
		Name:   "refusal is not stored",
		Breaks: "a member that was refused takes part again when the leader that refused it is gone (P105)",
		Edits:  []mutation.Edit{mutation.In("internal/member", "Node.recordRefusal").Replace(`_n.dataDir.RecordRefusal(___what)`, `nil`)},
		Hunt:   Hunt{Scenario: "refused-copy"}, Caught: []string{"no vote after a loss", "script"},
	},
}
