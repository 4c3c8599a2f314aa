package node

import (
	"testing"
	"time"

	"github.com/troupe-raft/troupe/messages"
)

func ask(candidate, term, lastIndex, lastTerm uint64) *messages.RequestVote {
	return &messages.RequestVote{Term: term, Candidate: candidate, LastIndex: lastIndex, LastTerm: lastTerm}
}

func asPreVote(m *messages.RequestVote) *messages.RequestVote { m.PreVote = true; return m }

// orphaned is a follower that has not heard its leader for so long that it would vote, but has not campaigned itself.
func (s *stage) orphaned() *stage {
	s.dice = func(n int64) int64 { return n - 1 }
	s.hears(&messages.Heartbeat{Term: s.node.term, Leader: s.node.leader})
	s.Pass(election + 10*time.Millisecond)
	s.is(roleFollower, s.node.term)
	s.forget()
	return s
}

func TestE1AVoteIsSaidWhenItIsOnDisk(t *testing.T) {
	s := newStage(t, 3).settled(3, 2, 1, 1).orphaned()
	s.hears(ask(3, 4, 1, 1))
	none[*messages.VoteAnswer](s)
	last := s.appends[len(s.appends)-1]
	if last.HardState.Term != 4 || last.HardState.Vote != 3 || !last.Urgent {
		t.Fatalf("the LogStore was told %v", last)
	}
	s.sync()
	if a := only[*messages.VoteAnswer](s); !a.Granted || a.Term != 4 || a.Voter != 1 {
		t.Fatalf("answered %v", a)
	}
}

// The candidate asks nobody before its own vote is on disk, and counts it only then.
func TestE1ACandidateVotesForItselfOnDiskFirst(t *testing.T) {
	s := newStage(t, 3).settled(3, 2, 1, 1).orphaned()
	s.hears(&messages.Campaign{}, &messages.VoteAnswer{Term: 4, Voter: 2, PreVote: true, Granted: true})
	s.is(roleCandidate, 4)
	if len(s.node.campaign.answers) != 0 {
		t.Fatal("its own vote counts before it is on disk")
	}
	for _, m := range the[*messages.RequestVote](s) {
		if !m.PreVote {
			t.Fatal("asked for votes before its own was on disk")
		}
	}
	s.sync()
	requests := the[*messages.RequestVote](s)
	if m := requests[len(requests)-1]; m.PreVote || m.Term != 4 || m.LastIndex != 1 || m.LastTerm != 1 || m.Transfer {
		t.Fatalf("asked %v", m)
	}
}

func TestE2SteppingDownWithinATermKeepsTheVote(t *testing.T) {
	s := newStage(t, 3).settled(3, 2, 1, 1).orphaned()
	s.hears(ask(3, 4, 1, 1))
	s.hears(&messages.Heartbeat{Term: 4, Leader: 3})
	s.Pass(election + 10*time.Millisecond)
	s.sync()
	s.said = nil
	s.hears(ask(2, 4, 9, 3)) // however good its log
	if a := only[*messages.VoteAnswer](s); a.Granted || s.node.vote != 3 {
		t.Fatalf("answered %v in a term in which it voted for 3", a)
	}
	s.hears(ask(2, 5, 9, 3))
	s.sync()
	if s.node.vote != 2 {
		t.Fatal("a higher term does not free the vote")
	}
}

func TestE4ARepeatedRequestGetsTheSameVoteAndAnotherCandidateNone(t *testing.T) {
	s := newStage(t, 3).settled(3, 2, 1, 1).orphaned()
	s.hears(ask(3, 4, 1, 1), ask(3, 4, 1, 1), ask(2, 4, 1, 1))
	s.sync()
	granted := map[uint64]int{}
	for _, x := range s.said {
		if a, ok := x.message.(*messages.VoteAnswer); ok && a.Granted {
			granted[x.to]++
		}
	}
	if granted[3] != 2 || granted[2] != 0 {
		t.Fatalf("granted %v", granted)
	}
}

