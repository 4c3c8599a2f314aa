package node

import (
	"testing"
	"time"

	"github.com/troupe-raft/troupe/messages"
)

// loseLeaderLink breaks the link to leader 2, and advances the time to the pre-votes.
func (s *fixture) loseLeaderLink() {
	s.deliver(&messages.LinkDown{Peer: 2})
	s.Advance(fastCampaignDelayMax)
	s.expectRole(rolePreCandidate, 3)
}

// expectRequests checks that votes or pre-votes were requested, and clears what was recorded.
func (s *fixture) expectRequests() {
	s.t.Helper()
	if len(sentMessages[*messages.RequestVote](s)) == 0 {
		s.t.Fatal("no vote request was sent")
	}
	s.clearRecorded()
}

// etcd issue 8334: a preCandidate that still knew a leader would refuse the pre-votes of another
// one. Two of them could refuse each other for ever.
func TestE16PreCandidateDropsLeaderAndResponses(t *testing.T) {
	s := newFixture(t, 5).asFollower(3, 2, 1, 1)
	s.deliver(&messages.Campaign{}, preVoteGrant(4, 3))
	if s.node.contact.leader != 0 {
		t.Fatal("the leader is still known")
	}
	s.deliver(newPreVoteRequest(4, 4, 1, 1))
	if r := onlySent[*messages.VoteResponse](s); !r.Granted {
		t.Fatalf("a preCandidate refused another: %v", r)
	}
	s.Advance(2 * electionTimeout)
	s.expectRole(rolePreCandidate, 3)
	s.deliver(preVoteGrant(4, 4))
	s.expectRole(rolePreCandidate, 3) // 1 and 4 of 5; 3 responded to the earlier campaign
}

func TestE20TimeoutNowCampaignsAtOnce(t *testing.T) {
	s := newFixture(t, 3).asFollower(3, 2, 1, 1)
	s.deliver(&messages.TimeoutNow{Term: 2, Leader: 2}) // of an earlier term
	s.expectRole(roleFollower, 3)
	s.deliver(&messages.TimeoutNow{Term: 3, Leader: 2})
	s.expectRole(roleCandidate, 4)
	s.syncAll()
	for _, m := range expectSent[*messages.RequestVote](s, 2) {
		if m.PreVote || !m.Transfer || m.Term != 4 {
			t.Fatalf("request %v", m)
		}
	}
	s.deliver(&messages.TimeoutNow{Term: 3, Leader: 2}) // a copy
	s.expectRole(roleCandidate, 4)
}

func TestE36RemovedNodeStops(t *testing.T) {
	s := newFixture(t, 3).asFollower(3, 2, 1, 1)
	s.deliver(&messages.Removed{From: 2, Term: 2, Index: 9}) // of an earlier term
	s.expectRole(roleFollower, 3)
	s.deliver(&messages.Removed{From: 2, Term: 3, Index: 9})
	if len(s.Failures) != 1 {
		t.Fatal("the node did not stop")
	}
}

func TestBrokenLinkStartsFastCampaign(t *testing.T) {
	s := newFixture(t, 3).asFollower(3, 2, 1, 1)
	s.deliver(&messages.LinkDown{Peer: 3}) // not the leader's
	s.Advance(fastCampaignDelayMax)
	s.expectRole(roleFollower, 3)
	s.deliver(&messages.LinkDown{Peer: 2})
	s.deliver(newPreVoteRequest(3, 4, 1, 1))
	if r := onlySent[*messages.VoteResponse](s); !r.Granted {
		t.Fatal("the follower is sticky although the leader's link broke")
	}
	s.Advance(fastCampaignDelayMax)
	s.expectRole(rolePreCandidate, 3)
	s.clearRecorded()
	s.deliver(stickyRefusal(3, 3))
	s.Advance(stickyRetryDelayMax)
	s.expectRequests()
}

func TestLinkUpCancelsFastCampaign(t *testing.T) {
	s := newFixture(t, 3).asFollower(3, 2, 1, 1)
	s.randomInt64 = func(n int64) int64 { return n - 1 }
	s.deliver(&messages.LinkDown{Peer: 2}, &messages.LinkUp{Peer: 2})
	s.Advance(electionTimeout / 2)
	s.expectRole(roleFollower, 3)
}

// A link that breaks again within an election timeout would cause a campaign each time.
func TestSecondBrokenLinkStartsNoCampaign(t *testing.T) {
	s := newFixture(t, 3).asFollower(3, 2, 1, 1)
	s.loseLeaderLink()
	s.deliver(&messages.LinkUp{Peer: 2}, &messages.Heartbeat{Term: 3, Leader: 2})
	s.deliver(&messages.LinkDown{Peer: 2})
	s.Advance(fastCampaignDelayMax)
	s.expectRole(roleFollower, 3)
}

// Forwarded proposals may have been lost with the connection.
func TestLinkUpReportsLeaderToSession(t *testing.T) {
	s := newFixture(t, 3).asFollower(3, 2, 1, 1)
	reports := func() (n int) {
		for _, c := range sessionMessages[*messages.LeaderChanged](s) {
			if c.Leader == 2 && c.Term == 3 {
				n++
			}
		}
		return n
	}
	before := reports()
	s.deliver(&messages.LinkDown{Peer: 2}, &messages.LinkUp{Peer: 3})
	if reports() != before {
		t.Fatal("the leader was reported while its link is down")
	}
	s.deliver(&messages.LinkUp{Peer: 2})
	if reports() != before+1 {
		t.Fatalf("the leader was reported %d times", reports()-before)
	}
}

