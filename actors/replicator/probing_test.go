package replicator

import (
	"testing"

	"github.com/troupe-raft/troupe/messages"
)

func TestItBeginsWithTheEntryThatEveryFollowerLacks(t *testing.T) {
	s := newFixture(t, 1, 1, 3, 5).start()
	if m := s.lastSent(); m.PrevIndex != 3 || m.PrevTerm != 3 || len(m.Entries.Data) != 1 || m.Term != term || m.Leader != 1 {
		t.Fatalf("sent %v", m)
	}
	s.appendEntries(3)
	if len(s.sent) != 1 {
		t.Fatalf("%d requests outstanding while probing", len(s.sent))
	}
}

func TestAnAcceptedProbeReportsAndStreamsTheRest(t *testing.T) {
	s := newFixture(t, 1, 5).start()
	s.appendEntries(3)
	s.deliver(acceptResponse(s.lastSent()))
	s.requireState(stateStreaming)
	if p := s.progress[len(s.progress)-1]; p.MatchIndex != 2 || p.Term != term || p.Incarnation != 3 {
		t.Fatalf("reported %v", p)
	}
	if m := s.lastSent(); m.PrevIndex != 2 || len(m.Entries.Data) != 3 {
		t.Fatalf("sent %v", m)
	}
}

// Scenario backup: a follower that led a minority for three terms. One refusal disposes of one whole term.
func TestBackupOneRoundTripForEachConflictingTerm(t *testing.T) {
	leader := append([]uint64{1}, repeatTerm(50, 4)...)
	s := newFixture(t, append(leader, 5)...).start()
	follower := append(append([]uint64{1}, repeatTerm(50, 2)...), repeatTerm(50, 3)...)
	trips := 0
	for s.r.state == stateProbing {
		trips++
		m := s.lastSent()
		if m.PrevIndex <= 1 {
			s.deliver(acceptResponse(m))
			continue
		}
		t0 := follower[m.PrevIndex-1]
		first := m.PrevIndex
		for follower[first-2] == t0 {
			first--
		}
		s.deliver(rejectResponse(m, t0, first))
	}
	if trips > 4 || s.lastSent().PrevIndex < 1 {
		t.Fatalf("%d round trips for two conflicting terms", trips)
	}
}

func repeatTerm(n int, term uint64) []uint64 {
	all := make([]uint64, n)
	for i := range all {
		all[i] = term
	}
	return all
}

func TestE42StaleDoubledAndReorderedAnswersAreHarmless(t *testing.T) {
	s := newFixture(t, 1, 2, 2, 2, 5).start()
	probe := s.lastSent()
	refusal := rejectResponse(probe, 0, 3)
	s.deliver(refusal)
	next := s.r.progress.Next
	s.deliver(refusal, refusal) // doubled
	if s.r.progress.Next != next || len(s.resolves) != 1 {
		t.Fatalf("nextIndex moved to %d by a doubled refusal", s.r.progress.Next)
	}
	s.deliver(acceptResponse(s.lastSent()))
	s.appendEntries(5)
	s.deliver(acceptResponse(s.lastSent()))
	match := s.r.progress.Match
	s.deliver(acceptResponse(probe), refusal, rejectResponse(s.lastSent(), 2, 2)) // the last one: of this stream, but of what was acknowledged
	if s.r.progress.Match != match || s.r.progress.Next <= match {
		t.Fatalf("match %d, next %d; it was acknowledged up to %d", s.r.progress.Match, s.r.progress.Next, match)
	}
}

func TestE42NobodyHasWhatWasNeverSent(t *testing.T) {
	s := newFixture(t, 1, 5).start().startStreaming()
	m := &messages.AppendResponse{Term: term, From: 2, Accepted: true, Index: 99, Stream: s.r.stream}
	s.deliver(m)
	if s.r.progress.Match != 2 || len(s.progress) > 0 {
		t.Fatalf("matchIndex %d", s.r.progress.Match)
	}
}

func TestE43AnswersToAFormerLifeAreIgnoredWhereTheyRefuse(t *testing.T) {
	s := newFixture(t, 1, 2, 5).start()
	old := s.lastSent()
	s.crash()
	if s.r.stream == old.Stream {
		t.Fatal("two lives share a stream")
	}
	fresh := s.lastSent()
	s.deliver(rejectResponse(old, 0, 2))
	if len(s.resolves) > 0 || s.lastSent() != fresh {
		t.Fatal("the former life's refusal was taken for this one's")
	}
	s.deliver(acceptResponse(old)) // but what the peer has, it has
	if s.r.progress.Match != 3 {
		t.Fatalf("matchIndex %d", s.r.progress.Match)
	}
}

func TestE17AHigherTermIsToldToTheNode(t *testing.T) {
	s := newFixture(t, 1, 5).start()
	s.deliver(&messages.AppendResponse{Term: 9, From: 2, Index: 1})
	if len(s.higherTerms) != 1 || s.higherTerms[0].Term != 9 {
		t.Fatalf("told %v", s.higherTerms)
	}
	s.deliver(&messages.AppendResponse{Term: 4, From: 2, Accepted: true, Index: 2}, &messages.AppendResponse{Term: term, From: 3, Accepted: true, Index: 2})
	s.requireState(stateProbing)
}

// It acknowledged, so it was counted; now it denies. There is nothing to back off to, and the leader must not crash.
func TestAPeerThatLostWhatItAcknowledgedIsToldOfOnce(t *testing.T) {
	s := newFixture(t, 1, 5).start().startStreaming()
	s.deliver(&messages.EnvelopesDropped{Peer: 2})
	for range 5 {
		s.Advance(2 * responseTimeout)
		s.deliver(rejectResponse(s.lastSent(), 0, 1))
	}
	s.requireState(stateProbing)
	if s.r.progress.Match != 2 || s.r.progress.Next != 3 || !s.r.lossLogged {
		t.Fatalf("match %d, next %d", s.r.progress.Match, s.r.progress.Next)
	}
}

func TestAProbeFollowsAtOnceWhenTheLinkIsBack(t *testing.T) {
	s := newFixture(t, 1, 5).start()
	s.Advance(3 * responseTimeout)
	s.clearRecorded()
	s.deliver(&messages.LinkUp{Peer: 2})
	if len(s.sent) != 1 {
		t.Fatalf("%d probes", len(s.sent))
	}
	s.Advance(probeInterval)
	if len(s.sent) != 2 {
		t.Fatal("its patience was not reset")
	}
}

func TestANodeThatDoesNotAnswerIsAskedAgain(t *testing.T) {
	s := newFixture(t, 1, 5)
	s.nodeSilent = true
	s.start()
	s.Advance(probeInterval)
	s.nodeSilent = false
	s.Advance(2 * probeInterval)
	if len(s.sent) == 0 {
		t.Fatal("a lost Fetch stops the replicator")
	}
}

func TestMessagesOfAnotherIncarnationAreDropped(t *testing.T) {
	s := newFixture(t, 1, 5).start()
	s.clearRecorded()
	s.deliver(&messages.Replicate{Incarnation: 2, LastIndex: 99}, &messages.Fetched{Incarnation: 2, Token: s.r.pendingToken})
	if s.r.lastIndex == 99 || len(s.fetches) > 0 {
		t.Fatal("a former Node was listened to")
	}
}
