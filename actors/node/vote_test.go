package node

import (
	"testing"
	"time"

	"github.com/troupe-raft/troupe/messages"
)

// afterElectionTimeout returns a follower that had no contact to its leader for the election
// timeout, so that it is not sticky, and has not begun to campaign.
func (s *fixture) afterElectionTimeout() *fixture {
	s.randomInt64 = func(n int64) int64 { return n - 1 }
	s.deliver(&messages.Heartbeat{Term: s.node.term, Leader: s.node.contact.leader})
	s.Advance(electionTimeout + 10*time.Millisecond)
	s.expectRole(roleFollower, s.node.term)
	s.clearRecorded()
	return s
}

// expectGrants checks that n responses to vote requests were sent, and that all grant the vote.
func (s *fixture) expectGrants(n int) {
	s.t.Helper()
	for _, r := range expectSent[*messages.VoteResponse](s, n) {
		if !r.Granted {
			s.t.Fatalf("response %v, want a granted vote", r)
		}
	}
}

// votesTo returns how many votes each candidate received.
func (s *fixture) votesTo() map[uint64]int {
	votes := map[uint64]int{}
	for _, x := range s.sentToPeers {
		if r, ok := x.message.(*messages.VoteResponse); ok && r.Granted {
			votes[x.to]++
		}
	}
	return votes
}

func TestE1VoteIsSentAfterSync(t *testing.T) {
	s := newFixture(t, 3).asFollower(3, 2, 1, 1).afterElectionTimeout()
	s.deliver(newVoteRequest(3, 4, 1, 1))
	noneSent[*messages.VoteResponse](s)
	last := s.pendingAppends[len(s.pendingAppends)-1]
	if last.HardState.Term != 4 || last.HardState.Vote != 3 || !last.NeedsSync {
		t.Fatalf("the LogStore received %v", last)
	}
	s.syncAll()
	if r := onlySent[*messages.VoteResponse](s); !r.Granted || r.Term != 4 || r.Voter != 1 {
		t.Fatalf("response %v", r)
	}
}

// The candidate sends requests after its own vote is on disk, and counts it only then.
func TestE1CandidatePersistsItsVoteFirst(t *testing.T) {
	s := newFixture(t, 3).asFollower(3, 2, 1, 1).afterElectionTimeout()
	s.deliver(&messages.Campaign{}, preVoteGrant(4, 2))
	s.expectRole(roleCandidate, 4)
	if len(s.node.role.(*candidate).votes) != 0 {
		t.Fatal("the vote for itself counts before it is on disk")
	}
	for _, m := range expectSent[*messages.RequestVote](s, 2) {
		if !m.PreVote {
			t.Fatal("vote request sent before the vote for itself is on disk")
		}
	}
	s.syncAll()
	requests := sentMessages[*messages.RequestVote](s)
	if m := requests[len(requests)-1]; m.PreVote || m.Term != 4 || m.LastIndex != 1 || m.LastTerm != 1 || m.Transfer {
		t.Fatalf("request %v", m)
	}
}

func TestE2StepDownKeepsTheVote(t *testing.T) {
	s := newFixture(t, 3).asFollower(3, 2, 1, 1).afterElectionTimeout()
	s.deliver(newVoteRequest(3, 4, 1, 1))
	s.deliver(&messages.Heartbeat{Term: 4, Leader: 3})
	s.Advance(electionTimeout + 10*time.Millisecond)
	s.syncAll()
	s.sentToPeers = nil
	s.deliver(newVoteRequest(2, 4, 9, 3)) // with a longer log
	if r := onlySent[*messages.VoteResponse](s); r.Granted || s.node.vote != 3 {
		t.Fatalf("response %v in a term in which it voted for 3", r)
	}
	s.deliver(newVoteRequest(2, 5, 9, 3))
	s.syncAll()
	if s.node.vote != 2 {
		t.Fatal("a higher term does not clear the vote")
	}
}

func TestE4RepeatedRequestReceivesSameVote(t *testing.T) {
	s := newFixture(t, 3).asFollower(3, 2, 1, 1).afterElectionTimeout()
	s.deliver(newVoteRequest(3, 4, 1, 1), newVoteRequest(3, 4, 1, 1), newVoteRequest(2, 4, 1, 1))
	s.syncAll()
	if votes := s.votesTo(); votes[3] != 2 || votes[2] != 0 {
		t.Fatalf("votes %v", votes)
	}
}

// The vote is on disk when the node crashes, and the response was not sent.
func TestVoteOnceAfterCrash(t *testing.T) {
	s := newFixture(t, 3).asFollower(3, 2, 1, 1).afterElectionTimeout()
	s.deliver(newVoteRequest(3, 4, 1, 1))
	saved := s.pendingAppends[len(s.pendingAppends)-1].HardState
	s.crashNode()
	s.deliverRecovered(saved.Term, saved.Vote, 1, 1)
	s.deliver(newVoteRequest(2, 4, 9, 3), newVoteRequest(3, 4, 1, 1))
	s.syncAll()
	expectSent[*messages.VoteResponse](s, 2)
	for _, x := range s.sentToPeers {
		if r, ok := x.message.(*messages.VoteResponse); ok && r.Granted != (x.to == 3) {
			t.Fatalf("response %v to %d", r, x.to)
		}
	}
}

