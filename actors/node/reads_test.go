package node

import (
	"slices"
	"testing"

	"github.com/troupe-raft/troupe/messages"
)

func newReadRequest(id uint64) *messages.RequestRead {
	return &messages.RequestRead{Id: id, Mode: messages.ReadMode_READ_MODE_INDEX}
}

// acknowledge delivers the response of a peer to a round of heartbeats of term 4.
func (s *fixture) acknowledge(peer, round uint64) {
	s.deliver(&messages.HeartbeatResponse{Term: 4, From: peer, Round: round})
}

// expectReadPoints checks for which reads the Session received read points.
func (s *fixture) expectReadPoints(want ...uint64) {
	s.t.Helper()
	var ids []uint64
	for _, p := range sessionMessages[*messages.ReadPoint](s) {
		if p.Refusal == messages.Refusal_REFUSAL_UNSPECIFIED {
			ids = append(ids, p.Id)
		}
	}
	if !slices.Equal(ids, want) {
		s.t.Fatalf("read points for %v, want %v", ids, want)
	}
}

func TestE25ReadWaitsForFirstCommitOfTerm(t *testing.T) {
	s := newFixture(t, 3).asLeader(3, 1, 2, 2)
	s.syncAll()
	s.deliver(newReadRequest(7), &messages.RequestRead{Id: 8, Mode: messages.ReadMode_READ_MODE_LEADER})
	s.acknowledge(2, 99)
	s.acknowledge(3, 99)
	s.expectReadPoints()
	s.deliver(s.newProgress(2, 4))
	s.acknowledge(2, s.leader().reads.round)
	points := sessionMessages[*messages.ReadPoint](s)
	if len(points) != 2 || points[0].Index != 4 || points[1].Index != 4 {
		t.Fatalf("read points %v, want the index of the term's first entry", points)
	}
}

// etcd issue 20418: an acknowledgement of an earlier round confirms no read that came after its
// start.
func TestE26RoundIsConfirmedByItsNumberOnly(t *testing.T) {
	s := newFixture(t, 3).asIdleLeader(2)
	s.deliver(newReadRequest(7))
	first := s.leader().reads.round
	s.deliver(newReadRequest(8))
	if s.leader().reads.round <= first {
		t.Fatalf("rounds %d and %d", first, s.leader().reads.round)
	}
	s.acknowledge(2, first)
	s.expectReadPoints(7)
	s.acknowledge(3, first)
	s.deliver(&messages.HeartbeatResponse{Term: 3, From: 3, Round: first + 9}) // of an earlier term
	s.expectReadPoints(7)
	s.acknowledge(3, first+1) // a later round confirms those before it
	s.expectReadPoints(7, 8)
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
	s.expectReadPoints(7)
}

func TestE27LearnersDoNotConfirmReads(t *testing.T) {
	s := newFixture(t, 4)
	s.config.Bootstrap.Members[3].Learner = true
	s.asIdleLeader(2)
	s.deliver(newReadRequest(7))
	s.acknowledge(4, s.leader().reads.round)
	s.expectReadPoints()
	s.acknowledge(3, s.leader().reads.round)
	s.expectReadPoints(7)
}

// The commit index is 2 when the round starts, and 3 when it is confirmed.
func TestE28ReadPointIsTakenBeforeRound(t *testing.T) {
	s := newFixture(t, 3).asIdleLeader(2)
	s.deliver(propose(1, 10))
	s.syncAll()
	s.clearRecorded()
	s.deliver(newReadRequest(7))
	for _, m := range expectSent[*messages.Heartbeat](s, 2) {
		if m.Round != s.leader().reads.round || m.CommitOnly {
			t.Fatalf("heartbeat %v", m)
		}
	}
	s.deliver(s.newProgress(2, 3))
	s.acknowledge(2, s.leader().reads.round)
	if p := sessionMessages[*messages.ReadPoint](s); len(p) != 1 || p[0].Index != 2 {
		t.Fatalf("read point %v, want the commit index at the start of the round", p)
	}
}

