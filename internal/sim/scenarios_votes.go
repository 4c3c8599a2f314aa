package sim

import (
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/persistence/vfs"
)

// One vote a term, whatever happens between the vote and its answer.

var rivalScenarios = []Scenario{
	{Name: "vote-once", Nodes: 3, Errata: []int{1, 2, 14}, Script: voteOnceSaved,
		Description: "a voter dies when its vote is on its disk and its answer is lost: it refuses the other candidate of the term"},
	{Name: "vote-once-reverse", Nodes: 3, Errata: []int{1, 14}, Script: voteOnceUnsaved,
		Description: "a voter dies before its vote is on its disk or spoken of: one of the two candidates gets it, the same for ever"},
	{Name: "vote-repeated", Nodes: 3, Errata: []int{4}, Script: voteRepeated,
		Description: "the same request gets the same vote as often as it comes, with a log that is behind it gets none, and another candidate gets none"},
	{Name: "step-down-keeps-the-vote", Nodes: 3, Errata: []int{2}, Script: stepDownKeepsTheVote,
		Description: "a leader that steps down in its term refuses a late candidate of that term"},
	{Name: "crashed-leader", Nodes: 3, Errata: []int{14}, Script: crashedLeader,
		Description: "a leader's actors crash at any message: it does not lead on in that term, and what it acknowledged stays"},
}

// rivals are two candidates of one term, and the third member that decides between them. What they ask it for is kept.
type rivals struct {
	first, second, judge *member
	term                 uint64
	ofFirst, ofSecond    *rule // their requests, to anybody
	granted, refused     map[uint64]int
}

// rivals makes two members candidates of one term: they do not hear each other, and have the same dice. The judge led
// before; its process died and is back. It campaigns to deaf ears.
func (s *Driver) rivals() *rivals {
	s.conditions.HidesCuts = true
	judge := s.majorityLeader()
	s.writeAndWait(judge, 2)
	s.staysLeader(judge, 3*electionTimeout) // nobody is in the haste of a start any more
	rest := s.others(judge)
	if s.chance(0.5) {
		rest[0], rest[1] = rest[1], rest[0]
	}
	r := &rivals{first: rest[0], second: rest[1], judge: judge, granted: map[uint64]int{}, refused: map[uint64]int{}}
	s.overrideRandom(longestTimeouts, rest...)
	s.cutBetween(rest, rest, true)
	s.dropRule(judge, nil, "RequestVote")
	r.ofFirst = s.holdRule(r.first, nil, "RequestVote").where(realVote)
	r.ofSecond = s.holdRule(r.second, nil, "RequestVote").where(realVote)
	s.observeRule(judge, nil, r.hear, "VoteResponse").where(realVote)
	judge.powerCut(vfs.KeepUnsynced)
	s.restart(judge)
	s.within(3*electionTimeout, "both ask for the vote in one term", func() bool {
		return r.ofFirst.count > 0 && r.ofSecond.count > 0 && r.first.view.Term == r.second.view.Term &&
			r.first.view.Role == "candidate" && r.second.view.Role == "candidate"
	})
	r.term = r.first.view.Term
	return r
}

func (r *rivals) hear(_, to *member, m proto.Message) {
	if m.(*messages.VoteResponse).Granted {
		r.granted[to.id]++
	} else {
		r.refused[to.id]++
	}
}

// ending is how a voter's life ends: at its nth message of a kind from now on, by a crash of that actor, or of the power.
type ending struct {
	actor, kind string
	nth         int
	when        crashTiming
	power       bool
}

// prepare sets a random one of the endings up, and returns what tells that the member lives again after it.
func (s *Driver) prepare(m *member, endings []ending) (returned func() bool) {
	e := endings[s.random.IntN(len(endings))]
	was := m.view.Incarnation
	if !e.power {
		m.crashAt(e.actor, e.kind, e.nth, e.when)
		return func() bool { return m.view.Incarnation > was && m.view.Role != "recovering" }
	}
	dead := false
	m.endRunAt(e.actor, e.kind, e.nth, e.when, func() {
		s.powerCut(m)
		dead = true
		s.after(heartbeatInterval/10, func() { s.restart(m) })
	})
	return func() bool { return dead && m.up && m.view.Incarnation > 0 && m.view.Role != "recovering" }
}

// A vote is two Appends in one batch: the new term, and the vote.
var (
	afterTheVoteIsSaved = []ending{
		{"log", "Flush", 1, crashAfter, false}, {"log", "Flush", 1, crashAfter, true}, {"log", "Tick", 1, crashBefore, true},
	}
	beforeTheVoteIsSaved = []ending{
		{"log", "Append", 1, crashBefore, false}, {"log", "Append", 1, crashBefore, true},
		{"log", "Append", 2, crashBefore, false}, {"log", "Append", 2, crashBefore, true},
		{"log", "Append", 2, crashAfter, false}, {"log", "Append", 2, crashAfter, true},
		{"log", "Flush", 1, crashBefore, false}, {"log", "Flush", 1, crashBefore, true},
		{"", "RequestVote", 1, crashBefore, false}, {"", "RequestVote", 1, crashAfter, false}, {"", "RequestVote", 1, crashAfter, true},
	}
)

