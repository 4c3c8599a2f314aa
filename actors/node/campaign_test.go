package node

import (
	"testing"
	"time"

	"github.com/troupe-raft/troupe/messages"
)

// etcd#8334: while it campaigns, a node knows no leader it could be true to; else two preCandidates
// that were each refused for the other's sake would wait for ever.
func TestE16PreCandidateDropsLeaderAndResponses(t *testing.T) {
	s := newFixture(t, 5).asFollower(3, 2, 1, 1)
	s.deliver(&messages.Campaign{}, &messages.VoteResponse{Term: 4, Voter: 3, PreVote: true, Granted: true})
	if s.node.contact.leader != 0 {
		t.Fatal("the leader is still known")
	}
	s.deliver(asPreVote(newVoteRequest(4, 4, 1, 1)))
	if a := onlySent[*messages.VoteResponse](s); !a.Granted {
		t.Fatalf("a preCandidate refused another: %v", a)
	}
	s.Advance(2 * electionTimeout) // once more
	s.expectRole(rolePreCandidate, 3)
	s.deliver(&messages.VoteResponse{Term: 4, Voter: 4, PreVote: true, Granted: true})
	s.expectRole(rolePreCandidate, 3) // 1 and 4 of 5; the answer of 3 was of the campaign before
}

func TestE20TimeoutNowCampaignsAtOnce(t *testing.T) {
	s := newFixture(t, 3).asFollower(3, 2, 1, 1)
	s.deliver(&messages.TimeoutNow{Term: 2, Leader: 2}) // of an earlier term: late
	s.expectRole(roleFollower, 3)
	s.deliver(&messages.TimeoutNow{Term: 3, Leader: 2})
	s.expectRole(roleCandidate, 4)
	s.syncAll()
	for _, m := range sentMessages[*messages.RequestVote](s) {
		if m.PreVote || !m.Transfer || m.Term != 4 {
			t.Fatalf("asked %v", m)
		}
	}
	s.deliver(&messages.TimeoutNow{Term: 3, Leader: 2}) // doubled
	s.expectRole(roleCandidate, 4)
}

func TestE36RemovedNodeStops(t *testing.T) {
	s := newFixture(t, 3).asFollower(3, 2, 1, 1)
	s.deliver(&messages.Removed{From: 2, Term: 2, Index: 9}) // of an earlier term
	s.expectRole(roleFollower, 3)
	s.deliver(&messages.Removed{From: 2, Term: 3, Index: 9})
	if len(s.Failures) != 1 {
		t.Fatal("it goes on")
	}
}

func TestBrokenLinkStartsFastCampaign(t *testing.T) {
	s := newFixture(t, 3).asFollower(3, 2, 1, 1)
	s.deliver(&messages.LinkDown{Peer: 3}) // not the leader's
	s.Advance(fastCampaignDelayMax)
	s.expectRole(roleFollower, 3)
	s.deliver(&messages.LinkDown{Peer: 2})
	s.deliver(asPreVote(newVoteRequest(3, 4, 1, 1)))
	if a := onlySent[*messages.VoteResponse](s); !a.Granted {
		t.Fatal("it still sticks to a leader whose link broke")
	}
	s.Advance(fastCampaignDelayMax)
	s.expectRole(rolePreCandidate, 3)
	s.clearRecorded()
	s.deliver(&messages.VoteResponse{Term: 3, Voter: 3, PreVote: true, LeaderActive: true})
	s.Advance(stickyRetryDelayMax)
	if len(sentMessages[*messages.RequestVote](s)) == 0 {
		t.Fatal("not asked again")
	}
}

func TestLinkUpCancelsFastCampaign(t *testing.T) {
	s := newFixture(t, 3).asFollower(3, 2, 1, 1)
	s.randomInt64 = func(n int64) int64 { return n - 1 }
	s.deliver(&messages.LinkDown{Peer: 2}, &messages.LinkUp{Peer: 2})
	s.Advance(electionTimeout / 2)
	s.expectRole(roleFollower, 3)
}

// What was forwarded may have been lost with the connection.
func TestLinkUpReportsLeaderToSession(t *testing.T) {
	s := newFixture(t, 3).asFollower(3, 2, 1, 1)
	told := func() (n int) {
		for _, c := range sessionMessages[*messages.LeaderChanged](s) {
			if c.Leader == 2 && c.Term == 3 {
				n++
			}
		}
		return n
	}
	before := told()
	s.deliver(&messages.LinkDown{Peer: 2}, &messages.LinkUp{Peer: 3})
	if told() != before {
		t.Fatal("told while the link is down")
	}
	s.deliver(&messages.LinkUp{Peer: 2})
	if told() != before+1 {
		t.Fatalf("told %d times", told()-before)
	}
}

