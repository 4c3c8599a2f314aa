package mutations

import "github.com/troupe-raft/troupe/internal/mutation"

// keyValueScripts has bugs in the etcd services and their store that a scenario with the key-value
// store catches.
var keyValueScripts = []Mutation{
	{
		Name:   "tombstone at the compacted revision is removed",
		Breaks: "a compaction removes a deletion at its own revision, where a watch may begin: the watch loses it",
		Edits: []mutation.Edit{mutation.In("kv/mvcc", "compactor.removeUnreachable").Replace(
			`_rec.rev.main >= c.target`, `_rec.rev.main > c.target`)},
		Hunt: Hunt{Scenario: "key-value-compaction-under-watch"}, Caught: []string{"watches are complete", "script"},
	},
	{
		Name:   "watch at the compacted revision is canceled",
		Breaks: "a watch that goes on at the revision that its cancellation named is canceled again",
		Edits: []mutation.Edit{mutation.In("kv/mvcc", "View.Events").Replace(
			`_from < _r.compactRev`, `_from <= _r.compactRev`)},
		Hunt: Hunt{Scenario: "key-value-compaction-under-watch"}, Caught: []string{"watches are complete"},
	},
	{
		Name:   "overflow of a stream loses its queue",
		Breaks: "a watch whose client does not read goes on in history after the events that waited for it",
		Edits: []mutation.Edit{mutation.In("kv/watch", "Hub.fallBackToHistory").Delete(
			`_w.historyFrom = _w.queue[0].revision()`)},
		Hunt: Hunt{Scenario: "key-value-compaction-under-watch"}, Caught: []string{"watches are complete", "script"},
	},
	{
		Name:   "reopened store is not observed",
		Breaks: "after a restart of the actors the watches that stayed open receive nothing",
		Edits: []mutation.Edit{mutation.In("kv/watch", "observer.storeOpened").Delete(
			`_store.SetObserver(o.queue.observe)`)},
		Hunt: Hunt{Scenario: "key-value-watch-store-behind"}, Caught: []string{"watches are complete", "script"},
	},
	{
		Name:   "RangeStream does not wait for its read point",
		Breaks: "the node has confirmed an index, and the stream reads the store before that is applied",
		Edits: []mutation.Edit{mutation.In("kv", "kvService.RangeStream").Replace(
			`_point.Index`, `_point.Index * 0`)},
		Hunt: Hunt{Scenario: "key-value-watch-store-behind"}, Caught: []string{"linearizable reads"},
	},
	{
		Name:   "reads by lease are those of a leader",
		Breaks: "a client that chooses the mode lease gets what a leader has, also after its lease has ended",
		Edits: []mutation.Edit{mutation.In("kv", "chosenReadMode").Replace(
			`_mode, _known := readModes[_named[0]]`,
			`_mode, _known := readModes[_named[0]]
			if _mode == troupe.ReadLease {
				_mode = troupe.ReadLeader
			}`)},
		Hunt: Hunt{Scenario: "key-value-stale-leader"}, Caught: []string{"linearizable reads"},
	},
	{
		Name:   "HashKV does not wait for the removal",
		Breaks: "members that have not removed the compacted rows yet return another hash",
		Edits: []mutation.Edit{mutation.In("kv/mvcc", "Store.afterRemoval").Replace(
			`s.tip.removedTo >= min(_target, s.tip.compactRev)`, `s.tip.removedTo >= s.tip.removedTo`)},
		Hunt: Hunt{Scenario: "key-value-hash-after-compaction"}, Caught: []string{"equal state machines", "script"},
	},
	{
		Name:   "HashKV of a compacted revision names the last compaction",
		Breaks: "the hash is that from before the compaction, and the compacted revision beside it is not",
		Edits: []mutation.Edit{mutation.In("kv/mvcc", "Store.HashKV").Replace(
			`HashResult{Hash: foldHash(___sum), CompactRevision: _c.before, HashRevision: rev}`,
			`HashResult{Hash: foldHash(___sum), CompactRevision: rev, HashRevision: rev}`)},
		Hunt: Hunt{Scenario: "key-value-hash-after-compaction"}, Caught: []string{"script"},
	},
	{
		Name:   "transactions pass the quota",
		Breaks: "a transaction that puts is accepted above the quota",
		Edits: []mutation.Edit{mutation.In("kv", "kvService.writeTxn").Replace(
			`s.quota.exceeded() && txnHasPut(_r)`, `s.quota.exceeded() && !txnHasPut(_r)`)},
		Hunt: Hunt{Scenario: "key-value-quota"}, Caught: []string{"script"},
	},
	{
		Name:   "live bytes begin at 0 after a start",
		Breaks: "a member that starts again counts only what is written from then on, and accepts puts above the quota",
		Edits: []mutation.Edit{mutation.In("kv/mvcc", "state.appendRow").Replace(
			`uint64(s.liveBytes)`, `uint64(0)`)},
		Hunt: Hunt{Scenario: "key-value-quota"}, Caught: []string{"script"},
	},
}