func TestVoteOnceACrashBetweenSavingAndSayingGivesNoSecondVote(t *testing.T) {
	s := newStage(t, 3).settled(3, 2, 1, 1).orphaned()
	s.hears(ask(3, 4, 1, 1))
	saved := s.appends[len(s.appends)-1].HardState
	s.crash() // the disk has it, nobody was told
	s.recovered(saved.Term, saved.Vote, 1, 1)
	s.hears(ask(2, 4, 9, 3), ask(3, 4, 1, 1))
	s.sync()
	for _, x := range s.said {
		if a, ok := x.message.(*messages.VoteAnswer); ok && a.Granted != (x.to == 3) {
			t.Fatalf("answered %v to %d", a, x.to)
		}
	}
}

func TestE14ARestartedNodeKnowsTermAndVoteFromDiskAndNothingElse(t *testing.T) {
	s := newStage(t, 3).settled(7, 2, 1, 1)
	s.crash()
	s.is(roleRecovering, 0)
	s.hears(ask(3, 8, 9, 7)) // before the disk has spoken
	if len(s.said) > 0 {
		t.Fatalf("said %v before it knew what it had promised", s.said)
	}
	s.recovered(7, 3, 1, 1)
	s.is(roleFollower, 7)
	if s.node.vote != 3 || s.node.leader != 0 {
		t.Fatalf("vote %d, leader %d", s.node.vote, s.node.leader)
	}
}

func TestElectionRestrictionByTermAndByLength(t *testing.T) {
	for _, c := range []struct {
		lastIndex, lastTerm uint64
		granted             bool
	}{{9, 2, false}, {2, 3, false}, {3, 3, true}, {1, 4, true}, {4, 3, true}} {
		s := newStage(t, 3).settled(4, 2, 1, 1, 3, 3).orphaned()
		s.hears(ask(3, 5, c.lastIndex, c.lastTerm))
		s.sync()
		if a := only[*messages.VoteAnswer](s); a.Granted != c.granted {
			t.Errorf("candidate with (%d, %d) against (3, 3): granted %v", c.lastIndex, c.lastTerm, a.Granted)
		}
		s.is(roleFollower, 5)
	}
}

func TestE15APreVoteLeavesNoTrace(t *testing.T) {
	s := newStage(t, 3).settled(3, 2, 1, 1).orphaned()
	deadline, contact := s.node.deadline, s.node.leaderContact
	s.hears(asPreVote(ask(3, 4, 1, 1)), asPreVote(ask(3, 9, 1, 1)))
	for _, a := range the[*messages.VoteAnswer](s) {
		if !a.Granted {
			t.Fatalf("answered %v", a)
		}
	}
	s.is(roleFollower, 3)
	if s.node.vote != 0 || s.node.deadline != deadline || s.node.leaderContact != contact || len(s.appends) > 0 || s.node.leader != 2 {
		t.Fatal("a pre-vote changed something")
	}
}

func TestPreVoteNoDisruptionWhoHearsALeaderRefusesAndKeepsItsTerm(t *testing.T) {
	s := newStage(t, 3).settled(3, 2, 1, 1)
	s.hears(asPreVote(ask(3, 90, 50, 3)), ask(3, 90, 50, 3))
	for _, a := range the[*messages.VoteAnswer](s) {
		if a.Granted || !a.Sticky || a.Term != 3 {
			t.Fatalf("answered %v", a)
		}
	}
	s.is(roleFollower, 3)
	if s.node.leader != 2 {
		t.Fatal("the leader was given up")
	}
}

// A leader whose actors restarted leads no more, and nobody knows better: who would refuse it out of loyalty to itself would
// leave the cluster without a leader for an election timeout.
func TestALeaderThatAsksForVotesIsNotStuckTo(t *testing.T) {
	s := newStage(t, 3).settled(3, 2, 1, 1)
	s.hears(asPreVote(ask(2, 4, 1, 1)), ask(2, 4, 1, 1))
	s.sync()
	for _, a := range the[*messages.VoteAnswer](s) {
		if !a.Granted {
			t.Fatalf("answered %v", a)
		}
	}
	s.is(roleFollower, 4)
}

func TestALeaderWithAQuorumRefusesToo(t *testing.T) {
	s := newStage(t, 3).leads(3, 1)
	s.hears(ask(3, 90, 50, 3))
	if a := only[*messages.VoteAnswer](s); a.Granted || !a.Sticky {
		t.Fatalf("answered %v", a)
	}
	s.is(roleLeader, 4)
}

