package raft

import (
	"testing"

	"github.com/troupe-raft/troupe/messages"
)

// naiveDecideVote is DecideVote in another form: conditions first, then the decision.
func naiveDecideVote(v VoterState, r *messages.RequestVote) VoteDecision {
	patient := (v.Sticky || v.LeaseGranted) && !r.Transfer
	lawful := r.Candidate != 0 && r.Term >= v.Term
	free := r.Term > v.Term || v.Vote == 0 || v.Vote == r.Candidate
	logGood := r.LastTerm > v.Log.LastTerm() || r.LastTerm == v.Log.LastTerm() && r.LastIndex >= v.Log.LastIndex()

	var d VoteDecision
	d.Grant = lawful && !patient && free && logGood
	d.Sticky = lawful && patient
	takesTerm := lawful && !patient && !r.PreVote && r.Term > v.Term
	if takesTerm {
		d.AdoptTerm = r.Term
	}
	switch {
	case d.Grant && !r.PreVote:
		d.Vote = r.Candidate
	case !takesTerm:
		d.Vote = v.Vote
	}
	d.ResponseTerm = v.Term
	if d.Grant || takesTerm {
		d.ResponseTerm = r.Term
	}
	return d
}

func TestDecideVoteMatchesNaiveRules(t *testing.T) {
	logs := []*LogTerms{logWithTerms(), logWithTerms(1), logWithTerms(1, 1), logWithTerms(1, 2)}
	flags := []bool{false, true}
	cases, granted := 0, 0
	for _, log := range logs {
		for term := uint64(0); term < 4; term++ {
			for vote := uint64(0); vote < 3; vote++ {
				for _, sticky := range flags {
					for _, lease := range flags {
						v := VoterState{Term: term, Vote: vote, Log: log, Sticky: sticky, LeaseGranted: lease}
						forEachRequest(func(r *messages.RequestVote) {
							got := DecideVote(v, r)
							if want := naiveDecideVote(v, r); got != want {
								t.Fatalf("%+v\nrequest %v\ndecides %+v\nwant    %+v", v, r, got, want)
							}
							cases++
							if got.Grant {
								granted++
							}
						})
					}
				}
			}
		}
	}
	if cases < 40000 || granted < 1000 {
		t.Fatalf("%d cases, %d granted", cases, granted)
	}
}

func forEachRequest(f func(r *messages.RequestVote)) {
	for bits := 0; bits < 4; bits++ {
		for term := uint64(0); term < 5; term++ {
			for candidate := uint64(0); candidate < 3; candidate++ {
				for lastIndex := uint64(0); lastIndex < 3; lastIndex++ {
					for lastTerm := uint64(0); lastTerm < 4; lastTerm++ {
						f(&messages.RequestVote{Term: term, Candidate: candidate, LastIndex: lastIndex, LastTerm: lastTerm,
							PreVote: bits&1 != 0, Transfer: bits&2 != 0})
					}
				}
			}
		}
	}
}

// newVoteRequest returns a request of candidate 7 with the log (1, 1, 2).
func newVoteRequest(term uint64) *messages.RequestVote {
	return &messages.RequestVote{Term: term, Candidate: 7, LastIndex: 3, LastTerm: 2}
}

func TestDecideVoteFollowsThePaper(t *testing.T) {
	log := logWithTerms(1, 1, 2)
	longer, later := logWithTerms(1, 1, 2, 2), logWithTerms(3)
	prevote := func(r *messages.RequestVote) *messages.RequestVote { r.PreVote = true; return r }
	transfer := func(r *messages.RequestVote) *messages.RequestVote { r.Transfer = true; return r }
	for _, c := range []struct {
		name string
		v    VoterState
		r    *messages.RequestVote
		want VoteDecision
	}{
		{"§5.1: a stale term is refused with the current one",
			VoterState{Term: 5, Vote: 1, Log: log}, newVoteRequest(4), VoteDecision{Vote: 1, ResponseTerm: 5}},
		{"§5.1: a higher term is adopted and clears the vote",
			VoterState{Term: 4, Vote: 1, Log: log}, newVoteRequest(5), VoteDecision{Grant: true, AdoptTerm: 5, Vote: 7, ResponseTerm: 5}},
		{"§5.2: one vote a term",
			VoterState{Term: 5, Vote: 1, Log: log}, newVoteRequest(5), VoteDecision{Vote: 1, ResponseTerm: 5}},
		{"§5.2: first-come-first-served",
			VoterState{Term: 5, Log: log}, newVoteRequest(5), VoteDecision{Grant: true, Vote: 7, ResponseTerm: 5}},
		{"§5.4.1: a longer log of the same term is more up to date; the term is adopted",
			VoterState{Term: 4, Vote: 1, Log: longer}, newVoteRequest(5), VoteDecision{AdoptTerm: 5, ResponseTerm: 5}},
		{"§5.4.1: a shorter log of a later term is more up to date",
			VoterState{Term: 5, Log: later}, newVoteRequest(5), VoteDecision{ResponseTerm: 5}},
		{"E2: within a term the vote stays",
			VoterState{Term: 5, Vote: 7, Log: longer}, newVoteRequest(5), VoteDecision{Vote: 7, ResponseTerm: 5}},
		{"E4: the same candidate receives the vote again, after the sync",
			VoterState{Term: 5, Vote: 7, Log: log}, newVoteRequest(5), VoteDecision{Grant: true, Vote: 7, ResponseTerm: 5}},
		{"E15: a granted pre-vote changes neither term nor vote",
			VoterState{Term: 4, Vote: 1, Log: log}, prevote(newVoteRequest(5)), VoteDecision{Grant: true, Vote: 1, ResponseTerm: 5}},
		{"E15: a refused pre-vote changes neither",
			VoterState{Term: 4, Vote: 1, Log: longer}, prevote(newVoteRequest(9)), VoteDecision{Vote: 1, ResponseTerm: 4}},
		{"E17: a pre-vote of a lower term is refused with the current one",
			VoterState{Term: 9, Vote: 1, Log: log}, prevote(newVoteRequest(5)), VoteDecision{Vote: 1, ResponseTerm: 9}},
		{"dissertation §9.6: a pre-vote is refused where the vote would be",
			VoterState{Term: 5, Vote: 1, Log: log}, prevote(newVoteRequest(5)), VoteDecision{Vote: 1, ResponseTerm: 5}},
		{"dissertation §4.2.3: with an active leader no vote is granted and no term adopted",
			VoterState{Term: 4, Vote: 1, Log: log, Sticky: true}, newVoteRequest(9), VoteDecision{Vote: 1, Sticky: true, ResponseTerm: 4}},
		{"dissertation §9.6: with an active leader no pre-vote is granted",
			VoterState{Term: 4, Log: log, Sticky: true}, prevote(newVoteRequest(5)), VoteDecision{Sticky: true, ResponseTerm: 4}},
		{"E21: during a lease no vote is granted",
			VoterState{Term: 4, Log: log, LeaseGranted: true}, newVoteRequest(5), VoteDecision{Sticky: true, ResponseTerm: 4}},
		{"E20: unless the leader requested the election",
			VoterState{Term: 4, Vote: 1, Log: log, Sticky: true, LeaseGranted: true}, transfer(newVoteRequest(5)),
			VoteDecision{Grant: true, AdoptTerm: 5, Vote: 7, ResponseTerm: 5}},
		{"E20: a transfer to a shorter log is refused",
			VoterState{Term: 4, Vote: 1, Log: longer, LeaseGranted: true}, transfer(newVoteRequest(5)), VoteDecision{AdoptTerm: 5, ResponseTerm: 5}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := DecideVote(c.v, c.r); got != c.want {
				t.Errorf("\n%+v\nwant\n%+v", got, c.want)
			}
		})
	}
}

