package mutations

import "github.com/troupe-raft/troupe/internal/mutation"

var reads = []Mutation{
	{
		Name:   "reads without a quorum",
		Breaks: "a leader confirms its reads by itself",
		Edits: []mutation.Edit{mutation.In("actors/node", "confirmReads").Replace(`
				if _p := _n.leadership.peerByID(_id); _p != nil { return _p.ackedRound }
				return 0`,
			`return _n.leadership.heartbeatRound`)},
		Hunt: Hunt{Profile: "network"}, Caught: []string{"linearizable reads"},
	},
	{
		Name:   "an answer confirms every round",
		Breaks: "a heartbeat's answer of an earlier round counts for the newest (E26)",
		Edits: []mutation.Edit{mutation.In("actors/node", "handleHeartbeatResponse").Replace(`
				if _m.Round > _p.ackedRound {
					_p.ackedRound = min(_m.Round, _n.leadership.heartbeatRound)
					___confirm
				}`, `
				if _n.leadership.heartbeatRound > _p.ackedRound {
					_p.ackedRound = _n.leadership.heartbeatRound
					___confirm
				}`)},
		Hunt: Hunt{Scenario: "stale-read-old-round"}, Caught: []string{"linearizable reads"},
	},
	{
		Name:   "answers to an earlier term's rounds confirm reads",
		Breaks: "a leader that leads once more counts the answers to heartbeats of its former term, whose rounds have the same numbers (E26)",
		Edits: []mutation.Edit{mutation.In("actors/node", "stepCommon").Replace(
			`return _m.Term < _n.term`,
			`return false`)},
		Hunt: Hunt{Scenario: "stale-read-old-term"}, Caught: []string{"term by term"},
	},
	{
		Name:   "reads wait on through a change of leaders",
		Breaks: "who steps down keeps the reads that it has collected, and gives them a point when it leads again",
		Edits: []mutation.Edit{mutation.In("actors/node", "stopLeading").Delete(
			`_n.refuseReads(_n.pending.takeReads(), _why)`)},
		Hunt: Hunt{Scenario: "stale-read"}, Caught: []string{"script"},
	},
	{
		Name:   "a read joins a round that has begun",
		Breaks: "a read shares the request that the handle has sent before it was asked (E28)",
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
		Name:   "a new life serves what the last one had applied",
		Breaks: "the handle keeps its applied index when the node's actors start anew, while the state machine is behind it",
		Edits: []mutation.Edit{mutation.In("internal/session", "reads.deliverIncarnation").Replace(
			`_r.incarnation, _r.applied = _incarnation, 0`,
			`_r.incarnation = _incarnation`)},
		Hunt: Hunt{Profile: "crashes"}, Caught: []string{"read after apply"},
	},
	{
		Name:   "reads before the first commit of the term",
		Breaks: "a new leader answers with what it knew to be committed as a follower (E25)",
		Edits: []mutation.Edit{mutation.In("actors/node", "handleReadRequest").Replace(
			`_n.commitIndex < _n.leadership.firstIndex`,
			`_n.leadership.firstIndex == 0`)},
		Hunt: Hunt{Profile: "network"}, Caught: []string{"linearizable reads"},
	},
	{
		Name:   "half a quorum confirms a read",
		Breaks: "the leader needs one answer, however many voters there are",
		Edits: []mutation.Edit{mutation.In("actors/node", "confirmReads").Replace(
			`_confirmed := _n.quorum.HighestAcknowledged(_round)`, `
				_confirmed := uint64(0)
				for _, p := range _n.leadership.peers {
					_confirmed = max(_confirmed, p.ackedRound)
				}
				if len(_n.leadership.peers) == 0 {
					_confirmed = _n.leadership.heartbeatRound
				}`)},
		Hunt: Hunt{Scenario: "read-without-quorum"}, Caught: []string{"linearizable reads", "script"},
	},
	{
		Name:   "the lease is not shortened by drift",
		Breaks: "a leader trusts its lease for its full length on a slow clock (E21)",
		Edits:  []mutation.Edit{mutation.In("raft", "LeaderDuration").Replace(`scalePerMille(_l.Length, _share)`, `_l.Length`)},
		Hunt:   Hunt{Package: "./raft", Test: "TestE21TheFollowersPromiseOutlivesTheLeadersTrust"},
	},
}
