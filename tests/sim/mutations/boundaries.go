package mutations

import "github.com/troupe-raft/troupe/internal/mutation"

// boundaries has bugs that only an exact coincidence shows: of an index with a limit, or of a
// message with what comes between another one and its consequence.
var boundaries = []Mutation{
	{
		Name:   "acknowledgement of the replaced entry leaves",
		Breaks: "an acknowledgement whose last entry is the first one replaced is sent (E12)",
		Edits: []mutation.Edit{mutation.In("actors/logstore", "batch.truncate").Replace(
			`_d.CoversThrough >= _from`, `_d.CoversThrough > _from`)},
		Hunt: Hunt{Scenario: "truncation-on-disk"}, Caught: []string{"persist before send"},
	},
	{
		Name:   "mark of the replaced entry stays",
		Breaks: "a mark at the first replaced entry is reported as durable (E12)",
		Edits: []mutation.Edit{mutation.In("actors/logstore", "batch.truncate").Replace(
			`_mark.Index >= _from`, `_mark.Index > _from`)},
		Hunt: Hunt{Package: "./actors/logstore", Test: "TestE12TruncationBoundary"},
	},
	{
		Name:   "news of the disk marks pending entries",
		Breaks: "a report that the disk is low, or has space again, takes the newest append for durable",
		Edits: []mutation.Edit{mutation.In("actors/logstore", "LogStore.append").InsertAfter(
			`_s.batch.add(_m)`, `if _m.Notify { _s.lastReported = _m.Mark }`)},
		Hunt: Hunt{Scenario: "space-returns-before-the-sync"}, Caught: []string{"persist before send", "apply after durable", "script"},
	},
	{
		Name:   "transfer to a target that has only what is committed",
		Breaks: "the target is asked to campaign when its log has all that is committed, and lacks what is not",
		Edits: []mutation.Edit{mutation.In("actors/node", "leader.continueTransfer").Replace(
			`_p.matchIndex == _l.log.lastIndex()`, `_p.matchIndex >= _l.log.commitIndex`)},
		Hunt: Hunt{Scenario: "transfer-of-uncommitted-entries"}, Caught: []string{"script"},
	},
	{
		Name:   "lost response of the reader is awaited",
		Breaks: "a replicator whose request was lost with the LogReader waits for it without end",
		Edits: []mutation.Edit{mutation.In("actors/replicator", "Replicator.tick").Replace(
			`_r.awaitingResponse() && _rest`, `_r.stream.window.Len() > 0 && _rest`)},
		Hunt: Hunt{Scenario: "reader-fails-for-a-slow-follower"}, Caught: []string{"script"},
	},
	{
		Name:   "every member must acknowledge",
		Breaks: "what counts is what all voters have acknowledged: no fault is tolerated, and nothing is wrong once all are healed",
		Edits: []mutation.Edit{mutation.In("raft", "Majority.highestAcknowledged").Replace(
			`_sorted[len(_m)/2]`, `_sorted[len(_m)-1]`)},
		Hunt: Hunt{Profile: "crashes"}, Caught: []string{"liveness"},
	},
}
