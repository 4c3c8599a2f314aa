package raft

import (
	"math"
	"slices"
)

// Majority is a set of voters, of which more than half decide. Ids are sorted and unique.
type Majority []uint64

// Quorum is whose agreement counts: one majority, or while the configuration is joint a majority of both (Raft §6). The
// same code confirms commits, reads and leases (E27): each is a number that voters have acknowledged.
type Quorum struct {
	Incoming Majority
	// Outgoing is empty but in a joint configuration.
	Outgoing Majority
}

// VoteResult is how an election stands.
type VoteResult int

const (
	// VotePending: the answers so far decide nothing.
	VotePending VoteResult = iota
	// VoteWon: a quorum granted.
	VoteWon
	// VoteLost: whatever the others answer, no quorum can grant any more.
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

// Committed is the highest number that a quorum has acknowledged. A quorum without any voter has acknowledged nothing.
func (q Quorum) HighestAcknowledged(acked func(id uint64) uint64) uint64 {
	if len(q.Incoming) == 0 && len(q.Outgoing) == 0 {
		return 0
	}
	return min(q.Incoming.highestAcknowledged(acked), q.Outgoing.highestAcknowledged(acked))
}

// committed sorts what the voters acknowledged in descending order; more than half of them have at least the one in the
// middle: of five at place 2, of four at place 2 too. An empty majority restricts nothing.
func (m Majority) highestAcknowledged(acked func(id uint64) uint64) uint64 {
	if len(m) == 0 {
		return math.MaxUint64
	}
	var few [7]uint64 // on the stack: no cluster that pays attention to latency has more voters
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

// Vote tells how an election stands. A quorum without any voter cannot elect anybody.
func (q Quorum) CountVotes(answer func(id uint64) (granted, answered bool)) VoteResult {
	if len(q.Incoming) == 0 && len(q.Outgoing) == 0 {
		return VoteLost
	}
	incoming, outgoing := q.Incoming.countVotes(answer), q.Outgoing.countVotes(answer)
	switch {
	case incoming == VoteLost || outgoing == VoteLost:
		return VoteLost
	case incoming == VoteWon && outgoing == VoteWon:
		return VoteWon
	}
	return VotePending
}

func (m Majority) countVotes(answer func(id uint64) (granted, answered bool)) VoteResult {
	granted, open := 0, 0
	for _, id := range m {
		switch yes, answered := answer(id); {
		case !answered:
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

// Contains tells whether id is a voter in either majority.
func (q Quorum) Contains(id uint64) bool {
	return slices.Contains(q.Incoming, id) || slices.Contains(q.Outgoing, id)
}

// IDs are all voters, each once, sorted.
func (q Quorum) VoterIDs() []uint64 {
	ids := make([]uint64, 0, len(q.Incoming)+len(q.Outgoing))
	ids = append(append(ids, q.Incoming...), q.Outgoing...)
	slices.Sort(ids)
	return slices.Compact(ids)
}
