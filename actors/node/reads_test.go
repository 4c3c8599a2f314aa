package node

import (
	"testing"

	"github.com/troupe-raft/troupe/messages"
)

func newReadRequest(id uint64) *messages.RequestRead {
	return &messages.RequestRead{Id: id, Mode: messages.ReadMode_READ_MODE_INDEX}
}

// reigns is a leader of three in term 4 whose first entry, 2, is committed.
func newLeaderFixture(t *testing.T) *fixture {
	s := newFixture(t, 3).asLeader(3, 1)
	s.syncAll()
	s.deliver(s.newProgress(2, 2))
	s.clearRecorded()
	return s
}

func (s *fixture) readPointIDs() (ids []uint64) {
	for _, p := range sessionMessages[*messages.ReadPoint](s) {
		if p.Refusal == messages.Refusal_REFUSAL_UNSPECIFIED {
			ids = append(ids, p.Id)
		}
	}
	return ids
}

func TestE25ReadWaitsForFirstCommitOfTerm(t *testing.T) {
	s := newFixture(t, 3).asLeader(3, 1, 2, 2)
	s.syncAll()
	s.deliver(newReadRequest(7), &messages.RequestRead{Id: 8, Mode: messages.ReadMode_READ_MODE_LEADER},
		&messages.HeartbeatResponse{Term: 4, From: 2, Round: 99}, &messages.HeartbeatResponse{Term: 4, From: 3, Round: 99})
	if len(s.readPointIDs()) > 0 {
		t.Fatal("answered before anything of the term is committed: what is committed is not known")
	}
	s.deliver(s.newProgress(2, 4))
	s.deliver(&messages.HeartbeatResponse{Term: 4, From: 2, Round: s.leader().reads.round})
	points := sessionMessages[*messages.ReadPoint](s)
	if len(points) != 2 || points[0].Index != 4 || points[1].Index != 4 {
		t.Fatalf("answered %v, want the index of the term's first entry", points)
	}
}

// etcd#20418: an acknowledgement of an earlier round confirms nothing that was asked after it.
func TestE26RoundIsConfirmedByItsNumberOnly(t *testing.T) {
	s := newLeaderFixture(t)
	s.deliver(newReadRequest(7))
	first := s.leader().reads.round
	s.deliver(newReadRequest(8))
	if s.leader().reads.round <= first {
		t.Fatalf("rounds %d and %d", first, s.leader().reads.round)
	}
	s.deliver(&messages.HeartbeatResponse{Term: 4, From: 2, Round: first})
	if ids := s.readPointIDs(); len(ids) != 1 || ids[0] != 7 {
		t.Fatalf("an answer to the first round confirmed %v", ids)
	}
	s.deliver(&messages.HeartbeatResponse{Term: 4, From: 3, Round: first}, &messages.HeartbeatResponse{Term: 3, From: 3, Round: first + 9})
	if len(s.readPointIDs()) != 1 {
		t.Fatal("an answer of another term, or of an earlier round, was counted")
	}
	s.deliver(&messages.HeartbeatResponse{Term: 4, From: 3, Round: first + 1}) // a later one confirms all before it
	if len(s.readPointIDs()) != 2 {
		t.Fatal("not confirmed")
	}
}

func TestE27SingleVoterConfirmsReadsAlone(t *testing.T) {
	s := newFixture(t, 3)
	s.config.Bootstrap.Members[1].Learner, s.config.Bootstrap.Members[2].Learner = true, true
	s.deliverRecovered(3, 0, 1, 1)
	s.deliver(&messages.Campaign{})
	s.syncAll()
	s.expectRole(roleLeader, 4)
	s.syncAll()
	s.clearRecorded()
	s.deliver(newReadRequest(7))
	if len(s.readPointIDs()) != 1 {
		t.Fatal("not answered")
	}
}

func TestE27LearnersDoNotConfirmReads(t *testing.T) {
	s := newFixture(t, 4)
	s.config.Bootstrap.Members[3].Learner = true
	s.asLeader(3, 1)
	s.syncAll()
	s.deliver(s.newProgress(2, 2))
	s.clearRecorded()
	s.deliver(newReadRequest(7))
	s.deliver(&messages.HeartbeatResponse{Term: 4, From: 4, Round: s.leader().reads.round})
	if len(s.readPointIDs()) > 0 {
		t.Fatal("a learner confirmed the leader")
	}
	s.deliver(&messages.HeartbeatResponse{Term: 4, From: 3, Round: s.leader().reads.round})
	if len(s.readPointIDs()) != 1 {
		t.Fatal("not answered")
	}
}