// Membership does not matter: VoterState has no configuration, and an unknown candidate receives
// the vote.
func TestE23UnknownCandidateReceivesVote(t *testing.T) {
	r := newVoteRequest(5)
	r.Candidate = 123456789
	if d := DecideVote(VoterState{Term: 4, Log: logWithTerms(1)}, r); !d.Grant || d.Vote != 123456789 {
		t.Errorf("%+v", d)
	}
}

// Election Safety (Raft §5.2): for any sequence of requests, a node votes for at most one candidate
// a term.
func TestE2E4OneVotePerTermForAnyRequests(t *testing.T) {
	var walk func(v VoterState, votes map[uint64]uint64, depth int)
	requests := []*messages.RequestVote{}
	for _, candidate := range []uint64{1, 2} {
		for term := uint64(1); term <= 2; term++ {
			for _, pre := range []bool{false, true} {
				requests = append(requests, &messages.RequestVote{Candidate: candidate, Term: term, PreVote: pre, LastIndex: candidate - 1, LastTerm: candidate - 1})
			}
		}
	}
	walk = func(v VoterState, votes map[uint64]uint64, depth int) {
		if depth == 0 {
			return
		}
		for _, r := range requests {
			next, after := v, map[uint64]uint64{1: votes[1], 2: votes[2]}
			d := DecideVote(v, r)
			next.Term, next.Vote = max(v.Term, d.AdoptTerm), d.Vote
			if next.Term < v.Term || r.PreVote && (next.Term != v.Term || next.Vote != v.Vote) {
				t.Fatalf("%+v becomes %+v by %v", v, next, r)
			}
			if d.Grant && !r.PreVote {
				if before := after[r.Term]; before != 0 && before != r.Candidate {
					t.Fatalf("term %d: a vote for %d after one for %d", r.Term, r.Candidate, before)
				}
				after[r.Term] = r.Candidate
			}
			walk(next, after, depth-1)
		}
	}
	walk(VoterState{Log: logWithTerms()}, map[uint64]uint64{}, 5)
}

// A repeated request is decided like the first one, and its response waits for the disk too: the
// first vote may not be on disk yet.
func TestE4RepeatedRequestIsDecidedAgain(t *testing.T) {
	v := VoterState{Term: 3, Vote: 2, Log: logWithTerms(1, 2, 2)}
	for _, c := range []struct {
		lastIndex, lastTerm uint64
		granted             bool
	}{{3, 2, true}, {4, 2, true}, {2, 2, false}, {9, 1, false}} {
		d := DecideVote(v, &messages.RequestVote{Term: 3, Candidate: 2, LastIndex: c.lastIndex, LastTerm: c.lastTerm})
		if d.Grant != c.granted || d.Vote != 2 {
			t.Errorf("a candidate with (%d, %d), asking again: %+v", c.lastIndex, c.lastTerm, d)
		}
	}
}

func TestVotesKeepGrantAfterLateRefusal(t *testing.T) {
	votes := Votes{}
	votes.Record(2, true)
	votes.Record(2, false)
	votes.Record(3, false)
	for voter, want := range map[uint64][2]bool{1: {false, false}, 2: {true, true}, 3: {false, true}} {
		if granted, responded := votes.Of(voter); granted != want[0] || responded != want[1] {
			t.Errorf("voter %d: granted %v, responded %v", voter, granted, responded)
		}
	}
}
