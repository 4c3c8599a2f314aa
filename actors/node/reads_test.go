package node

import (
	"testing"

	"github.com/troupe-raft/troupe/messages"
)

func read(id uint64) *messages.AskRead {
	return &messages.AskRead{Id: id, Mode: messages.ReadMode_READ_MODE_INDEX}
}

// reigns is a leader of three in term 4 whose first entry, 2, is committed.
func reigns(t *testing.T) *stage {
	s := newStage(t, 3).leads(3, 1)
	s.sync()
	s.hears(s.progress(2, 2))
	s.forget()
	return s
}

func (s *stage) points() (ids []uint64) {
	for _, p := range handleHeard[*messages.ReadPoint](s) {
		if p.Refused == messages.Refusal_REFUSAL_UNSPECIFIED {
			ids = append(ids, p.Id)
		}
	}
	return ids
}

func TestE25ReadIndexFirstCommitAReadWaitsForAnEntryOfTheTerm(t *testing.T) {
	s := newStage(t, 3).leads(3, 1, 2, 2)
	s.sync()
	s.hears(read(7), &messages.AskRead{Id: 8, Mode: messages.ReadMode_READ_MODE_LEADER},
		&messages.HeartbeatAnswer{Term: 4, From: 2, Round: 99}, &messages.HeartbeatAnswer{Term: 4, From: 3, Round: 99})
	if len(s.points()) > 0 {
		t.Fatal("answered before anything of the term is committed: what is committed is not known")
	}
	s.hears(s.progress(2, 4))
	s.hears(&messages.HeartbeatAnswer{Term: 4, From: 2, Round: s.node.lead.round})
	points := handleHeard[*messages.ReadPoint](s)
	if len(points) != 2 || points[0].Index != 4 || points[1].Index != 4 {
		t.Fatalf("answered %v, want the index of the term's first entry", points)
	}
}

// etcd#20418: an acknowledgement of an earlier round confirms nothing that was asked after it.
func TestE26ARoundIsConfirmedByItsOwnNumberOnly(t *testing.T) {
	s := reigns(t)
	s.hears(read(7))
	first := s.node.lead.round
	s.hears(read(8))
	if s.node.lead.round <= first {
		t.Fatalf("rounds %d and %d", first, s.node.lead.round)
	}
	s.hears(&messages.HeartbeatAnswer{Term: 4, From: 2, Round: first})
	if ids := s.points(); len(ids) != 1 || ids[0] != 7 {
		t.Fatalf("an answer to the first round confirmed %v", ids)
	}
	s.hears(&messages.HeartbeatAnswer{Term: 4, From: 3, Round: first}, &messages.HeartbeatAnswer{Term: 3, From: 3, Round: first + 9})
	if len(s.points()) != 1 {
		t.Fatal("an answer of another term, or of an earlier round, was counted")
	}
	s.hears(&messages.HeartbeatAnswer{Term: 4, From: 3, Round: first + 1}) // a later one confirms all before it
	if len(s.points()) != 2 {
		t.Fatal("not confirmed")
	}
}

func TestE27ReadsOfASingleVoterAmongLearnersNeedNobody(t *testing.T) {
	s := newStage(t, 3)
	s.config.Bootstrap.Members[1].Learner, s.config.Bootstrap.Members[2].Learner = true, true
	s.recovered(3, 0, 1, 1)
	s.hears(&messages.Campaign{})
	s.sync()
	s.is(roleLeader, 4)
	s.sync()
	s.forget()
	s.hears(read(7))
	if len(s.points()) != 1 {
		t.Fatal("not answered")
	}
}

func TestE27LearnersConfirmNothing(t *testing.T) {
	s := newStage(t, 4)
	s.config.Bootstrap.Members[3].Learner = true
	s.leads(3, 1)
	s.sync()
	s.hears(s.progress(2, 2))
	s.forget()
	s.hears(read(7))
	s.hears(&messages.HeartbeatAnswer{Term: 4, From: 4, Round: s.node.lead.round})
	if len(s.points()) > 0 {
		t.Fatal("a learner confirmed the leader")
	}
	s.hears(&messages.HeartbeatAnswer{Term: 4, From: 3, Round: s.node.lead.round})
	if len(s.points()) != 1 {
		t.Fatal("not answered")
	}
}

