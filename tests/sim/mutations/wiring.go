package mutations

import "github.com/troupe-raft/troupe/internal/mutation"

// wiring has bugs in what connects the parts of a node: internal/member, and the host of production
// in the root package.
var wiring = []Mutation{
	{
		Name:   "missing log is taken for a new one",
		Breaks: "a node opens an empty log where the one that it had is gone",
		Edits: []mutation.Edit{mutation.In("internal/member", "Config.logOptions").Replace(
			`persistence.Options{___before, MustExist: true, ___after}`,
			`persistence.Options{___before, ___after}`)},
		Hunt: Hunt{Scenario: "log-moved-away"}, Caught: []string{"persist before send", "term and vote survive"},
	},
	{
		Name:   "log is opened in the data directory",
		Breaks: "the LogStore writes beside the directory of the log",
		Edits: []mutation.Edit{mutation.In("internal/member", "Config.logOptions").Replace(
			`_d.LogDir()`, `c.DataDir`)},
		Hunt: Hunt{Profile: "calm"}, Caught: []string{"stop has a cause", "recovery matches disk"},
	},
	{
		Name:   "low water is not configured",
		Breaks: "the log refuses writes at the default low water, whatever the limit says",
		Edits: []mutation.Edit{mutation.In("internal/member", "Config.logOptions").Replace(
			`persistence.Options{___before, LowWater: _l}`,
			`persistence.Options{___before}`)},
		Hunt: Hunt{Scenario: "full-disk"}, Caught: []string{"script"},
	},
	{
		Name:   "pending requests are not retried",
		Breaks: "a node never calls its session's Retry: what is lost without a broken link waits without end",
		Edits: []mutation.Edit{mutation.In("internal/member", "Node.Start").Replace(
			`_n.stopRetries = _n.host.Every(___arguments)`,
			`_n.stopRetries = func() {}`)},
		Hunt: Hunt{Profile: "network"}, Caught: []string{"liveness"},
	},
	{
		Name:   "host calls nothing periodically",
		Breaks: "the process's ticker does not call what it should",
		Edits:  []mutation.Edit{mutation.In("", "host.Every").Replace(`f()`, `_ = f`)},
		Hunt:   Hunt{Package: ".", Test: "TestHostCallsPeriodicallyUntilStopped"},
	},
	{
		Name:   "nonces are equal",
		Breaks: "the client sessions of all members have one nonce, so that members share one session",
		Edits:  []mutation.Edit{mutation.In("internal/member", "Node.newNonce").Delete(`_n.host.FillRandom(_b)`)},
		Hunt:   Hunt{Profile: "calm"}, Caught: []string{"exactly once", "liveness"},
	},
	{
		Name:   "read ids repeat in the next process",
		Breaks: "read requests are numbered from 0 in every process: a late response to an earlier one is taken for one of this (P55)",
		Edits:  []mutation.Edit{mutation.In("internal/member", "Node.randomUint64").Delete(`_n.host.FillRandom(___b)`)},
		Hunt:   Hunt{Scenario: "read-point-of-an-earlier-process"}, Caught: []string{"linearizable reads"},
	},
	{
		Name:   "storage ids are equal",
		Breaks: "every data directory has the same storage id, so that the disk of another member, or an earlier one, passes for the own one",
		Edits:  []mutation.Edit{mutation.In("internal/member", "Open").Delete(`_h.FillRandom(___id)`)},
		Hunt:   Hunt{Package: "./internal/sim/world", Test: "TestIdsDifferBetweenMembers"},
	},
	{
		Name:   "limits are swapped",
		Breaks: "the bound of the log in memory is that of the uncommitted bytes, and the other way round",
		Edits: []mutation.Edit{mutation.In("internal/member", "Config.supervisorConfig").Replace(
			`node.Limits{MaxUncommittedBytes: _a, MaxBatchBytes: _b, MemoryBytes: _c, ___rest}`,
			`node.Limits{MaxUncommittedBytes: _c, MaxBatchBytes: _b, MemoryBytes: _a, ___rest}`)},
		Hunt: Hunt{Profile: "calm"}, Caught: []string{"bounded memory", "bounded proposals"},
	},
	{
		Name:   "window is not configured",
		Breaks: "a replicator has the default window, whatever the limit says",
		Edits: []mutation.Edit{mutation.In("internal/member", "Config.supervisorConfig").Replace(
			`replicator.Limits{MaxInFlight: _a, MaxInFlightBytes: _b, ___rest}`,
			`replicator.Limits{MaxInFlight: 256, MaxInFlightBytes: 16 << 20, ___rest}`)},
		Hunt: Hunt{Profile: "network"}, Caught: []string{"bounded window"},
	},
	{
		Name:   "pending requests are not limited",
		Breaks: "the session does not receive the limit of pending requests",
		Edits: []mutation.Edit{mutation.In("internal/member", "Config.sessionLimits").Replace(
			`session.Limits{___before, MaxPendingRequests: _n, ___after}`,
			`session.Limits{___before, MaxPendingRequests: _n + 1<<16, ___after}`)},
		Hunt: Hunt{Profile: "network"}, Caught: []string{"bounded requests"},
	},
	{
		Name:   "timings are swapped",
		Breaks: "the election timeout is the heartbeat interval, and the other way round",
		Edits: []mutation.Edit{mutation.In("internal/member", "Config.supervisorConfig").Replace(
			`supervisor.Config{___before, HeartbeatInterval: _a, ElectionTimeout: _b, ___after}`,
			`supervisor.Config{___before, HeartbeatInterval: _b, ElectionTimeout: _a, ___after}`)},
		Hunt: Hunt{Scenario: "pre-vote-no-disruption"}, Caught: []string{"script"},
	},
	{
		Name:   "restart limit is not configured",
		Breaks: "the supervisor has the default restart limit, whatever the configuration says",
		Edits: []mutation.Edit{mutation.In("internal/member", "Config.supervisorConfig").Replace(
			`supervisor.Config{___before, RestartLimit: _r, ___after}`,
			`supervisor.Config{___before, ___after}`)},
		Hunt: Hunt{Scenario: "crash-too-often"}, Caught: []string{"script"},
	},
	{
		Name:   "data directory is unlocked first",
		Breaks: "the data directory is unlocked while actors still write: another process may open it",
		Edits: []mutation.Edit{mutation.In("internal/member", "Node.finish").Replace(`
				_n.environment.AwaitActors()
				_n.err = errors.Join(_n.tree.Err(), _recorded, _n.dataDir.Close())`, `
				_n.err = errors.Join(_n.tree.Err(), _recorded, _n.dataDir.Close())
				_n.environment.AwaitActors()`)},
		Hunt: Hunt{Profile: "crashes"}, Caught: []string{"released in order"},
	},
	{
		Name:   "data directory stays locked",
		Breaks: "a node that has stopped keeps the lock of its data directory until the process ends",
		Edits: []mutation.Edit{mutation.In("internal/member", "Node.finish").Replace(
			`errors.Join(_n.tree.Err(), _recorded, _n.dataDir.Close())`, `errors.Join(_n.tree.Err(), _recorded)`)},
		Hunt: Hunt{Profile: "disks"}, Caught: []string{"released in order"},
	},
	{
		Name:   "pending requests wait at a stopped node",
		Breaks: "requests that are pending when a node stops are not failed",
		Edits:  []mutation.Edit{mutation.In("internal/member", "Node.finish").Delete(`_n.session.Close(_n.StopError())`)},
		Hunt:   Hunt{Profile: "disks"}, Caught: []string{"released in order"},
	},
	{
		Name:   "links of a stopped node stay open",
		Breaks: "a node that has stopped keeps its connections to the peers",
		Edits:  []mutation.Edit{mutation.In("internal/member", "Node.finish").Delete(`_n.environment.Close()`)},
		Hunt:   Hunt{Profile: "disks"}, Caught: []string{"released in order"},
	},
	{
		Name:   "messages of the machine do not reach the session",
		Breaks: "the observer drops the state of the Machine: the applied index stays 0",
		Edits:  []mutation.Edit{mutation.In("internal/member", "Observer.Machine").Delete(`_o.views.Machine = _v`)},
		Hunt:   Hunt{Profile: "calm"}, Caught: []string{"status is current"},
	},
	{
		Name:   "the leader is not published",
		Breaks: "the program receives no changes of the leader",
		Edits: []mutation.Edit{mutation.In("internal/member", "replySink.SendUserMessage").Replace(
			`_s.node.config.LeaderChanged(_m)`, `_ = _m`)},
		Hunt: Hunt{Profile: "calm"}, Caught: []string{"status is current"},
	},
	{
		Name:   "the link does not learn the members",
		Breaks: "a node does not name its peers to the link, which then drops all messages",
		Edits:  []mutation.Edit{mutation.In("actors/node", "Node.applyConfiguration").Delete(`_n.env.SetPeers(___members)`)},
		Hunt:   Hunt{Profile: "calm"}, Caught: []string{"liveness"},
	},
	{
		Name:   "stopped leader does not hand over",
		Breaks: "an orderly stop ends a leader at once, and the others wait for an election timeout",
		Edits: []mutation.Edit{mutation.In("internal/member", "Node.Stop").Replace(
			`_role != RoleLeader || _rest`, `_role != "" || _rest`)},
		Hunt: Hunt{Scenario: "stop-hands-over"}, Caught: []string{"script"},
	},
	{
		Name:   "handover has no end",
		Breaks: "a leader that stops waits for another leader without end",
		Edits: []mutation.Edit{mutation.In("internal/member", "Node.Stop").Replace(
			`_n.host.Every(___arguments)`, `func() {}`)},
		Hunt: Hunt{Scenario: "stop-hands-over"}, Caught: []string{"script"},
	},
	{
		Name:   "handover ignores the next leader",
		Breaks: "a leader that has handed over stops only after its patience",
		Edits: []mutation.Edit{mutation.In("internal/member", "Node.leaderChanged").Delete(
			`if _otherLeads { _n.StopActors() }`)},
		Hunt: Hunt{Scenario: "stop-hands-over"}, Caught: []string{"script"},
	},
}
