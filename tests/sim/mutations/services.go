package mutations

import "github.com/troupe-raft/troupe/internal/mutation"

var inWaitingMember = Hunt{Package: "./kv", Test: "TestWaitingMemberServesNothingFromItsStore"}

var services = []Mutation{
	{
		Name:   "read-only transaction reads locally",
		Breaks: "a transaction without a write is served from this member's state, however old",
		Edits: []mutation.Edit{mutation.In("kv", "kvService.readTxn").Replace(
			`s.readMode(_ctx, txnIsSerializable(_r))`,
			`s.readMode(_ctx, true)`)},
		Hunt: Hunt{Package: "./kv", Test: "TestNoReadIsStaleAtAnIsolatedMember"},
	},
	{
		Name:   "waiting member serves local reads",
		Breaks: "a member that waits to rejoin answers from its empty store that a key does not exist",
		Edits:  []mutation.Edit{mutation.In("kv", "kvService.readMode").Replace(`_err == nil && ___`, `false`)},
		Hunt:   inWaitingMember,
	},
	{
		Name:   "waiting member accepts watches",
		Breaks: "a watch at a member that waits to rejoin stays silent, and its client tries no other member",
		Edits: []mutation.Edit{mutation.In("kv", "watchService.Watch").Replace(
			`_err != nil`, `_err != nil && false`)},
		Hunt: inWaitingMember,
	},
	{
		Name:   "waiting member hashes its store",
		Breaks: "the hash of an empty store is compared with those of the other members",
		Edits: []mutation.Edit{mutation.In("kv", "maintenanceService.openStore").Replace(
			`_err != nil`, `_err != nil && false`)},
		Hunt: inWaitingMember,
	},
	{
		Name:   "RangeStream reads locally",
		Breaks: "a stream is served from this member's state, however old",
		Edits: []mutation.Edit{mutation.In("kv", "kvService.RangeStream").Replace(
			`s.readMode(stream.Context(), _r.Serializable)`,
			`s.readMode(stream.Context(), true)`)},
		Hunt: Hunt{Package: "./kv", Test: "TestNoReadIsStaleAtAnIsolatedMember"},
	},
	{
		Name:   "nested transaction counts as serializable",
		Breaks: "a transaction without ranges of its own reads locally, whatever the ones inside of it ask for",
		Edits: []mutation.Edit{mutation.In("kv", "txnIsSerializable").Replace(
			`!_op.GetRequestRange().GetSerializable()`,
			`_op.GetRequestRange() != nil && !_op.GetRequestRange().GetSerializable()`)},
		Hunt: Hunt{Package: "./kv", Test: "TestNoReadIsStaleAtAnIsolatedMember"},
	},
	{
		Name:   "serializable overrides the read mode",
		Breaks: "a client that names a linearizable mode gets a local read because of its flag",
		Edits: []mutation.Edit{mutation.In("kv", "chosenReadMode").Replace(
			`len(_named) > 0`,
			`len(_named) > 0 && !serializable`)},
		Hunt: Hunt{Package: "./kv", Test: "TestNoReadIsStaleAtAnIsolatedMember"},
	},
	{
		Name:   "client's deadline replaces the request timeout",
		Breaks: "a member without a majority holds requests as long as the client likes, so the client never tries another",
		Edits: []mutation.Edit{mutation.In("kv", "boundWait").Replace(
			`_has && time.Until(_deadline) <= _timeout`,
			`_has && !_deadline.IsZero()`)},
		Hunt: Hunt{Package: "./kv", Test: "TestRequestTimeoutLeavesShorterDeadlines"},
	},
	{
		Name:   "a refusal counts for every copy",
		Breaks: "the refusal of a new leader makes a command that is in the log count as not proposed; the client repeats it (P65)",
		Edits: []mutation.Edit{mutation.In("internal/session", "sendState.recordSent").Replace(
			`_s.earlierTerm || _s.lastIsUndecided()`,
			`_s.earlierTerm`)},
		Hunt: Hunt{Package: "./internal/session", Test: "TestAbandonedCommandMayBeProposedOrNot"},
	},
	{
		Name:   "a proposed write ends with DeadlineExceeded",
		Breaks: "clientv3 repeats a write that is in the leader's log (P65)",
		Edits: []mutation.Edit{mutation.In("internal/session", "proposals.abandon").Replace(
			`_c.mayBeProposed()`,
			`_c.earlierTerm`)},
		Hunt: Hunt{Package: "./kv", Test: "TestProposedWriteTimesOutAsUnavailable"},
	},
	{
		Name:   "status hides the alarm of the quota",
		Breaks: "puts are refused, and neither status, alarm list nor /health says why",
		Edits: []mutation.Edit{mutation.In("kv", "alarms").Replace(
			`_node.DiskLow || _q.exceeded()`,
			`_node.DiskLow`)},
		Hunt: Hunt{Package: "./kv", Test: "TestQuotaRefusesPutsAndAllowsDeletes"},
	},
	{
		Name:   "reads are not counted",
		Breaks: "the metrics of etcd's dashboard stay at 0",
		Edits: []mutation.Edit{mutation.In("kv/mvcc", "View.Range").Delete(
			`_v.s.metrics.countReads(1)`)},
		Hunt: Hunt{Package: "./kv", Test: "TestMetricsCountRequests"},
	},
}