func TestE28ReadPointIsTakenBeforeRound(t *testing.T) {
	s := newLeaderFixture(t)
	s.deliver(&messages.Propose{Data: newProposal(1, 10)})
	s.syncAll()
	s.clearRecorded()
	s.deliver(newReadRequest(7)) // commit index 2
	for _, m := range sentMessages[*messages.Heartbeat](s) {
		if m.Round != s.leader().reads.round || m.CommitOnly {
			t.Fatalf("asked %v", m)
		}
	}
	s.deliver(s.newProgress(2, 3)) // commit index 3, while the round is under way
	s.deliver(&messages.HeartbeatResponse{Term: 4, From: 2, Round: s.leader().reads.round})
	if p := sessionMessages[*messages.ReadPoint](s); len(p) != 1 || p[0].Index != 2 {
		t.Fatalf("answered %v, want the index as of the beginning of the round", p)
	}
}

// The leader of before, cut off, is asked for a read: it finds nobody to confirm it and ends up
// refusing.
func TestIsolatedLeaderGivesNoReadPoint(t *testing.T) {
	s := newLeaderFixture(t)
	s.Advance(9 * heartbeatInterval)
	s.deliver(newReadRequest(7))
	s.Advance(2 * electionTimeout)
	points := sessionMessages[*messages.ReadPoint](s)
	if len(s.readPointIDs()) > 0 || len(points) != 1 || points[0].Refusal != messages.Refusal_REFUSAL_NO_LEADER {
		t.Fatalf("answered %v", points)
	}
}

func TestHeartbeatRepeatsLostRound(t *testing.T) {
	s := newLeaderFixture(t)
	s.deliver(newReadRequest(7))
	round := s.leader().reads.round
	s.sentToPeers = nil
	s.Advance(heartbeatInterval)
	for _, m := range sentMessages[*messages.Heartbeat](s) {
		if m.Round != round {
			t.Fatalf("heartbeat of round %d, want %d", m.Round, round)
		}
	}
	if len(sentMessages[*messages.Heartbeat](s)) != 2 {
		t.Fatal("not said again")
	}
}

func TestReadsShareRound(t *testing.T) {
	s := newLeaderFixture(t)
	s.deliver(newReadRequest(7), newReadRequest(8), &messages.ForwardedRead{From: 3, Id: 9})
	if n := len(sentMessages[*messages.Heartbeat](s)); n != 2 {
		t.Fatalf("%d heartbeats for three reads, want one a peer", n)
	}
	s.deliver(&messages.HeartbeatResponse{Term: 4, From: 2, Round: s.leader().reads.round})
	if a := onlySent[*messages.ForwardedReadResponse](s); len(s.readPointIDs()) != 2 || a.Id != 9 || a.Index != 2 {
		t.Fatalf("answered %v and %v", s.sentToSession, a)
	}
	if s.leader().reads.count != 0 {
		t.Fatalf("%d reads are counted as waiting", s.leader().reads.count)
	}
}

func TestFollowerForwardsReads(t *testing.T) {
	s := newFixture(t, 3).asFollower(3, 2, 1, 1)
	s.deliver(newReadRequest(7))
	if m := onlySent[*messages.ForwardedRead](s); m.Id != 7 || m.Unconfirmed || s.sentToPeers[0].to != 2 {
		t.Fatalf("said %v", m)
	}
	s.deliver(&messages.ForwardedReadResponse{From: 2, Id: 7, Term: 3, Index: 5})
	if p := sessionMessages[*messages.ReadPoint](s); len(p) != 1 || p[0].Index != 5 || p[0].Id != 7 || p[0].Incarnation != 1 {
		t.Fatalf("the handle heard %v", s.sentToSession)
	}
	s.deliver(&messages.ForwardedRead{From: 3, Id: 8}) // who takes us for the leader
	if a := onlySent[*messages.ForwardedReadResponse](s); a.Refusal != messages.Refusal_REFUSAL_NO_LEADER {
		t.Fatalf("said %v", a)
	}
}

func TestE45PendingReadsAreBounded(t *testing.T) {
	for name, before := range map[string]func(*fixture){
		"before the first commit": func(*fixture) {},
		"after it":                func(s *fixture) { s.deliver(s.newProgress(2, 2)) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newFixture(t, 3)
			s.config.Limits.MaxPendingReads = 3
			s.crashNode()
			s.asLeader(3, 1)
			s.syncAll()
			before(s)
			s.sentToSession = nil
			for id := range uint64(5) {
				s.deliver(newReadRequest(id))
			}
			var refused []uint64
			for _, p := range sessionMessages[*messages.ReadPoint](s) {
				if p.Refusal == messages.Refusal_REFUSAL_OVERLOADED {
					refused = append(refused, p.Id)
				}
			}
			if len(refused) != 2 || refused[0] != 3 || refused[1] != 4 {
				t.Fatalf("refused %v", refused)
			}
			s.deliver(s.newProgress(2, 2))
			s.deliver(&messages.HeartbeatResponse{Term: 4, From: 2, Round: s.leader().reads.round})
			if len(s.readPointIDs()) != 3 || s.leader().reads.count != 0 {
				t.Fatalf("answered %v, %d still counted", s.readPointIDs(), s.leader().reads.count)
			}
		})
	}
}
