package replicator

import (
	"testing"

	"github.com/troupe-raft/troupe/messages"
)

func TestStreamingSendsWithoutWaiting(t *testing.T) {
	s := newStage(t, 1, 5).start().streams()
	for range 5 {
		s.appends(2)
	}
	if len(s.sent) != 5 || len(s.fetches) != 0 {
		t.Fatalf("%d requests, %d fetches", len(s.sent), len(s.fetches))
	}
	for i, m := range s.sent {
		if m.PrevIndex != 2+2*uint64(i) || m.PrevTerm != term || m.Stream != s.r.stream || m.Sequence != uint64(i+1) {
			t.Fatalf("request %d is %v", i, m)
		}
	}
	s.hears(accepts(s.last())) // one answer for all
	if p := s.progress[len(s.progress)-1]; p.MatchIndex != 12 || s.r.window.Len() != 0 {
		t.Fatalf("reported %v, %d in flight", p, s.r.window.Len())
	}
}

func TestBytesSentEachEntryGoesOnce(t *testing.T) {
	s := newStage(t, 1, 5).start().streams()
	bytes := uint64(0)
	for i := range 50 {
		s.appends(1)
		if i%5 == 4 {
			s.hears(accepts(s.last()))
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
			s := newStage(t, 1, 5).startWith(limits).streams()
			for range 10 {
				s.appends(1)
			}
			if len(s.sent) != 4 {
				t.Fatalf("%d requests in flight", len(s.sent))
			}
			s.hears(accepts(s.sent[0]))
			rest := s.last() // what waited goes together
			if rest.PrevIndex != 6 || len(rest.Entries.Data) != 6 {
				t.Fatalf("sent %d entries after %d", len(rest.Entries.GetData()), rest.PrevIndex)
			}
		})
	}
}

func TestE43ARefusalEmptiesTheWindowAndIsAnsweredOnce(t *testing.T) {
	s := newStage(t, 1, 5).start().streams()
	for range 10 {
		s.appends(1) // the first of them is lost on its way
	}
	under := s.sent
	s.forget()
	for _, m := range under[1:] {
		s.hears(refuses(m, 0, 3))
	}
	s.in(stateProbing)
	if len(s.sent) != 1 || s.last().PrevIndex != 2 || s.r.window.Len() != 1 {
		t.Fatalf("%d requests, the last after %d", len(s.sent), s.last().PrevIndex)
	}
	s.hears(accepts(s.last()))
	s.in(stateStreaming)
	if s.r.progress.Match != 12 {
		t.Fatalf("matchIndex %d", s.r.progress.Match)
	}
}

func TestE43APipelineRecoversFromAStalledFollower(t *testing.T) {
	s := newStage(t, 1, 5).start().streams()
	s.appends(10)
	s.Pass(2 * retryAfter)
	s.in(stateProbing)
	s.appends(1)
	s.hears(accepts(s.last()))
	s.in(stateStreaming)
	for s.r.progress.Match < 13 {
		match := s.r.progress.Match
		s.hears(accepts(s.last()))
		if s.r.progress.Match == match {
			t.Fatalf("stuck at %d", match)
		}
	}
}

func TestAPeerThatAnswersIsGivenTime(t *testing.T) {
	s := newStage(t, 1, 5).start().streams()
	for range 8 {
		s.appends(1)
	}
	for _, m := range s.sent { // one answer each 400 ms: slow, but alive
		s.Pass(retryAfter - probeEvery)
		s.hears(accepts(m))
		s.in(stateStreaming)
	}
}

func TestALaggingPeerIsServedFromDiskPieceByPiece(t *testing.T) {
	limits := DefaultLimits()
	limits.MaxRequestBytes = 10 * entryBytes
	s := newStage(t, append([]uint64{1}, repeated(40, 5)...)...)
	s.memory = 35
	s.startWith(limits)
	s.hears(refuses(s.last(), 0, 2))
	s.hears(accepts(s.last()))
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
	s := newStage(t, append([]uint64{1}, repeated(40, 5)...)...)
	s.memory, s.readerDeaf = 41, true
	s.start()
	s.hears(refuses(s.last(), 0, 2))
	s.hears(accepts(s.last()))
	if len(s.reads) != 1 {
		t.Fatalf("%d reads", len(s.reads))
	}
	s.readerDeaf = false
	s.Pass(retryAfter + probeEvery) // it restarted, and knows nothing of the question
	s.hears(accepts(s.last()))
	if s.r.progress.Next != 42 {
		t.Fatalf("nextIndex %d", s.r.progress.Next)
	}
}

func TestEntriesThatAreGoneLeadBackToProbing(t *testing.T) {
	s := newStage(t, append([]uint64{1}, repeated(40, 5)...)...)
	s.memory, s.readerDeaf = 41, true
	s.start()
	s.hears(refuses(s.last(), 0, 2))
	s.hears(accepts(s.last()))
	s.hears(&messages.LogPiece{Incarnation: 3, Token: s.r.token, Gone: true})
	s.in(stateProbing)
}

func TestTheCommitIndexTravelsWithTheEntries(t *testing.T) {
	s := newStage(t, 1, 5).start().streams()
	s.commit = 2
	s.appends(1)
	if s.last().Commit != 2 {
		t.Fatalf("sent %v", s.last())
	}
}
