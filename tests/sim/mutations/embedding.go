package mutations

import "github.com/troupe-raft/troupe/internal/mutation"

// embedding has bugs that programs which embed a node would meet.
var embedding = []Mutation{
	{
		Name:   "results are handed on by reference",
		Breaks: "a caller receives the memory of the state machine, which the next batch overwrites",
		Edits: []mutation.Edit{mutation.In("actors/machine", "Machine.results").Replace(
			`m.work.delivered.copy(value)`, `value`)},
		Hunt: Hunt{Package: "./actors/machine", Test: "TestReusedResultBufferReachesNobody"},
	},
	{
		Name:   "cached replies are kept by reference",
		Breaks: "the session table keeps the memory of the state machine, so that members' tables differ",
		Edits: []mutation.Edit{mutation.In("actors/machine", "Machine.cacheReplies").Replace(
			`m.work.cached.copy(value)`, `value`)},
		Hunt: Hunt{Package: "./actors/machine", Test: "TestReusedResultBufferReachesNobody"},
	},
	{
		Name:   "ended context proposes",
		Breaks: "a command is proposed although the context of its caller has ended",
		Edits: []mutation.Edit{mutation.In("internal/session", "proposals.submit").Delete(
			`if _err := ctx.Err(); _err != nil { ___refuse }`)},
		Hunt: Hunt{Package: "./internal/session", Test: "TestEndedContextSendsNothing"},
	},
	{
		Name:   "abandoned asynchronous command keeps its place",
		Breaks: "a command whose context has ended stays in the queue, and counts against the limits",
		Edits: []mutation.Edit{mutation.In("internal/session", "Async.Abandon").Delete(
			`p.remove(a.command.sequence)`)},
		Hunt: Hunt{Package: "./internal/session", Test: "TestAbandonedAsyncCommandsFreeTheirPlaces"},
	},
	{
		Name:   "asynchronous commands wait for a second registration",
		Breaks: "commands that were submitted before the registration are not sent after it",
		Edits: []mutation.Edit{mutation.In("internal/session", "proposals.deliverRegistered").Delete(
			`for _, _a := range p.takeUnregisteredAsync() { ___start }`)},
		Hunt: Hunt{Package: "./internal/session", Test: "TestAsyncCommandsAreSentInOrder"},
	},
	{
		Name:   "stopped node names itself as the leader",
		Breaks: "LeaderID of a node that has ended returns the leader that it knew last",
		Edits: []mutation.Edit{mutation.In(".", "leadershipPublisher.end").Delete(
			`p.leader.Store(0)`)},
		Hunt: Hunt{Package: ".", Test: "TestLeadershipEndsWithTheNode"},
	},
	{
		Name:   "subscriber of a stopped node receives a leader",
		Breaks: "a new subscriber of a node that has ended receives the leadership from before",
		Edits: []mutation.Edit{mutation.In(".", "leadershipPublisher.end").Replace(
			`p.latest.LeaderID, p.ended = 0, true`, `p.ended = true`)},
		Hunt: Hunt{Package: ".", Test: "TestLeadershipEndsWithTheNode"},
	},
	{
		Name:   "OnDisk with another Recover counts as InMemory",
		Breaks: "a state machine that stores itself is taken for one in memory, and applies everything again",
		Edits: []mutation.Edit{mutation.In(".", "checkKind").Replace(
			`len(diskHas) > 0`, `len(diskHas) > 9`)},
		Hunt: Hunt{Package: ".", Test: "TestUncertainStateMachineIsRefused"},
	},
	{
		Name:   "state machine is used again after a restart",
		Breaks: "the log is applied again to a state machine that has applied it",
		Edits: []mutation.Edit{mutation.In(".", "claimMachine").Replace(
			`machines.opened[key] = true`, `_ = key`)},
		Hunt: Hunt{Package: ".", Test: "TestReusedStateMachineIsRefused"},
	},
	{
		Name:   "query reads a state machine that is behind",
		Breaks: "a linearizable query uses the new state machine before it has replayed the log",
		Edits: []mutation.Edit{mutation.In(".", "machineOpener.acquire").Replace(
			`o.present != nil && o.present.applied.Load() >= index`, `o.present != nil`)},
		Hunt: Hunt{Package: ".", Test: "TestOpenStateMachineIsClosedAfterItsQueries"},
	},
	{
		Name:   "waiting query is not notified",
		Breaks: "a query that waits for an index does not learn that the state machine has reached it",
		Edits: []mutation.Edit{mutation.In(".", "openMachine.Apply").Delete(
			`m.opener.notify()`)},
		Hunt: Hunt{Package: ".", Test: "TestApplyNotifiesQueries"},
	},
	{
		Name:   "VerifyLeader asks no other member",
		Breaks: "a leader that was cut off is verified without a response",
		Edits: []mutation.Edit{mutation.In(".", "Node.VerifyLeader").Replace(
			`n.Read(ctx, ReadIndex)`, `n.Read(ctx, ReadLeader)`)},
		Hunt: Hunt{Package: ".", Test: "TestVerifyLeaderAsksAQuorum"},
	},
	{
		Name:   "refused start leaves its listeners open",
		Breaks: "the ports of a node that was not started stay taken",
		Edits: []mutation.Edit{mutation.In(".", "PeerLink.close").Replace(
			`p == nil`, `p != nil`)},
		Hunt: Hunt{Package: ".", Test: "TestRefusedStartReleasesEverything"},
	},
	{
		Name:   "start does not wait for the state machine",
		Breaks: "Start returns a node whose state machine could not be opened",
		Edits: []mutation.Edit{mutation.In(".", "Node.awaitStart").Replace(
			`n.awaitStep(ctx, n.machines.ready, _what)`, `nil`)},
		Hunt: Hunt{Package: ".", Test: "TestUncertainStateMachineIsRefused"},
	},
	{
		Name:   "impossible crash is armed",
		Breaks: "a test that misspells an actor or a message injects nothing, and passes",
		Edits: []mutation.Edit{mutation.In("supervisor", "CrashPoint.Validate").Replace(
			`i < 0`, `i < -1`)},
		Hunt: Hunt{Package: ".", Test: "TestImpossibleCrashIsRefused"},
	},
	{
		Name:   "dropped events are not counted",
		Breaks: "a subscriber that was too slow does not learn that it missed events",
		Edits: []mutation.Edit{mutation.In(".", "eventPublisher.publish").Delete(
			`s.dropped++`)},
		Hunt: Hunt{Package: ".", Test: "TestSlowSubscriberMissesEvents"},
	},
}
