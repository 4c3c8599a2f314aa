package serve

import (
	"math"
	"strings"
	"testing"

	"github.com/troupe-raft/troupe/cmd/troupe/internal/settings"
)

func TestDescriptorsAreDivided(t *testing.T) {
	s := &settings.Server{
		MaxConnections: 10000, Members: make([]settings.Member, 3),
		ListenClient: make([]settings.URL, 1), ListenPeer: make([]settings.URL, 1), ListenMetrics: make([]settings.URL, 1),
	}
	for _, c := range []struct {
		limit                           uint64
		clients, peers, metrics, tables int
	}{
		{0, 10000, 128, 64, 1000}, // unknown
		{256, 79, 16, 8, 74},
		{1024, 645, 64, 32, 204},
		{4096, 3006, 128, 64, 819},
		{65536, 10000, 128, 64, 1000},
		{math.MaxUint64, 10000, 128, 64, 1000},
	} {
		b, err := newDescriptorBudget(c.limit, s)
		if err != nil || b.clientConnections != c.clients || b.peerConnections != c.peers || b.metricsConnections != c.metrics ||
			b.storeTables != c.tables {
			t.Errorf("limit %d: %+v, %v", c.limit, b, err)
		}
		parts := uint64(b.clientConnections + b.peerConnections + b.metricsConnections + b.storeTables +
			processFiles + logFiles + storeOtherFiles + 2*2 + 3)
		if c.limit != 0 && parts > c.limit {
			t.Errorf("limit %d: the parts need %d", c.limit, parts)
		}
	}
	if b, err := newDescriptorBudget(184, s); err == nil || !strings.Contains(err.Error(), "needs 185 at least") {
		t.Errorf("limit 184: %+v, %v", b, err)
	}
	if b, err := newDescriptorBudget(185, s); err != nil || b.clientConnections != minClientConnections {
		t.Errorf("limit 185: %+v, %v", b, err)
	}
	s.MaxConnections = 2
	if b, err := newDescriptorBudget(179, s); err != nil || b.clientConnections != 2 {
		t.Errorf("limit 179 and two connections: %+v, %v", b, err)
	}
}
