package mutations

import "github.com/troupe-raft/troupe/internal/mutation"

// rejoins has bugs in how a leader decides which new data directory it records, and until when.
var rejoins = []Mutation{
	{
		Name:   "request to rejoin hides the connection",
		Breaks: "a healthy member is expelled because another process asked to rejoin in its name",
		Edits: []mutation.Edit{mutation.In(".", "Node.storageToRecord").Replace(
			`_n.isConnected(_r.MemberID)`,
			`asked == "" && _n.isConnected(_r.MemberID)`)},
		Hunt: Hunt{Package: ".", Test: "TestAskingDoesNotExpelAConnectedMember"},
	},
	{
		Name:   "request to rejoin outlives the messages of the member",
		Breaks: "a request that a process made in the name of a healthy member is granted hours later",
		Edits:  []mutation.Edit{mutation.In("actors/live", "PeerReceiver.Deliver").Delete(`_r.peers.Heard(_from)`)},
		Hunt:   Hunt{Package: "./actors/live", Test: "TestDeliveredMessageEndsARequestToRejoin"},
	},
	{
		Name:   "waiting rejoin is not checked again",
		Breaks: "a member that returned on its own directory while the leader could record nothing is expelled",
		Edits:  []mutation.Edit{mutation.In(".", "Node.recordStorage").Replace(`_n.checkAgain(_r, _wanted, _recorded)`, `error(nil)`)},
		Hunt:   Hunt{Package: ".", Test: "TestReturnEndsARejoinThatWaits"},
	},
	{
		Name:   "rejoin goes on after its request has ended",
		Breaks: "a directory that nobody has any more is recorded, and the member's own one is refused",
		Edits:  []mutation.Edit{mutation.In(".", "Node.checkAgain").Replace(`_taken && _asked != _wanted`, `_taken && _asked != _wanted && false`)},
		Hunt:   Hunt{Package: ".", Test: "TestRejoinEndsWithItsRequest"},
	},
	{
		Name:   "two rejoins replace each other",
		Breaks: "two operators who name different directories record both, each in turn",
		Edits: []mutation.Edit{mutation.In(".", "Node.checkAgain").Replace(
			`_present != _recorded && _n.hasRejoined(_r.MemberID)`,
			`false`)},
		Hunt: Hunt{Package: ".", Test: "TestOnlyOneOfTwoRejoinsIsRecorded"},
	},
	{
		Name:   "refused member counts as connected",
		Breaks: "over Proto.Actor's remoting a member that waits to rejoin counts as connected, and cannot rejoin without force",
		Edits: []mutation.Edit{mutation.In("actors/live/protoremote", "inboundProcess.helloAccepted").Replace(
			`_peer.admitted.Store(_ok)`,
			`_peer.admitted.Store(true)`)},
		Hunt: Hunt{Package: "./actors/live/protoremote", Test: "TestE37OlderCopyIsRefusedOverRemote"},
	},
	{
		Name:   "refusal of a waiting member does not say what to do",
		Breaks: "a member that waits to rejoin, as it should, is said to have been emptied, and to be started again",
		Edits:  []mutation.Edit{mutation.In("persistence", "StorageMismatchError.Error").Replace(`_e.Rejoining`, `false`)},
		Hunt:   Hunt{Package: "./persistence", Test: "TestReturnEndsTheRequestToRejoin"},
	},
	{
		Name:   "repeated rejoin is logged as a failure",
		Breaks: "a rejoin that succeeds leaves a line at error level",
		Edits: []mutation.Edit{mutation.In("actors/node", "leader.handleRejoin").Replace(
			`bytes.Equal(raft.FindMember(_c, _m.Member).GetStorageId(), _m.StorageId)`,
			`false`)},
		Hunt: Hunt{Package: "./actors/node", Test: "TestRepeatedRejoinIsDropped"},
	},
}
