package mutations

import "github.com/troupe-raft/troupe/internal/mutation"

var reads = []Mutation{
	{
		Name:   "reads without a quorum",
		Breaks: "a leader confirms its reads alone",
		Edits: []mutation.Edit{mutation.In("actors/node", "confirmReads").Replace(
			`return _p.ackedRound`,
			`return l.reads.round`)},
		Hunt: Hunt{Profile: "network"}, Caught: []string{"linearizable reads"},
	},
	{
		Name:   "response confirms every round",
		Breaks: "a heartbeat response of an earlier round counts for the newest (E26)",
		Edits: []mutation.Edit{mutation.In("actors/node", "handleHeartbeatResponse").Replace(`
				if _m.Round > _p.ackedRound {
					_p.ackedRound = min(_m.Round, _l.reads.round)
					___confirm
				}`, `
				if _l.reads.round > _p.ackedRound {
					_p.ackedRound = _l.reads.round
					___confirm
				}`)},
		Hunt: Hunt{Scenario: "stale-read-old-round"}, Caught: []string{"linearizable reads"},
	},
	{
		Name:   "responses of an earlier term confirm reads",
		Breaks: "a leader that is elected again counts responses to heartbeats of its earlier term, whose rounds have the same numbers (E26)",
		Edits: []mutation.Edit{mutation.In("raft", "TermRule").Delete(
			`if _m.Term < _current { return TermStale }`)},
		Hunt: Hunt{Scenario: "stale-read-old-term"}, Caught: []string{"stale term ignored"},
	},
	{
		Name:   "reads survive a leader change",
		Breaks: "a leader that steps down keeps the reads that it collected and never responds to them",
		Edits: []mutation.Edit{mutation.In("actors/node", "leader.leave").Delete(
			`_l.refuseReads(_l.reads.takeCollected(), _why)`)},
		Hunt: Hunt{Scenario: "stale-read"}, Caught: []string{"script"},
	},
	{
		Name:   "reads survive into the next leadership",
		Breaks: "a leader that steps down keeps its reads and their read points, and gives them out when it leads again",
		Edits: []mutation.Edit{
			mutation.In("actors/node", "").Replace(
				`actor.Behavior`,
				`struct { actor.Behavior; kept readRounds }`),
			mutation.In("actors/node", "New").Replace(
				`actor.NewBehavior()`,
				`struct { actor.Behavior; kept readRounds }{Behavior: actor.NewBehavior()}`),
			mutation.In("actors/node", "leader.leave").Replace(`
				for _, _w := range _l.reads.rounds { _l.refuseReads(_w.reads, _why) }
				_l.refuseReads(_l.reads.beforeFirstCommit, _why)
				_l.refuseReads(_l.reads.takeCollected(), _why)`,
				`_l.behavior.kept = _l.reads`),
			mutation.In("actors/node", "becomeLeader").InsertBefore(
				`_n.become(_l)`,
				`_l.reads, _n.behavior.kept = _n.behavior.kept, readRounds{}`),
		},
		Hunt: Hunt{Profile: "network"}, Caught: []string{"linearizable reads"},
	},
	{
		Name:   "read joins a request in flight",
		Breaks: "a read shares a request that the session sent before the read arrived (E28)",
		Edits: []mutation.Edit{mutation.In("internal/session", "join").InsertAfter(
			`_b := _line.gathering`, `
				if _line.inFlight != nil && _b == nil {
					_b = _line.inFlight
					_b.readers++
					r.waitingReads++
					return _b, nil
				}`)},
		Hunt: Hunt{Profile: "crashes"}, Caught: []string{"linearizable reads", "linearizability"},
	},
	{
		Name:   "new incarnation serves the old applied index",
		Breaks: "the session keeps its applied index when the node's actors restart, while the state machine is behind it",
		Edits: []mutation.Edit{mutation.In("internal/session", "reads.deliverIncarnation").Replace(
			`_r.incarnation, _r.applied = _incarnation, 0`,
			`_r.incarnation = _incarnation`)},
		Hunt: Hunt{Package: "./internal/session", Test: "TestAppliedIndexEndsWithItsIncarnation"},
	},
	{
		Name:   "reads before the first commit of the term",
		Breaks: "a new leader responds with the commit index that it knew as a follower (E25)",
		Edits: []mutation.Edit{mutation.In("actors/node", "handleReadRequest").Replace(
			`_l.log.commitIndex < _l.firstIndex`,
			`_l.firstIndex == 0`)},
		Hunt: Hunt{Profile: "network"}, Caught: []string{"linearizable reads"},
	},
	{
		Name:   "half a quorum confirms a read",
		Breaks: "the leader needs one response, however many voters there are",
		Edits: []mutation.Edit{mutation.In("actors/node", "confirmReads").Replace(
			`_confirmed := _l.quorum.HighestAcknowledged(_round)`, `
				_confirmed := uint64(0)
				for _, p := range _l.peers {
					_confirmed = max(_confirmed, p.ackedRound)
				}
				if len(_l.peers) == 0 {
					_confirmed = _l.reads.round
				}`)},
		Hunt: Hunt{Scenario: "read-without-quorum"}, Caught: []string{"linearizable reads", "script"},
	},
	{
		Name:   "lease ignores clock drift",
		Breaks: "a leader relies on its lease for its full length on a slow clock (E21)",
		Edits:  []mutation.Edit{mutation.In("raft", "LeaderDuration").Replace(`scalePerMille(_l.Length, _share)`, `_l.Length`)},
		Hunt:   Hunt{Package: "./raft", Test: "TestE21FollowerPeriodEndsAfterLeaderPeriod"},
	},
}
