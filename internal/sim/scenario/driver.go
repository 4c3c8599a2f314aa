package scenario

import (
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/internal/sim/history"
	"github.com/troupe-raft/troupe/internal/sim/world"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/persistence/vfs"
)

// Steps of scripts about elections and reads.

// awaitAllFollow waits until all members follow one leader, and returns it.
func (s *Driver) awaitAllFollow(within time.Duration) *world.Member {
	s.within(within, "all follow one leader", func() bool {
		l := s.majorityLeader()
		for _, m := range s.Members {
			if l == nil || !m.Up() || m.View.LeaderID != l.ID() || m.View.Term != l.View.Term {
				return false
			}
		}
		return true
	})
	return s.majorityLeader()
}

// staysLeader checks that a leader keeps its term for some time, without an election.
func (s *Driver) staysLeader(leader *world.Member, d time.Duration) {
	term, elections := leader.View.Term, s.Counts.Elections
	s.advance(d)
	if s.majorityLeader() != leader || leader.View.Term != term || s.Counts.Elections != elections {
		s.fail("member %d led in term %d; then there were %d elections:%s", leader.ID(), term, s.Counts.Elections-elections, s.DescribeMembers())
	}
}

// never runs the world for some time in which something must not happen.
func (s *Driver) never(d time.Duration, what string, happens func() bool) {
	for until := s.Now() + d; s.Now() < until; s.Step() {
		s.check()
		if happens() {
			s.fail("it happened that %s:%s", what, s.DescribeMembers())
		}
	}
}

// cutBetween cuts all connections between two groups, or restores them.
func (s *Driver) cutBetween(some, others []*world.Member, cut bool) {
	for _, a := range some {
		for _, b := range others {
			if a != b {
				s.SetCut(a, b, cut)
				s.SetCut(b, a, cut)
			}
		}
	}
}

// cutInbound cuts all messages to a member, or restores them. Its own messages arrive.
func (s *Driver) cutInbound(m *world.Member, is bool) {
	for _, other := range s.others(m) {
		s.SetCut(other, m, is)
	}
}

// cutOutbound cuts all messages from a member, or restores them. It receives those of the others.
func (s *Driver) cutOutbound(m *world.Member, is bool) {
	for _, other := range s.others(m) {
		s.SetCut(m, other, is)
	}
}

// submitWrites begins writes at a member and does not wait.
func (s *Driver) submitWrites(m *world.Member, n int) (all []*history.Operation) {
	for range n {
		all = append(all, s.submitPadded(m, 0))
	}
	return all
}

// countOutcome counts operations with an outcome.
func countOutcome(outcome history.Outcome, all []*history.Operation) (n int) {
	for _, o := range all {
		if o.Outcome == outcome {
			n++
		}
	}
	return n
}

// awaitAnswered waits until all operations are answered.
func (s *Driver) awaitAnswered(all []*history.Operation, within time.Duration) {
	s.within(within, "all writes are answered", func() bool { return countOutcome(history.Answered, all) == len(all) })
}

// awaitAppended waits until a leader has appended n more entries.
func (s *Driver) awaitAppended(m *world.Member, n uint64) {
	until := m.View.LastIndex + n
	s.within(world.ElectionTimeout/2, "the leader has taken the commands", func() bool { return m.View.LastIndex >= until })
}

// termInLog returns the term of an entry of a member; 0: it has none.
func (s *Driver) termInLog(m *world.Member, index uint64) uint64 {
	return s.Checker.LogTerm(m.ID(), index)
}

// powerCut cuts the power of members; the seed decides about what was not synced.
func (s *Driver) powerCut(all ...*world.Member) {
	for _, m := range all {
		switch s.Random.IntN(3) {
		case 0:
			m.PowerCut(vfs.LoseUnsynced)
		case 1:
			m.PowerCut(vfs.KeepUnsynced)
		default:
			m.PowerCut(s.Random.IntN)
		}
	}
}

// restart starts the members that are down.
func (s *Driver) restart(all ...*world.Member) {
	for _, m := range all {
		if !m.Up() {
			m.Boot()
		}
	}
}

// readRequest is a read point that a script requested, and the responses.
type readRequest struct {
	minIndex  uint64 // acknowledged to some client before the request
	responses int
	index     uint64
	refused   messages.Refusal // the last
}

// waiting reports whether there is no response yet.
func (a *readRequest) waiting() bool { return a.responses == 0 && a.refused == 0 }

// requestRead requests a read point at a member. A point below what was acknowledged before ends
// the script.
func (s *Driver) requestRead(m *world.Member) *readRequest {
	s.History.LastNumber++
	id, a := 1<<62|s.History.LastNumber, &readRequest{minIndex: s.History.AcknowledgedIndex}
	m.Listen(func(news proto.Message) {
		p, ok := news.(*messages.ReadPoint)
		switch {
		case !ok || p.Id != id:
		case p.Refusal != 0:
			a.refused = p.Refusal
		default:
			a.responses, a.index = a.responses+1, p.Index
			if p.Index < a.minIndex {
				s.World.Fail("linearizable reads", "member %d: the read point is %d, index %d was acknowledged before", m.ID(), p.Index, a.minIndex)
			}
		}
	})
	m.Post(actors.NodePath, &messages.RequestRead{Id: id, Mode: messages.ReadMode_READ_MODE_INDEX})
	return a
}

// constantRandom always returns the same share of the largest number.
type constantRandom float64

func (a constantRandom) Int64N(n int64) int64 { return min(int64(float64(a)*float64(n)), n-1) }
func (a constantRandom) Uint64() uint64       { return uint64(float64(a) * (1 << 63)) }

// For members that are to time out as early, or as late, as they can.
const (
	shortestTimeouts = constantRandom(0)
	middleTimeouts   = constantRandom(0.5)
	longestTimeouts  = constantRandom(1)
)

// overrideRandom replaces the random numbers of members; nil restores them.
func (s *Driver) overrideRandom(d actors.Random, all ...*world.Member) {
	for _, m := range all {
		m.RandomOverride = d
	}
}

// randomMembers returns n members, in the order of their ids.
func (s *Driver) randomMembers(n int) []*world.Member {
	all := slices.Clone(s.Members)
	for len(all) > n {
		at := s.Random.IntN(len(all))
		all = slices.Delete(all, at, at+1)
	}
	return all
}

// membersExcept returns all members but some.
func (s *Driver) membersExcept(some []*world.Member) []*world.Member {
	return slices.DeleteFunc(slices.Clone(s.Members), func(m *world.Member) bool { return slices.Contains(some, m) })
}

// candidates returns the members that voted for themselves in a term.
func (s *Driver) candidates(term uint64) (all []uint64) {
	for _, m := range s.Members {
		if s.Checker.Vote(term, m.ID()) == m.ID() {
			all = append(all, m.ID())
		}
	}
	return all
}
