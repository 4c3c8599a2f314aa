package scenario

import (
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/internal/sim/world"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/persistence/vfs"
)

// One vote per term, whatever happens between the vote and its response.

var rivalScenarios = []Scenario{
	{Name: "vote-once", Nodes: 3, Errata: []int{1, 2, 14}, Script: voteOnceSaved,
		Description: "a voter is killed when its vote is on its disk and its response is lost: it refuses the other candidate of the term"},
	{Name: "vote-once-reverse", Nodes: 3, Errata: []int{1, 14}, Script: voteOnceUnsaved,
		Description: "a voter is killed before its vote is on its disk or sent: one of the two candidates gets it, always the same"},
	{Name: "vote-repeated", Nodes: 3, Errata: []int{4}, Script: voteRepeated,
		Description: "the same request gets the same vote each time, with a log that is behind it gets none, and another candidate gets none"},
	{Name: "step-down-keeps-the-vote", Nodes: 3, Errata: []int{2}, Script: stepDownKeepsTheVote,
		Description: "a leader that steps down in its term refuses a late candidate of that term"},
	{Name: "crashed-leader", Nodes: 3, Errata: []int{14}, Script: crashedLeader,
		Description: "a leader's actors crash at any message: it does not continue to lead in that term, and what it acknowledged stays"},
}

// rivals are two candidates of one term, and the third member that decides between them. Their
// requests to it are held.
type rivals struct {
	first, second, judge *world.Member
	term                 uint64
	ofFirst, ofSecond    *world.Rule // their requests, to any member
	granted, refused     map[uint64]int
}

// rivals makes two members candidates of one term: they are not connected, and have equal timeouts.
// The judge led before; its process was killed and restarted. Its own requests are lost.
func (s *Driver) rivals() *rivals {
	s.Conditions.HidesCuts = true
	judge := s.majorityLeader()
	s.writeAndWait(judge, 2)
	// No member has the short timeouts of a start any more.
	s.staysLeader(judge, 3*world.ElectionTimeout)
	rest := s.others(judge)
	if s.Chance(0.5) {
		rest[0], rest[1] = rest[1], rest[0]
	}
	r := &rivals{first: rest[0], second: rest[1], judge: judge, granted: map[uint64]int{}, refused: map[uint64]int{}}
	s.overrideRandom(longestTimeouts, rest...)
	s.cutBetween(rest, rest, true)
	s.DropRule(judge, nil, "RequestVote")
	r.ofFirst = s.HoldRule(r.first, nil, "RequestVote").Where(world.RealVote)
	r.ofSecond = s.HoldRule(r.second, nil, "RequestVote").Where(world.RealVote)
	s.ObserveRule(judge, nil, r.voteSent, "VoteResponse").Where(world.RealVote)
	judge.PowerCut(vfs.KeepUnsynced)
	s.restart(judge)
	s.within(3*world.ElectionTimeout, "both request the vote in one term", func() bool {
		return r.ofFirst.Count > 0 && r.ofSecond.Count > 0 && r.first.View.Term == r.second.View.Term &&
			r.first.View.Role == "candidate" && r.second.View.Role == "candidate"
	})
	r.term = r.first.View.Term
	return r
}

func (r *rivals) voteSent(_, to *world.Member, m proto.Message) {
	if m.(*messages.VoteResponse).Granted {
		r.granted[to.ID()]++
	} else {
		r.refused[to.ID()]++
	}
}

// ending is how the run of a voter ends: at its nth message of a kind from now on, by a crash of
// that actor, or by a power cut.
type ending struct {
	actor, kind string
	nth         int
	when        world.CrashTiming
	power       bool
}

// prepare sets up a random ending, and returns a function that reports whether the member is up
// again after it.
func (s *Driver) prepare(m *world.Member, endings []ending) (returned func() bool) {
	e := endings[s.Random.IntN(len(endings))]
	was := m.View.Incarnation
	if !e.power {
		m.CrashAt(e.actor, e.kind, e.nth, e.when)
		return func() bool { return m.View.Incarnation > was && m.View.Role != "recovering" }
	}
	ended := false
	m.EndRunAt(e.actor, e.kind, e.nth, e.when, func() {
		s.powerCut(m)
		ended = true
		s.After(world.HeartbeatInterval/10, func() { s.restart(m) })
	})
	return func() bool { return ended && m.Up() && m.View.Incarnation > 0 && m.View.Role != "recovering" }
}

// A vote is two Appends in one batch: the new term, and the vote.
var (
	afterTheVoteIsSaved = []ending{
		{"log", "Flush", 1, world.CrashAfter, false}, {"log", "Flush", 1, world.CrashAfter, true}, {"log", "Tick", 1, world.CrashBefore, true},
	}
	beforeTheVoteIsSaved = []ending{
		{"log", "Append", 1, world.CrashBefore, false}, {"log", "Append", 1, world.CrashBefore, true},
		{"log", "Append", 2, world.CrashBefore, false}, {"log", "Append", 2, world.CrashBefore, true},
		{"log", "Append", 2, world.CrashAfter, false}, {"log", "Append", 2, world.CrashAfter, true},
		{"log", "Flush", 1, world.CrashBefore, false}, {"log", "Flush", 1, world.CrashBefore, true},
		{"", "RequestVote", 1, world.CrashBefore, false}, {"", "RequestVote", 1, world.CrashAfter, false}, {"", "RequestVote", 1, world.CrashAfter, true},
	}
)

