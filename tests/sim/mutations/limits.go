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
}
