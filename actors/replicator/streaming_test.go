package replicator

import (
	"testing"

	"github.com/troupe-raft/troupe/messages"
)

func TestStreamingSendsWithoutWaiting(t *testing.T) {
	s := newFixture(t, 1, 5).start().startStreaming()
	for range 5 {
		s.appendEntries(2)
	}
	if len(s.sent) != 5 || len(s.fetches) != 0 {
		t.Fatalf("%d requests, %d fetches", len(s.sent), len(s.fetches))
	}
	for i, m := range s.sent {
		if m.PrevIndex != 2+2*uint64(i) || m.PrevTerm != term || m.Stream != s.r.stream || m.Sequence != uint64(i+1) {
			t.Fatalf("request %d is %v", i, m)
		}
	}
	s.deliver(acceptResponse(s.lastSent())) // one answer for all
	if p := s.progress[len(s.progress)-1]; p.MatchIndex != 12 || s.r.window.Len() != 0 {
		t.Fatalf("reported %v, %d in flight", p, s.r.window.Len())
	}
}

func TestBytesSentEachEntryGoesOnce(t *testing.T) {
	s := newFixture(t, 1, 5).start().startStreaming()
	bytes := uint64(0)
	for i := range 50 {
		s.appendEntries(1)
		if i%5 == 4 {
			s.deliver(acceptResponse(s.lastSent()))
		}
	}
	for _, m := range s.sent {
		bytes += m.Entries.GetBytes()
	}
	if bytes != 50*entryBytes {
		t.Fatalf("%d bytes for 50 entries of %d", bytes, entryBytes)
	}
}

func TestE45TheWindowBoundsMessagesAndBytes(t *testing.T) {
	for name, limits := range map[string]Limits{
		"messages": {MaxInFlight: 4, MaxInFlightBytes: 1 << 20, MaxRequestBytes: 1 << 20, ProbeBytes: 1 << 10},
		"bytes":    {MaxInFlight: 99, MaxInFlightBytes: 4 * entryBytes, MaxRequestBytes: 1 << 20, ProbeBytes: 1 << 10},
	} {
		t.Run(name, func(t *testing.T) {
			s := newFixture(t, 1, 5).startWith(limits).startStreaming()
			for range 10 {
				s.appendEntries(1)
			}
			if len(s.sent) != 4 {
				t.Fatalf("%d requests in flight", len(s.sent))
			}
			s.deliver(acceptResponse(s.sent[0]))
			rest := s.lastSent() // what waited goes together
			if rest.PrevIndex != 6 || len(rest.Entries.Data) != 6 {
				t.Fatalf("sent %d entries after %d", len(rest.Entries.GetData()), rest.PrevIndex)
			}
		})
	}
}

func TestE43ARefusalEmptiesTheWindowAndIsAnsweredOnce(t *testing.T) {
	s := newFixture(t, 1, 5).start().startStreaming()
	for range 10 {
		s.appendEntries(1) // the first of them is lost on its way
	}
	under := s.sent
	s.clearRecorded()
	for _, m := range under[1:] {
		s.deliver(rejectResponse(m, 0, 3))
	}
	s.requireState(stateProbing)
	if len(s.sent) != 1 || s.lastSent().PrevIndex != 2 || s.r.window.Len() != 1 {
		t.Fatalf("%d requests, the last after %d", len(s.sent), s.lastSent().PrevIndex)
	}
	s.deliver(acceptResponse(s.lastSent()))
	s.requireState(stateStreaming)
	if s.r.progress.Match != 12 {
		t.Fatalf("matchIndex %d", s.r.progress.Match)
	}
}

func TestE43APipelineRecoversFromAStalledFollower(t *testing.T) {
	s := newFixture(t, 1, 5).start().startStreaming()
	s.appendEntries(10)
	s.Advance(2 * responseTimeout)
	s.requireState(stateProbing)
	s.appendEntries(1)
	s.deliver(acceptResponse(s.lastSent()))
	s.requireState(stateStreaming)
	for s.r.progress.Match < 13 {
		match := s.r.progress.Match
		s.deliver(acceptResponse(s.lastSent()))
		if s.r.progress.Match == match {
			t.Fatalf("stuck at %d", match)
		}
	}
}

func TestAPeerThatAnswersIsGivenTime(t *testing.T) {
	s := newFixture(t, 1, 5).start().startStreaming()
	for range 8 {
		s.appendEntries(1)
	}
	for _, m := range s.sent { // one answer each 400 ms: slow, but alive
		s.Advance(responseTimeout - probeInterval)
		s.deliver(acceptResponse(m))
		s.requireState(stateStreaming)
	}
}

func TestALaggingPeerIsServedFromDiskPieceByPiece(t *testing.T) {
	limits := defaultLimits()
	limits.MaxRequestBytes = 10 * entryBytes
	s := newFixture(t, append([]uint64{1}, repeatTerm(40, 5)...)...)
	s.firstInMemory = 35
	s.startWith(limits)
	s.deliver(rejectResponse(s.lastSent(), 0, 2))
	s.deliver(acceptResponse(s.lastSent()))
	got := uint64(1)
	for _, m := range s.sent {
		if len(m.Entries.GetData()) > 0 && m.PrevIndex == got {
			got += uint64(len(m.Entries.Data))
		}
	}
	if got != 41 || len(s.reads) != 4 {
		t.Fatalf("sent up to %d with %d reads", got, len(s.reads))
	}
	for _, m := range s.reads {
		if m.To != 34 {
			t.Fatalf("read up to %d, memory begins at 35", m.To)
		}
	}
}

func TestAReaderThatForgotTheQuestionIsAskedAgain(t *testing.T) {
	s := newFixture(t, append([]uint64{1}, repeatTerm(40, 5)...)...)
	s.firstInMemory, s.readerSilent = 41, true
	s.start()
	s.deliver(rejectResponse(s.lastSent(), 0, 2))
	s.deliver(acceptResponse(s.lastSent()))
	if len(s.reads) != 1 {
		t.Fatalf("%d reads", len(s.reads))
	}
	s.readerSilent = false
	s.Advance(responseTimeout + probeInterval) // it restarted, and knows nothing of the question
	s.deliver(acceptResponse(s.lastSent()))
	if s.r.progress.Next != 42 {
		t.Fatalf("nextIndex %d", s.r.progress.Next)
	}
}

func TestEntriesThatAreGoneLeadBackToProbing(t *testing.T) {
	s := newFixture(t, append([]uint64{1}, repeatTerm(40, 5)...)...)
	s.firstInMemory, s.readerSilent = 41, true
	s.start()
	s.deliver(rejectResponse(s.lastSent(), 0, 2))
	s.deliver(acceptResponse(s.lastSent()))
	s.deliver(&messages.ReadLogResponse{Incarnation: 3, Token: s.r.pendingToken, Missing: true})
	s.requireState(stateProbing)
}

func TestTheCommitIndexTravelsWithTheEntries(t *testing.T) {
	s := newFixture(t, 1, 5).start().startStreaming()
	s.commit = 2
	s.appendEntries(1)
	if s.lastSent().Commit != 2 {
		t.Fatalf("sent %v", s.lastSent())
	}
}
