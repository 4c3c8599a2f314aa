package mutations

import "github.com/troupe-raft/troupe/internal/mutation"

var mvccStore = []Mutation{
	{
		Name:   "read point is not compared with the view",
		Breaks: "a read is answered from a store that was reopened behind its read point (P57)",
		Edits: []mutation.Edit{mutation.In("kv/mvcc", "StoreRef.ViewAt").Replace(
			`_v.applied >= _index`,
			`true`)},
		Hunt: Hunt{Package: "./kv", Test: "TestReadsWaitForAStoreReopenedBehind"},
	},
	{
		Name:   "key filter forgets tombstones at open",
		Breaks: "a reopened store of deleted keys only takes each key for a new one: its history ends at the next put",
		Edits: []mutation.Edit{mutation.In("kv/mvcc", "Store.loadCounts").Replace(
			`_s.counts.total() == 0 && _s.tip.tombstones == 0`,
			`_s.counts.total() == 0`)},
		Hunt: Hunt{Package: "./kv/mvcc", Test: "TestReopenedUnusualStoresMatchTheModel"},
	},
	{
		Name:   "interrupted compaction is not resumed",
		Breaks: "a restart ends a compaction: rows stay that other members removed",
		Edits: []mutation.Edit{mutation.In("kv/mvcc", "parseState").Replace(
			`binary.BigEndian.Uint64(row[24:])`,
			`binary.BigEndian.Uint64(row[16:])`)},
		Hunt: Hunt{Package: "./kv/mvcc", Test: "TestReopenedUnusualStoresMatchTheModel"},
	},
	{
		Name:   "stream reads the newest revision",
		Breaks: "each chunk of a RangeStream is read at the revision of its moment",
		Edits: []mutation.Edit{mutation.In("kv/mvcc", "chunkedRange.nextOf").Replace(
			`_c.header, _c.index, _c.revision = _v.reader.rev, _v.applied, _at`,
			`_c.header, _c.index = _v.reader.rev, _v.applied`)},
		Hunt: Hunt{Package: "./kv/mvcc", Test: "TestRangeInChunksHoldsNoSnapshot"},
	},
	{
		Name:   "removed rows stay in the live bytes",
		Breaks: "compaction does not count down: a store that was emptied stays above its quota",
		Edits: []mutation.Edit{mutation.In("kv/mvcc", "removal.removeEvent").Delete(
			`_m.tip.liveBytes -= int64(len(_key) + len(_row))`)},
		Hunt: Hunt{Package: "./kv", Test: "TestRecipeAgainstNoSpaceHelpsAtOnce"},
	},
	{
		Name:   "quota counts the disk",
		Breaks: "the quota is held against the size of the engine's tables: values that compress are accepted without end",
		Edits: []mutation.Edit{mutation.In("kv", "quota.exceeded").Replace(
			`store.LiveBytes()`,
			`store.DiskBytes()`)},
		Hunt: Hunt{Package: "./kv", Test: "TestRecipeAgainstNoSpaceHelpsAtOnce"},
	},
	{
		Name:   "removed event counts for every compaction",
		Breaks: "the hash of a compacted revision depends on how many compactions one round did the work of",
		Edits: []mutation.Edit{mutation.In("kv/mvcc", "removal.removeEvent").Replace(
			`_at.main > _c.rev || _reachable <= _c.before`,
			`_at.main > _c.rev`)},
		Hunt: Hunt{Package: "./kv/mvcc", Test: "TestHashOfACompactedRevisionStaysTheSame"},
	},
	{
		Name:   "first part has no undo rows",
		Breaks: "a crash within a staged batch leaves the keys of its first part deleted",
		Edits: []mutation.Edit{mutation.In("kv/mvcc", "writer.stage").Delete(
			`for _i := range _w.touched { ___write }`)},
		Hunt: Hunt{Package: "./kv/mvcc", Test: "TestCrashWithinAStagedBatchLeavesTheStateBefore"},
	},
	{
		Name:   "roll back leaves the events",
		Breaks: "the events of a batch that a crash interrupted stay in the history",
		Edits: []mutation.Edit{mutation.In("kv/mvcc", "Store.rollBack").Replace(
			`s.removeEventsAfter(s.tip.rev)`,
			`s.removeEventsAfter(s.tip.rev + 1)`)},
		Hunt: Hunt{Package: "./kv/mvcc", Test: "TestCrashWithinAStagedBatchLeavesTheStateBefore"},
	},
	{
		Name:   "staged batch is visible",
		Breaks: "a read during a large delete sees a part of it",
		Edits: []mutation.Edit{mutation.In("kv/mvcc", "writer.stage").Delete(
			`s.takeSnapshot(s.published.Load())`)},
		Hunt: Hunt{Package: "./kv/mvcc", Test: "TestStagedBatchIsNotVisibleBeforeItsEnd"},
	},
	{
		Name:   "delete of a range is not staged",
		Breaks: "all keys of a range are deleted in one part, in memory",
		Edits: []mutation.Edit{mutation.In("kv/mvcc", "writer.liveKeys").Replace(
			`size >= w.s.stageBytes`,
			`size < 0`)},
		Hunt: Hunt{Package: "./kv/mvcc", Test: "TestDeleteOfManyKeysIsStagedInBoundedParts"},
	},
	{
		Name:   "result of a write is not limited",
		Breaks: "every member reads a range of any size into the result of a transaction",
		Edits: []mutation.Edit{mutation.In("kv/mvcc", "resultSize.addKeys").Replace(
			`err == nil && _z.bytes > _maximum`,
			`false`)},
		Hunt: Hunt{Package: "./kv/mvcc", Test: "TestResultAboveTheLimitIsRefusedUnchanged"},
	},
	{
		Name:   "large revision cancels every watch",
		Breaks: "a revision that is too large for one watch cancels all that lag on its stream",
		Edits: []mutation.Edit{mutation.In("kv/watch", "stream.refuseLargeRevision").Replace(
			`_read.watchers > 1`,
			`false`)},
		Hunt: Hunt{Package: "./kv/watch", Test: "TestE45LargeRevisionCancelsOnlyItsWatch"},
	},
}
