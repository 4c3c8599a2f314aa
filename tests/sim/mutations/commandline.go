package mutations

import "github.com/troupe-raft/troupe/internal/mutation"

// commandline has bugs in the client commands, and in what the servers do for them.
var commandline = []Mutation{
	{
		Name:   "connected member is expelled",
		Breaks: "a mistake on the command line has the leader refuse a healthy member from then on",
		Edits:  []mutation.Edit{mutation.In(".", "Node.storageToRecord").Replace(`_n.isConnected(_r.MemberID)`, `false`)},
		Hunt:   Hunt{Package: ".", Test: "TestRejoinMemberRefusesWrongArguments"},
	},
	{
		Name:   "repeated rejoin fails",
		Breaks: "an operator, or a script, that repeats a rejoin that succeeded is told that the member has not asked",
		Edits:  []mutation.Edit{mutation.In(".", "Node.storageToRecord").Replace(`_n.hasRejoined(_r.MemberID)`, `false`)},
		Hunt:   Hunt{Package: ".", Test: "TestEmptiedMemberRejoins"},
	},
	{
		Name:   "another directory than asked for is recorded",
		Breaks: "a mistyped storage id is recorded, and the member that waits is never admitted",
		Edits:  []mutation.Edit{mutation.In(".", "Node.storageToRecord").Replace(`_asked != "" && _wanted != _asked`, `false`)},
		Hunt:   Hunt{Package: ".", Test: "TestOtherDirectoryThanAskedForIsRefused"},
	},
	{
		Name:   "write waits at a member without a leader",
		Breaks: "a command ends with an unknown outcome at the first endpoint, although the next one has a leader",
		Edits:  []mutation.Edit{mutation.In("cmd/troupe/internal/client", "Cluster.Write").Replace(`requireLeader(_ctx)`, `_ctx`)},
		Hunt:   Hunt{Package: "./cmd/troupe/internal/client", Test: "TestMemberWithoutLeaderIsSkipped"},
	},
	{
		Name:   "member list of a waiting member is used",
		Breaks: "a member that waits to rejoin knows no client URLs: all others are shown as unreachable",
		Edits:  []mutation.Edit{mutation.In("cmd/troupe/internal/client", "Cluster.memberList").Replace(`_s.GetLeader() != 0`, `_s != nil`)},
		Hunt:   Hunt{Package: "./cmd/troupe/internal/client", Test: "TestMemberListIsOfAMemberWithALeader"},
	},
	{
		Name:   "member without a leader decides what is compared",
		Breaks: "hashkv compares all members at the revision of one that has nothing, and finds them equal",
		Edits: []mutation.Edit{mutation.In("cmd/troupe/internal/client", "setAsideLeaderless").Replace(
			`_led && _m.Err == nil && _m.Status.GetLeader() == 0`, `_led && _m.ID == 0`)},
		Hunt: Hunt{Package: "./cmd/troupe/internal/client", Test: "TestMemberListIsOfAMemberWithALeader"},
	},
	{
		Name:   "connection above the limit is closed without a reason",
		Breaks: "a client takes the limit of connections for a mistake with TLS",
		Edits:  []mutation.Edit{mutation.In("internal/connlimit", "Limiter.Admit").Replace(`_l.Refuse != nil`, `false`)},
		Hunt:   Hunt{Package: "./kv", Test: "TestRejectedConnectionsAreLoggedEverLessOften"},
	},
	{
		Name:   "refusal makes a TLS handshake",
		Breaks: "the accepting goroutine waits for a handshake of each connection above the limit for metrics",
		Edits:  []mutation.Edit{mutation.In("kv", "refuseConnection").Replace(`_secured.NetConn()`, `_secured`)},
		Hunt:   Hunt{Package: "./kv", Test: "TestTLSClientAboveTheLimitGetsAnAlert"},
	},
}
