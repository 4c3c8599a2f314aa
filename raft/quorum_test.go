package raft

import (
	"fmt"
	"math/bits"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func constant(value uint64) func(uint64) uint64 { return func(uint64) uint64 { return value } }

// isSatisfied reports whether yes holds for more than half of m, or m is empty.
func (m Majority) isSatisfied(yes func(id uint64) bool) bool {
	count := 0
	for _, id := range m {
		if yes(id) {
			count++
		}
	}
	return len(m) == 0 || 2*count > len(m)
}

// naiveHighestAcknowledged tries numbers in descending order until a quorum has one.
func naiveHighestAcknowledged(q Quorum, acked func(uint64) uint64, highest uint64) uint64 {
	if len(q.VoterIDs()) == 0 {
		return 0
	}
	for n := highest; ; n-- {
		has := func(id uint64) bool { return acked(id) >= n }
		if n == 0 || q.Incoming.isSatisfied(has) && q.Outgoing.isSatisfied(has) {
			return n
		}
	}
}

// naiveCountVotes tries all possible responses of the voters that have not responded.
func naiveCountVotes(q Quorum, granted, responded uint) VoteResult {
	if len(q.VoterIDs()) == 0 {
		return VoteLost
	}
	wins := func(granted uint) bool {
		yes := func(id uint64) bool { return granted&(1<<id) != 0 }
		return q.Incoming.isSatisfied(yes) && q.Outgoing.isSatisfied(yes)
	}
	if wins(granted & responded) {
		return VoteWon
	}
	for future := uint(0); future < 64; future++ {
		if wins(granted&responded | future&^responded) {
			return VotePending
		}
	}
	return VoteLost
}

func majorityFromBits(set uint) (m Majority) {
	for id := uint64(1); set>>id != 0; id++ {
		if set&(1<<id) != 0 {
			m = append(m, id)
		}
	}
	return m
}

// forEachQuorum calls f for each pair of sets of the voters 1 … n, including empty ones.
func forEachQuorum(n uint, f func(q Quorum)) {
	for in := uint(0); in < 2<<n; in += 2 {
		for out := uint(0); out < 2<<n; out += 2 {
			f(Quorum{Incoming: majorityFromBits(in), Outgoing: majorityFromBits(out)})
		}
	}
}

func TestHighestAcknowledgedMatchesNaiveCount(t *testing.T) {
	const voters, values = 4, 4
	cases := 0
	forEachQuorum(voters, func(q Quorum) {
		for code := 0; code < 256; code++ { // values^voters
			acked := func(id uint64) uint64 { return uint64(code>>(2*(id-1))) % values }
			cases++
			if got, want := q.HighestAcknowledged(acked), naiveHighestAcknowledged(q, acked, values); got != want {
				t.Fatalf("%v with acknowledgements %08b: %d, want %d", q, code, got, want)
			}
		}
	})
	if cases != 256*256 {
		t.Fatalf("%d cases", cases)
	}
}

func TestCountVotesMatchesAllFutures(t *testing.T) {
	const voters = 4
	forEachQuorum(voters, func(q Quorum) {
		for granted := uint(0); granted < 2<<voters; granted += 2 {
			for responded := uint(0); responded < 2<<voters; responded += 2 {
				got := q.CountVotes(func(id uint64) (bool, bool) { return granted&(1<<id) != 0, responded&(1<<id) != 0 })
				if want := naiveCountVotes(q, granted, responded); got != want {
					t.Fatalf("%v granted %b responded %b: %v, want %v", q, granted, responded, got, want)
				}
			}
		}
	})
}

func TestHighestAcknowledgedOfManyVoters(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ids := rapid.SliceOfDistinct(rapid.Uint64Range(1, 30), func(id uint64) uint64 { return id })
		q := Quorum{Incoming: ids.Draw(t, "incoming"), Outgoing: ids.Draw(t, "outgoing")}
		acked := rapid.SliceOfN(rapid.Uint64Range(0, 20), 31, 31).Draw(t, "acknowledged")
		ask := func(id uint64) uint64 { return acked[id] }
		if got, want := q.HighestAcknowledged(ask), naiveHighestAcknowledged(q, ask, 21); got != want {
			t.Fatalf("%v with %v: %d, want %d", q, acked, got, want)
		}
	})
}

// Reads and commits share this code.
func TestE27SingleVoterAmongLearnersDecides(t *testing.T) {
	c := testConfiguration(1, 2, 3)
	c.Members[1].Learner, c.Members[2].Learner = true, true
	q := QuorumOf(c)
	acked := func(id uint64) uint64 { return map[uint64]uint64{1: 7, 2: 1, 3: 1}[id] }
	if got := q.HighestAcknowledged(acked); got != 7 {
		t.Errorf("committed %d", got)
	}
	if got := q.CountVotes(func(id uint64) (bool, bool) { return true, id == 1 }); got != VoteWon {
		t.Errorf("the election is %v", got)
	}
}

func TestQuorumVoters(t *testing.T) {
	q := Quorum{Incoming: Majority{1, 2, 3}, Outgoing: Majority{2, 3, 4}}
	if !slices.Equal(q.VoterIDs(), []uint64{1, 2, 3, 4}) {
		t.Errorf("ids %v", q.VoterIDs())
	}
	for id, want := range map[uint64]bool{0: false, 1: true, 2: true, 4: true, 5: false} {
		if q.Contains(id) != want {
			t.Errorf("contains %d: not %v", id, want)
		}
	}
	if s := fmt.Sprint(VotePending, VoteWon, VoteLost); s != "pending won lost" {
		t.Error(s)
	}
}

func TestSevenVotersAllocateNothing(t *testing.T) {
	q := Quorum{Incoming: majorityFromBits(0b11111110), Outgoing: majorityFromBits(0b1110)}
	acked := func(id uint64) uint64 { return uint64(bits.Reverse8(uint8(id))) }
	if n := testing.AllocsPerRun(100, func() { q.HighestAcknowledged(acked) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
