package raft

import (
	"math"
	"slices"
)

// Majority is a set of voters of which more than half decide. The ids are sorted and unique.
type Majority []uint64

// Quorum decides by one majority, or by both in a joint configuration (Raft §6). The same code
// decides commits, reads, CheckQuorum and leases: each is a number that voters have acknowledged
// (E27).
type Quorum struct {
	Incoming Majority
	// Outgoing is empty except in a joint configuration.
	Outgoing Majority
}

// VoteResult is the result of an election so far.
type VoteResult int

const (
	// VotePending: the responses so far decide nothing.
	VotePending VoteResult = iota
	// VoteWon: a quorum granted.
	VoteWon
	// VoteLost: whatever the others respond, a quorum cannot grant.
	VoteLost
)

func (o VoteResult) String() string {
	switch o {
	case VoteWon:
		return "won"
	case VoteLost:
		return "lost"
	}
	return "pending"
}

// HighestAcknowledged returns the highest number that a quorum has acknowledged; without voters, 0.
func (q Quorum) HighestAcknowledged(acked func(id uint64) uint64) uint64 {
	if len(q.Incoming) == 0 && len(q.Outgoing) == 0 {
		return 0
	}
	return min(q.Incoming.highestAcknowledged(acked), q.Outgoing.highestAcknowledged(acked))
}

// highestAcknowledged sorts the numbers in descending order. More than half of the voters have at
// least the one at len/2:
//
//	acknowledged   9  7 [6] 4  2        three of five voters have at least 6
//	               9  7 [6] 4           three of four
//
// An empty majority does not restrict the result.
func (m Majority) highestAcknowledged(acked func(id uint64) uint64) uint64 {
	if len(m) == 0 {
		return math.MaxUint64
	}
	var few [7]uint64 // on the stack; more voters are rare
	sorted := few[:0]
	if len(m) > len(few) {
		sorted = make([]uint64, 0, len(m))
	}
	for _, id := range m {
		value := acked(id)
		at := len(sorted)
		sorted = append(sorted, value)
		for ; at > 0 && sorted[at-1] < value; at-- {
			sorted[at] = sorted[at-1]
		}
		sorted[at] = value
	}
	return sorted[len(m)/2]
}

// CountVotes returns the result of an election. A quorum without voters elects no leader.
func (q Quorum) CountVotes(response func(id uint64) (granted, responded bool)) VoteResult {
	if len(q.Incoming) == 0 && len(q.Outgoing) == 0 {
		return VoteLost
	}
	incoming, outgoing := q.Incoming.countVotes(response), q.Outgoing.countVotes(response)
	switch {
	case incoming == VoteLost || outgoing == VoteLost:
		return VoteLost
	case incoming == VoteWon && outgoing == VoteWon:
		return VoteWon
	}
	return VotePending
}

func (m Majority) countVotes(response func(id uint64) (granted, responded bool)) VoteResult {
	granted, open := 0, 0
	for _, id := range m {
		switch yes, responded := response(id); {
		case !responded:
			open++
		case yes:
			granted++
		}
	}
	need := len(m)/2 + 1
	switch {
	case len(m) == 0 || granted >= need:
		return VoteWon
	case granted+open < need:
		return VoteLost
	}
	return VotePending
}

// Contains reports whether id is a voter in either majority.
func (q Quorum) Contains(id uint64) bool {
	return slices.Contains(q.Incoming, id) || slices.Contains(q.Outgoing, id)
}

// VoterIDs returns all voters, sorted and unique.
func (q Quorum) VoterIDs() []uint64 {
	ids := make([]uint64, 0, len(q.Incoming)+len(q.Outgoing))
	ids = append(append(ids, q.Incoming...), q.Outgoing...)
	slices.Sort(ids)
	return slices.Compact(ids)
}
