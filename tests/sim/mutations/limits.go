package mutations

import "github.com/troupe-raft/troupe/internal/mutation"

// limits are bugs in what a member accepts and keeps.
var limits = []Mutation{
	{
		Name:   "peer link cuts messages at 64 MiB",
		Breaks: "a larger command is accepted, and no follower ever receives it",
		Edits: []mutation.Edit{mutation.In("actors/live/link", "New").Replace(
			`cmp.Or(_o.maxMessageBytes, raft.MaxMessageBytes)`,
			`cmp.Or(_o.maxMessageBytes, min(raft.MaxMessageBytes, 64<<20))`)},
		Hunt: Hunt{Package: "./actors/live/link", Test: "TestLargeMessagesArrive"},
	},
	{
		Name:   "peer link receives what its own member may propose",
		Breaks: "a member with a lower limit of requests cannot receive the entries of the others",
		Edits: []mutation.Edit{mutation.In("actors/live/link", "Link.newServer").Replace(
			`grpc.MaxRecvMsgSize(maxBatchBytes(_l.options.maxMessageBytes))`,
			`grpc.MaxRecvMsgSize(maxBatchBytes(int(_l.options.MaxCommandBytes)))`)},
		Hunt: Hunt{Package: "./actors/live/link", Test: "TestLargeMessagesArrive"},
	},
	{
		Name:   "queue of a peer does not grow with the limit of requests",
		Breaks: "of two large forwarded commands that wait, the older one is dropped",
		Edits: []mutation.Edit{mutation.In("actors/live/link", "New").Replace(
			`int(max(defaults.PeerBulkQueueBytes, 2*_o.MaxCommandBytes+1<<20))`,
			`defaults.PeerBulkQueueBytes`)},
		Hunt: Hunt{Package: "./actors/live/link", Test: "TestLargeMessagesArrive"},
	},
	{
		Name:   "limit of requests is not checked at the start",
		Breaks: "a node starts with a limit that the log and the messages between members cannot carry",
		Edits: []mutation.Edit{mutation.In(".", "Limits.validate").Replace(
			`_l.MaxRequestBytes > raft.MaxCommandBytes`,
			`false`)},
		Hunt: Hunt{Package: ".", Test: "TestStartRefusesUnreplicableLimits"},
	},
	{
		Name:   "commands are sent again while they wait",
		Breaks: "each report of the same leader sends everything pending again",
		Edits: []mutation.Edit{mutation.In("internal/session", "sendState.mustSend").Replace(
			`_s.sentIn != _in || _s.refused`,
			`true || _in.term == 0`)},
		Hunt: Hunt{Package: "./internal/session", Test: "TestCommandIsSentOnceInATerm"},
	},
	{
		Name:   "overload is final although a copy may be in the log",
		Breaks: "a command that an earlier leader may have logged is reported as refused",
		Edits: []mutation.Edit{mutation.In("internal/session", "proposals.refuseFinally").Replace(
			`!_c.earlierTerm || _p.appliedTerm >= _m.Term`,
			`true`)},
		Hunt: Hunt{Package: "./internal/session", Test: "TestOverloadIsFinalWithoutOtherCopies"},
	},
	{
		Name:   "overload is final before the results of the batch",
		Breaks: "the applied term counts while results of the same batch are still to come",
		Edits: []mutation.Edit{mutation.In("internal/session", "proposals.deliverResults").Replace(
			`_m.Incarnation == _p.epoch.incarnation && !_m.More`,
			`_m.Incarnation == _p.epoch.incarnation`)},
		Hunt: Hunt{Package: "./internal/session", Test: "TestOverloadIsFinalWithoutOtherCopies"},
	},
	{
		Name:   "lost forwards are not repeated",
		Breaks: "a batch that the network loses without any break of the link waits for the next term",
		Edits: []mutation.Edit{mutation.In("actors/node", "follower.handleHeartbeat").Delete(
			`_f.repeatForwards(false)`)},
		Hunt: Hunt{Scenario: "backlog-lost-forwards"}, Caught: []string{"script"},
	},
	{
		Name:   "received counts as taken",
		Breaks: "a follower takes every number up to the highest one for taken",
		Edits: []mutation.Edit{mutation.In("actors/node", "forwards.recordTaken").Replace(
			`_m.ForwardedTaken&(1<<_back) != 0`,
			`true`)},
		Hunt: Hunt{Scenario: "backlog-lost-forwards"}, Caught: []string{"script"},
	},
	{
		Name:   "a refusal counts each time",
		Breaks: "a copy of a refusal makes the session send another copy of the command",
		Edits: []mutation.Edit{mutation.In("actors/node", "forwards.recordRefused").Replace(
			`len(_f.undecided) < _before`,
			`len(_f.undecided) <= _before`)},
		Hunt: Hunt{Package: "./actors/node", Test: "TestLostForwardIsSentAgain"},
	},
	{
		Name:   "undecided forwards are not bounded",
		Breaks: "a batch leaves the window of the leader undecided, counts as a copy there, and is lost",
		Edits: []mutation.Edit{mutation.In("actors/node", "forwards.hasRoom").Replace(
			`len(_f.undecided) == 0 || _f.count+1-_f.undecided[0].message.Number < raft.ForwardWindow`,
			`len(_f.undecided) == 0 || _f.count < 1<<40+raft.ForwardWindow`)},
		Hunt: Hunt{Package: "./actors/node", Test: "TestUndecidedForwardsAreBounded"},
	},
	{
		Name:   "a new leader does not know its log",
		Breaks: "commands that the former leader replicated are appended again when they are sent again",
		Edits: []mutation.Edit{mutation.In("actors/node", "Node.becomeLeader").Delete(
			`_l.inheritUncommitted()`)},
		Hunt: Hunt{Scenario: "backlog-new-leader"}, Caught: []string{"script"},
	},
	{
		Name:   "proposals outlive the term",
		Breaks: "what a node has collected is forwarded in the next term, beside what its session sends again",
		Edits: []mutation.Edit{mutation.In("actors/node", "Node.setTerm").Delete(
			`_n.proposals.take()`)},
		Hunt: Hunt{Package: "./actors/node", Test: "TestNewTermForgetsForwards"},
	},
	{
		Name:   "a leader reports itself first",
		Breaks: "a new leader hands its session's backlog to itself before its first entry and heartbeats",
		Edits: []mutation.Edit{mutation.In("actors/node", "Node.becomeLeader").Replace(`
			_l.syncReplicators()
			_l.inheritUncommitted()`, `
			_l.syncReplicators()
			n.setLeader(n.self())
			_l.inheritUncommitted()`)},
		Hunt: Hunt{Package: "./actors/node", Test: "TestLeaderSpeaksBeforeItReportsItself"},
	},
	{
		Name:   "a backlog is sent in one turn",
		Breaks: "a session sends everything pending at once, on the goroutine of the Node",
		Edits: []mutation.Edit{mutation.In("internal/session", "proposals.sendTurn").Replace(
			`_sent == maxResendTurn`,
			`_sent == -maxResendTurn`)},
		Hunt: Hunt{Package: "./internal/session", Test: "TestPendingCommandsAreSentInTurns"},
	},
	{
		Name:   "ended sessions are kept",
		Breaks: "a session is not closed when its member uses a later one",
		Edits: []mutation.Edit{mutation.In("actors/machine", "sessionTable.use").Replace(
			`_other.node == _s.node && _other.id < _s.id`,
			`_other.node == _s.node && _other.id < _s.id && t.limits.Sessions == 0`)},
		Hunt: Hunt{Package: "./actors/machine", Test: "TestRestartsDoNotDisplaceIdleSessions"},
	},
	{
		Name:   "a registration closes the older sessions",
		Breaks: "a late registration of an ended process closes the session of the running one",
		Edits: []mutation.Edit{mutation.In("actors/machine", "sessionTable.register").InsertBefore(
			`if _n >= _t.limits.SessionsPerNode { ___evict }`,
			`t.sessions = slices.DeleteFunc(t.sessions, func(s *clientSession) bool { return s.node == node })`)},
		Hunt: Hunt{Package: "./actors/machine", Test: "TestFirstUseClosesOlderSessions"},
	},
	{
		Name:   "a barrier's use is not recorded",
		Breaks: "after a restart, an on-disk state machine has a session that the others have closed",
		Edits: []mutation.Edit{mutation.In("actors/machine", "Machine.addBarrier").Delete(
			`_m.addChange(change{kind: changeUse, index: _index, session: _s.id})`)},
		Hunt: Hunt{Profile: "crashes"}, Caught: []string{"session tables equal"},
	},
	{
		Name:   "a recovered table has its replies out of order",
		Breaks: "a member that restarts inserts the replies of a full record at the wrong place",
		Edits: []mutation.Edit{mutation.In("actors/machine", "recordReader.readFull").Replace(
			`_s.insert(_n, _reply)`,
			`_s.insert(max(_n-1, 0), _reply)`)},
		Hunt: Hunt{Package: "./actors/machine", Test: "TestSessionRecordsRestoreTheTable"},
	},
	{
		Name:   "limits depend on the member",
		Breaks: "members with an on-disk state machine keep fewer replies, so that a copy of a command takes effect on some",
		Edits: []mutation.Edit{mutation.In("actors/machine", "Machine.recoverOnDisk").Replace(
			`recoverSessionTable(_applied, _records, _m.limits)`,
			`recoverSessionTable(_applied, _records, SessionLimits{_m.limits.Sessions, _m.limits.SessionsPerNode,
				_m.limits.RepliesPerSession / 2, _m.limits.ValueBytesPerSession, _m.limits.MaxValueBytes, _m.limits.MaxNonceBytes})`)},
		Hunt: Hunt{Profile: "everything"}, Caught: []string{"session tables equal"},
	},
	{
		Name:   "results of a batch are not bounded",
		Breaks: "a megabyte of small commands is applied at once, whatever they return (E45)",
		Edits: []mutation.Edit{mutation.In("actors/machine", "Machine.apply").Replace(
			`m.work.maxResultBytes >= m.config.MaxResultBytes`, `m.work.maxResultBytes < 0`)},
		Hunt: Hunt{Package: "./actors/machine", Test: "TestE45ResultsOfABatchAreBounded"},
	},
	{
		Name:   "bound of results counts on",
		Breaks: "what the results of one batch may have counts for the next ones: each command is a batch of its own",
		Edits: []mutation.Edit{mutation.In("actors/machine", "batchWork.reset").Delete(
			`w.maxResultBytes = 0`)},
		Hunt: Hunt{Package: "./actors/machine", Test: "TestE45ResultsOfABatchAreBounded"},
	},
	{
		Name:   "only one branch counts for the result",
		Breaks: "a transaction whose failure branch reads a range counts as one that returns nothing",
		Edits: []mutation.Edit{mutation.In("kv/mvcc", "resultBound.addTxn").Replace(
			`_b.ranges = max(_success.ranges, _failure.ranges)`, `_b.ranges = _success.ranges`)},
		Hunt: Hunt{Package: "./kv/mvcc", Test: "TestBoundsOfResults"},
	},
	{
		Name:   "state machine of a program has no bound of results",
		Breaks: "the wrapper around a program's state machine hides that it is a ResultSizer",
		Edits: []mutation.Edit{mutation.In(".", "openMachine.MaxResultBytes").Replace(
			`return _sizer.MaxResultBytes(_command)`, `return _sizer.MaxResultBytes(_command) * 0`)},
		Hunt: Hunt{Package: ".", Test: "TestOpenStateMachineBoundsItsResults"},
	},
}
