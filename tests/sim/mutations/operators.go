package mutations

import "github.com/troupe-raft/troupe/internal/mutation"

// operators has bugs in what an operator is told about a member that cannot go on, waits, or was
// started with settings that have no effect.
var operators = []Mutation{
	{
		Name:   "lost committed entries restart the actors",
		Breaks: "a member that holds what the cluster lost meets the same leader after each of ten restarts (P26)",
		Edits: []mutation.Edit{mutation.In("actors/node", "follower.truncate").Replace(
			`_conflict <= _f.log.commitIndex`, `false`)},
		Hunt: Hunt{Package: "./actors/node", Test: "TestContradictionStopsTheNodeAtOnce"},
	},
	{
		Name:   "second leader of a term is followed",
		Breaks: "entries of one term differ between the members without notice (P7)",
		Edits: []mutation.Edit{mutation.In("actors/node", "follower.recordLeaderContact").Replace(
			`_known != 0 && _known != _leader`, `false`)},
		Hunt: Hunt{Package: "./actors/node", Test: "TestContradictionStopsTheNodeAtOnce"},
	},
	{
		Name:   "applied entries are truncated after a start",
		Breaks: "a leader replaces what the state machine has applied, while the last hard state does not say that it is committed (P49)",
		Edits: []mutation.Edit{mutation.In("actors/node", "follower.handleAppendEntries").Replace(
			`!_f.machineReady`, `false`)},
		Hunt: Hunt{Package: "./actors/node", Test: "TestNothingIsTruncatedBeforeTheMachineReports"},
	},
	{
		Name:   "waiting member logs that it waits once",
		Breaks: "a new cluster that was started with rejoin waits in silence",
		Edits:  []mutation.Edit{mutation.In("actors/node", "follower.handleElectionTimeout").Delete(`_f.logWaitingToRejoin()`)},
		Hunt:   Hunt{Package: "./actors/node", Test: "TestWaitingMemberLogsWhatItWaitsFor"},
	},
	{
		Name:   "refusal does not name the usable directory",
		Breaks: "a member on its former directory is advised to start on the former one",
		Edits:  []mutation.Edit{mutation.In("persistence", "StorageMismatchError.advice").Replace(`len(_e.Known) > 0`, `false`)},
		Hunt:   Hunt{Package: "./persistence", Test: "TestRefusalNamesTheDirectoryToUse"},
	},
	{
		Name:   "refused directory is to be gone on with",
		Breaks: "a refused directory that is started with rejoin gets the advice to start without",
		Edits: []mutation.Edit{mutation.In("persistence", "OpenDataDir").Replace(
			`cmp.Or(_d.checkRefusal(), _err)`, `cmp.Or(_err)`)},
		Hunt: Hunt{Package: "./persistence", Test: "TestRefusedDirectoryIsNotOpened"},
	},
	{
		Name:   "empty variable causes no warning",
		Breaks: "an empty ETCD_INITIAL_CLUSTER begins a cluster of one without a word",
		Edits:  []mutation.Edit{mutation.In(settingsDir, "FromEnvironment").Replace(`_values[_name] == ""`, `false`)},
		Hunt:   Hunt{Package: "./cmd/troupe/internal/settings", Test: "TestVariablesWithoutEffectWarn"},
	},
	{
		Name:   "variables beside a file cause no warning",
		Breaks: "settings of the environment are ignored without a word",
		Edits:  []mutation.Edit{mutation.In(settingsDir, "BesideFile").Replace(`len(_ignored) > 0`, `false`)},
		Hunt:   Hunt{Package: "./cmd/troupe/internal/settings", Test: "TestVariablesBesideAFileWarn"},
	},
	{
		Name:   "first fault of a command line alone is reported",
		Breaks: "an operator corrects a command line flag by flag",
		Edits:  []mutation.Edit{mutation.In("cmd/troupe", "allFaults").Replace(`!errors.As(_err, &_first)`, `!errors.As(_err, &_first) || true`)},
		Hunt:   Hunt{Package: "./cmd/troupe", Test: "TestFaultsOfACommandLineAreReportedTogether"},
	},
	{
		Name:   "alarms are not logged",
		Breaks: "puts are refused with NOSPACE, and the log of no member says when that began",
		Edits:  []mutation.Edit{mutation.In("kv", "conditionLog.check").Replace(`_holds != _a.raised`, `false`)},
		Hunt:   Hunt{Package: "./kv", Test: "TestConditionsAreLoggedWhenTheyBeginAndEnd"},
	},
	{
		Name:   "reached limit never ends in the log",
		Breaks: "nothing says that requests are accepted again",
		Edits: []mutation.Edit{mutation.In("kv", "reachedLimit.update").Replace(
			`_r.reached && _now.Sub(_last) >= refusalQuietTime`, `false`)},
		Hunt: Hunt{Package: "./kv", Test: "TestConditionsAreLoggedWhenTheyBeginAndEnd"},
	},
	{
		Name:   "faulty renewed certificate is silent",
		Breaks: "a renewal that failed shows when the previous certificate expires",
		Edits:  []mutation.Edit{mutation.In("internal/certs", "reloader.current").Delete(`_r.changed(___change)`)},
		Hunt:   Hunt{Package: "./internal/certs", Test: "TestReloaderKeepsCertificateIfFilesBreak"},
	},
	{
		Name:   "certificate is not read again after a failed read",
		Breaks: "a renewed certificate whose key had the wrong owner for one handshake is never used: the previous one expires",
		Edits: []mutation.Edit{mutation.In("internal/certs", "reloader.current").Replace(
			`_files == r.files`, `_files == r.files || _files == r.refused`)},
		Hunt: Hunt{Package: "./internal/certs", Test: "TestReloaderReadsAgainAfterAFailedRead"},
	},
}
