package mutations

import "github.com/troupe-raft/troupe/internal/mutation"

// commands has bugs in what an operator reads: the client commands, and why a peer was lost.
var commands = []Mutation{
	{
		Name:   "reached server counts as down",
		Breaks: "a refused certificate comes with the advice to start the cluster",
		Edits: []mutation.Edit{mutation.In("cmd/troupe/internal/client", "UnreachableError.Error").Replace(
			`!errors.As(_err, &_unsuitable)`,
			`!errors.As(_err, &_unsuitable) || _err != nil`)},
		Hunt: Hunt{Package: "./cmd/troupe/internal/client", Test: "TestConnectErrorHasCauseAndAdvice"},
	},
	{
		Name:   "each member's hash is of its own revision",
		Breaks: "members with equal data seem to differ while writes arrive",
		Edits: []mutation.Edit{mutation.In("cmd/troupe/internal/client", "Cluster.HashKV").Replace(
			`_r < revision`,
			`_r > revision`)},
		Hunt: Hunt{Package: "./cmd/troupe/internal/client", Test: "TestHashesAreOfOneRevision"},
	},
	{
		Name:   "different hashes are not reported",
		Breaks: "troupe hashkv succeeds although the data of two members differ",
		Edits: []mutation.Edit{mutation.In("cmd/troupe", "compareHashes").Replace(
			`_earlier.Hash != _h.Hash`,
			`_earlier.Revision != _h.Revision`)},
		Hunt: Hunt{Package: "./cmd/troupe", Test: "TestHashesAreComparedAtEqualStates"},
	},
	{
		Name:   "ids of a response are decimal",
		Breaks: "--output=json writes one member's id in two forms",
		Edits: []mutation.Edit{mutation.In("cmd/troupe/internal/output", "encode").Replace(
			`idField.ReplaceAllFunc(_line, formatIDField)`,
			`_line`)},
		Hunt: Hunt{Package: "./cmd/troupe/internal/output", Test: "TestEveryFormatOfAResult"},
	},
	{
		Name:   "closed lock is kept by a child",
		Breaks: "a data directory counts as in use while a process is being started",
		Edits: []mutation.Edit{mutation.In("persistence/vfs", "heldLock.Close").Replace(
			`errors.Join(unlockFile(l.file), _close)`,
			`_close`)},
		Hunt: Hunt{Package: "./persistence/vfs", Test: "TestReleasedLockIsFreeWhileAFileIsInherited"},
	},
	{
		Name:   "own close is logged as a cancellation",
		Breaks: "a peer whose address changed is logged as lost with the reason context canceled",
		Edits: []mutation.Edit{mutation.In("actors/live/link", "linkPeer.sendUntilBroken").Replace(
			`_err = context.Cause(_ctx)`,
			`_err = _ctx.Err()`)},
		Hunt: Hunt{Package: "./actors/live/link", Test: "TestReasonOfOwnCloseIsItsCause"},
	},
	{
		Name:   "every error of the store is a lock",
		Breaks: "a failing disk comes with the advice to stop another process",
		Edits: []mutation.Edit{mutation.In("kv/mvcc", "openError").Replace(
			`errors.Is(err, syscall.EAGAIN)`,
			`!errors.Is(err, syscall.EAGAIN)`)},
		Hunt: Hunt{Package: "./kv/mvcc", Test: "TestOpenErrorHasAdviceForItsCauseOnly"},
	},
}
