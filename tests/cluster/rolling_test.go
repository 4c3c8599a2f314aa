package cluster

import (
	"testing"
	"time"
)

// One member after the other stops and starts again before the next one stops, as in an upgrade. No
// request of a client with all endpoints may fail: a member that stops finishes the requests in
// flight, sends its clients to other members before it transfers its leadership, and its followers
// send the requests again that they had forwarded to it.
func TestRollingRestartFailsNoRequest(t *testing.T) {
	skipUnlessTroupe(t) // etcd's clients sometimes receive "leader changed" and "server stopped"
	rounds := 3
	if testing.Short() {
		rounds = 1
	}
	c := startCluster(t, 3)
	live := watchLive(t, c)
	l := startBalancedLoad(t, c)
	l.awaitWrites(t, 100)
	for range rounds {
		for _, m := range c.Members {
			began := time.Now()
			stop(t, m)
			took := time.Since(began)
			l.awaitWrites(t, 100)
			start(t, m)
			l.awaitWrites(t, 100)
			t.Logf("%s stopped in %v", m.Name, took)
		}
	}
	operations := l.finish()
	failed := 0
	for _, o := range operations {
		if o.err == nil {
			continue
		}
		if failed++; failed <= 5 {
			t.Errorf("%s from %v to %v failed: %v", o.kind, o.call, o.end, o.err)
		}
	}
	if failed > 0 {
		t.Errorf("%d of %d requests failed", failed, len(operations))
	}
	verify(t, c, operations, live)
}
