package link

import (
	"testing"
	"time"

	"github.com/troupe-raft/troupe/actors/live/internal/linktest"
)

func TestRoundTripsToPeersAreMeasured(t *testing.T) {
	a, b := connectedPair(t, func(o *Options) { o.probeInterval = time.Millisecond })
	for _, node := range []*nodeFixture{a, b} {
		waitUntil(t, "three round trips", func() bool { return node.link.Stats()[0].RoundTrips.Count >= 3 })
		r := node.link.Stats()[0].RoundTrips
		counted := uint64(0)
		for _, n := range r.Durations {
			counted += n
		}
		if counted != r.Count || r.Total <= 0 {
			t.Errorf("%d round trips in %v, %d in the buckets", r.Count, r.Total, counted)
		}
	}
	b.env.Close()
	linktest.Expect(t, a.Node, "down 2")
	if n := a.link.Stats()[0].Disconnects; n != 1 {
		t.Errorf("%d disconnects, want 1", n)
	}
}
