package replicator

import (
	"testing"

	"github.com/troupe-raft/troupe/messages"
)

func TestItBeginsWithTheEntryThatEveryFollowerLacks(t *testing.T) {
	s := newStage(t, 1, 1, 3, 5).start()
	if m := s.last(); m.PrevIndex != 3 || m.PrevTerm != 3 || len(m.Entries.Data) != 1 || m.Term != term || m.Leader != 1 {
		t.Fatalf("sent %v", m)
	}
	s.appends(3)
	if len(s.sent) != 1 {
		t.Fatalf("%d requests outstanding while probing", len(s.sent))
	}
}

func TestAnAcceptedProbeReportsAndStreamsTheRest(t *testing.T) {
	s := newStage(t, 1, 5).start()
	s.appends(3)
	s.hears(accepts(s.last()))
	s.in(stateStreaming)
	if p := s.progress[len(s.progress)-1]; p.MatchIndex != 2 || p.Term != term || p.Incarnation != 3 {
		t.Fatalf("reported %v", p)
	}
	if m := s.last(); m.PrevIndex != 2 || len(m.Entries.Data) != 3 {
		t.Fatalf("sent %v", m)
	}
}

// Scenario backup: a follower that led a minority for three terms. One refusal disposes of one whole term.
func TestBackupOneRoundTripForEachConflictingTerm(t *testing.T) {
	leader := append([]uint64{1}, repeated(50, 4)...)
	s := newStage(t, append(leader, 5)...).start()
	follower := append(append([]uint64{1}, repeated(50, 2)...), repeated(50, 3)...)
	trips := 0
	for s.r.state == stateProbing {
		trips++
		m := s.last()
		if m.PrevIndex <= 1 {
			s.hears(accepts(m))
			continue
		}
		t0 := follower[m.PrevIndex-1]
		first := m.PrevIndex
		for follower[first-2] == t0 {
			first--
		}
		s.hears(refuses(m, t0, first))
	}
	if trips > 4 || s.last().PrevIndex < 1 {
		t.Fatalf("%d round trips for two conflicting terms", trips)
	}
}

func repeated(n int, term uint64) []uint64 {
	all := make([]uint64, n)
	for i := range all {
		all[i] = term
	}
	return all
}

func TestE42StaleDoubledAndReorderedAnswersAreHarmless(t *testing.T) {
	s := newStage(t, 1, 2, 2, 2, 5).start()
	probe := s.last()
	refusal := refuses(probe, 0, 3)
	s.hears(refusal)
	next := s.r.progress.Next
	s.hears(refusal, refusal) // doubled
	if s.r.progress.Next != next || len(s.resolves) != 1 {
		t.Fatalf("nextIndex moved to %d by a doubled refusal", s.r.progress.Next)
	}
	s.hears(accepts(s.last()))
	s.appends(5)
	s.hears(accepts(s.last()))
	match := s.r.progress.Match
	s.hears(accepts(probe), refusal, refuses(s.last(), 2, 2)) // the last one: of this stream, but of what was acknowledged
	if s.r.progress.Match != match || s.r.progress.Next <= match {
		t.Fatalf("match %d, next %d; it was acknowledged up to %d", s.r.progress.Match, s.r.progress.Next, match)
	}
}

func TestE42NobodyHasWhatWasNeverSent(t *testing.T) {
	s := newStage(t, 1, 5).start().streams()
	m := &messages.AppendAnswer{Term: term, From: 2, Accepted: true, Index: 99, Stream: s.r.stream}
	s.hears(m)
	if s.r.progress.Match != 2 || len(s.progress) > 0 {
		t.Fatalf("matchIndex %d", s.r.progress.Match)
	}
}

func TestE43AnswersToAFormerLifeAreIgnoredWhereTheyRefuse(t *testing.T) {
	s := newStage(t, 1, 2, 5).start()
	old := s.last()
	s.crash()
	if s.r.stream == old.Stream {
		t.Fatal("two lives share a stream")
	}
	fresh := s.last()
	s.hears(refuses(old, 0, 2))
	if len(s.resolves) > 0 || s.last() != fresh {
		t.Fatal("the former life's refusal was taken for this one's")
	}
	s.hears(accepts(old)) // but what the peer has, it has
	if s.r.progress.Match != 3 {
		t.Fatalf("matchIndex %d", s.r.progress.Match)
	}
}

func TestE17AHigherTermIsToldToTheNode(t *testing.T) {
	s := newStage(t, 1, 5).start()
	s.hears(&messages.AppendAnswer{Term: 9, From: 2, Index: 1})
	if len(s.higher) != 1 || s.higher[0].Term != 9 {
		t.Fatalf("told %v", s.higher)
	}
	s.hears(&messages.AppendAnswer{Term: 4, From: 2, Accepted: true, Index: 2}, &messages.AppendAnswer{Term: term, From: 3, Accepted: true, Index: 2})
	s.in(stateProbing)
}

// It acknowledged, so it was counted; now it denies. There is nothing to back off to, and the leader must not crash.
func TestAPeerThatLostWhatItAcknowledgedIsToldOfOnce(t *testing.T) {
	s := newStage(t, 1, 5).start().streams()
	s.hears(&messages.LinkDropped{Peer: 2})
	for range 5 {
		s.Pass(2 * retryAfter)
		s.hears(refuses(s.last(), 0, 1))
	}
	s.in(stateProbing)
	if s.r.progress.Match != 2 || s.r.progress.Next != 3 || !s.r.accused {
		t.Fatalf("match %d, next %d", s.r.progress.Match, s.r.progress.Next)
	}
}

func TestAProbeFollowsAtOnceWhenTheLinkIsBack(t *testing.T) {
	s := newStage(t, 1, 5).start()
	s.Pass(3 * retryAfter)
	s.forget()
	s.hears(&messages.LinkUp{Peer: 2})
	if len(s.sent) != 1 {
		t.Fatalf("%d probes", len(s.sent))
	}
	s.Pass(probeEvery)
	if len(s.sent) != 2 {
		t.Fatal("its patience was not reset")
	}
}

func TestANodeThatDoesNotAnswerIsAskedAgain(t *testing.T) {
	s := newStage(t, 1, 5)
	s.deaf = true
	s.start()
	s.Pass(probeEvery)
	s.deaf = false
	s.Pass(2 * probeEvery)
	if len(s.sent) == 0 {
		t.Fatal("a lost Fetch stops the replicator")
	}
}

func TestMessagesOfAnotherIncarnationAreDropped(t *testing.T) {
	s := newStage(t, 1, 5).start()
	s.forget()
	s.hears(&messages.Replicate{Incarnation: 2, LastIndex: 99}, &messages.Fetched{Incarnation: 2, Token: s.r.token})
	if s.r.last == 99 || len(s.fetches) > 0 {
		t.Fatal("a former Node was listened to")
	}
}