func TestIsolatedLeaderGivesNoReadPoint(t *testing.T) {
	s := newFixture(t, 3).asIdleLeader(2)
	s.Advance(9 * heartbeatInterval)
	s.deliver(newReadRequest(7))
	s.Advance(2 * electionTimeout)
	s.expectReadPoints()
	points := sessionMessages[*messages.ReadPoint](s)
	if len(points) != 1 || points[0].Refusal != messages.Refusal_REFUSAL_NO_LEADER {
		t.Fatalf("the Session received %v", points)
	}
}

func TestHeartbeatRepeatsLostRound(t *testing.T) {
	s := newFixture(t, 3).asIdleLeader(2)
	s.deliver(newReadRequest(7))
	round := s.leader().reads.round
	s.sentToPeers = nil
	s.Advance(heartbeatInterval)
	for _, m := range expectSent[*messages.Heartbeat](s, 2) {
		if m.Round != round {
			t.Fatalf("heartbeat of round %d, want %d", m.Round, round)
		}
	}
}

func TestReadsShareRound(t *testing.T) {
	s := newFixture(t, 3).asIdleLeader(2)
	s.deliver(newReadRequest(7), newReadRequest(8), &messages.ForwardedRead{From: 3, Id: 9})
	expectSent[*messages.Heartbeat](s, 2) // one for each peer
	s.acknowledge(2, s.leader().reads.round)
	s.expectReadPoints(7, 8)
	if r := onlySent[*messages.ForwardedReadResponse](s); r.Id != 9 || r.Index != 2 {
		t.Fatalf("response %v", r)
	}
	if s.leader().reads.count != 0 {
		t.Fatalf("%d reads are counted as waiting", s.leader().reads.count)
	}
}

func TestFollowerForwardsReads(t *testing.T) {
	s := newFixture(t, 3).asFollower(3, 2, 1, 1)
	s.deliver(newReadRequest(7))
	if m := onlySent[*messages.ForwardedRead](s); m.Id != 7 || m.Unconfirmed || s.sentToPeers[0].to != 2 {
		t.Fatalf("sent %v", m)
	}
	s.deliver(&messages.ForwardedReadResponse{From: 2, Id: 7, Term: 3, Index: 5})
	if p := sessionMessages[*messages.ReadPoint](s); len(p) != 1 || p[0].Index != 5 || p[0].Id != 7 || p[0].Incarnation != 1 {
		t.Fatalf("the Session received %v", s.sentToSession)
	}
	s.deliver(&messages.ForwardedRead{From: 3, Id: 8}) // of a peer that takes this node for the leader
	if r := onlySent[*messages.ForwardedReadResponse](s); r.Refusal != messages.Refusal_REFUSAL_NO_LEADER {
		t.Fatalf("response %v", r)
	}
}

func TestE45PendingReadsAreBounded(t *testing.T) {
	for name, acknowledged := range map[string][]uint64{"before the first commit": {}, "after it": {2}} {
		t.Run(name, func(t *testing.T) {
			s := newFixture(t, 3, func(l *Limits) { l.MaxPendingReads = 3 }).asIdleLeader(acknowledged...)
			for id := range uint64(5) {
				s.deliver(newReadRequest(id))
			}
			var refused []uint64
			for _, p := range sessionMessages[*messages.ReadPoint](s) {
				if p.Refusal == messages.Refusal_REFUSAL_OVERLOADED {
					refused = append(refused, p.Id)
				}
			}
			if !slices.Equal(refused, []uint64{3, 4}) {
				t.Fatalf("refused %v", refused)
			}
			s.deliver(s.newProgress(2, 2))
			s.acknowledge(2, s.leader().reads.round)
			s.expectReadPoints(0, 1, 2)
			if s.leader().reads.count != 0 {
				t.Fatalf("%d reads are counted as waiting", s.leader().reads.count)
			}
		})
	}
}
