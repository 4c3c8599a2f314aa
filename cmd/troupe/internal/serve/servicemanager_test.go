package serve

import (
	"strings"
	"testing"
	"time"

	"github.com/troupe-raft/troupe"
	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/cmd/troupe/internal/settings"
)

// fakeNode is a node in the state that a test sets.
type fakeNode struct{ handled, applied uint64 }

func (n *fakeNode) Status() troupe.Status { return troupe.Status{AppliedIndex: n.applied} }

func (n *fakeNode) Metrics() troupe.Metrics {
	return troupe.Metrics{Actors: []troupe.ActorMetrics{
		{Name: "another", MessagesHandled: 1000 * n.handled}, {Name: actors.NodePath, MessagesHandled: n.handled},
	}}
}

func TestWatchdogIsFedWhileTheNodeWorks(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	m, node := &serviceManager{}, &fakeNode{handled: 1}
	if !m.works() {
		t.Error("a server whose node has not started is taken for one that hangs")
	}
	m.recovered(node)
	for _, c := range []struct {
		handled uint64
		works   bool
	}{{5, true}, {5, false}, {5, false}, {6, true}} {
		node.handled = c.handled
		if got := m.works(); got != c.works {
			t.Errorf("%d messages handled: works %v", c.handled, got)
		}
	}
}

func TestStartIsExtendedWhileItRecovers(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	m, node := &serviceManager{}, &fakeNode{}
	if !m.recovers() {
		t.Error("a server that reads its log does not extend its start")
	}
	m.recovered(node)
	for _, c := range []struct {
		applied  uint64
		recovers bool
	}{{100, true}, {200, true}, {200, false}, {201, true}} {
		node.applied = c.applied
		if got := m.recovers(); got != c.recovers {
			t.Errorf("applied up to %d: recovers %v", c.applied, got)
		}
	}
}

// A watchdog whose time is below three heartbeats ends a healthy member.
func TestWatchdogBelowThreeHeartbeatsWarns(t *testing.T) {
	for _, c := range []struct {
		watchdog, heartbeat time.Duration
		warns               bool
	}{
		{0, time.Second, false}, // no watchdog
		{100 * time.Millisecond, 100 * time.Millisecond, true},
		{299 * time.Millisecond, 100 * time.Millisecond, true},
		{300 * time.Millisecond, 100 * time.Millisecond, false},
		{30 * time.Second, 100 * time.Millisecond, false},
	} {
		s := &settings.Server{Heartbeat: c.heartbeat}
		(&serviceManager{watchdog: c.watchdog}).checkWatchdog(s)
		if got := len(s.Warnings) == 1; got != c.warns {
			t.Errorf("watchdog %v, heartbeat %v: %v", c.watchdog, c.heartbeat, s.Warnings)
		}
		for _, w := range s.Warnings {
			if w.Setting != "WATCHDOG_USEC" || !strings.Contains(w.Advice, "300ms") {
				t.Errorf("%v", w)
			}
		}
	}
}
