package mutations

import "github.com/troupe-raft/troupe/internal/mutation"

var inEveryOrderOfConnections = Hunt{Package: "./internal/lanes", Test: "TestConnectionsSettleInEveryOrder"}

// link has bugs in the lanes of a link (internal/lanes), which production and the simulator share.
var link = []Mutation{
	{
		Name:   "queue to a peer is unlimited",
		Breaks: "a queue keeps whatever waits for a slow peer (E45)",
		Edits: []mutation.Edit{mutation.In("internal/lanes", "Queue.Add").Replace(
			`_q.Bytes() > _q.limit && _more`, `_q.Bytes() > _q.limit<<20 && _more`)},
		Hunt: Hunt{Profile: "network"}, Caught: []string{"bounded queues"},
	},
	{
		Name:   "closing link denies its members",
		Breaks: "a member that stops tells a peer, and logs, that the peer is not in the configuration",
		Edits: []mutation.Edit{mutation.In("actors/live/link", "Link.awaitPeer").Replace(
			`refusef("member %#x is stopping", l.self.ID)`, `nil`)},
		Hunt: Hunt{Package: "./actors/live/link", Test: "TestClosingLinkDoesNotDenyMembers"},
	},
	{
		Name:   "forwarded proposals are dropped first",
		Breaks: "a full queue drops what callers wait for, and keeps entries for a follower that lags anyway",
		Edits: []mutation.Edit{mutation.In("internal/lanes", "Queue.Add").Replace(
			`_oldest := &_q.others; if _oldest.len() == 0 { _oldest = &_q.proposals }`,
			`_oldest := &_q.proposals; if _oldest.len() == 0 { _oldest = &_q.others }`)},
		Hunt: Hunt{Package: "./internal/lanes", Test: "TestQueueDoesWhatItsModelDoes"},
	},
	{
		Name:   "entries go before forwarded proposals",
		Breaks: "what callers wait for waits behind entries",
		Edits: []mutation.Edit{mutation.In("internal/lanes", "Queue.Take").Replace(
			`[]*fifo{&_q.proposals, &_q.others}`, `[]*fifo{&_q.others, &_q.proposals}`)},
		Hunt: Hunt{Package: "./internal/lanes", Test: "TestQueueDoesWhatItsModelDoes"},
	},
	{
		Name:   "several drops for one message are not reported",
		Breaks: "a message that displaces several makes the queue forget that it must report a drop",
		Edits: []mutation.Edit{mutation.In("internal/lanes", "Queue.Add").Replace(
			`report = report || !_q.dropReported`, `report = !_q.dropReported`)},
		Hunt: Hunt{Package: "./internal/lanes", Test: "TestQueueDoesWhatItsModelDoes"},
	},
	{
		Name:   "bytes of taken messages count on",
		Breaks: "a queue never gives back the bytes of what it has sent, and holds one message at last",
		Edits:  []mutation.Edit{mutation.In("internal/lanes", "fifo.pop").Delete(`_f.bytes -= _m.queueCost()`)},
		Hunt:   Hunt{Package: "./internal/lanes", Test: "TestQueueDoesWhatItsModelDoes"},
	},
	{
		Name:   "moved queue keeps an old slot",
		Breaks: "when the list of a queue moves, its head stays where it was: messages are skipped",
		Edits: []mutation.Edit{mutation.In("internal/lanes", "fifo.push").Replace(
			`_f.messages, _f.head = _f.messages[:_kept], 0`, `_f.messages, _f.head = _f.messages[:_kept], min(1, _kept)`)},
		Hunt: Hunt{Package: "./internal/lanes", Test: "TestQueueDoesWhatItsModelDoes"},
	},
	{
		Name:   "receiver of a message is lost",
		Breaks: "every message is encoded for the Node, those for a replicator too",
		Edits: []mutation.Edit{mutation.In("internal/lanes", "AppendBatch").Replace(
			`append(_data, byte(_m.Role))`, `append(_data, byte(messages.Receiver_RECEIVER_NODE))`)},
		Hunt: Hunt{Profile: "calm"}, Caught: []string{"codec"},
	},
	{
		Name:   "term of a run is lost",
		Breaks: "the decoder of entries forgets the term of each run",
		Edits: []mutation.Edit{mutation.In("internal/lanes", "decodeEntries").Replace(
			`[]*uint64{1: &_run.FirstIndex, &_run.Term}`, `[]*uint64{1: &_run.FirstIndex}`)},
		Hunt: Hunt{Profile: "calm"}, Caught: []string{"codec", "log matching", "log matches appends", "no panic"},
	},
	{
		Name:   "number of a forwarded batch is lost",
		Breaks: "the decoder of forwarded proposals forgets their number, by which copies are recognized",
		Edits: []mutation.Edit{mutation.In("internal/lanes", "decodeForwardedProposals").Replace(
			`[]*uint64{1: &_m.From, &_m.Term, 4: &_m.Stream, &_m.Number}`, `[]*uint64{1: &_m.From, &_m.Term, 4: &_m.Stream}`)},
		Hunt: Hunt{Profile: "calm"}, Caught: []string{"codec"},
	},
	{
		Name:   "message in another's name is delivered",
		Breaks: "a link delivers what names another sender than the member at its end (E46)",
		Edits: []mutation.Edit{mutation.In("internal/lanes", "Check").Replace(
			`_message.SenderID() != _from`, `_message.SenderID() == 0 && _from != 0`)},
		Hunt: Hunt{Package: "./actors/live/link", Test: "TestE46MessageWithWrongSenderIsDropped"},
	},
	{
		Name:   "connections of Proto.Actor's remote are not limited",
		Breaks: "callers of the peer port take the files of log and store",
		Edits: []mutation.Edit{mutation.In("actors/live/protoremote", "Link.serverOptions").Replace(
			`l.options.MaxConnections`, `1 << 30`)},
		Hunt: Hunt{Package: "./actors/live/protoremote", Test: "TestE45RemotePortBoundsConnections"},
	},
	{
		Name:   "idle caller of Proto.Actor's remote keeps its place",
		Breaks: "128 callers that answer pings and say nothing keep all other members from the peer port for ever",
		Edits: []mutation.Edit{mutation.In("actors/live/protoremote", "Link.serverOptions").Replace(
			`l.options.idleTimeout`, `0`)},
		Hunt: Hunt{Package: "./actors/live/protoremote", Test: "TestIdleConnectionToTheRemotePortIsClosed"},
	},
	{
		Name:   "failed handshake keeps its place",
		Breaks: "after 128 callers that fail the TLS handshake the peer port of Proto.Actor's remote accepts nobody",
		Edits: []mutation.Edit{mutation.In("actors/live/protoremote", "limitedCredentials.ServerHandshake").Delete(
			`_ = _admitted.Close()`)},
		Hunt: Hunt{Package: "./actors/live/protoremote", Test: "TestFailedHandshakeFreesItsPlace"},
	},
	{
		Name:   "lane of a replaced stream closes with it",
		Breaks: "the end of an old connection, noticed after the peer has connected again, closes the lane for good",
		Edits: []mutation.Edit{mutation.In("internal/lanes", "Connections.StreamClosed").Replace(
			`c.streams[_lane] == _s`, `c.streams[_lane] == _s || c.up`)},
		Hunt: inEveryOrderOfConnections,
	},
	{
		Name:   "link is up with one lane",
		Breaks: "a link counts as up before the peer has opened the lane bulk",
		Edits: []mutation.Edit{mutation.In("internal/lanes", "Connections.changed").Replace(
			`_up = _up && _s != _none`, `_up = _up && c.streams[Control] != _none && _s == _s`)},
		Hunt: inEveryOrderOfConnections,
	},
	{
		Name:   "lost lane does not take the link down",
		Breaks: "a link stays up while the node's own connection does, although the peer's has ended",
		Edits: []mutation.Edit{mutation.In("internal/lanes", "Connections.changed").Replace(
			`c.up && !_up`, `c.up && !_up && !c.dialed`)},
		Hunt: inEveryOrderOfConnections,
	},
	{
		Name:   "earlier stream keeps its lane",
		Breaks: "a stream that the peer opens before the earlier one has ended does not take its lane: when that ends, the lane is closed",
		Edits: []mutation.Edit{mutation.In("internal/lanes", "Connections.StreamOpened").InsertBefore(
			`c.streams[_lane] = _s`,
			`if c.up {
				_s = c.streams[_lane]
			}`)},
		Hunt: inEveryOrderOfConnections,
	},
	{
		Name:   "pause of dialing is not reset",
		Breaks: "after a long outage a peer is dialed a second after each break, for as long as the process runs",
		Edits: []mutation.Edit{mutation.In("internal/lanes", "Retry.Pause").Replace(
			`_connected && _lasted > r.Stable`, `_connected && _lasted < 0`)},
		Hunt: Hunt{Package: "./internal/lanes", Test: "TestRetryPausesDouble"},
	},
}
