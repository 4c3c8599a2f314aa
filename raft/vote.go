package raft

import "github.com/troupe-raft/troupe/messages"

// VoterState is the state of a node that decides about a vote.
type VoterState struct {
	// Term and Vote are the current ones, on disk or on their way to it.
	Term, Vote uint64
	Log        *LogTerms
	// Sticky: the node had contact to its leader within the election timeout, or leads itself
	// (dissertation §4.2.3).
	Sticky bool
	// LeaseGranted: the node granted a lease to a leader that has not ended.
	LeaseGranted bool
	// Barred: the node may have forgotten votes (Storage.MayVote).
	Barred bool
}

// VoteDecision is what a node does with a request for its vote: it adopts AdoptTerm, and then
// responds. The response of a granted vote leaves after term and vote are on disk, also if the same
// vote was granted before: that one may not be on disk yet. A refusal leaves at once.
type VoteDecision struct {
	Grant bool
	// AdoptTerm is the higher term that the node adopts as a follower without a leader, 0 for none.
	AdoptTerm uint64
	// Vote is the new vote.
	Vote uint64
	// Sticky: refused because a leader is active or has a lease. The candidate may ask again soon.
	Sticky bool
	// ResponseTerm is the term of the response: for a grant that of the request, else the voter's
	// (E17).
	ResponseTerm uint64
}

// DecideVote decides a request for a vote, by these rules in this order:
//
//  1. A request of a lower term is refused with the voter's term (Raft §5.1, E17).
//  2. While a leader is active or has a lease, a vote is refused and its term not adopted, unless
//     the leader requested the election (dissertation §4.2.3, §3.10; E20).
//  3. A pre-vote has the result that the vote would have, and changes nothing (dissertation §9.6;
//     E15).
//  4. A higher term is adopted, and clears the vote (Raft §5.1). Within a term nothing does (E2).
//  5. A node that may have forgotten votes grants none (E37).
//  6. The vote goes to one candidate a term, whose log is at least as up to date (Raft §5.2,
//     §5.4.1). A repeated request of that candidate is granted again, if its log still passes (E4).
//
// Membership does not matter: the voter may not know the latest configuration (Raft §6: "servers …
// grant votes to servers not in their latest configuration"). A learner votes for the same reason
// (E23).
func DecideVote(v VoterState, r *messages.RequestVote) VoteDecision {
	refusal := VoteDecision{Vote: v.Vote, ResponseTerm: v.Term}
	if r.Term < v.Term || r.Candidate == 0 {
		return refusal
	}
	if (v.Sticky || v.LeaseGranted) && !r.Transfer {
		refusal.Sticky = true
		return refusal
	}

	vote := v.Vote
	if r.Term > v.Term {
		vote = 0
	}
	grant := (vote == 0 || vote == r.Candidate) && v.Log.isUpToDate(r.LastIndex, r.LastTerm)
	grant = grant && !v.Barred
	if r.PreVote {
		if grant {
			return VoteDecision{Grant: true, Vote: v.Vote, ResponseTerm: r.Term}
		}
		return refusal
	}

	d := VoteDecision{Grant: grant, Vote: vote, ResponseTerm: r.Term}
	if r.Term > v.Term {
		d.AdoptTerm = r.Term
	}
	if grant {
		d.Vote = r.Candidate
	}
	return d
}

// Votes are the responses to one campaign: by voter, whether it granted its vote.
type Votes map[uint64]bool

// Record stores a response. A refusal that comes late does not take a grant back.
func (v Votes) Record(voter uint64, granted bool) { v[voter] = v[voter] || granted }

// Of returns the response of a voter, for Quorum.CountVotes.
func (v Votes) Of(voter uint64) (granted, responded bool) {
	granted, responded = v[voter]
	return granted, responded
}
