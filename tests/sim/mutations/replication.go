package mutations

import "github.com/troupe-raft/troupe/internal/mutation"

var replication = []Mutation{
	{
		Name:   "an append is acknowledged before its sync",
		Breaks: "the answer leaves at once, the entries go to the disk meanwhile",
		Edits: []mutation.Edit{mutation.In("actors/node", "acknowledgeAppend").Replace(
			`_a := &messages.Append{___fields, Deferred: _list{_promise(_leader, _role, _index, _answer)}}`, `
				_a := &messages.Append{___fields}
				f.sendToReplicator(_leader, _answer)`)},
		Hunt: Hunt{Profile: "calm"}, Caught: []string{"persist before send"},
	},
	{
		Name:   "a repeated append is acknowledged before the first one's sync",
		Breaks: "nothing in it is new, so it is answered at once, though the entries are still on their way to the disk",
		Edits: []mutation.Edit{mutation.In("actors/node", "acknowledgeAppend").Replace(
			`_fresh == nil && _termHeld && _index <= _f.log.durableIndex`,
			`_fresh == nil && _termHeld`)},
		Hunt: Hunt{Profile: "network"}, Caught: []string{"persist before send"},
	},
	{
		Name:   "an append is acknowledged before its term is saved",
		Breaks: "what is acknowledged is on the disk, the term in which it is acknowledged is not (E1)",
		Edits: []mutation.Edit{mutation.In("actors/node", "acknowledgeAppend").Replace(
			`_f.log.durableTerm == _f.term`,
			`true`)},
		Hunt: Hunt{Scenario: "acknowledged-in-its-term"}, Caught: []string{"persist before send"},
	},
	{
		Name:   "the leader's own disk counts before its sync",
		Breaks: "a leader commits with its own entries that are on no disk yet (E10)",
		Edits:  []mutation.Edit{mutation.In("actors/node", "advanceLeaderCommit").Replace(`_l.valueOf(_l.log.durableIndex, _match)`, `_l.valueOf(_l.log.lastIndex(), _match)`)},
		Hunt:   Hunt{Profile: "calm"}, Caught: []string{"commit needs a quorum"},
	},
	{
		Name:   "an old term's entry is committed by counting",
		Breaks: "Figure 8: an entry of an earlier term on a majority is taken for committed (E44)",
		Edits: []mutation.Edit{mutation.In("raft", "CommitIndex").Replace(
			`if _t, _ok := _log.Term(_index); !_ok || _t != _term { ___keep }`,
			`if _, _ok := _log.Term(_index); !_ok { ___keep }`)},
		Hunt: Hunt{Profile: "network"}, Caught: []string{"commit by own term"},
	},
	{
		Name:   "a middle that is not the majority's",
		Breaks: "of four voters, what two have counts as committed",
		Edits: []mutation.Edit{mutation.In("raft", "Majority.highestAcknowledged").Replace(
			`_sorted[len(_m)/2]`,
			`_sorted[(len(_m)-1)/2]`)},
		Hunt: Hunt{Profile: "calm", Nodes: 4}, Caught: []string{"commit needs a quorum"},
	},
	{
		Name:   "an old append truncates",
		Breaks: "an append that ends before the log does cuts off what follows, though nothing conflicts",
		Edits: []mutation.Edit{
			mutation.In("actors/node", "handleAppendEntries").Replace(
				`if _conflict := _f.log.terms.FindConflict(_entries); _conflict > 0 { ___truncate }`, `
				_conflict := _f.log.terms.FindConflict(_entries)
				if _conflict == 0 && acknowledged > _f.log.commitIndex {
					truncateFrom = _f.truncate(acknowledged + 1)
				}
				if _conflict > 0 { ___truncate }`),
			mutation.In("actors/node", "acknowledgeAppend").Replace(
				`_fresh == nil && _termHeld && _index <= _f.log.durableIndex`,
				`_fresh == nil && truncateFrom == 0 && _termHeld && _index <= _f.log.durableIndex`),
		},
		Hunt: Hunt{Profile: "network"}, Caught: []string{"truncate only on conflict", "committed entries stay"},
	},
	{
		Name:   "the term before the entries is not checked",
		Breaks: "a follower takes entries after an entry of another term (§5.3)",
		Edits: []mutation.Edit{mutation.In("raft", "Matches").Replace(
			`_ok && _term == _prevTerm`,
			`_ok && _term+_prevTerm > 0`)},
		Hunt: Hunt{Profile: "network"}, Caught: []string{"log matching", "state machine safety"},
	},
	{
		Name:   "a follower commits what it does not share",
		Breaks: "the commit index is taken up to the own last entry, not to the last one that the append proves",
		Edits: []mutation.Edit{mutation.In("actors/node", "handleAppendEntries").Replace(
			`_f.advanceCommitIndex(min(_m.Commit, _acknowledged))`,
			`_f.advanceCommitIndex(min(_m.Commit, _f.log.lastIndex()))`)},
		Hunt: Hunt{Profile: "network"}, Caught: []string{"state machine safety"},
	},
	{
		Name:   "a heartbeat names a commit index that its receiver lacks",
		Breaks: "heartbeats carry the leader's commit index as it is, and a follower has other entries there",
		Edits:  []mutation.Edit{mutation.In("actors/node", "sendHeartbeats").Replace(`_p.knownCommit(_commit)`, `_commit`)},
		Hunt:   Hunt{Profile: "network"}, Caught: []string{"state machine safety"},
	},
	{
		Name:   "an acknowledgement of truncated entries counts",
		Breaks: "the disk's late word about entries that were replaced meanwhile makes the new ones durable (E12)",
		Edits: []mutation.Edit{mutation.In("actors/node", "pendingTruncations.durableIndex").Replace(
			`min(_mark.Index, (*_t)[0].index-1)`,
			`_mark.Index`)},
		Hunt: Hunt{Package: "./actors/node", Test: "TestE12MarkBeforeTwoTruncations"},
	},
	{
		Name:   "the last truncation is taken for the first",
		Breaks: "of two truncations since the disk's word only the later one counts, though the earlier cut deeper (E12)",
		Edits: []mutation.Edit{mutation.In("actors/node", "pendingTruncations.durableIndex").Replace(
			`(*_t)[0].index - 1`,
			`(*_t)[len(*_t)-1].index - 1`)},
		Hunt: Hunt{Scenario: "two-truncations"}, Caught: []string{"persist before send"},
	},
	{
		Name:   "forwards of an earlier term are taken",
		Breaks: "a leader takes what was forwarded to it before it stepped down and was elected again: it may be a copy of what was refused",
		Edits: []mutation.Edit{mutation.In("actors/node", "handleForwardedProposals").Replace(
			`_m.Term < _n.term`,
			`_m.Term == 0`)},
		Hunt: Hunt{Scenario: "late-forward"}, Caught: []string{"stale forwards refused"},
	},
	{
		Name:   "a promise about truncated entries is kept",
		Breaks: "an answer in the same batch as the truncation of what it acknowledges leaves all the same (E12)",
		Edits: []mutation.Edit{mutation.In("actors/logstore", "batch.truncate").Replace(
			`_b.deferred[_i] = nil`,
			`_ = _i`)},
		Hunt: Hunt{Scenario: "truncation-on-disk"}, Caught: []string{"persist before send"},
	},
	{
		Name:   "answers to an earlier leadership count",
		Breaks: "a replicator takes an acknowledgement of a former term for one of its own",
		Edits: []mutation.Edit{mutation.In("actors/replicator", "Replicator.receive").Replace(
			`_m.Term < _r.config.Term || _refused`,
			`_refused`)},
		Hunt: Hunt{Package: "./actors/replicator", Test: "TestE42AcknowledgementOfAnEarlierTermIsDropped"},
	},
	{
		Name:   "progress of an earlier leadership counts",
		Breaks: "what a replicator of a former term reported is taken for a matchIndex of this one",
		Edits: []mutation.Edit{mutation.In("actors/node", "handleProgress").Replace(
			`_p == nil || _m.Term != _n.term`,
			`_p == nil`)},
		Hunt: Hunt{Package: "./actors/node", Test: "TestOldLeadershipProgressIsDropped"},
	},
	{
		Name:   "truncated slots are used again",
		Breaks: "memory that was truncated writes over what others were handed of it",
		Edits: []mutation.Edit{mutation.In("actors/node", "memoryLog.truncate").Replace(
			`_m.data[:_keep:_keep]`,
			`_m.data[:_keep]`)},
		Hunt: Hunt{Package: "./actors/node", Test: "TestMemoryLogNeverOverwritesSentEntries"},
	},
	{
		Name:   "refusals of an earlier stream count",
		Breaks: "a replicator backs off for a refusal that was meant for what it said before (E43)",
		Edits: []mutation.Edit{mutation.In("actors/replicator", "Replicator.receive").Replace(
			`_stale || !_m.Accepted && _m.Stream != _r.stream.id`,
			`_stale`)},
		Hunt: Hunt{Scenario: "stale-answers"}, Caught: []string{"script"},
	},
	{
		Name:   "a notice names a commit index that its receiver lacks",
		Breaks: "the belated news of a commit is not bounded by what this very follower is known to have",
		Edits: []mutation.Edit{mutation.In("actors/node", "timerFired").Replace(
			`_p.knownCommit(_commit)`,
			`_commit`)},
		Hunt: Hunt{Scenario: "backup"}, Caught: []string{"state machine safety"},
	},
	{
		Name:   "nextIndex falls to matchIndex",
		Breaks: "what was sent in hope is taken back below what is acknowledged (E42)",
		Edits: []mutation.Edit{mutation.In("raft", "Rewind").Replace(
			`max(min(_next, _p.Next), _p.Match+1)`,
			`max(min(_next-1, _p.Next), 1)`)},
		Hunt: Hunt{Profile: "network"}, Caught: []string{"nextIndex above matchIndex"},
	},
	{
		Name:   "the window is not reset",
		Breaks: "what was in flight under a former behaviour counts for ever (E43)",
		Edits:  []mutation.Edit{mutation.In("actors/replicator", "cancelPending").Delete(`_r.stream.window.Reset()`)},
		Hunt:   Hunt{Profile: "network"}, Caught: []string{"liveness", "no panic"},
	},
	{
		Name:   "the window has no end",
		Breaks: "a replicator streams on however much is unacknowledged (E45)",
		Edits: []mutation.Edit{mutation.In("raft", "InflightWindow.Full").Replace(
			`_w.count == len(_w.ring) || _tooManyBytes`,
			`_w.count == len(_w.ring)`)},
		Hunt: Hunt{Profile: "network"}, Caught: []string{"bounded window"},
	},
	{
		Name:   "a wrong conflict hint",
		Breaks: "the follower names no term, so that the leader backs off entry by entry (§5.3)",
		Edits: []mutation.Edit{mutation.In("raft", "LogTerms.ConflictHint").Replace(
			`return _r.term, _r.first`,
			`return 0, max(prevIndex, _r.first-_r.first)`)},
		Hunt: Hunt{Scenario: "figure-7-f"}, Caught: []string{"script"},
	},
	{
		Name:   "uncommitted proposals have no bound",
		Breaks: "a leader without a quorum takes proposals for ever (E45)",
		Edits:  []mutation.Edit{mutation.In("actors/node", "leader.refusal").Replace(`_l.uncommitted.bytes`, `0`)},
		Hunt:   Hunt{Package: "./actors/node", Test: "TestE45UncommittedProposalsAreBounded"},
	},
	{
		Name:   "memory keeps everything",
		Breaks: "the log in memory is evicted only half way, and grows with the log (E45)",
		Edits: []mutation.Edit{mutation.In("actors/node", "raftLog.recordDurable").Replace(
			`_l.memory.evict(_limit, _l.durableIndex)`,
			`_l.memory.evict(_limit, _l.durableIndex/2)`)},
		Hunt: Hunt{Profile: "calm"}, Caught: []string{"bounded memory"},
	},
	{
		Name:   "memory forgets what is on no disk",
		Breaks: "entries are evicted before the own disk has them, and then read from there",
		Edits: []mutation.Edit{mutation.In("actors/node", "evict").Replace(
			`_m.first+uint64(_k) <= _through`,
			`_m.first+uint64(_k) <= _through+1`)},
		Hunt: Hunt{Package: "./actors/node", Test: "TestMemoryKeepsEntriesUntilDurable"},
	},
	{
		Name:   "a truncated configuration stays in effect",
		Breaks: "truncating a configuration entry rolls back the log and not what was derived from it (E31)",
		Edits: []mutation.Edit{mutation.In("actors/node", "raftLog.truncate").Replace(
			`_l.configurations.Truncate(_from)`,
			`false`)},
		Hunt: Hunt{Package: "./actors/node", Test: "TestE30E31ConfigurationFollowsItsEntry"},
	},
}
