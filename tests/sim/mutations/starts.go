package mutations

import "github.com/troupe-raft/troupe/internal/mutation"

// starts has bugs in how members on older copies of their data directories are recognised (E37).
var starts = []Mutation{
	{
		Name:   "starts are not counted",
		Breaks: "every start is the first of its directory, so that peers take a restart for an older copy (P107)",
		Edits:  []mutation.Edit{mutation.In("persistence", "DataDir.recordStart").Replace(`replaceFile(___place, append(_b, '\n'))`, `func([]byte) error { return nil }(append(_b, '\n'))`)},
		Hunt:   Hunt{Package: "./persistence", Test: "TestStartIsCountedDurably"},
	},
	{
		Name:   "small files are not synced",
		Breaks: "the count of starts, a peer's start or a refusal is lost in a power cut, though a peer or the node relied on it (P107, P108)",
		Edits:  []mutation.Edit{mutation.In("persistence", "replaceFile").Delete(`_err = _file.Sync()`)},
		Hunt:   Hunt{Package: "./persistence", Test: "TestStartIsCountedDurably"},
	},
	{
		Name:   "starts of a met peer are not stored",
		Breaks: "a member stores the storage id of a peer at the first contact, and never its later starts (P108)",
		Edits:  []mutation.Edit{mutation.In("persistence", "PeerStorage.check").Replace(`_met.Start != _present`, `false`)},
		Hunt:   Hunt{Profile: "older-copies"}, Caught: []string{"no vote after a loss", "leader completeness", "quorum elects"},
	},
	{
		Name:   "starts of peers are in memory only",
		Breaks: "a member that was restarted admits an older copy (P108)",
		Edits:  []mutation.Edit{mutation.In("persistence", "PeerStorage.Admit").Replace(`encodePeers(_owner, _pinned, _met)`, `encodePeers(_owner, _pinned, nil)`)},
		Hunt:   Hunt{Scenario: "older-copy-without-leader"}, Caught: []string{"no vote after a loss", "script"},
	},
	{
		Name:   "start of a rejoined peer is forgotten",
		Breaks: "a member whose log lags forgets the start of a rejoined peer when another peer is started (P108)",
		Edits:  []mutation.Edit{mutation.In("persistence", "PeerStorage.dropReplaced").Replace(`_committed && _p.configuredIndex >= _met[_id].index`, `_committed`)},
		Hunt:   Hunt{Package: "./persistence", Test: "TestStartOfARejoinedPeerIsKept"},
	},
	{
		Name:   "start is forgotten by an uncommitted configuration",
		Breaks: "a member forgets a peer's start by a configuration that may be truncated (P108)",
		Edits:  []mutation.Edit{mutation.In("persistence", "PeerStorage.dropReplaced").Replace(`_p.confirmed >= _p.configuredIndex`, `true`)},
		Hunt:   Hunt{Package: "./persistence", Test: "TestStartIsKeptUntilTheConfigurationIsCommitted"},
	},
	{
		Name:   "peers.json with starts has format 1",
		Breaks: "a program that knows no starts calls the file of a newer one damaged",
		Edits:  []mutation.Edit{mutation.In("persistence", "encodePeers").Replace(`len(_starts) > 0`, `false`)},
		Hunt:   Hunt{Package: "./persistence", Test: "TestPeersFileFormats"},
	},
	{
		Name:   "original is told to start on the original",
		Breaks: "an operator who ran two processes on copies of a directory is told to start one of them again",
		Edits:  []mutation.Edit{mutation.In("persistence", "StorageMismatchError.advice").Replace(`_e.MetStart.Number != 0`, `false`)},
		Hunt:   Hunt{Package: "./persistence", Test: "TestOlderCopyIsRefusedAfterAPowerCut"},
	},
	{
		Name:   "ids of starts are not compared",
		Breaks: "an older copy with the same number of starts is admitted (P108)",
		Edits:  []mutation.Edit{mutation.In("raft", "Starts.Include").Replace(`_s.IDs[___at] == _met.ID`, `true`)},
		Hunt:   Hunt{Scenario: "older-copy-without-leader"}, Caught: []string{"no vote after a loss", "script"},
	},
	{
		Name:   "only the present start's id is compared",
		Breaks: "an older copy that was started often enough is admitted (P108)",
		Edits:  []mutation.Edit{mutation.In("raft", "Starts.Include").Replace(`_later >= uint64(len(_s.IDs))`, `_later > 0`)},
		Hunt:   Hunt{Scenario: "older-copy-overtakes"}, Caught: []string{"no vote after a loss", "script"},
	},
	{
		Name:   "releases without starts are not refused",
		Breaks: "a member of a release that names no start connects, and is taken for an older copy",
		Edits:  []mutation.Edit{mutation.In("actors/live/link", "Identity.checkCluster").Replace(`_peer.GetProtocolVersion() != protocolVersion`, `false`)},
		Hunt:   Hunt{Package: "./actors/live/link", Test: "TestE37HandshakeRefusalNamesBothValues"},
	},
	{
		Name:   "starts are not sent to peers",
		Breaks: "the handshake does not name the starts, so that every copy is admitted (P107)",
		Edits: []mutation.Edit{
			mutation.In("actors/live/link", "Identity.Hello").Replace(`storage.Starts.Count`, `0`),
			mutation.In("actors/live/link", "Identity.Hello").Replace(`storage.Starts.IDs`, `nil`),
		},
		Hunt: Hunt{Package: "./actors/live/link", Test: "TestHandshakeNamesTheDataDirectory"},
	},
	{
		Name:   "starts are not answered to peers",
		Breaks: "the answer of a handshake does not name the starts, so that a member that dials an older copy admits it (P107)",
		Edits: []mutation.Edit{
			mutation.In("actors/live/link", "Identity.welcome").Replace(`storage.Starts.Count`, `0`),
			mutation.In("actors/live/link", "Identity.welcome").Replace(`storage.Starts.IDs`, `nil`),
		},
		Hunt: Hunt{Package: "./actors/live/link", Test: "TestHandshakeNamesTheDataDirectory"},
	},
	{
		Name:   "refusal of an earlier start stops the present one",
		Breaks: "a late message of a member's former run makes the member stop for good (P108)",
		Edits: []mutation.Edit{mutation.In("raft", "Storage.OnRefusal").Replace(
			`_m.GetStart() != 0 && _s.Starts.Present() != _refused`,
			`false && _s.Starts.Present() != _refused`)},
		Hunt: Hunt{Package: "./raft", Test: "TestRefusalOfOnePeerStops"},
	},
	{
		Name:   "late Hello replaces the present one",
		Breaks: "a Hello of a member's former run that is read late has the messages of the present run refused (P108)",
		Edits:  []mutation.Edit{mutation.In("raft", "Starts.Passed").Replace(`_start.Number < _s.Count`, `false`)},
		Hunt:   Hunt{Package: "./actors/live/protoremote", Test: "TestLateHelloIsIgnored"},
	},
	{
		Name:   "late Welcome is taken for an older copy",
		Breaks: "a healthy member that is started again quickly is reported as an older copy, at error level",
		Edits:  []mutation.Edit{mutation.In("actors/live/link", "linkPeer.admit").Replace(`_passed && _mismatch.MetStart.Number != 0`, `false`)},
		Hunt:   Hunt{Package: "./actors/live/link", Test: "TestLateWelcomeOfAnEarlierStart"},
	},
	{
		Name:   "heartbeat commits whatever entry is there",
		Breaks: "a member on an older copy commits its entries at the indexes that it acknowledged before (P43)",
		Edits: []mutation.Edit{
			mutation.In("actors/node", "follower.handleHeartbeat").Replace(`_f.log.terms.Matches(_m.Commit, _m.CommitTerm)`, `true`),
			mutation.In("actors/node", "follower.handleHeartbeat").Replace(
				`_f.advanceCommitIndex(_m.Commit)`,
				`_f.advanceCommitIndex(min(_m.Commit, _f.log.lastIndex()))`),
		},
		Hunt: Hunt{Scenario: "older-copy-heartbeat"}, Caught: []string{"state machine safety", "script"},
	},
}
