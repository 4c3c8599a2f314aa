package replicator

import (
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-raft/troupe/messages"
)

// A peer may be 300 ms away, or its disk that slow, so that each probe is repeated before its
// response.
func TestResponseSlowerThanProbesCounts(t *testing.T) {
	f := newFixture(t, 1, 5).start()
	for range 20 {
		under := f.lastSent()
		f.Advance(3 * probeInterval)
		f.deliver(acceptResponse(under))
		if f.r.state == stateStreaming {
			return
		}
	}
	t.Fatal("still probing after 20 responses, each later than the next probe")
}

func TestProbesOfASilentPeerBackOff(t *testing.T) {
	f := newFixture(t, 1, 5).start()
	f.Advance(20 * probeInterval)
	if n := len(f.sent); n < 4 || n > 8 {
		t.Fatalf("%d probes in 2 s of silence, want them to back off from every 100 ms to every 500 ms", n)
	}
}

func TestProbesReadNothingFromDisk(t *testing.T) {
	f := newFixture(t, 1, 2, 2, 2, 5)
	f.firstInMemory = 5
	f.start()
	f.deliver(rejectResponse(f.lastSent(), 0, 2)) // the peer has entry 1 only
	if len(f.reads) > 0 || f.lastSent().PrevIndex != 1 {
		t.Fatalf("%d reads, probe after %d", len(f.reads), f.lastSent().PrevIndex)
	}
	f.deliver(acceptResponse(f.lastSent()))
	if len(f.reads) == 0 {
		t.Fatal("the log was not read for a peer that answers")
	}
}

// What a peer acknowledged in a term stays true in that term, whichever request it answers.
func TestE43AcceptanceOfAnEarlierStreamCounts(t *testing.T) {
	f := newFixture(t, 1, 5).start().startStreaming()
	f.appendEntries(10)
	under := f.lastSent()
	f.deliver(&messages.EnvelopesDropped{Peer: 2})
	f.requireState(stateProbing)
	f.deliver(acceptResponse(under))
	if f.r.progress.Match != 12 {
		t.Fatalf("matchIndex is %d, the peer acknowledged 12", f.r.progress.Match)
	}
}

func TestProbingKeepsThePeersLowDisk(t *testing.T) {
	f := newFixture(t, 1, 5).start().startStreaming()
	f.appendEntries(1)
	answer := acceptResponse(f.lastSent())
	answer.DiskLow = true
	f.deliver(answer)
	f.deliver(&messages.EnvelopesDropped{Peer: 2})
	if p := f.progress[len(f.progress)-1]; !p.DiskLow {
		t.Fatal("the report says that the peer's disk has room")
	}
}

// After a long pause the last response is old, which does not make a new fetch overdue.
func TestFetchAfterAPauseIsNotOverdue(t *testing.T) {
	f := newFixture(t, 1, 5).start().startStreaming()
	f.Advance(10 * time.Second)
	f.nodeSilent = true
	f.r.lastIndex = 3 // as after a Replicate while the window was full
	f.terms = append(f.terms, term, term)
	f.deliver(&messages.Replicate{Incarnation: incarnation, LastIndex: 4})
	f.Advance(probeInterval)
	f.requireState(stateStreaming)
}

// Compaction may overtake a lagging peer. Entries that are gone must not be fetched again and
// again.
func TestCompactedEntriesAreNotFetchedAgain(t *testing.T) {
	f := newFixture(t, 1, 5).start().startStreaming()
	f.nodeSilent = true
	f.terms = append(f.terms, term)
	f.deliver(&messages.Replicate{Incarnation: incarnation, LastIndex: 3})
	asked := f.fetches[len(f.fetches)-1]
	f.clearRecorded()
	f.deliver(&messages.Fetched{Incarnation: incarnation, Token: asked.Token, Compacted: true, LastIndex: 3})
	if len(f.fetches) > 0 {
		t.Fatalf("%d more fetches", len(f.fetches))
	}
}

// messageContext is an actor's context that has a message and nothing else.
type messageContext struct {
	actor.Context
	message any
}

func (w *messageContext) Message() any { return w.message }

// A failure in Started is followed by Restarting or Stopping. A second failure there would use up
// the restart limit and stop the node after a single failure (simulator: profile crashes, seed 76).
func TestReplicatorStopsAfterAFailedStart(t *testing.T) {
	for _, end := range []any{&actor.Restarting{}, &actor.Stopping{}} {
		f := newFixture(t, 1, 5)
		r := New(f, Config{Incarnation: incarnation, PeerID: 2, Term: term, Limits: defaultLimits()})().(*Replicator)
		r.Receive(&messageContext{message: end})
	}
}

// What a peer acknowledged in an earlier term of this leader may have been replaced since.
func TestE42AcknowledgementOfAnEarlierTermIsDropped(t *testing.T) {
	f := newFixture(t, 1, 5).start()
	m := acceptResponse(f.lastSent())
	m.Term, m.Index = term-1, 2
	f.deliver(m)
	if f.r.progress.Match != 0 || f.r.state != stateProbing {
		t.Fatalf("matchIndex %d, %s", f.r.progress.Match, f.r.state)
	}
}

// A member has another data directory since this term: what the former one acknowledged is not on
// it, and may arrive late. Otherwise an acknowledgement of any stream counts.
func TestE37ResponsesOfTheFormerDirectoryDoNotCount(t *testing.T) {
	for _, replaced := range []bool{false, true} {
		f := newFixture(t, 1, 5, 5)
		f.replaced = replaced
		f.start()
		late := acceptResponse(f.lastSent())
		late.Stream, late.Index = late.Stream-7, 2
		f.deliver(late)
		if counts := f.r.progress.Match == 2; counts == replaced {
			t.Errorf("replaced %v: matchIndex %d", replaced, f.r.progress.Match)
		}
		if replaced {
			f.deliver(acceptResponse(f.lastSent()))
			if f.r.progress.Match == 0 {
				t.Error("its own responses do not count")
			}
		}
	}
}
