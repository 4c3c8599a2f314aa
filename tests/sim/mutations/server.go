package mutations

import "github.com/troupe-raft/troupe/internal/mutation"

const (
	serveDir    = "cmd/troupe/internal/serve"
	settingsDir = "cmd/troupe/internal/settings"
)

// server has bugs in the server's program: its settings, its limits of open files, and what it
// tells the operator and the service manager.
var server = []Mutation{
	{
		Name:   "connections take the files of log and store",
		Breaks: "the limit of open files does not bound the client connections",
		Edits: []mutation.Edit{mutation.In(serveDir, "newDescriptorBudget").Replace(
			`min(_files-_b.reserve, _s.MaxConnections)`, `_s.MaxConnections`)},
		Hunt: Hunt{Package: "./cmd/troupe/internal/serve", Test: "TestDescriptorsAreDivided"},
	},
	{
		Name:   "rejected connection stays open",
		Breaks: "a connection above the limit keeps its file",
		Edits: []mutation.Edit{mutation.In("internal/connlimit", "Limiter.Admit").Delete(
			`_ = _inner.Close()`)},
		Hunt: Hunt{Package: "./internal/connlimit", Test: "TestConnectionsAboveTheLimitAreClosed"},
	},
	{
		Name:   "connections for metrics are not limited",
		Breaks: "the metrics listeners take the files of log and store",
		Edits: []mutation.Edit{mutation.In(serveDir, "server.serveMetrics").Replace(
			`_v.kv.LimitMetricsConnections(_l)`, `_l`)},
		Hunt: Hunt{Package: "./cmd/troupe", Test: "TestConnectionsLeaveDescriptorsForStore"},
	},
	{
		Name:   "data of etcd is not recognised",
		Breaks: "the server begins an empty store in etcd's data directory",
		Edits: []mutation.Edit{mutation.In(serveDir, "holdsEtcdData").Replace(
			`isDir(filepath.Join(_dir, "member"))`, `isDir(filepath.Join(_dir, "proxy"))`)},
		Hunt: Hunt{Package: "./cmd/troupe/internal/serve", Test: "TestDataOfEtcdIsRefused"},
	},
	{
		Name:   "ready before it serves",
		Breaks: "systemd takes a member without a leader for ready",
		Edits: []mutation.Edit{mutation.In(serveDir, "serviceManager.recovered").Replace(
			`_m.send("STATUS=waiting for a leader")`, `_m.send(daemon.SdNotifyReady, "STATUS=waiting for a leader")`)},
		Hunt: Hunt{Package: "./cmd/troupe", Test: "TestMemberWithoutQuorumIsNotReady"},
	},
	{
		Name:   "watchdog is fed by time",
		Breaks: "systemd does not notice a node that hangs",
		Edits: []mutation.Edit{mutation.In(serveDir, "serviceManager.works").Replace(
			`return _m.handled != _before`, `return _m.handled >= _before`)},
		Hunt: Hunt{Package: "./cmd/troupe/internal/serve", Test: "TestWatchdogIsFedWhileTheNodeWorks"},
	},
	{
		Name:   "short watchdog is silent",
		Breaks: "the service manager ends a healthy member, and no line says that WatchdogSec= is too short",
		Edits: []mutation.Edit{mutation.In(serveDir, "serviceManager.checkWatchdog").Replace(
			`m.watchdog < _shortest`, `m.watchdog < _shortest/3`)},
		Hunt: Hunt{Package: "./cmd/troupe/internal/serve", Test: "TestWatchdogBelowThreeHeartbeatsWarns"},
	},
	{
		Name:   "empty list of members begins a cluster",
		Breaks: "an unset shell variable in --initial-cluster begins a cluster of one",
		Edits: []mutation.Edit{mutation.In(settingsDir, "Flags.resolveCluster").Replace(
			`_fs.Changed("initial-cluster")`, `(_fs.Changed("initial-cluster") && f.InitialCluster != "")`)},
		Hunt: Hunt{Package: "./cmd/troupe/internal/settings", Test: "TestInvalidSettingIsNamedInOneLine"},
	},
	{
		Name:   "the environment sets --version",
		Breaks: "ETCD_VERSION of a container image stops the start",
		Edits: []mutation.Edit{mutation.In(settingsDir, "isCommandLineOnly").Replace(
			`slices.Contains(commandLineFlags, _flag)`, `_flag == "help"`)},
		Hunt: Hunt{Package: "./cmd/troupe/internal/settings", Test: "TestUnknownVariablesAreReported"},
	},
	{
		Name:   "members of a demo read a server's variables",
		Breaks: "TROUPE_LISTEN_METRICS_URLS in the environment ends all members of a demo",
		Edits: []mutation.Edit{mutation.In("cmd/troupe/internal/demo", "child.runOnce").Delete(
			`_cmd.Env = memberEnvironment(os.Environ())`)},
		Hunt: Hunt{Package: "./cmd/troupe", Test: "TestDemoReusesItsDataDirectory"},
	},
	{
		Name:   "one error of a file at a time",
		Breaks: "an operator corrects a configuration file key by key",
		Edits: []mutation.Edit{mutation.In(settingsDir, "FromFile").Replace(
			`errors.Join(_r.errs...)`, `errors.Join(_r.errs[:min(1, len(_r.errs))]...)`)},
		Hunt: Hunt{Package: "./cmd/troupe/internal/settings", Test: "TestFileErrorsAreReportedTogether"},
	},
	{
		Name:   "empty list of members in a file is silent",
		Breaks: "a configuration file that was not filled in begins a cluster of one without a warning",
		Edits: []mutation.Edit{mutation.In(settingsDir, "fileReader.set").Replace(
			`_flag.Name == "initial-cluster"`, `false`)},
		Hunt: Hunt{Package: "./cmd/troupe/internal/settings", Test: "TestFileWithoutMembersWarns"},
	},
	{
		Name:   "one error of the members at a time",
		Breaks: "an operator corrects --initial-cluster member by member",
		Edits: []mutation.Edit{mutation.In(settingsDir, "parseInitialCluster").Replace(
			`errors.Join(_list.errs...)`, `errors.Join(_list.errs[:min(1, len(_list.errs))]...)`)},
		Hunt: Hunt{Package: "./cmd/troupe/internal/settings", Test: "TestFaultsAreReportedTogether"},
	},
	{
		Name:   "URL is listened on twice",
		Breaks: "a URL that a list names twice ends the start",
		Edits: []mutation.Edit{mutation.In(settingsDir, "parseURLs").Replace(
			`!slices.Contains(_urls, _u)`, `true`)},
		Hunt: Hunt{Package: "./cmd/troupe/internal/settings", Test: "TestRepeatedURLAndCommaAreAccepted"},
	},
	{
		Name:   "full disk of another member has this one's path",
		Breaks: "the error of a write names the wrong disk",
		Edits: []mutation.Edit{mutation.In("kv", "ServerConfig.diskFull").Replace(
			`_node.LeaderID == _node.ID && _c.DataDir != ""`, `_c.DataDir != ""`)},
		Hunt: Hunt{Package: "./kv", Test: "TestFullDiskNamesItsPathOrTheLeader"},
	},
	{
		Name:   "refused registration is not passed on",
		Breaks: "what waits for the session waits for its deadline while the leader's disk is full",
		Edits: []mutation.Edit{mutation.In("internal/session", "proposals.deliverRefused").Delete(
			`_p.refuseUnregistered(_p.leaderRefusal(_m))`)},
		Hunt: Hunt{Package: "./internal/session", Test: "TestRefusedRegistrationEndsWhatWaitsForIt"},
	},
	{
		Name:   "alarm does not show in the exit code",
		Breaks: "a script takes a cluster with an alarm for healthy",
		Edits: []mutation.Edit{mutation.In("cmd/troupe", "healthError").Replace(
			`return errors.New(strings.Join(_problems, "; "))`, `_ = errors.New(strings.Join(_problems, "; "))`)},
		Hunt: Hunt{Package: "./cmd/troupe", Test: "TestStatusReportsAlarmVersionsAndSizes"},
	},
}