// etcd#8334: while it campaigns, a node knows no leader it could be true to; else two preCandidates that were each refused
// for the other's sake would wait for ever.
func TestE16APreCandidateKnowsNoLeaderAndCountsNoOldAnswers(t *testing.T) {
	s := newStage(t, 5).settled(3, 2, 1, 1)
	s.hears(&messages.Campaign{}, &messages.VoteAnswer{Term: 4, Voter: 3, PreVote: true, Granted: true})
	if s.node.leader != 0 {
		t.Fatal("the leader is still known")
	}
	s.hears(asPreVote(ask(4, 4, 1, 1)))
	if a := only[*messages.VoteAnswer](s); !a.Granted {
		t.Fatalf("a preCandidate refused another: %v", a)
	}
	s.Pass(2 * election) // once more
	s.is(rolePreCandidate, 3)
	s.hears(&messages.VoteAnswer{Term: 4, Voter: 4, PreVote: true, Granted: true})
	s.is(rolePreCandidate, 3) // 1 and 4 of 5; the answer of 3 was of the campaign before
}

func TestE17APreVoteOfAnEarlierTermIsAnsweredWithOursWhichFreesIt(t *testing.T) {
	s := newStage(t, 3).settled(7, 2, 1, 1).orphaned()
	s.hears(asPreVote(ask(3, 4, 1, 1)))
	answer := only[*messages.VoteAnswer](s)
	if answer.Granted || answer.Term != 7 {
		t.Fatalf("answered %v", answer)
	}
	behind := newStage(t, 3).settled(3, 2, 1, 1)
	behind.hears(&messages.Campaign{}, answer)
	behind.is(roleFollower, 7)
}

func TestE18AShorterPreCandidateVotesForTheLongerOne(t *testing.T) {
	s := newStage(t, 3).settled(3, 2, 1, 1, 3)
	s.hears(&messages.Campaign{})
	s.is(rolePreCandidate, 3)
	s.said = nil
	s.hears(asPreVote(ask(2, 4, 5, 3)), ask(2, 4, 5, 3))
	s.sync()
	for _, a := range the[*messages.VoteAnswer](s) {
		if !a.Granted {
			t.Fatalf("answered %v", a)
		}
	}
	s.is(roleFollower, 4)
}

func TestE20AVoteAskedForByTheLeaderItselfIsNotHeldOff(t *testing.T) {
	s := newStage(t, 3).settled(3, 2, 1, 1)
	m := ask(3, 4, 1, 1)
	m.Transfer = true
	s.hears(m)
	s.sync()
	if a := only[*messages.VoteAnswer](s); !a.Granted {
		t.Fatalf("answered %v", a)
	}
}

func TestE20TimeoutNowCampaignsAtOnceAndSaysWhy(t *testing.T) {
	s := newStage(t, 3).settled(3, 2, 1, 1)
	s.hears(&messages.TimeoutNow{Term: 2, Leader: 2}) // of an earlier term: late
	s.is(roleFollower, 3)
	s.hears(&messages.TimeoutNow{Term: 3, Leader: 2})
	s.is(roleCandidate, 4)
	s.sync()
	for _, m := range the[*messages.RequestVote](s) {
		if m.PreVote || !m.Transfer || m.Term != 4 {
			t.Fatalf("asked %v", m)
		}
	}
	s.hears(&messages.TimeoutNow{Term: 3, Leader: 2}) // doubled
	s.is(roleCandidate, 4)
}

func TestE23ALearnerVotesAndNeverCampaigns(t *testing.T) {
	s := newStage(t, 3)
	s.config.Bootstrap.Members[0].Learner = true
	s.settled(3, 2, 1, 1)
	s.hears(&messages.Campaign{}, &messages.TimeoutNow{Term: 3, Leader: 2}, &messages.LinkDown{Peer: 2})
	s.Pass(10 * election)
	s.is(roleFollower, 3)
	none[*messages.RequestVote](s)
	if s.armed() != 1 {
		t.Fatalf("%d timers run: once it has a vote it would not campaign", s.armed())
	}
	s.hears(ask(77, 4, 1, 1)) // a candidate that it does not know, too
	s.sync()
	if a := only[*messages.VoteAnswer](s); !a.Granted {
		t.Fatalf("answered %v", a)
	}
}

