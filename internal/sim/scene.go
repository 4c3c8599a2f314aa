package sim

import (
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/internal/sim/history"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/persistence/vfs"
)

// What scripts of elections and reads say in a line.

// another waits for a leader that a majority follows and that is not the one named, and returns it.
func (s *Driver) awaitNewLeader(than *member, within time.Duration) *member {
	s.within(within, "another leads", func() bool { l := s.majorityLeader(); return l != nil && l != than })
	return s.majorityLeader()
}

// settled waits until all members that are up and can be reached follow one leader.
func (s *Driver) awaitAllFollow(within time.Duration) *member {
	s.within(within, "all follow one leader", func() bool {
		l := s.majorityLeader()
		for _, m := range s.members {
			if l == nil || !m.up || m.view.LeaderID != l.id || m.view.Term != l.view.Term {
				return false
			}
		}
		return true
	})
	return s.majorityLeader()
}

// reigns has the leader lead on in its term, for a while, without any election.
func (s *Driver) staysLeader(leader *member, d time.Duration) {
	term, elections := leader.view.Term, s.counts.Elections
	s.advance(d)
	if s.majorityLeader() != leader || leader.view.Term != term || s.counts.Elections != elections {
		s.fail("member %d led in term %d; then there were %d elections:%s", leader.id, term, s.counts.Elections-elections, s.describeMembers())
	}
}

// never lets time go by in which something must not happen.
func (s *Driver) never(d time.Duration, what string, happens func() bool) {
	for until := s.now + d; s.now < until; s.step() {
		s.check()
		if happens() {
			s.fail("it happened that %s:%s", what, s.describeMembers())
		}
	}
}

// apart cuts all connections between two groups, or mends them.
func (s *Driver) cutBetween(some, others []*member, cut bool) {
	for _, a := range some {
		for _, b := range others {
			if a != b {
				s.setCut(a, b, cut)
				s.setCut(b, a, cut)
			}
		}
	}
}

// deaf has a member hear nobody, or everybody again. What it says arrives.
func (s *Driver) cutInbound(m *member, is bool) {
	for _, other := range s.others(m) {
		s.setCut(other, m, is)
	}
}

// mute has nobody hear a member. It hears the others.
func (s *Driver) cutOutbound(m *member, is bool) {
	for _, other := range s.others(m) {
		s.setCut(m, other, is)
	}
}

// say has a member's program hand over writes; nobody waits for the answers.
func (s *Driver) submitWrites(m *member, n int) (all []*history.Operation) {
	for range n {
		all = append(all, s.beginScriptWrite(m))
	}
	return all
}

// are counts operations of an outcome.
func countOutcome(outcome history.Outcome, all []*history.Operation) (n int) {
	for _, o := range all {
		if o.Outcome == outcome {
			n++
		}
	}
	return n
}

// answered waits until all operations are.
func (s *Driver) awaitAnswered(all []*history.Operation, within time.Duration) {
	s.within(within, "all writes are answered", func() bool { return countOutcome(history.Answered, all) == len(all) })
}

// taken waits until a leader has appended so many entries.
func (s *Driver) awaitAppended(m *member, n uint64) {
	until := m.view.LastIndex + n
	s.within(electionTimeout/2, "the leader has taken the commands", func() bool { return m.view.LastIndex >= until })
}

// termInLog is the term of a member's entry; 0 where it has none.
func (s *Driver) termInLog(m *member, index uint64) uint64 {
	return s.checker.LogTerm(m.id, index)
}

// operationsToPowerCut ends a member's life; the seed decides what its disk keeps of what was not synced.
func (s *Driver) powerCut(m *member) {
	switch s.random.IntN(3) {
	case 0:
		m.powerCut(vfs.LoseUnsynced)
	case 1:
		m.powerCut(vfs.KeepUnsynced)
	default:
		m.powerCut(s.random.IntN)
	}
}

// returns boots a member that is away.
func (s *Driver) restart(m *member) {
	if !m.up {
		m.boot()
	}
}

// asked is a read point that a script asked for, and what became of it.
type readRequest struct {
	minIndex  uint64 // what had been acknowledged to anybody before it was asked
	responses int
	index     uint64
	refused   messages.Refusal // the last
}

// waits tells whether there is no answer yet.
func (a *readRequest) waiting() bool { return a.responses == 0 && a.refused == 0 }

// ask has a member asked for a read point. A point below what had been acknowledged before ends the script.
func (s *Driver) requestRead(m *member) *readRequest {
	s.History.LastNumber++
	id, a := 1<<62|s.History.LastNumber, &readRequest{minIndex: s.History.AcknowledgedIndex}
	m.listen(func(news proto.Message) {
		p, ok := news.(*messages.ReadPoint)
		switch {
		case !ok || p.Id != id:
		case p.Refusal != 0:
			a.refused = p.Refusal
		default:
			a.responses, a.index = a.responses+1, p.Index
			if p.Index < a.minIndex {
				s.World.Fail("linearizable reads", "member %d: the read point is %d, index %d was acknowledged before", m.id, p.Index, a.minIndex)
			}
		}
	})
	m.post(actors.NodePath, &messages.RequestRead{Id: id, Mode: messages.ReadMode_READ_MODE_INDEX})
	return a
}

// always is dice that always show the same: a share of the largest number.
type constantRandom float64

func (a constantRandom) Int64N(n int64) int64 { return min(int64(float64(a)*float64(n)), n-1) }
func (a constantRandom) Uint64() uint64       { return uint64(float64(a) * (1 << 63)) }

// Dice for members that are to be patient, or eager to campaign.
const (
	shortestTimeouts = constantRandom(0)
	middleTimeouts   = constantRandom(0.5)
	longestTimeouts  = constantRandom(1)
)

// throw gives members dice; nil takes them back.
func (s *Driver) overrideRandom(d actors.Random, all ...*member) {
	for _, m := range all {
		m.randomOverride = d
	}
}

// some is n members at random, in the order of their ids.
func (s *Driver) randomMembers(n int) []*member {
	all := slices.Clone(s.members)
	for len(all) > n {
		at := s.random.IntN(len(all))
		all = slices.Delete(all, at, at+1)
	}
	return all
}

// without is all members but some.
func (s *Driver) membersExcept(some []*member) []*member {
	return slices.DeleteFunc(slices.Clone(s.members), func(m *member) bool { return slices.Contains(some, m) })
}

// candidates are who voted for themselves in a term.
func (s *Driver) candidates(term uint64) (all []uint64) {
	for _, m := range s.members {
		if s.checker.Vote(term, m.id) == m.id {
			all = append(all, m.id)
		}
	}
	return all
}
