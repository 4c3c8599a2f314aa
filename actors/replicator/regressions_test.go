package replicator

import (
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-raft/troupe/messages"
)

// A peer that needs longer for an answer than a probe is repeated after: 300 ms away, or with a disk as slow.
func TestAPeerSlowerThanTheProbesIsStillHeard(t *testing.T) {
	s := newFixture(t, 1, 5).start()
	for range 20 {
		under := s.lastSent()
		s.Advance(3 * probeInterval)
		s.deliver(acceptResponse(under))
		if s.r.state == stateStreaming {
			return
		}
	}
	t.Fatal("after 20 answers, each later than the next probe, none was taken")
}

func TestProbesOfASilentPeerGrowRare(t *testing.T) {
	s := newFixture(t, 1, 5).start()
	s.Advance(20 * probeInterval)
	if n := len(s.sent); n < 4 || n > 8 {
		t.Fatalf("%d probes in 2 s of silence, want them to back off from every 100 ms to every 500 ms", n)
	}
}

func TestProbesReadNothingFromDisk(t *testing.T) {
	s := newFixture(t, 1, 2, 2, 2, 5)
	s.firstInMemory = 5
	s.start()
	s.deliver(rejectResponse(s.lastSent(), 0, 2)) // the peer has entry 1 only
	if len(s.reads) > 0 || s.lastSent().PrevIndex != 1 {
		t.Fatalf("%d reads, probe after %d", len(s.reads), s.lastSent().PrevIndex)
	}
	s.deliver(acceptResponse(s.lastSent()))
	if len(s.reads) == 0 {
		t.Fatal("the log was not read for a peer that answers")
	}
}

// An acknowledgement is true in its term whichever request it answers: what the peer has on disk, it has.
func TestE43AnAcceptingAnswerToAnEarlierStreamMovesMatchIndex(t *testing.T) {
	s := newFixture(t, 1, 5).start().startStreaming()
	s.appendEntries(10)
	under := s.lastSent()
	s.deliver(&messages.EnvelopesDropped{Peer: 2})
	s.requireState(stateProbing)
	s.deliver(acceptResponse(under))
	if s.r.progress.Match != 12 {
		t.Fatalf("matchIndex is %d, the peer said 12", s.r.progress.Match)
	}
}

func TestALowDiskOfThePeerIsNotForgottenWhenItIsProbed(t *testing.T) {
	s := newFixture(t, 1, 5).start().startStreaming()
	s.appendEntries(1)
	answer := acceptResponse(s.lastSent())
	answer.DiskLow = true
	s.deliver(answer)
	s.deliver(&messages.EnvelopesDropped{Peer: 2})
	if p := s.progress[len(s.progress)-1]; !p.DiskLow {
		t.Fatal("the Node was told that the peer's disk has room")
	}
}

// After a long rest the last answer is old. A fetch that is under way when the timer fires is not late for that.
func TestAFetchAfterARestIsNotTakenForLost(t *testing.T) {
	s := newFixture(t, 1, 5).start().startStreaming()
	s.Advance(10 * time.Second)
	s.nodeSilent = true
	s.r.lastIndex = 3 // as a Replicate says that came while the window was full
	s.terms = append(s.terms, term, term)
	s.deliver(&messages.Replicate{Incarnation: 3, LastIndex: 4})
	s.Advance(probeInterval)
	s.requireState(stateStreaming)
}

// Compaction may overtake a peer that lags: entries which the Node says are gone are not asked for in a circle.
func TestAPeerBehindACompactionIsNotServedInACircle(t *testing.T) {
	s := newFixture(t, 1, 5).start().startStreaming()
	s.nodeSilent = true
	s.terms = append(s.terms, term)
	s.deliver(&messages.Replicate{Incarnation: 3, LastIndex: 3})
	asked := s.fetches[len(s.fetches)-1]
	s.clearRecorded()
	s.deliver(&messages.Fetched{Incarnation: 3, Token: asked.Token, Compacted: true, LastIndex: 3})
	if len(s.fetches) > 0 {
		t.Fatalf("asked %d times more", len(s.fetches))
	}
}

// messageContext is the context of an actor that is told of its end.
type messageContext struct {
	actor.Context
	message any
}

func (w *messageContext) Message() any { return w.message }

// A failure in the actor's first message is followed by Restarting, or Stopping: a second failure there would use up the
// window of restarts and stop the node for a single fault. (Found by the simulator, profile `crashes`, seed 76.)
func TestAReplicatorThatFailedWhileItStartedCanBeRestartedAndStopped(t *testing.T) {
	for _, end := range []any{&actor.Restarting{}, &actor.Stopping{}} {
		s := newFixture(t, 1, 5)
		r := New(s, Config{Incarnation: 3, PeerID: 2, Term: term, Limits: defaultLimits()})().(*Replicator)
		r.Receive(&messageContext{message: end})
	}
}

// What a peer acknowledged to an earlier leadership of this very node may have been replaced since.
func TestE42AnAcknowledgementOfAnEarlierTermMovesNothing(t *testing.T) {
	s := newFixture(t, 1, 5).start()
	m := acceptResponse(s.lastSent())
	m.Term, m.Index = term-1, 2
	s.deliver(m)
	if s.r.progress.Match != 0 || s.r.state != stateProbing {
		t.Fatalf("matchIndex %d, %s", s.r.progress.Match, s.r.state)
	}
}