func TestTimerRunsInEveryRole(t *testing.T) {
	s := newFixture(t, 3)
	check := func(state string) {
		t.Helper()
		if timer := &s.node.timer; timer.running == nil || s.runningTimers() != 1 || timer.due > timer.deadline {
			t.Fatalf("%s: %d timers, one due at %v, deadline %v", state, s.runningTimers(), timer.due, timer.deadline)
		}
	}
	s.deliverRecovered(3, 0, 1, 1)
	check("recovered")
	s.deliver(&messages.Heartbeat{Term: 3, Leader: 2})
	check("follower")
	s.deliver(&messages.LinkDown{Peer: 2})
	check("link down")
	s.Advance(fastCampaignDelayMax)
	check("preCandidate")
	s.deliver(stickyRefusal(3, 3))
	check("refused out of stickiness")
	s.Advance(stickyRetryDelayMin)
	check("asked again")
	s.deliver(preVoteGrant(4, 3))
	check("candidate")
	s.syncAll()
	s.deliver(&messages.VoteResponse{Term: 4, Voter: 3}, &messages.VoteResponse{Term: 4, Voter: 2})
	s.expectRole(roleFollower, 4)
	check("election lost")
	s.Advance(2 * electionTimeout)
	check("second campaign")
	s.deliver(preVoteGrant(5, 3))
	s.syncAll()
	s.deliver(voteGrant(5, 3))
	s.expectRole(roleLeader, 5)
	check("leader")
	s.Advance(heartbeatInterval)
	check("leader after a heartbeat")
	s.Advance(electionTimeout + heartbeatInterval)
	s.expectRole(roleFollower, 5)
	check("stepped down")
}

// The timer fires for the retry and must then be started again: without it the node would not
// campaign any more.
func TestPreCandidateRetryKeepsTimer(t *testing.T) {
	s := newFixture(t, 3).asFollower(3, 2, 1, 1)
	s.loseLeaderLink()
	s.deliver(stickyRefusal(3, 3))
	s.clearRecorded()
	s.Advance(stickyRetryDelayMax)
	s.expectRequests()
	s.Advance(4 * electionTimeout) // without responses
	if s.runningTimers() == 0 {
		t.Fatal("no timer runs")
	}
	s.expectRequests()
}

func TestLeaderAfterRetrySendsHeartbeats(t *testing.T) {
	s := newFixture(t, 3).asFollower(3, 2, 1, 1)
	s.loseLeaderLink()
	s.deliver(stickyRefusal(3, 3))
	s.Advance(stickyRetryDelayMax)
	s.deliver(preVoteGrant(4, 3))
	s.syncAll()
	s.deliver(voteGrant(4, 3))
	s.expectRole(roleLeader, 4)
	s.clearRecorded()
	s.Advance(heartbeatInterval + 10*time.Millisecond)
	if len(sentMessages[*messages.Heartbeat](s)) == 0 {
		t.Fatal("no heartbeat was sent")
	}
}

// The Machine may report Serving at once. The Session drops messages of an incarnation before it
// has received LeaderChanged of it.
func TestSessionLearnsIncarnationBeforeMachine(t *testing.T) {
	if s := newFixture(t, 3).deliverRecovered(3, 0, 1, 1); s.sentBeforeMachine == 0 {
		t.Fatal("the Machine was made before LeaderChanged was sent")
	}
}

// Messages of a leader that crashed under load arrive after the LinkDown.
func TestOldLeaderMessageKeepsFastCampaign(t *testing.T) {
	s := newFixture(t, 3).asFollower(3, 2, 1, 1)
	s.randomInt64 = func(n int64) int64 { return n / 2 }
	s.deliver(&messages.LinkDown{Peer: 2}, newAppendEntries(3, 1, 1, 1, 3))
	s.Advance(fastCampaignDelayMax)
	s.expectRole(rolePreCandidate, 3)
	s.deliver(&messages.Heartbeat{Term: 3, Leader: 2}) // the last message
	s.expectRole(roleFollower, 3)
	s.clearRecorded()
	s.Advance(5 * heartbeatInterval)
	s.expectRequests()
}

func TestOneWayLinkCausesOneCampaign(t *testing.T) {
	s := newFixture(t, 3).asFollower(3, 2, 1, 1)
	s.randomInt64 = func(n int64) int64 { return n / 2 }
	s.deliver(&messages.LinkDown{Peer: 2})
	for range 30 {
		s.Advance(heartbeatInterval)
		s.deliver(&messages.Heartbeat{Term: 3, Leader: 2})
	}
	s.expectRole(roleFollower, 3)
	if n := len(sentMessages[*messages.RequestVote](s)); n != 2 {
		t.Fatalf("%d requests for pre-votes in three seconds, want one for each peer", n)
	}
}

func TestOldRefusalKeepsGrantedPreVote(t *testing.T) {
	s := newFixture(t, 5).asFollower(3, 2, 1, 1)
	s.deliver(&messages.Campaign{})
	s.deliver(preVoteGrant(4, 3))
	s.deliver(stickyRefusal(3, 3))
	s.deliver(preVoteGrant(4, 4))
	s.expectRole(roleCandidate, 4)
}