func voteOnceSaved(s *Driver) {
	r := s.rivals()
	s.DropRule(r.judge, nil, "VoteResponse").Where(world.RealVote)
	returned := s.prepare(r.judge, afterTheVoteIsSaved)
	r.ofFirst.ResendHeld()
	s.within(world.ElectionTimeout/2, "the voter has restarted", returned)
	if v := r.judge.View; v.Term != r.term || v.Vote != r.first.ID() || r.granted[r.first.ID()] != 1 {
		s.fail("the voter recovered term %d and vote %d; it had voted for %d in term %d", v.Term, v.Vote, r.first.ID(), r.term)
	}
	r.ofSecond.ResendHeld()
	s.within(world.ElectionTimeout/2, "the other is refused", func() bool { return r.refused[r.second.ID()] == 1 })
	r.ofFirst.ResendHeld()
	s.within(world.ElectionTimeout/2, "the first gets its vote again", func() bool { return r.granted[r.first.ID()] == 2 })
	if r.granted[r.second.ID()] > 0 {
		s.fail("member %d voted for both", r.judge.ID())
	}
}

func voteOnceUnsaved(s *Driver) {
	r := s.rivals()
	returned := s.prepare(r.judge, beforeTheVoteIsSaved)
	r.ofFirst.ResendHeld()
	s.within(world.ElectionTimeout/2, "the voter has restarted", returned)
	if r.granted[r.first.ID()]+r.refused[r.first.ID()] > 0 {
		s.fail("a vote was sent that was on no disk")
	}
	// An actor that crashes closes its files in order: then the vote may be on the disk, and only not
	// sent.
	gets, refused := r.second, r.first
	if r.judge.View.Vote == r.first.ID() {
		gets, refused = r.first, r.second
	}
	r.ofSecond.ResendHeld()
	s.advance(world.HeartbeatInterval / 10)
	r.ofFirst.ResendHeld()
	s.within(world.ElectionTimeout/2, "one gets the vote, the other is refused", func() bool { return r.granted[gets.ID()] == 1 && r.refused[refused.ID()] == 1 })
	s.within(world.ElectionTimeout/2, "the one with the vote leads in that term", func() bool { return s.majorityLeader() == gets && gets.View.Term == r.term })
}

func voteRepeated(s *Driver) {
	r := s.rivals()
	s.DropRule(r.judge, nil, "VoteResponse").Where(world.RealVote)
	for n := 1; n <= 3; n++ {
		r.ofFirst.ResendHeld()
		s.within(world.ElectionTimeout/4, "the first gets the vote, each time", func() bool { return r.granted[r.first.ID()] == n })
		r.ofSecond.ResendHeld()
		s.within(world.ElectionTimeout/4, "the second never gets it", func() bool { return r.refused[r.second.ID()] == n })
	}
	if r.refused[r.first.ID()] > 0 || r.granted[r.second.ID()] > 0 {
		s.fail("granted %v, refused %v", r.granted, r.refused)
	}
	// The log is checked every time: the candidate is the right one for this term, its log is not.
	r.judge.Post(actors.NodePath, &messages.RequestVote{Term: r.term, Candidate: r.first.ID(), LastIndex: 1, LastTerm: 1})
	s.within(world.ElectionTimeout/4, "with a log that is behind it is refused", func() bool { return r.refused[r.first.ID()] == 1 })
}

func stepDownKeepsTheVote(s *Driver) {
	r := s.rivals()
	r.ofFirst.ResendHeld()
	s.within(world.ElectionTimeout, "the first leads", func() bool { return s.majorityLeader() == r.first && r.first.View.Term == r.term })
	s.cutInbound(r.first, true)
	s.within(2*world.ElectionTimeout, "it steps down in its term", func() bool { return r.first.View.Role != "leader" })
	s.cutInbound(r.first, false)
	s.SetCut(r.first, r.second, false)
	refused := s.ObserveRule(r.first, r.second, nil, "VoteResponse").Where(func(m proto.Message) bool {
		a := m.(*messages.VoteResponse)
		return world.RealVote(m) && !a.Granted && !a.LeaderActive && a.Term == r.term
	})
	r.ofSecond.ResendHeld()
	s.within(world.ElectionTimeout/2, "it refuses the other candidate of the term", func() bool { return refused.Count > 0 })
	if v := r.first.View; v.Term != r.term || v.Vote != r.first.ID() {
		s.fail("it should have voted for itself in term %d: term %d, vote %d", r.term, v.Term, v.Vote)
	}
}

func crashedLeader(s *Driver) {
	for range 3 {
		leader := s.awaitAllFollow(5 * world.ElectionTimeout)
		term := leader.View.Term
		writes := s.submitWrites(leader, 3)
		s.advance(s.RandomDuration(1, world.HeartbeatInterval/20))
		kind := []struct{ actor, kind string }{
			{"", "Propose"}, {"", "Flush"}, {"", "Durable"}, {"", "ReplicationProgress"}, {"", "HeartbeatResponse"}, {"", "Tick"},
			{"log", "Append"}, {"log", "Flush"}, {"machine", "Committed"},
		}[s.Random.IntN(9)]
		was := leader.View.Incarnation
		leader.CrashAt(kind.actor, kind.kind, 1, []world.CrashTiming{world.CrashBefore, world.CrashAfter}[s.Random.IntN(2)])
		writes = append(writes, s.submitWrites(leader, 2)...)
		s.within(world.ElectionTimeout, "its actors restart", func() bool { return leader.View.Incarnation > was && leader.View.Role != "recovering" })
		s.within(4*world.ElectionTimeout, "there is a leader in a higher term", func() bool {
			if leader.View.Role == "leader" && leader.View.Term == term {
				s.fail("member %d still leads in term %d after its actors crashed", leader.ID(), term)
			}
			l := s.majorityLeader()
			return l != nil && l.View.Term > term
		})
		s.awaitAnswered(writes, world.ElectionTimeout)
	}
}
