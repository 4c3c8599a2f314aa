package replicator

import (
	"testing"

	"github.com/troupe-raft/troupe/messages"
)

func TestFirstProbeHasTheFirstEntryOfTheTerm(t *testing.T) {
	f := newFixture(t, 1, 1, 3, 5).start()
	if m := f.lastSent(); m.PrevIndex != 3 || m.PrevTerm != 3 || len(m.Entries.Data) != 1 || m.Term != term || m.Leader != 1 {
		t.Fatalf("sent %v", m)
	}
	f.appendEntries(3)
	if len(f.sent) != 1 {
		t.Fatalf("%d requests outstanding while probing", len(f.sent))
	}
}

func TestAcceptedProbeStartsStreaming(t *testing.T) {
	f := newFixture(t, 1, 5).start()
	f.appendEntries(3)
	f.deliver(acceptResponse(f.lastSent()))
	f.requireState(stateStreaming)
	if p := f.progress[len(f.progress)-1]; p.MatchIndex != 2 || p.Term != term || p.Incarnation != 3 {
		t.Fatalf("reported %v", p)
	}
	if m := f.lastSent(); m.PrevIndex != 2 || len(m.Entries.Data) != 3 {
		t.Fatalf("sent %v", m)
	}
}

// The follower's log has two terms that the leader's lacks, of leaders of a minority. A refusal
// skips a whole term.
func TestOneRoundTripPerConflictingTerm(t *testing.T) {
	leader := append([]uint64{1}, repeatTerm(50, 4)...)
	f := newFixture(t, append(leader, 5)...).start()
	follower := append(append([]uint64{1}, repeatTerm(50, 2)...), repeatTerm(50, 3)...)
	trips := 0
	for f.r.state == stateProbing {
		trips++
		m := f.lastSent()
		if m.PrevIndex <= 1 {
			f.deliver(acceptResponse(m))
			continue
		}
		t0 := follower[m.PrevIndex-1]
		first := m.PrevIndex
		for follower[first-2] == t0 {
			first--
		}
		f.deliver(rejectResponse(m, t0, first))
	}
	if trips > 4 || f.lastSent().PrevIndex < 1 {
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

func TestE42OldAndRepeatedResponsesAreHarmless(t *testing.T) {
	f := newFixture(t, 1, 2, 2, 2, 5).start()
	probe := f.lastSent()
	refusal := rejectResponse(probe, 0, 3)
	f.deliver(refusal)
	next := f.r.progress.Next
	f.deliver(refusal, refusal) // repeated
	if f.r.progress.Next != next || len(f.resolves) != 1 {
		t.Fatalf("nextIndex moved to %d after a repeated refusal", f.r.progress.Next)
	}
	f.deliver(acceptResponse(f.lastSent()))
	f.appendEntries(5)
	f.deliver(acceptResponse(f.lastSent()))
	match := f.r.progress.Match
	f.deliver(acceptResponse(probe), refusal, rejectResponse(f.lastSent(), 2, 2)) // the last one is of this stream, but about acknowledged entries
	if f.r.progress.Match != match || f.r.progress.Next <= match {
		t.Fatalf("match %d, next %d; it was acknowledged up to %d", f.r.progress.Match, f.r.progress.Next, match)
	}
}

func TestE42ResponseBeyondTheLogIsDropped(t *testing.T) {
	f := newFixture(t, 1, 5).start().startStreaming()
	m := &messages.AppendResponse{Term: term, From: 2, Accepted: true, Index: 99, Stream: f.r.stream.id}
	f.deliver(m)
	if f.r.progress.Match != 2 || len(f.progress) > 0 {
		t.Fatalf("matchIndex %d", f.r.progress.Match)
	}
}

func TestE43RefusalFromBeforeARestartIsDropped(t *testing.T) {
	f := newFixture(t, 1, 2, 5).start()
	old := f.lastSent()
	f.Crash(f.pid)
	if f.r.stream.id == old.Stream {
		t.Fatal("the stream is the same after a restart")
	}
	fresh := f.lastSent()
	f.deliver(rejectResponse(old, 0, 2))
	if len(f.resolves) > 0 || f.lastSent() != fresh {
		t.Fatal("a refusal from before the restart counted")
	}
	f.deliver(acceptResponse(old)) // an acceptance counts
	if f.r.progress.Match != 3 {
		t.Fatalf("matchIndex %d", f.r.progress.Match)
	}
}

func TestE17HigherTermIsReportedToTheNode(t *testing.T) {
	f := newFixture(t, 1, 5).start()
	f.deliver(&messages.AppendResponse{Term: 9, From: 2, Index: 1})
	if len(f.higherTerms) != 1 || f.higherTerms[0].Term != 9 {
		t.Fatalf("reported %v", f.higherTerms)
	}
	f.deliver(&messages.AppendResponse{Term: 4, From: 2, Accepted: true, Index: 2}, &messages.AppendResponse{Term: term, From: 3, Accepted: true, Index: 2})
	f.requireState(stateProbing)
}

// The peer acknowledged an entry, which counted, and then refuses it. The leader must not fail, nor
// lower matchIndex.
func TestLossOfAcknowledgedEntriesIsLoggedOnce(t *testing.T) {
	f := newFixture(t, 1, 5).start().startStreaming()
	f.deliver(&messages.EnvelopesDropped{Peer: 2})
	for range 5 {
		f.Advance(2 * responseTimeout)
		f.deliver(rejectResponse(f.lastSent(), 0, 1))
	}
	f.requireState(stateProbing)
	if f.r.progress.Match != 2 || f.r.progress.Next != 3 || !f.r.lostEntries {
		t.Fatalf("match %d, next %d", f.r.progress.Match, f.r.progress.Next)
	}
}

func TestLinkUpProbesAtOnce(t *testing.T) {
	f := newFixture(t, 1, 5).start()
	f.Advance(3 * responseTimeout)
	f.clearRecorded()
	f.deliver(&messages.LinkUp{Peer: 2})
	if len(f.sent) != 1 {
		t.Fatalf("%d probes", len(f.sent))
	}
	f.Advance(probeInterval)
	if len(f.sent) != 2 {
		t.Fatal("the interval of the probes was not reset")
	}
}

func TestLostFetchIsRepeated(t *testing.T) {
	f := newFixture(t, 1, 5)
	f.nodeSilent = true
	f.start()
	f.Advance(probeInterval)
	f.nodeSilent = false
	f.Advance(2 * probeInterval)
	if len(f.sent) == 0 {
		t.Fatal("no probe after a lost Fetch")
	}
}

func TestMessagesOfAnotherIncarnationAreDropped(t *testing.T) {
	f := newFixture(t, 1, 5).start()
	f.clearRecorded()
	f.deliver(&messages.Replicate{Incarnation: 2, LastIndex: 99}, &messages.Fetched{Incarnation: 2, Token: f.r.source.token})
	if f.r.lastIndex == 99 || len(f.fetches) > 0 {
		t.Fatal("a message of another incarnation was handled")
	}
}