func voteOnceSaved(s *Driver) {
	r := s.rivals()
	s.dropRule(r.judge, nil, "VoteResponse").where(realVote)
	returned := s.prepare(r.judge, afterTheVoteIsSaved)
	r.ofFirst.resendHeld()
	s.within(electionTimeout/2, "the voter is back", returned)
	if v := r.judge.view; v.Term != r.term || v.Vote != r.first.id || r.granted[r.first.id] != 1 {
		s.fail("the voter came back with term %d and vote %d; it had given it to %d in term %d", v.Term, v.Vote, r.first.id, r.term)
	}
	r.ofSecond.resendHeld()
	s.within(electionTimeout/2, "the other is refused", func() bool { return r.refused[r.second.id] == 1 })
	r.ofFirst.resendHeld()
	s.within(electionTimeout/2, "the first gets its vote again", func() bool { return r.granted[r.first.id] == 2 })
	if r.granted[r.second.id] > 0 {
		s.fail("member %d voted for both", r.judge.id)
	}
}

func voteOnceUnsaved(s *Driver) {
	r := s.rivals()
	returned := s.prepare(r.judge, beforeTheVoteIsSaved)
	r.ofFirst.resendHeld()
	s.within(electionTimeout/2, "the voter is back", returned)
	if r.granted[r.first.id]+r.refused[r.first.id] > 0 {
		s.fail("a vote was spoken of that was on no disk")
	}
	// An actor that crashes takes its files along in good order: then the vote may be on the disk, and only not spoken of.
	gets, refused := r.second, r.first
	if r.judge.view.Vote == r.first.id {
		gets, refused = r.first, r.second
	}
	r.ofSecond.resendHeld()
	s.advance(heartbeatInterval / 10)
	r.ofFirst.resendHeld()
	s.within(electionTimeout/2, "one gets the vote, the other is refused", func() bool { return r.granted[gets.id] == 1 && r.refused[refused.id] == 1 })
	s.within(electionTimeout/2, "who got it leads in that term", func() bool { return s.majorityLeader() == gets && gets.view.Term == r.term })
}

func voteRepeated(s *Driver) {
	r := s.rivals()
	s.dropRule(r.judge, nil, "VoteResponse").where(realVote)
	for n := 1; n <= 3; n++ {
		r.ofFirst.resendHeld()
		s.within(electionTimeout/4, "the first gets the vote, each time", func() bool { return r.granted[r.first.id] == n })
		r.ofSecond.resendHeld()
		s.within(electionTimeout/4, "the second never does", func() bool { return r.refused[r.second.id] == n })
	}
	if r.refused[r.first.id] > 0 || r.granted[r.second.id] > 0 {
		s.fail("granted %v, refused %v", r.granted, r.refused)
	}
	// The log check is made every time: in this term the candidate is right, its log is not.
	r.judge.post(actors.NodePath, &messages.RequestVote{Term: r.term, Candidate: r.first.id, LastIndex: 1, LastTerm: 1})
	s.within(electionTimeout/4, "with a log that is behind it is refused", func() bool { return r.refused[r.first.id] == 1 })
}

func stepDownKeepsTheVote(s *Driver) {
	r := s.rivals()
	r.ofFirst.resendHeld()
	s.within(electionTimeout, "the first leads", func() bool { return s.majorityLeader() == r.first && r.first.view.Term == r.term })
	s.cutInbound(r.first, true)
	s.within(2*electionTimeout, "it steps down in its term", func() bool { return r.first.view.Role != "leader" })
	s.cutInbound(r.first, false)
	s.setCut(r.first, r.second, false)
	refused := s.observeRule(r.first, r.second, nil, "VoteResponse").where(func(m proto.Message) bool {
		a := m.(*messages.VoteResponse)
		return realVote(m) && !a.Granted && !a.LeaderActive && a.Term == r.term
	})
	r.ofSecond.resendHeld()
	s.within(electionTimeout/2, "it refuses the other candidate of the term", func() bool { return refused.count > 0 })
	if v := r.first.view; v.Term != r.term || v.Vote != r.first.id {
		s.fail("it was to have voted for itself in term %d: term %d, vote %d", r.term, v.Term, v.Vote)
	}
}

func crashedLeader(s *Driver) {
	for range 3 {
		leader := s.awaitAllFollow(5 * electionTimeout)
		term := leader.view.Term
		writes := s.submitWrites(leader, 3)
		s.advance(s.randomDuration(1, heartbeatInterval/20))
		kind := []struct{ actor, kind string }{
			{"", "Propose"}, {"", "Flush"}, {"", "Durable"}, {"", "Progress"}, {"", "HeartbeatResponse"}, {"", "Tick"},
			{"log", "Append"}, {"log", "Flush"}, {"machine", "Committed"},
		}[s.random.IntN(9)]
		was := leader.view.Incarnation
		leader.crashAt(kind.actor, kind.kind, 1, []crashTiming{crashBefore, crashAfter}[s.random.IntN(2)])
		writes = append(writes, s.submitWrites(leader, 2)...)
		s.within(electionTimeout, "its actors start anew", func() bool { return leader.view.Incarnation > was && leader.view.Role != "recovering" })
		s.within(4*electionTimeout, "there is a leader in a higher term", func() bool {
			if leader.view.Role == "leader" && leader.view.Term == term {
				s.fail("member %d leads on in term %d after its actors crashed", leader.id, term)
			}
			l := s.majorityLeader()
			return l != nil && l.view.Term > term
		})
		s.awaitAnswered(writes, electionTimeout)
	}
}