func TestE14RestartRecoversTermAndVoteOnly(t *testing.T) {
	s := newFixture(t, 3).asFollower(7, 2, 1, 1)
	s.crashNode()
	s.expectRole(roleRecovering, 0)
	s.deliver(newVoteRequest(3, 8, 9, 7))
	if len(s.sentToPeers) > 0 {
		t.Fatalf("%v sent before term and vote are known", s.sentToPeers)
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
		if r := onlySent[*messages.VoteResponse](s); r.Granted != c.granted {
			t.Errorf("candidate with (%d, %d) against (3, 3): granted %v", c.lastIndex, c.lastTerm, r.Granted)
		}
		s.expectRole(roleFollower, 5)
	}
}

func TestE15PreVoteChangesNothing(t *testing.T) {
	s := newFixture(t, 3).asFollower(3, 2, 1, 1).afterElectionTimeout()
	deadline, contact := s.node.timer.deadline, s.node.contact
	s.deliver(newPreVoteRequest(3, 4, 1, 1), newPreVoteRequest(3, 9, 1, 1))
	s.expectGrants(2)
	s.expectRole(roleFollower, 3)
	if s.node.vote != 0 || s.node.timer.deadline != deadline || s.node.contact.last != contact.last ||
		len(s.pendingAppends) > 0 || s.node.contact.leader != 2 {
		t.Fatal("a pre-vote changed the state")
	}
}

func TestPreVoteIsRefusedWithActiveLeader(t *testing.T) {
	s := newFixture(t, 3).asFollower(3, 2, 1, 1)
	s.deliver(newPreVoteRequest(3, 90, 50, 3), newVoteRequest(3, 90, 50, 3))
	for _, r := range expectSent[*messages.VoteResponse](s, 2) {
		if r.Granted || !r.LeaderActive || r.Term != 3 {
			t.Fatalf("response %v", r)
		}
	}
	s.expectRole(roleFollower, 3)
	if s.node.contact.leader != 2 {
		t.Fatal("the leader is not known any more")
	}
}

// A leader whose actors restarted does not lead any more, and its followers do not know. If they
// refused its votes because they had contact to it, the cluster would have no leader for an
// election timeout.
func TestRestartedLeaderReceivesVotes(t *testing.T) {
	s := newFixture(t, 3).asFollower(3, 2, 1, 1)
	s.deliver(newPreVoteRequest(2, 4, 1, 1), newVoteRequest(2, 4, 1, 1))
	s.syncAll()
	s.expectGrants(2)
	s.expectRole(roleFollower, 4)
}

func TestLeaderRefusesVotes(t *testing.T) {
	s := newFixture(t, 3).asLeader(3, 1)
	s.deliver(newVoteRequest(3, 90, 50, 3))
	if r := onlySent[*messages.VoteResponse](s); r.Granted || !r.LeaderActive {
		t.Fatalf("response %v", r)
	}
	s.expectRole(roleLeader, 4)
}

func TestE17OldPreVoteLearnsTheTerm(t *testing.T) {
	s := newFixture(t, 3).asFollower(7, 2, 1, 1).afterElectionTimeout()
	s.deliver(newPreVoteRequest(3, 4, 1, 1))
	response := onlySent[*messages.VoteResponse](s)
	if response.Granted || response.Term != 7 {
		t.Fatalf("response %v", response)
	}
	behind := newFixture(t, 3).asFollower(3, 2, 1, 1)
	behind.deliver(&messages.Campaign{}, response)
	behind.expectRole(roleFollower, 7)
}

func TestE18PreCandidateVotesForLongerLog(t *testing.T) {
	s := newFixture(t, 3).asFollower(3, 2, 1, 1, 3)
	s.deliver(&messages.Campaign{})
	s.expectRole(rolePreCandidate, 3)
	s.sentToPeers = nil
	s.deliver(newPreVoteRequest(2, 4, 5, 3), newVoteRequest(2, 4, 5, 3))
	s.syncAll()
	s.expectGrants(2)
	s.expectRole(roleFollower, 4)
}

func TestE20TransferVoteIgnoresStickiness(t *testing.T) {
	s := newFixture(t, 3).asFollower(3, 2, 1, 1)
	m := newVoteRequest(3, 4, 1, 1)
	m.Transfer = true
	s.deliver(m)
	s.syncAll()
	if r := onlySent[*messages.VoteResponse](s); !r.Granted {
		t.Fatalf("response %v", r)
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
		t.Fatalf("%d timers run: after a promotion it would not campaign", s.runningTimers())
	}
	s.deliver(newVoteRequest(77, 4, 1, 1)) // an unknown candidate
	s.syncAll()
	if r := onlySent[*messages.VoteResponse](s); !r.Granted {
		t.Fatalf("response %v", r)
	}
}
