package mutations

import "github.com/troupe-raft/troupe/internal/mutation"

var (
	inAnyInterleaving = Hunt{Package: "./kv/watch", Test: "TestWatchersReceiveHistoryInAnyInterleaving"}
	inAnyCalls        = Hunt{Package: "./internal/session", Test: "TestCallsEndRightInAnyInterleaving"}
	inKeyValueWorlds  = Hunt{Package: "./kv/simulation", Test: "TestKeyValueStoreViolatesNoInvariant"}
)

// keyValue has bugs in watches, in the store and in the services above it, in the session, and in
// the streams of the peer link. They show only when what is concurrent is interleaved, or when the
// whole of a member runs: store, services, replay and crashes.
var keyValue = []Mutation{
	{
		Name:   "progress overtakes queued events",
		Breaks: "an idle watch receives progress while events up to its revision wait in its queue: a client that goes on there loses them",
		Edits: []mutation.Edit{mutation.In("kv/watch", "stream.sendDueProgress").Replace(
			`_w.idle && _w.live && !_w.lagging && len(_w.queue) == 0 && _due`,
			`_w.idle && _w.live && !_w.lagging && _due`)},
		Hunt: inAnyInterleaving,
	},
	{
		Name:   "history before the created response",
		Breaks: "a stream reads history while responses wait: a watch receives events before it is created",
		Edits: []mutation.Edit{mutation.In("kv/watch", "stream.planHistory").Replace(
			`len(s.lagging) == 0 || len(s.control) > 0`, `len(s.lagging) == 0`)},
		Hunt: inAnyInterleaving,
	},
	{
		Name:   "progress before the created response",
		Breaks: "progress to the watches of a stream overtakes the response that creates one of them",
		Edits: []mutation.Edit{mutation.In("kv/watch", "stream.sendDueProgress").Replace(
			`due := s.takeControl()`, `var due []*pb.WatchResponse`)},
		Hunt: inAnyInterleaving,
	},
	{
		Name:   "observation begins after its revision is read",
		Breaks: "what is applied between the two is neither observed nor counted as history: the first watch loses it",
		Edits: []mutation.Edit{mutation.In("kv/watch", "observer.acquire").Replace(
			`_o.store.SetObserver(___f)
			_o.queue.start(_o.store.Revision())`,
			`_o.queue.start(_o.store.Revision())
			_o.store.SetObserver(___f)`)},
		Hunt: inAnyInterleaving,
	},
	{
		Name:   "header of a canceled watch goes back",
		Breaks: "the response to a cancellation has revision 0 while the store is reopened",
		Edits: []mutation.Edit{mutation.In("kv/watch", "stream.cancel").Replace(
			`max(s.hub.revision(), _w.headerRevision)`, `s.hub.config.Store.Revision()`)},
		Hunt: inAnyInterleaving,
	},
	{
		Name:   "idle watch falls back to its last event",
		Breaks: "after an overflow an idle watch reads history from its last event on, and is canceled if that was compacted",
		Edits: []mutation.Edit{mutation.In("kv/watch", "Hub.fallBackToHistory").Replace(
			`max(_w.nextLive, ___dispatched)`, `_w.nextLive`)},
		Hunt: inKeyValueWorlds,
	},
	{
		Name:   "overflow of the queue is forgotten",
		Breaks: "live watches stay in the live feed after revisions were dropped",
		Edits: []mutation.Edit{mutation.In("kv/watch", "observedQueue.overflow").Replace(
			`q.revisions, q.bytes, q.overflowed, q.newest = nil, 0, true, newest`,
			`q.revisions, q.bytes, q.newest = nil, 0, newest`)},
		Hunt: inKeyValueWorlds,
	},
	{
		Name:   "live feed begins a revision early",
		Breaks: "a watch that catches up receives the last dispatched revision from history and from the queue",
		Edits: []mutation.Edit{mutation.In("kv/watch", "Hub.goLive").Replace(
			`_w.live, _w.historyUntil = true, dispatched`, `_w.live, _w.historyUntil = true, dispatched+1`)},
		Hunt: inAnyInterleaving,
	},
	{
		Name:   "session records are not stored",
		Breaks: "the store does not keep the session records of a batch: after a crash a retry takes effect again (E11)",
		Edits: []mutation.Edit{mutation.In("kv/mvcc", "writer.updateSessions").Replace(
			`len(u.Put.Data) == 0`, `len(u.Put.Data) >= 0`)},
		Hunt: inKeyValueWorlds,
	},
	{
		Name:   "put points to a compacted tombstone",
		Breaks: "a member that has not removed the rows yet writes another history than one that has: HashKV differs",
		Edits: []mutation.Edit{mutation.In("kv/mvcc", "writer.makeLive").Delete(
			`_rec.prev = revision{}`)},
		Hunt: inKeyValueWorlds,
	},
	{
		Name:   "round of a compaction moves its target",
		Breaks: "a later compaction moves the target of the round in progress: members that compact at other times differ",
		Edits: []mutation.Edit{mutation.In("kv/mvcc", "compactor.removeNext").InsertBefore(
			`defer it.Close()`, `c.target = tip.compactRev`)},
		Hunt: Hunt{Package: "./kv/mvcc", Test: "TestOverlappingCompactionsRemoveTombstones"},
	},
	{
		Name:   "reads wait for no revision",
		Breaks: "a range is read from the store as it is, however old, although the node has confirmed its read point",
		Edits: []mutation.Edit{mutation.In("kv", "kvService.withView").Replace(
			`s.consensus.Read(_ctx, mode)`, `s.consensus.Read(_ctx, troupe.ReadLocal)`)},
		Hunt: inKeyValueWorlds,
	},
	{
		Name:   "abandoned command is recycled before its outcome",
		Breaks: "a caller gives up while the result is on its way: the next command gets it",
		Edits: []mutation.Edit{mutation.In("internal/session", "proposals.abandon").Replace(
			`_o, _ := interleave.Receive(___from)
			p.recycle(_c.pendingCommand)
			return _o.Result, _o.Err`,
			`p.recycle(_c.pendingCommand)
			return Result{}, p.contextError(cause, true)`)},
		Hunt: inAnyCalls,
	},
	{
		Name:   "command that waits for the registration stays counted",
		Breaks: "a caller that gives up before the session is registered keeps its place in the limits",
		Edits: []mutation.Edit{mutation.In("internal/session", "proposals.submit").Delete(
			`p.abandonUnregistered(&_r)`)},
		Hunt: inAnyCalls,
	},
	{
		Name:   "abandoned command counts as never proposed",
		Breaks: "a call ends with the error that its command has no effect, and the command is applied",
		Edits: []mutation.Edit{mutation.In("internal/session", "proposals.abandon").Replace(
			`mayBeProposed := removed && _c.mayBeProposed()`, `mayBeProposed := removed && false`)},
		Hunt: inAnyCalls,
	},
	{
		Name:   "stream counts from after its Welcome",
		Breaks: "the handler of a peer's earlier stream, which goes on later, ends the stream that replaced it",
		Edits: []mutation.Edit{mutation.In("actors/live/link", "Link.accept").Replace(
			`_p.streamOpened(_s)
			if err := _stream.SendHeader(___header); err != nil {
				___failed
			}`,
			`if err := _stream.SendHeader(___header); err != nil {
				___failed
			}
			_p.streamOpened(_s)`)},
		Hunt: Hunt{Package: "./actors/live/link", Test: "TestLatestStreamOfALaneStaysInAnyOrder"},
	},
	{
		Name:   "ended stream closes the lane of the next",
		Breaks: "the end of a replaced stream closes the lane that the peer has opened again",
		Edits: []mutation.Edit{mutation.In("internal/lanes", "Connections.StreamClosed").Replace(
			`c.streams[_lane] == _s`, `c.streams[_lane] == _s || _s == _s`)},
		Hunt: Hunt{Package: "./actors/live/link", Test: "TestLatestStreamOfALaneStaysInAnyOrder"},
	},
}
