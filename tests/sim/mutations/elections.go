package mutations

import "github.com/troupe-raft/troupe/internal/mutation"

var elections = []Mutation{
	{
		Name:   "vote sent before its sync",
		Breaks: "a granted vote leaves while term and vote are not on disk (E1)",
		Edits: []mutation.Edit{mutation.In("actors/node", "handleRequestVote").Replace(
			`_n.persist(&messages.Append{___fields, Deferred: _list{_deferred(_candidate, _role, _index, _response)}})`, `
				_n.persist(&messages.Append{___fields})
				_n.sendToPeer(_candidate, _response)`)},
		Hunt: Hunt{Profile: "crashes"}, Caught: []string{"persist before send"},
	},
	{
		Name:   "vote request sent before its sync",
		Breaks: "vote requests leave before the new term and the own vote are on disk (E1)",
		Edits: []mutation.Edit{mutation.In("actors/node", "becomeCandidate").Replace(
			`_a.Deferred = append(_a.Deferred, _deferred(_id, _role, _index, _request))`,
			`n.sendToPeer(_id, _request)`)},
		Hunt: Hunt{Profile: "crashes"}, Caught: []string{"persist before send"},
	},
	{
		Name:   "vote is not stored",
		Breaks: "the hard state is stored without the vote",
		Edits: []mutation.Edit{mutation.In("actors/node", "Node.persist").Replace(
			`messages.HardState{___before, Vote: _vote, ___after}`,
			`messages.HardState{___before, ___after}`)},
		Hunt: Hunt{Profile: "crashes"}, Caught: []string{"persist before send", "quorum elects"},
	},
	{
		Name:   "vote is not recorded",
		Breaks: "a voter grants and records no vote: the next candidate of the term receives another",
		Edits:  []mutation.Edit{mutation.In("actors/node", "handleRequestVote").Delete(`_n.vote = _d.Vote`)},
		Hunt:   Hunt{Profile: "network"}, Caught: []string{"persist before send"},
	},
	{
		Name:   "vote is lost in a restart",
		Breaks: "a new incarnation recovers the term and not the vote (E14)",
		Edits:  []mutation.Edit{mutation.In("actors/node", "handleRecovered").Replace(`_m.HardState.GetVote()`, `0`)},
		Hunt:   Hunt{Profile: "crashes"}, Caught: []string{"term and vote monotonic"},
	},
	{
		Name:   "term is recovered from the log",
		Breaks: "a new incarnation takes the term of its last entry instead of the stored one",
		Edits: []mutation.Edit{mutation.In("actors/node", "handleRecovered").InsertAfter(
			`_n.term, _n.vote = _term, _vote`, `
				if k := len(m.Runs); k > 0 && m.Runs[k-1].Term < _n.term {
					_n.term, _n.vote = m.Runs[k-1].Term, 0
				}`)},
		Hunt: Hunt{Profile: "crashes"}, Caught: []string{"term and vote monotonic"},
	},
	{
		Name:   "stepping down clears the vote",
		Breaks: "a candidate that follows the leader of its term clears its vote (E2)",
		Edits: []mutation.Edit{mutation.In("actors/node", "becomeFollower").Replace(
			`if _higher { _n.setTerm(_term, 0) }`,
			`_n.setTerm(_term, 0)`)},
		Hunt: Hunt{Profile: "network"}, Caught: []string{"term and vote monotonic"},
	},
	{
		Name:   "second vote in a term",
		Breaks: "a voter grants every request, whether it has voted or not",
		Edits: []mutation.Edit{mutation.In("raft", "DecideVote").Replace(
			`(_vote == 0 || _vote == _r.Candidate) && _upToDate`,
			`_upToDate`)},
		Hunt: Hunt{Profile: "network"}, Caught: []string{"one vote per term", "term and vote monotonic"},
	},
	{
		Name:   "up to date by length only",
		Breaks: "the voter compares lengths and not last terms (§5.4.1)",
		Edits: []mutation.Edit{mutation.In("raft", "isUpToDate").Delete(
			`if _lastTerm != _l.LastTerm() { ___decide }`)},
		Hunt: Hunt{Scenario: "election-restriction"}, Caught: []string{"leader completeness"},
	},
	{
		Name:   "up to date by term only",
		Breaks: "of two logs that end in the same term the voter accepts the shorter one too (§5.4.1)",
		Edits:  []mutation.Edit{mutation.In("raft", "isUpToDate").Replace(`_lastIndex >= _l.last`, `true`)},
		Hunt:   Hunt{Profile: "network"}, Caught: []string{"leader completeness"},
	},
	{
		Name:   "half is a majority",
		Breaks: "two of four voters elect a leader",
		Edits:  []mutation.Edit{mutation.In("raft", "Majority.countVotes").Replace(`len(_m)/2 + 1`, `(len(_m) + 1) / 2`)},
		Hunt:   Hunt{Profile: "network", Nodes: 4}, Caught: []string{"quorum elects"},
	},
	{
		Name:   "votes of an earlier term count",
		Breaks: "a candidate counts late responses to an earlier election",
		Edits: []mutation.Edit{mutation.In("actors/node", "candidate.receive").Replace(
			`!_m.PreVote && _m.Term == _n.term`,
			`!_m.PreVote`)},
		Hunt: Hunt{Profile: "network"}, Caught: []string{"quorum elects"},
	},
	{
		Name:   "pre-votes count as votes",
		Breaks: "a candidate counts late pre-votes, which bind nobody, as votes",
		Edits: []mutation.Edit{mutation.In("actors/node", "candidate.receive").Replace(
			`!_m.PreVote && _m.Term == _n.term`,
			`_m.Term == _n.term`)},
		Hunt: Hunt{Profile: "network"}, Caught: []string{"quorum elects"},
	},
	{
		Name:   "pre-vote raises the term",
		Breaks: "the term rule is applied to pre-votes too (E15)",
		Edits: []mutation.Edit{mutation.In("raft", "DecideVote").Replace(
			`VoteDecision{Grant: true, Vote: _v.Vote, ResponseTerm: _term}`,
			`VoteDecision{Grant: true, Vote: _v.Vote, ResponseTerm: _term, AdoptTerm: _term}`)},
		Hunt: Hunt{Profile: "calm"}, Caught: []string{"pre-vote changes nothing"},
	},
	{
		Name:   "pre-vote resets the election timer",
		Breaks: "a granted pre-vote counts as contact with a leader (E15)",
		Edits: []mutation.Edit{mutation.In("actors/node", "handleRequestVote").InsertBefore(
			`if !_d.Grant || _m.PreVote { ___respond }`, `
				if _d.Grant && _m.PreVote {
					n.resetElectionTimer()
				}`)},
		Hunt: Hunt{Package: "./actors/node", Test: "TestE15PreVoteChangesNothing"},
	},
	{
		Name:   "no leader stickiness",
		Breaks: "a node with an active leader grants pre-votes: a returning member disrupts the cluster (§9.6)",
		Edits: []mutation.Edit{mutation.In("actors/node", "handleRequestVote").Replace(
			`raft.VoterState{___fields, Sticky: _sticky}`,
			`raft.VoterState{___fields}`)},
		Hunt: Hunt{Package: "./actors/node", Test: "TestPreVoteIsRefusedWithActiveLeader"},
	},
	{
		Name:   "CheckQuorum is skipped",
		Breaks: "a leader without responses keeps leading (E19)",
		Edits: []mutation.Edit{mutation.In("actors/node", "hasQuorumContact").Replace(
			`_now-time.Duration(_contact) < _timeout`,
			`_contact < 1<<62`)},
		Hunt: Hunt{Scenario: "check-quorum"}, Caught: []string{"script"},
	},
	{
		Name:   "CheckQuorum counts a silent peer",
		Breaks: "a leader counts its first peer as active in any case (E19)",
		Edits: []mutation.Edit{mutation.In("actors/node", "hasQuorumContact").Replace(
			`return uint64(_p.lastContact)`, `
				if _p == l.peers[0] {
					return uint64(now)
				}
				return uint64(_p.lastContact)`)},
		Hunt: Hunt{Scenario: "re-election"}, Caught: []string{"script"},
	},
	{
		Name:   "stale leader gets no response",
		Breaks: "appends and heartbeats of an earlier term are dropped: a node with a higher term stays isolated (E17)",
		Edits:  []mutation.Edit{mutation.In("actors/node", "stepTerm").Delete(`_n.refuseStaleLeader(_m)`)},
		Hunt:   Hunt{Package: "./actors/node", Test: "TestE17StaleLeaderLearnsTheTerm"},
	},
	{
		Name:   "messages of an earlier incarnation count",
		Breaks: "messages that actors sent before a crash are accepted after it",
		Edits: []mutation.Edit{mutation.In("actors/node", "isStale").Replace(
			`_m.GetIncarnation() != _own`,
			`_m.GetIncarnation() == 0`)},
		Hunt: Hunt{Profile: "crashes"}, Caught: []string{"stale incarnation ignored"},
	},
}
