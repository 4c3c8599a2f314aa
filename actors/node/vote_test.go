package node

import (
	"testing"
	"time"

	"github.com/troupe-raft/troupe/messages"
)

func newVoteRequest(candidate, term, lastIndex, lastTerm uint64) *messages.RequestVote {
	return &messages.RequestVote{Term: term, Candidate: candidate, LastIndex: lastIndex, LastTerm: lastTerm}
}

func asPreVote(m *messages.RequestVote) *messages.RequestVote { m.PreVote = true; return m }

// orphaned is a follower that has not heard its leader for so long that it would vote, but has not
// campaigned itself.
func (s *fixture) afterElectionTimeout() *fixture {
	s.randomInt64 = func(n int64) int64 { return n - 1 }
	s.deliver(&messages.Heartbeat{Term: s.node.term, Leader: s.node.contact.leader})
	s.Advance(electionTimeout + 10*time.Millisecond)
	s.expectRole(roleFollower, s.node.term)
	s.clearRecorded()
	return s
}

func TestE1VoteIsSentAfterSync(t *testing.T) {
	s := newFixture(t, 3).asFollower(3, 2, 1, 1).afterElectionTimeout()
	s.deliver(newVoteRequest(3, 4, 1, 1))
	noneSent[*messages.VoteResponse](s)
	last := s.pendingAppends[len(s.pendingAppends)-1]
	if last.HardState.Term != 4 || last.HardState.Vote != 3 || !last.NeedsSync {
		t.Fatalf("the LogStore was told %v", last)
	}
	s.syncAll()
	if a := onlySent[*messages.VoteResponse](s); !a.Granted || a.Term != 4 || a.Voter != 1 {
		t.Fatalf("answered %v", a)
	}
}

// The candidate asks nobody before its own vote is on disk, and counts it only then.
func TestE1CandidatePersistsItsVoteFirst(t *testing.T) {
	s := newFixture(t, 3).asFollower(3, 2, 1, 1).afterElectionTimeout()
	s.deliver(&messages.Campaign{}, &messages.VoteResponse{Term: 4, Voter: 2, PreVote: true, Granted: true})
	s.expectRole(roleCandidate, 4)
	if len(s.node.role.(*candidate).votes) != 0 {
		t.Fatal("its own vote counts before it is on disk")
	}
	for _, m := range sentMessages[*messages.RequestVote](s) {
		if !m.PreVote {
			t.Fatal("asked for votes before its own was on disk")
		}
	}
	s.syncAll()
	requests := sentMessages[*messages.RequestVote](s)
	if m := requests[len(requests)-1]; m.PreVote || m.Term != 4 || m.LastIndex != 1 || m.LastTerm != 1 || m.Transfer {
		t.Fatalf("asked %v", m)
	}
}

func TestE2StepDownKeepsTheVote(t *testing.T) {
	s := newFixture(t, 3).asFollower(3, 2, 1, 1).afterElectionTimeout()
	s.deliver(newVoteRequest(3, 4, 1, 1))
	s.deliver(&messages.Heartbeat{Term: 4, Leader: 3})
	s.Advance(electionTimeout + 10*time.Millisecond)
	s.syncAll()
	s.sentToPeers = nil
	s.deliver(newVoteRequest(2, 4, 9, 3)) // however good its log
	if a := onlySent[*messages.VoteResponse](s); a.Granted || s.node.vote != 3 {
		t.Fatalf("answered %v in a term in which it voted for 3", a)
	}
	s.deliver(newVoteRequest(2, 5, 9, 3))
	s.syncAll()
	if s.node.vote != 2 {
		t.Fatal("a higher term does not free the vote")
	}
}