func TestE28LeadershipIsConfirmedAfterTheReadPointIsTaken(t *testing.T) {
	s := reigns(t)
	s.hears(&messages.Propose{Data: proposalOf(1, 10)})
	s.sync()
	s.forget()
	s.hears(read(7)) // commit index 2
	for _, m := range the[*messages.Heartbeat](s) {
		if m.Round != s.node.lead.round || m.Notice {
			t.Fatalf("asked %v", m)
		}
	}
	s.hears(s.progress(2, 3)) // commit index 3, while the round is under way
	s.hears(&messages.HeartbeatAnswer{Term: 4, From: 2, Round: s.node.lead.round})
	if p := handleHeard[*messages.ReadPoint](s); len(p) != 1 || p[0].Index != 2 {
		t.Fatalf("answered %v, want the index as of the beginning of the round", p)
	}
}

// The leader of before, cut off, is asked for a read: it finds nobody to confirm it and ends up refusing.
func TestStaleReadALeaderThatNobodyFollowsGivesNoPoint(t *testing.T) {
	s := reigns(t)
	s.Pass(9 * heartbeat)
	s.hears(read(7))
	s.Pass(2 * election)
	points := handleHeard[*messages.ReadPoint](s)
	if len(s.points()) > 0 || len(points) != 1 || points[0].Refused != messages.Refusal_REFUSAL_NO_LEADER {
		t.Fatalf("answered %v", points)
	}
}

func TestALostRoundIsSaidAgainWithTheNextHeartbeat(t *testing.T) {
	s := reigns(t)
	s.hears(read(7))
	round := s.node.lead.round
	s.said = nil
	s.Pass(heartbeat)
	for _, m := range the[*messages.Heartbeat](s) {
		if m.Round != round {
			t.Fatalf("heartbeat of round %d, want %d", m.Round, round)
		}
	}
	if len(the[*messages.Heartbeat](s)) != 2 {
		t.Fatal("not said again")
	}
}

func TestReadsThatWaitTogetherShareARound(t *testing.T) {
	s := reigns(t)
	s.hears(read(7), read(8), &messages.ForwardedRead{From: 3, Id: 9})
	if n := len(the[*messages.Heartbeat](s)); n != 2 {
		t.Fatalf("%d heartbeats for three reads, want one a peer", n)
	}
	s.hears(&messages.HeartbeatAnswer{Term: 4, From: 2, Round: s.node.lead.round})
	if a := only[*messages.ForwardedReadAnswer](s); len(s.points()) != 2 || a.Id != 9 || a.Index != 2 {
		t.Fatalf("answered %v and %v", s.heard, a)
	}
	if s.node.lead.reads != 0 {
		t.Fatalf("%d reads are counted as waiting", s.node.lead.reads)
	}
}

func TestAFollowerForwardsReadsAndPassesTheAnswerOn(t *testing.T) {
	s := newStage(t, 3).settled(3, 2, 1, 1)
	s.hears(read(7))
	if m := only[*messages.ForwardedRead](s); m.Id != 7 || m.Unconfirmed || s.said[0].to != 2 {
		t.Fatalf("said %v", m)
	}
	s.hears(&messages.ForwardedReadAnswer{From: 2, Id: 7, Term: 3, Index: 5})
	if p := handleHeard[*messages.ReadPoint](s); len(p) != 1 || p[0].Index != 5 || p[0].Id != 7 || p[0].Incarnation != 1 {
		t.Fatalf("the handle heard %v", s.heard)
	}
	s.hears(&messages.ForwardedRead{From: 3, Id: 8}) // who takes us for the leader
	if a := only[*messages.ForwardedReadAnswer](s); a.Refused != messages.Refusal_REFUSAL_NO_LEADER {
		t.Fatalf("said %v", a)
	}
}

func TestE45ReadsAreBounded(t *testing.T) {
	for name, before := range map[string]func(*stage){
		"before the first commit": func(*stage) {},
		"after it":                func(s *stage) { s.hears(s.progress(2, 2)) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, 3)
			s.config.Limits.MaxPendingReads = 3
			s.crash()
			s.leads(3, 1)
			s.sync()
			before(s)
			s.heard = nil
			for id := range uint64(5) {
				s.hears(read(id))
			}
			var refused []uint64
			for _, p := range handleHeard[*messages.ReadPoint](s) {
				if p.Refused == messages.Refusal_REFUSAL_OVERLOADED {
					refused = append(refused, p.Id)
				}
			}
			if len(refused) != 2 || refused[0] != 3 || refused[1] != 4 {
				t.Fatalf("refused %v", refused)
			}
			s.hears(s.progress(2, 2))
			s.hears(&messages.HeartbeatAnswer{Term: 4, From: 2, Round: s.node.lead.round})
			if len(s.points()) != 3 || s.node.lead.reads != 0 {
				t.Fatalf("answered %v, %d still counted", s.points(), s.node.lead.reads)
			}
		})
	}
}