func TestTimerRunsInEveryRole(t *testing.T) {
	s := newFixture(t, 3)
	check := func(what string) {
		t.Helper()
		if s.node.timer.running == nil || s.runningTimers() != 1 || s.node.timer.due > s.node.timer.deadline {
			t.Fatalf("%s: %d timers, the one due at %v, the deadline at %v", what, s.runningTimers(), s.node.timer.due, s.node.timer.deadline)
		}
	}
	s.deliverRecovered(3, 0, 1, 1)
	check("recovered")
	s.deliver(&messages.Heartbeat{Term: 3, Leader: 2})
	check("following")
	s.deliver(&messages.LinkDown{Peer: 2})
	check("link down")
	s.Advance(fastCampaignDelayMax)
	check("pre-candidate")
	s.deliver(&messages.VoteResponse{Term: 3, Voter: 3, PreVote: true, LeaderActive: true})
	check("refused for stickiness")
	s.Advance(stickyRetryDelayMin)
	check("asked again")
	s.deliver(&messages.VoteResponse{Term: 4, Voter: 3, PreVote: true, Granted: true})
	check("candidate")
	s.syncAll()
	s.deliver(&messages.VoteResponse{Term: 4, Voter: 3}, &messages.VoteResponse{Term: 4, Voter: 2})
	s.expectRole(roleFollower, 4)
	check("lost")
	s.Advance(2 * electionTimeout)
	check("again")
	s.deliver(&messages.VoteResponse{Term: 5, Voter: 3, PreVote: true, Granted: true})
	s.syncAll()
	s.deliver(&messages.VoteResponse{Term: 5, Voter: 3, Granted: true})
	s.expectRole(roleLeader, 5)
	check("leader")
	s.Advance(heartbeatInterval)
	check("leader that beat")
	s.Advance(electionTimeout + heartbeatInterval)
	s.expectRole(roleFollower, 5)
	check("deposed")
}

// The campaign's timer fired for the second asking; what is set anew then must run, or nobody would
// campaign any more.
func TestPreCandidateRetryKeepsTimer(t *testing.T) {
	s := newFixture(t, 3).asFollower(3, 2, 1, 1)
	s.deliver(&messages.LinkDown{Peer: 2})
	s.Advance(fastCampaignDelayMax)
	s.expectRole(rolePreCandidate, 3)
	s.deliver(&messages.VoteResponse{Term: 3, Voter: 3, PreVote: true, LeaderActive: true})
	s.clearRecorded()
	s.Advance(stickyRetryDelayMax)
	if len(sentMessages[*messages.RequestVote](s)) == 0 {
		t.Fatal("the sticky voter was not asked again")
	}
	s.clearRecorded()
	s.Advance(4 * electionTimeout) // nobody answers
	if s.runningTimers() == 0 || len(sentMessages[*messages.RequestVote](s)) == 0 {
		t.Fatalf("%d timers run and %d requests were made: the campaign is stuck", s.runningTimers(), len(sentMessages[*messages.RequestVote](s)))
	}
}

func TestLeaderAfterRetrySendsHeartbeats(t *testing.T) {
	s := newFixture(t, 3).asFollower(3, 2, 1, 1)
	s.deliver(&messages.LinkDown{Peer: 2})
	s.Advance(fastCampaignDelayMax)
	s.deliver(&messages.VoteResponse{Term: 3, Voter: 3, PreVote: true, LeaderActive: true})
	s.Advance(stickyRetryDelayMax)
	s.randomInt64 = func(n int64) int64 { return 0 }
	s.deliver(&messages.VoteResponse{Term: 4, Voter: 3, PreVote: true, Granted: true})
	s.syncAll()
	s.deliver(&messages.VoteResponse{Term: 4, Voter: 3, Granted: true})
	s.expectRole(roleLeader, 4)
	s.clearRecorded()
	s.Advance(heartbeatInterval + 10*time.Millisecond)
	if len(sentMessages[*messages.Heartbeat](s)) == 0 {
		t.Fatal("a leader without heartbeats")
	}
}

// The Machine may say at once that it serves; the handle must have heard by then that a new life
// began.
func TestSessionLearnsIncarnationBeforeMachine(t *testing.T) {
	s := newFixture(t, 3).deliverRecovered(3, 0, 1, 1)
	for _, what := range s.spawned {
		if what == "machine after 0 of the handle" {
			t.Fatal("the Machine was made before the handle heard LeaderChanged of this incarnation: its Serving would be dropped")
		}
	}
}

// A leader that is killed under load leaves messages behind it: they arrive after the news that its
// link broke, and prove nothing.
func TestOldLeaderMessageKeepsFastCampaign(t *testing.T) {
	s := newFixture(t, 3).asFollower(3, 2, 1, 1)
	s.randomInt64 = func(n int64) int64 { return n / 2 }
	s.deliver(&messages.LinkDown{Peer: 2}, newAppendEntries(3, 1, 1, 1, 3))
	s.Advance(fastCampaignDelayMax)
	s.expectRole(rolePreCandidate, 3)
	s.deliver(&messages.Heartbeat{Term: 3, Leader: 2}) // the very last word
	s.expectRole(roleFollower, 3)
	s.clearRecorded()
	s.Advance(5 * heartbeatInterval)
	if len(sentMessages[*messages.RequestVote](s)) == 0 {
		t.Fatal("a straggler of a leader whose link is down bought it a whole election timeout")
	}
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
		t.Fatalf("%d requests for pre-votes in three seconds, want one round of 2", n)
	}
}

func TestOldRefusalKeepsGrantedPreVote(t *testing.T) {
	s := newFixture(t, 5).asFollower(3, 2, 1, 1)
	s.deliver(&messages.Campaign{})
	s.deliver(&messages.VoteResponse{Term: 4, Voter: 3, PreVote: true, Granted: true})
	s.deliver(&messages.VoteResponse{Term: 3, Voter: 3, PreVote: true, LeaderActive: true})
	s.deliver(&messages.VoteResponse{Term: 4, Voter: 4, PreVote: true, Granted: true})
	s.expectRole(roleCandidate, 4)
}