func TestE4RepeatedRequestReceivesSameVote(t *testing.T) {
	s := newFixture(t, 3).asFollower(3, 2, 1, 1).afterElectionTimeout()
	s.deliver(newVoteRequest(3, 4, 1, 1), newVoteRequest(3, 4, 1, 1), newVoteRequest(2, 4, 1, 1))
	s.syncAll()
	granted := map[uint64]int{}
	for _, x := range s.sentToPeers {
		if a, ok := x.message.(*messages.VoteResponse); ok && a.Granted {
			granted[x.to]++
		}
	}
	if granted[3] != 2 || granted[2] != 0 {
		t.Fatalf("granted %v", granted)
	}
}

func TestVoteOnceAfterCrash(t *testing.T) {
	s := newFixture(t, 3).asFollower(3, 2, 1, 1).afterElectionTimeout()
	s.deliver(newVoteRequest(3, 4, 1, 1))
	saved := s.pendingAppends[len(s.pendingAppends)-1].HardState
	s.crashNode() // the disk has it, nobody was told
	s.deliverRecovered(saved.Term, saved.Vote, 1, 1)
	s.deliver(newVoteRequest(2, 4, 9, 3), newVoteRequest(3, 4, 1, 1))
	s.syncAll()
	for _, x := range s.sentToPeers {
		if a, ok := x.message.(*messages.VoteResponse); ok && a.Granted != (x.to == 3) {
			t.Fatalf("answered %v to %d", a, x.to)
		}
	}
}

func TestE14RestartRecoversTermAndVoteOnly(t *testing.T) {
	s := newFixture(t, 3).asFollower(7, 2, 1, 1)
	s.crashNode()
	s.expectRole(roleRecovering, 0)
	s.deliver(newVoteRequest(3, 8, 9, 7)) // before the disk has spoken
	if len(s.sentToPeers) > 0 {
		t.Fatalf("said %v before it knew what it had promised", s.sentToPeers)
	}
	s.deliverRecovered(7, 3, 1, 1)
	s.expectRole(roleFollower, 7)
	if s.node.vote != 3 || s.node.contact.leader != 0 {
		t.Fatalf("vote %d, leader %d", s.node.vote, s.node.contact.leader)
	}
}

func TestElectionRestriction(t *testing.T) {
	for _, c := range []struct {
		lastIndex, lastTerm uint64
		granted             bool
	}{{9, 2, false}, {2, 3, false}, {3, 3, true}, {1, 4, true}, {4, 3, true}} {
		s := newFixture(t, 3).asFollower(4, 2, 1, 1, 3, 3).afterElectionTimeout()
		s.deliver(newVoteRequest(3, 5, c.lastIndex, c.lastTerm))
		s.syncAll()
		if a := onlySent[*messages.VoteResponse](s); a.Granted != c.granted {
			t.Errorf("candidate with (%d, %d) against (3, 3): granted %v", c.lastIndex, c.lastTerm, a.Granted)
		}
		s.expectRole(roleFollower, 5)
	}
}

func TestE15PreVoteChangesNothing(t *testing.T) {
	s := newFixture(t, 3).asFollower(3, 2, 1, 1).afterElectionTimeout()
	deadline, contact := s.node.timer.deadline, s.node.contact.last
	s.deliver(asPreVote(newVoteRequest(3, 4, 1, 1)), asPreVote(newVoteRequest(3, 9, 1, 1)))
	for _, a := range sentMessages[*messages.VoteResponse](s) {
		if !a.Granted {
			t.Fatalf("answered %v", a)
		}
	}
	s.expectRole(roleFollower, 3)
	if s.node.vote != 0 || s.node.timer.deadline != deadline || s.node.contact.last != contact || len(s.pendingAppends) > 0 || s.node.contact.leader != 2 {
		t.Fatal("a pre-vote changed something")
	}
}

func TestPreVoteIsRefusedWithActiveLeader(t *testing.T) {
	s := newFixture(t, 3).asFollower(3, 2, 1, 1)
	s.deliver(asPreVote(newVoteRequest(3, 90, 50, 3)), newVoteRequest(3, 90, 50, 3))
	for _, a := range sentMessages[*messages.VoteResponse](s) {
		if a.Granted || !a.LeaderActive || a.Term != 3 {
			t.Fatalf("answered %v", a)
		}
	}
	s.expectRole(roleFollower, 3)
	if s.node.contact.leader != 2 {
		t.Fatal("the leader was given up")
	}
}

