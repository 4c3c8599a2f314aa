package mutations

import "github.com/troupe-raft/troupe/internal/mutation"

// uncheckedHeartbeat removes the follower's own check of the commit index (P43), which hides that a
// leader sends a wrong one.
var uncheckedHeartbeat = mutation.In("actors/node", "follower.handleHeartbeat").Replace(
	`_f.log.terms.Matches(_m.Commit, _m.CommitTerm)`, `_m.Commit <= _f.log.lastIndex()`)

var replication = []Mutation{
	{
		Name:   "append acknowledged before its sync",
		Breaks: "the response leaves while the entries are written",
		Edits: []mutation.Edit{mutation.In("actors/node", "acknowledgeAppend").Replace(
			`_a := &messages.Append{___fields, Deferred: _list{_deferred(_leader, _role, _index, _response)}}`, `
				_a := &messages.Append{___fields}
				f.sendToReplicator(_leader, _response)`)},
		Hunt: Hunt{Profile: "calm"}, Caught: []string{"persist before send"},
	},
	{
		Name:   "repeated append acknowledged before the sync",
		Breaks: "a copy holds nothing new and is acknowledged at once, while the entries of the original are still written",
		Edits: []mutation.Edit{mutation.In("actors/node", "acknowledgeAppend").Replace(
			`_fresh == nil && _termHeld && _index <= _f.log.durableIndex`,
			`_fresh == nil && _termHeld`)},
		Hunt: Hunt{Profile: "network"}, Caught: []string{"persist before send"},
	},
	{
		Name:   "append acknowledged before its term is durable",
		Breaks: "the acknowledged entries are on disk, the term of the acknowledgement is not (E1)",
		Edits: []mutation.Edit{mutation.In("actors/node", "acknowledgeAppend").Replace(
			`_f.log.durableTerm == _f.term`,
			`true`)},
		Hunt: Hunt{Scenario: "acknowledged-in-its-term"}, Caught: []string{"persist before send"},
	},
	{
		Name:   "leader counts its own entries before the sync",
		Breaks: "a leader commits with entries that its own disk does not hold (E10)",
		Edits:  []mutation.Edit{mutation.In("actors/node", "advanceLeaderCommit").Replace(`_l.valueOf(_l.log.durableIndex, _match)`, `_l.valueOf(_l.log.lastIndex(), _match)`)},
		Hunt:   Hunt{Profile: "calm"}, Caught: []string{"commit needs a quorum"},
	},
	{
		Name:   "entry of an earlier term is committed",
		Breaks: "Figure 8: an entry of an earlier term on a majority counts as committed (E44)",
		Edits: []mutation.Edit{mutation.In("raft", "CommitIndex").Replace(
			`if _t, _ok := _log.Term(_index); !_ok || _t != _term { ___keep }`,
			`if _, _ok := _log.Term(_index); !_ok { ___keep }`)},
		Hunt: Hunt{Profile: "network"}, Caught: []string{"commit by own term"},
	},
	{
		Name:   "two of four commit",
		Breaks: "the index that two of four voters hold counts as committed",
		Edits: []mutation.Edit{mutation.In("raft", "Majority.highestAcknowledged").Replace(
			`_sorted[len(_m)/2]`,
			`_sorted[(len(_m)-1)/2]`)},
		Hunt: Hunt{Profile: "calm", Nodes: 4}, Caught: []string{"commit needs a quorum"},
	},
	{
		Name:   "old append truncates",
		Breaks: "an append that ends before the log does removes what follows without a conflict",
		Edits: []mutation.Edit{
			mutation.In("actors/node", "handleAppendEntries").Replace(
				`if _conflict := _f.log.terms.FindConflict(_entries); _conflict > 0 { ___truncate }`, `
				_conflict := _f.log.terms.FindConflict(_entries)
				if _conflict == 0 && acknowledged > _f.log.commitIndex {
					truncateFrom = _f.truncate(m.Leader, acknowledged + 1)
				}
				if _conflict > 0 { ___truncate }`),
			mutation.In("actors/node", "acknowledgeAppend").Replace(
				`_fresh == nil && _termHeld && _index <= _f.log.durableIndex`,
				`_fresh == nil && truncateFrom == 0 && _termHeld && _index <= _f.log.durableIndex`),
		},
		Hunt: Hunt{Profile: "network"}, Caught: []string{"truncate only on conflict", "committed entries stay"},
	},
	{
		Name:   "previous term is not checked",
		Breaks: "a follower accepts entries behind an entry of another term (§5.3)",
		Edits: []mutation.Edit{mutation.In("raft", "Matches").Replace(
			`_ok && _term == _prevTerm`,
			`_ok && _term+_prevTerm > 0`)},
		Hunt: Hunt{Profile: "network"}, Caught: []string{"log matching", "state machine safety"},
	},
	{
		Name:   "follower commits unproven entries",
		Breaks: "the commit index rises to the own last entry instead of the last one that the append proves",
		Edits: []mutation.Edit{mutation.In("actors/node", "handleAppendEntries").Replace(
			`_f.advanceCommitIndex(min(_m.Commit, _acknowledged))`,
			`_f.advanceCommitIndex(min(_m.Commit, _f.log.lastIndex()))`)},
		Hunt: Hunt{Profile: "network"}, Caught: []string{"state machine safety"},
	},
	{
		Name:   "heartbeat carries an unbounded commit index",
		Breaks: "heartbeats carry the leader's commit index, and a follower takes it though it has other entries there",
		Edits: []mutation.Edit{
			mutation.In("actors/node", "sendHeartbeats").Replace(`_p.heartbeatCommit(_commit)`, `_commit`),
			uncheckedHeartbeat,
		},
		Hunt: Hunt{Profile: "network"}, Caught: []string{"state machine safety"},
	},
	{
		Name:   "acknowledgement of truncated entries counts",
		Breaks: "a late acknowledgement of the disk for replaced entries makes the new ones durable (E12)",
		Edits: []mutation.Edit{mutation.In("actors/node", "pendingTruncations.durableIndex").Replace(
			`min(_mark.Index, (*_t)[0].index-1)`,
			`_mark.Index`)},
		Hunt: Hunt{Package: "./actors/node", Test: "TestE12MarkBeforeTwoTruncations"},
	},
	{
		Name:   "only the last truncation counts",
		Breaks: "of two truncations since the acknowledgement only the later one counts, though the earlier removed more (E12)",
		Edits: []mutation.Edit{mutation.In("actors/node", "pendingTruncations.durableIndex").Replace(
			`(*_t)[0].index - 1`,
			`(*_t)[len(*_t)-1].index - 1`)},
		Hunt: Hunt{Scenario: "two-truncations"}, Caught: []string{"persist before send"},
	},
	{
		Name:   "forwards of an earlier term are accepted",
		Breaks: "a leader accepts what was forwarded to it before it stepped down and was elected again: a copy of a refused proposal",
		Edits: []mutation.Edit{mutation.In("actors/node", "handleForwardedProposals").Replace(
			`_m.Term != _n.term`,
			`_m.Term > _n.term`)},
		Hunt: Hunt{Scenario: "late-forward"}, Caught: []string{"stale forwards refused"},
	},
	{
		Name:   "deferred message of truncated entries is sent",
		Breaks: "an acknowledgement in the same batch as the truncation of its entries is sent all the same (E12)",
		Edits: []mutation.Edit{mutation.In("actors/logstore", "batch.truncate").Replace(
			`_b.deferred[_i] = nil`,
			`_ = _i`)},
		Hunt: Hunt{Scenario: "truncation-on-disk"}, Caught: []string{"persist before send"},
	},
	{
		Name:   "responses to an earlier leadership count",
		Breaks: "a replicator takes an acknowledgement of an earlier term for one of its own",
		Edits: []mutation.Edit{mutation.In("actors/replicator", "Replicator.receive").Replace(
			`_m.Term < _r.config.Term || _refused`,
			`_refused`)},
		Hunt: Hunt{Package: "./actors/replicator", Test: "TestE42AcknowledgementOfAnEarlierTermIsDropped"},
	},
	{
		Name:   "progress of an earlier leadership counts",
		Breaks: "the report of an earlier term's replicator is taken for a matchIndex of this term",
		Edits: []mutation.Edit{mutation.In("actors/node", "handleReplicationProgress").Replace(
			`_p == nil || _m.Term != _n.term`,
			`_p == nil`)},
		Hunt: Hunt{Package: "./actors/node", Test: "TestOldLeadershipProgressIsDropped"},
	},
	{
		Name:   "truncated slots are reused",
		Breaks: "a write into truncated memory changes entries that other actors still hold",
		Edits: []mutation.Edit{mutation.In("actors/node", "memoryLog.truncate").Replace(
			`_m.data[:_keep:_keep]`,
			`_m.data[:_keep]`)},
		Hunt: Hunt{Package: "./actors/node", Test: "TestMemoryLogNeverOverwritesSentEntries"},
	},
	{
		Name:   "refusals of an earlier stream count",
		Breaks: "a replicator backs off for a refusal of an earlier request (E43)",
		Edits: []mutation.Edit{mutation.In("actors/replicator", "Replicator.receive").Replace(
			`_stale || !_m.Accepted && _m.Stream != _r.stream.id`,
			`_stale`)},
		Hunt: Hunt{Scenario: "stale-answers"}, Caught: []string{"script"},
	},
	{
		Name:   "commit notification is unbounded",
		Breaks: "a late commit notification is not bounded by the follower's matchIndex, and a follower takes it",
		Edits: []mutation.Edit{
			mutation.In("actors/node", "timerFired").Replace(`_p.heartbeatCommit(_commit)`, `_commit`),
			uncheckedHeartbeat,
		},
		Hunt: Hunt{Scenario: "backup"}, Caught: []string{"state machine safety"},
	},
	{
		Name:   "nextIndex falls to matchIndex",
		Breaks: "nextIndex falls below what is acknowledged when optimistic sends are taken back (E42)",
		Edits: []mutation.Edit{mutation.In("raft", "Rewind").Replace(
			`max(min(_next, _p.Next), _p.Match+1)`,
			`max(min(_next-1, _p.Next), 1)`)},
		Hunt: Hunt{Profile: "network"}, Caught: []string{"nextIndex above matchIndex"},
	},
	{
		Name:   "window is not reset",
		Breaks: "what was in flight under an earlier behaviour counts for ever (E43)",
		Edits:  []mutation.Edit{mutation.In("actors/replicator", "cancelPending").Delete(`_r.stream.window.Reset()`)},
		Hunt:   Hunt{Profile: "network"}, Caught: []string{"liveness", "no panic"},
	},
	{
		Name:   "window is unlimited",
		Breaks: "a replicator sends however much is unacknowledged (E45)",
		Edits: []mutation.Edit{mutation.In("raft", "InflightWindow.Full").Replace(
			`_w.count == len(_w.ring) || _tooManyBytes`,
			`_w.count == len(_w.ring)`)},
		Hunt: Hunt{Profile: "network"}, Caught: []string{"bounded window"},
	},
	{
		Name:   "wrong conflict hint",
		Breaks: "the follower names no term, and the leader backs off entry by entry (§5.3)",
		Edits: []mutation.Edit{mutation.In("raft", "LogTerms.ConflictHint").Replace(
			`return _r.term, _r.first`,
			`return 0, max(prevIndex, _r.first-_r.first)`)},
		Hunt: Hunt{Scenario: "figure-7-f"}, Caught: []string{"script"},
	},
	{
		Name:   "uncommitted proposals are unlimited",
		Breaks: "a leader without a quorum accepts proposals for ever (E45)",
		Edits:  []mutation.Edit{mutation.In("actors/node", "leader.refusal").Replace(`_l.uncommitted.bytes`, `0`)},
		Hunt:   Hunt{Package: "./actors/node", Test: "TestE45UncommittedProposalsAreBounded"},
	},
	{
		Name:   "memory is not evicted",
		Breaks: "the log in memory is evicted only half way and grows with the log (E45)",
		Edits: []mutation.Edit{mutation.In("actors/node", "raftLog.recordDurable").Replace(
			`_l.memory.evict(_limit, _l.durableIndex)`,
			`_l.memory.evict(_limit, _l.durableIndex/2)`)},
		Hunt: Hunt{Profile: "calm"}, Caught: []string{"bounded memory"},
	},
	{
		Name:   "memory evicts what no disk holds",
		Breaks: "entries are evicted before the own disk holds them, and then read from it",
		Edits: []mutation.Edit{mutation.In("actors/node", "evict").Replace(
			`_m.first+uint64(_k) <= _through`,
			`_m.first+uint64(_k) <= _through+1`)},
		Hunt: Hunt{Package: "./actors/node", Test: "TestMemoryKeepsEntriesUntilDurable"},
	},
	{
		Name:   "truncated configuration stays in effect",
		Breaks: "truncating a configuration entry removes the entry and keeps its configuration (E31)",
		Edits: []mutation.Edit{mutation.In("actors/node", "raftLog.truncate").Replace(
			`_l.configurations.Truncate(_from)`,
			`false`)},
		Hunt: Hunt{Package: "./actors/node", Test: "TestE30E31ConfigurationFollowsItsEntry"},
	},
}
