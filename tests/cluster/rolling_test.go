package cluster

import (
	"testing"
	"time"
)

// An upgrade: one member after the other is told to stop, is replaced, and serves again before the
// next one goes. Programs that know all endpoints must not notice. A member that stops answers what
// is under way, tells its clients to go elsewhere before it hands its leadership over, and what its
// followers had forwarded to it is sent again by them; so that no request has a reason to fail, and
// every one that does is a defect.
func TestRollingRestartFailsNoRequest(t *testing.T) {
	skipUnlessTroupe(t) // etcd's clients see "leader changed" and "server stopped" now and then
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
			t.Errorf("a %s from %v to %v failed: %v", o.kind, o.call, o.end, o.err)
		}
	}
	if failed > 0 {
		t.Errorf("%d of %d requests failed", failed, len(operations))
	}
	verify(t, c, operations, live)
}
