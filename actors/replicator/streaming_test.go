package replicator

import (
	"testing"

	"github.com/troupe-raft/troupe/messages"
)

func TestStreamingSendsWithoutWaiting(t *testing.T) {
	f := newFixture(t, 1, 5).start().startStreaming()
	for range 5 {
		f.appendEntries(2)
	}
	if len(f.sent) != 5 || len(f.fetches) != 0 {
		t.Fatalf("%d requests, %d fetches", len(f.sent), len(f.fetches))
	}
	for i, m := range f.sent {
		if m.PrevIndex != 2+2*uint64(i) || m.PrevTerm != term || m.Stream != f.r.stream.id || m.Sequence != uint64(i+1) {
			t.Fatalf("request %d is %v", i, m)
		}
	}
	f.deliver(acceptResponse(f.lastSent())) // one response for all
	if p := f.progress[len(f.progress)-1]; p.MatchIndex != 12 || f.r.stream.window.Len() != 0 {
		t.Fatalf("reported %v, %d in flight", p, f.r.stream.window.Len())
	}
}

func TestEachEntryIsSentOnce(t *testing.T) {
	f := newFixture(t, 1, 5).start().startStreaming()
	bytes := uint64(0)
	for i := range 50 {
		f.appendEntries(1)
		if i%5 == 4 {
			f.deliver(acceptResponse(f.lastSent()))
		}
	}
	for _, m := range f.sent {
		bytes += m.Entries.GetBytes()
	}
	if bytes != 50*entryBytes {
		t.Fatalf("%d bytes for 50 entries of %d", bytes, entryBytes)
	}
}

func TestE45WindowBoundsMessagesAndBytes(t *testing.T) {
	for name, limits := range map[string]Limits{
		"messages": {MaxInFlight: 4, MaxInFlightBytes: 1 << 20, MaxRequestBytes: 1 << 20, ProbeBytes: 1 << 10},
		"bytes":    {MaxInFlight: 99, MaxInFlightBytes: 4 * entryBytes, MaxRequestBytes: 1 << 20, ProbeBytes: 1 << 10},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, 1, 5).startWith(limits).startStreaming()
			for range 10 {
				f.appendEntries(1)
			}
			if len(f.sent) != 4 {
				t.Fatalf("%d requests in flight", len(f.sent))
			}
			f.deliver(acceptResponse(f.sent[0]))
			rest := f.lastSent() // the entries that waited are in one request
			if rest.PrevIndex != 6 || len(rest.Entries.Data) != 6 {
				t.Fatalf("sent %d entries after %d", len(rest.Entries.GetData()), rest.PrevIndex)
			}
		})
	}
}

func TestE43RefusalEmptiesTheWindow(t *testing.T) {
	f := newFixture(t, 1, 5).start().startStreaming()
	for range 10 {
		f.appendEntries(1) // the first of them is lost
	}
	under := f.sent
	f.clearRecorded()
	for _, m := range under[1:] {
		f.deliver(rejectResponse(m, 0, 3))
	}
	f.requireState(stateProbing)
	if len(f.sent) != 1 || f.lastSent().PrevIndex != 2 || f.r.stream.window.Len() != 1 {
		t.Fatalf("%d requests, the last after %d", len(f.sent), f.lastSent().PrevIndex)
	}
	f.deliver(acceptResponse(f.lastSent()))
	f.requireState(stateStreaming)
	if f.r.progress.Match != 12 {
		t.Fatalf("matchIndex %d", f.r.progress.Match)
	}
}

func TestE43StalledFollowerIsProbed(t *testing.T) {
	f := newFixture(t, 1, 5).start().startStreaming()
	f.appendEntries(10)
	f.Advance(2 * responseTimeout)
	f.requireState(stateProbing)
	f.appendEntries(1)
	f.deliver(acceptResponse(f.lastSent()))
	f.requireState(stateStreaming)
	for f.r.progress.Match < 13 {
		match := f.r.progress.Match
		f.deliver(acceptResponse(f.lastSent()))
		if f.r.progress.Match == match {
			t.Fatalf("stuck at %d", match)
		}
	}
}

func TestSlowResponsesKeepStreaming(t *testing.T) {
	f := newFixture(t, 1, 5).start().startStreaming()
	for range 8 {
		f.appendEntries(1)
	}
	if len(f.sent) != 8 {
		t.Fatalf("%d requests, want 8", len(f.sent))
	}
	for _, m := range f.sent { // a response every 400 ms
		f.Advance(responseTimeout - probeInterval)
		f.deliver(acceptResponse(m))
		f.requireState(stateStreaming)
	}
}

func TestLaggingPeerIsServedFromDisk(t *testing.T) {
	limits := defaultLimits()
	limits.MaxRequestBytes = 10 * entryBytes
	f := newFixture(t, append([]uint64{1}, repeatTerm(40, 5)...)...)
	f.firstInMemory = 35
	f.startWith(limits)
	f.deliver(rejectResponse(f.lastSent(), 0, 2))
	f.deliver(acceptResponse(f.lastSent()))
	got := uint64(1)
	for _, m := range f.sent {
		if len(m.Entries.GetData()) > 0 && m.PrevIndex == got {
			got += uint64(len(m.Entries.Data))
		}
	}
	if got != 41 || len(f.reads) != 4 {
		t.Fatalf("sent up to %d with %d reads", got, len(f.reads))
	}
	for _, m := range f.reads {
		if m.To != 34 {
			t.Fatalf("read up to %d, memory begins at 35", m.To)
		}
	}
}

func TestLostReadIsRepeated(t *testing.T) {
	f := newFixture(t, append([]uint64{1}, repeatTerm(40, 5)...)...)
	f.firstInMemory, f.readerSilent = 41, true
	f.start()
	f.deliver(rejectResponse(f.lastSent(), 0, 2))
	f.deliver(acceptResponse(f.lastSent()))
	if len(f.reads) != 1 {
		t.Fatalf("%d reads", len(f.reads))
	}
	f.readerSilent = false
	f.Advance(responseTimeout + probeInterval) // as if the LogReader had restarted
	f.deliver(acceptResponse(f.lastSent()))
	if f.r.progress.Next != 42 {
		t.Fatalf("nextIndex %d", f.r.progress.Next)
	}
}

func TestMissingEntriesLeadToProbing(t *testing.T) {
	f := newFixture(t, append([]uint64{1}, repeatTerm(40, 5)...)...)
	f.firstInMemory, f.readerSilent = 41, true
	f.start()
	f.deliver(rejectResponse(f.lastSent(), 0, 2))
	f.deliver(acceptResponse(f.lastSent()))
	f.deliver(&messages.ReadLogResponse{Incarnation: incarnation, Token: f.r.source.token, Missing: true})
	f.requireState(stateProbing)
}

func TestAppendsCarryTheCommitIndex(t *testing.T) {
	f := newFixture(t, 1, 5).start().startStreaming()
	f.commit = 2
	f.appendEntries(1)
	if f.lastSent().Commit != 2 {
		t.Fatalf("sent %v", f.lastSent())
	}
}