// A leader whose actors restarted leads no more, and nobody knows better: who would refuse it out
// of loyalty to itself would leave the cluster without a leader for an election timeout.
func TestRestartedLeaderReceivesVotes(t *testing.T) {
	s := newFixture(t, 3).asFollower(3, 2, 1, 1)
	s.deliver(asPreVote(newVoteRequest(2, 4, 1, 1)), newVoteRequest(2, 4, 1, 1))
	s.syncAll()
	for _, a := range sentMessages[*messages.VoteResponse](s) {
		if !a.Granted {
			t.Fatalf("answered %v", a)
		}
	}
	s.expectRole(roleFollower, 4)
}

func TestLeaderRefusesVotes(t *testing.T) {
	s := newFixture(t, 3).asLeader(3, 1)
	s.deliver(newVoteRequest(3, 90, 50, 3))
	if a := onlySent[*messages.VoteResponse](s); a.Granted || !a.LeaderActive {
		t.Fatalf("answered %v", a)
	}
	s.expectRole(roleLeader, 4)
}

func TestE17OldPreVoteLearnsTheTerm(t *testing.T) {
	s := newFixture(t, 3).asFollower(7, 2, 1, 1).afterElectionTimeout()
	s.deliver(asPreVote(newVoteRequest(3, 4, 1, 1)))
	answer := onlySent[*messages.VoteResponse](s)
	if answer.Granted || answer.Term != 7 {
		t.Fatalf("answered %v", answer)
	}
	behind := newFixture(t, 3).asFollower(3, 2, 1, 1)
	behind.deliver(&messages.Campaign{}, answer)
	behind.expectRole(roleFollower, 7)
}

func TestE18PreCandidateVotesForLongerLog(t *testing.T) {
	s := newFixture(t, 3).asFollower(3, 2, 1, 1, 3)
	s.deliver(&messages.Campaign{})
	s.expectRole(rolePreCandidate, 3)
	s.sentToPeers = nil
	s.deliver(asPreVote(newVoteRequest(2, 4, 5, 3)), newVoteRequest(2, 4, 5, 3))
	s.syncAll()
	for _, a := range sentMessages[*messages.VoteResponse](s) {
		if !a.Granted {
			t.Fatalf("answered %v", a)
		}
	}
	s.expectRole(roleFollower, 4)
}

func TestE20TransferVoteIgnoresStickiness(t *testing.T) {
	s := newFixture(t, 3).asFollower(3, 2, 1, 1)
	m := newVoteRequest(3, 4, 1, 1)
	m.Transfer = true
	s.deliver(m)
	s.syncAll()
	if a := onlySent[*messages.VoteResponse](s); !a.Granted {
		t.Fatalf("answered %v", a)
	}
}

func TestE23LearnerVotesAndNeverCampaigns(t *testing.T) {
	s := newFixture(t, 3)
	s.config.Bootstrap.Members[0].Learner = true
	s.asFollower(3, 2, 1, 1)
	s.deliver(&messages.Campaign{}, &messages.TimeoutNow{Term: 3, Leader: 2}, &messages.LinkDown{Peer: 2})
	s.Advance(10 * electionTimeout)
	s.expectRole(roleFollower, 3)
	noneSent[*messages.RequestVote](s)
	if s.runningTimers() != 1 {
		t.Fatalf("%d timers run: once it has a vote it would not campaign", s.runningTimers())
	}
	s.deliver(newVoteRequest(77, 4, 1, 1)) // a candidate that it does not know, too
	s.syncAll()
	if a := onlySent[*messages.VoteResponse](s); !a.Granted {
		t.Fatalf("answered %v", a)
	}
}
