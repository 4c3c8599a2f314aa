package troupe_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/troupe-raft/troupe"
)

// awaitEvent receives events until one is of the kind, and returns it.
func awaitEvent(t *testing.T, events <-chan troupe.Event, kind troupe.EventKind) troupe.Event {
	t.Helper()
	deadline := time.After(testTimeout)
	for {
		select {
		case e, open := <-events:
			switch {
			case !open:
				t.Fatalf("the channel was closed before %q", kind)
			case e.Time.IsZero():
				t.Errorf("%q has no time", e.Kind)
			}
			if e.Kind == kind {
				return e
			}
		case <-deadline:
			t.Fatalf("no event %q", kind)
		}
	}
}

func TestEventsReportWhatHappens(t *testing.T) {
	c := startTestCluster(t, 2, func(config *troupe.Config) { config.CrashInjection = true })
	leader := c.leader()
	follower := c.Node(3 - leader.ID())
	if _, err := follower.WaitForLeader(c.context()); err != nil { // so that its news is not the first event
		t.Fatal(err)
	}
	events, stop := follower.Events(1000)
	defer stop()

	c.Network.Isolate(leader.ID())
	if e := awaitEvent(t, events, troupe.EventPeerDisconnected); e.PeerID != leader.ID() {
		t.Errorf("disconnected: %+v", e)
	}
	for awaitEvent(t, events, troupe.EventLeaderChanged).LeaderID != 0 { // the first leader may come late
	}
	c.Network.HealAll()
	if e := awaitEvent(t, events, troupe.EventPeerConnected); e.PeerID != leader.ID() {
		t.Errorf("connected: %+v", e)
	}
	for e := (troupe.Event{}); e.LeaderID == 0; {
		if e = awaitEvent(t, events, troupe.EventLeaderChanged); e.Term == 0 {
			t.Errorf("a leader without a term: %+v", e)
		}
	}
	if err := follower.CrashNow("machine"); err != nil {
		t.Fatal(err)
	}
	if e := awaitEvent(t, events, troupe.EventActorRestarted); e.Actor != "troupe/node" || !strings.Contains(e.Err.Error(), "machine") {
		t.Errorf("restarted: %+v", e)
	}
	awaitEvent(t, events, troupe.EventReplaying)
	awaitEvent(t, events, troupe.EventServing)
	follower.Kill()
	if e := awaitEvent(t, events, troupe.EventStopped); e.Err != nil {
		t.Errorf("stopped: %+v", e)
	}
	if _, open := <-events; open {
		t.Error("the channel is open after the last event")
	}
	late, _ := follower.Events(0)
	if e, open := <-late; !open || e.Kind != troupe.EventStopped {
		t.Errorf("at a stopped node: %+v, %v", e, open)
	}
	if _, open := <-late; open {
		t.Error("the channel of a late subscriber is open")
	}
}

// A subscriber that receives nothing loses events. They are counted, it receives the reason of the
// stop, and nobody waits for it.
func TestSlowSubscriberMissesEvents(t *testing.T) {
	c := startTestCluster(t, 1, func(config *troupe.Config) {
		config.CrashInjection = true
		config.RestartLimit.Max, config.RestartLimit.Within = 3, time.Hour
	})
	n := c.leader()
	events, stop := n.Events(1)
	defer stop()
	if err := n.Crash(troupe.CrashPoint{Actor: "machine", Message: "Committed", Times: 100}); err != nil {
		t.Fatal(err)
	}
	if _, err := n.Propose(c.context(), []byte("x")); !errors.Is(err, troupe.ErrStopped) {
		t.Fatal(err)
	}
	<-n.Done()
	last := <-events
	if last.Kind != troupe.EventStopped || last.Err == nil || last.Dropped < 3 {
		t.Errorf("the last event is %+v", last)
	}
	if dropped := n.Metrics().EventsDropped; dropped != last.Dropped {
		t.Errorf("%d events were dropped, by the metric %d", last.Dropped, dropped)
	}
	if _, open := <-events; open {
		t.Error("the channel is open after the last event")
	}
}

func TestStoppedSubscriptionReceivesNothing(t *testing.T) {
	c := startTestCluster(t, 1, nil)
	events, stop := c.leader().Events(10)
	stop()
	stop() // has no effect
	if e, open := <-events; open {
		t.Errorf("received %+v", e)
	}
}
