package raft

import "github.com/troupe-raft/troupe/messages"

// VoterState is what a node knows of itself when it is asked for its vote.
type VoterState struct {
	// Term and Vote as they are now, persisted or about to be.
	Term, Vote uint64
	Log        *LogTerms
	// Sticky: it heard its leader within the election timeout, or it leads and hears a quorum (dissertation §4.2.3).
	Sticky bool
	// LeaseGranted: it promised a leader not to vote, and that has not run out.
	LeaseGranted bool
}

// VoteDecision is what a node does about a request for its vote, in this order: take up AdoptTerm, keep Vote, persist if
// Save says so, and only then answer.
type VoteDecision struct {
	Grant bool
	// AdoptTerm is the higher term to take up first, as a follower that knows no leader; 0 to stay as it is.
	AdoptTerm uint64
	// Save: the answer may leave only after Vote and the term are on disk. It is set for every granted vote, a repeated
	// one too: the first grant may still be on its way to the disk.
	MustPersist bool
	// Vote to keep from now on.
	Vote uint64
	// Sticky: refused because a leader is still heard or has a lease; the candidate may ask again soon.
	Sticky bool
	// ResponseTerm goes into the answer: the request's for a grant, else the voter's own (E17).
	ResponseTerm uint64
}

// DecideVote is the voter's side of elections. In this order:
//
//  1. Who asks from a lower term is answered with ours, and nothing else happens (Raft §5.1, E17).
//  2. While a leader is heard, or was promised patience, nobody gets a vote and nobody's term is taken up, unless the
//     leader itself asked for the election (dissertation §4.2.3, §3.10; E20).
//  3. A pre-vote is answered as the vote would be, and touches nothing (dissertation §9.6, E15).
//  4. A higher term is taken up; with it the vote is free again (Raft §5.1). Within a term it never is (E2).
//  5. One vote a term, to a candidate whose log is at least as up to date (Raft §5.2, §5.4.1); the same candidate gets the
//     same answer again, if its log still passes (E4).
//
// Who is a member of what is not asked: the voter may not know the newest configuration yet (Raft §6: "servers … grant
// votes to servers not in their latest configuration"), and a learner votes for the same reason (E23).
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
	if r.PreVote {
		if grant {
			return VoteDecision{Grant: true, Vote: v.Vote, ResponseTerm: r.Term}
		}
		return refusal
	}

	d := VoteDecision{Grant: grant, Vote: vote, ResponseTerm: r.Term, MustPersist: grant}
	if r.Term > v.Term {
		d.AdoptTerm, d.MustPersist = r.Term, true
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