func TestE36WhoHearsThatItWasRemovedStops(t *testing.T) {
	s := newStage(t, 3).settled(3, 2, 1, 1)
	s.hears(&messages.Removed{From: 2, Term: 2, Index: 9}) // of an earlier term
	s.is(roleFollower, 3)
	s.hears(&messages.Removed{From: 2, Term: 3, Index: 9})
	if len(s.Failures) != 1 {
		t.Fatal("it goes on")
	}
}

func TestASurvivorOfABrokenLinkAsksAtOnceAndAStickyVoterSoonAgain(t *testing.T) {
	s := newStage(t, 3).settled(3, 2, 1, 1)
	s.hears(&messages.LinkDown{Peer: 3}) // not the leader's
	s.Pass(fastDelay)
	s.is(roleFollower, 3)
	s.hears(&messages.LinkDown{Peer: 2})
	s.hears(asPreVote(ask(3, 4, 1, 1)))
	if a := only[*messages.VoteAnswer](s); !a.Granted {
		t.Fatal("it still sticks to a leader whose link broke")
	}
	s.Pass(fastDelay)
	s.is(rolePreCandidate, 3)
	s.forget()
	s.hears(&messages.VoteAnswer{Term: 3, Voter: 3, PreVote: true, Sticky: true})
	s.Pass(stickyRetryMax)
	if len(the[*messages.RequestVote](s)) == 0 {
		t.Fatal("not asked again")
	}
}

func TestALinkThatIsBackBeforeThePreVotesCallsThemOff(t *testing.T) {
	s := newStage(t, 3).settled(3, 2, 1, 1)
	s.dice = func(n int64) int64 { return n - 1 }
	s.hears(&messages.LinkDown{Peer: 2}, &messages.LinkUp{Peer: 2})
	s.Pass(election / 2)
	s.is(roleFollower, 3)
}

// What was forwarded may have been lost with the connection.
func TestWhenTheLeadersLinkIsBackTheHandleSaysAgainWhatWaits(t *testing.T) {
	s := newStage(t, 3).settled(3, 2, 1, 1)
	told := func() (n int) {
		for _, c := range handleHeard[*messages.LeaderChanged](s) {
			if c.Leader == 2 && c.Term == 3 {
				n++
			}
		}
		return n
	}
	before := told()
	s.hears(&messages.LinkDown{Peer: 2}, &messages.LinkUp{Peer: 3})
	if told() != before {
		t.Fatal("told while the link is down")
	}
	s.hears(&messages.LinkUp{Peer: 2})
	if told() != before+1 {
		t.Fatalf("told %d times", told()-before)
	}
}

func TestInEveryRoleATimerRuns(t *testing.T) {
	s := newStage(t, 3)
	check := func(what string) {
		t.Helper()
		if s.node.timer == nil || s.armed() != 1 || s.node.timerDue > s.node.deadline {
			t.Fatalf("%s: %d timers, the one due at %v, the deadline at %v", what, s.armed(), s.node.timerDue, s.node.deadline)
		}
	}
	s.recovered(3, 0, 1, 1)
	check("recovered")
	s.hears(&messages.Heartbeat{Term: 3, Leader: 2})
	check("following")
	s.hears(&messages.LinkDown{Peer: 2})
	check("link down")
	s.Pass(fastDelay)
	check("pre-candidate")
	s.hears(&messages.VoteAnswer{Term: 3, Voter: 3, PreVote: true, Sticky: true})
	check("refused for stickiness")
	s.Pass(stickyRetryMin)
	check("asked again")
	s.hears(&messages.VoteAnswer{Term: 4, Voter: 3, PreVote: true, Granted: true})
	check("candidate")
	s.sync()
	s.hears(&messages.VoteAnswer{Term: 4, Voter: 3}, &messages.VoteAnswer{Term: 4, Voter: 2})
	s.is(roleFollower, 4)
	check("lost")
	s.Pass(2 * election)
	check("again")
	s.hears(&messages.VoteAnswer{Term: 5, Voter: 3, PreVote: true, Granted: true})
	s.sync()
	s.hears(&messages.VoteAnswer{Term: 5, Voter: 3, Granted: true})
	s.is(roleLeader, 5)
	check("leader")
	s.Pass(heartbeat)
	check("leader that beat")
	s.Pass(election + heartbeat)
	s.is(roleFollower, 5)
	check("deposed")
}
