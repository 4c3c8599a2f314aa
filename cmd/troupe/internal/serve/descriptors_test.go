package serve

import (
	"fmt"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/troupe-raft/troupe/cmd/troupe/internal/settings"
	"github.com/troupe-raft/troupe/internal/defaults"
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

// leastFiles returns the lowest limit of open files with which a member of a cluster has at least
// this number of client connections, with the flags' defaults.
func leastFiles(t *testing.T, members, clients int) uint64 {
	t.Helper()
	for limit := uint64(1); limit < 1<<16; limit++ {
		if b, err := newDescriptorBudget(limit, defaultServer(members)); err == nil && b.clientConnections >= clients {
			return limit
		}
	}
	t.Fatalf("no limit leaves %d connections", clients)
	return 0
}

func defaultServer(members int) *settings.Server {
	return &settings.Server{
		MaxConnections: defaults.MaxConnections, Members: make([]settings.Member, members),
		ListenClient: make([]settings.URL, 1), ListenPeer: make([]settings.URL, 1),
	}
}

// The numbers of docs/limits.md are those of the server.
func TestDocumentedDescriptorsAreTrue(t *testing.T) {
	text, err := os.ReadFile("../../../../docs/limits.md")
	if err != nil {
		t.Fatal(err)
	}
	document := strings.ReplaceAll(strings.Join(strings.Fields(string(text)), " "), ",", "")
	b, err := newDescriptorBudget(1024, defaultServer(3))
	if err != nil {
		t.Fatal(err)
	}
	for _, sentence := range []string{
		fmt.Sprintf("Below %d files (%d for a member of three) the server does not start", leastFiles(t, 1, minClientConnections),
			leastFiles(t, 3, minClientConnections)),
		fmt.Sprintf("With a limit of 1024 a member of three serves %d client connections; from %d on all %d.", b.clientConnections,
			leastFiles(t, 3, defaults.MaxConnections), defaults.MaxConnections),
		fmt.Sprintf("| the process: streams log outputs certificates `/proc` | %d |", processFiles),
		fmt.Sprintf("| the log: segments spares readers lock | %d |", logFiles),
		fmt.Sprintf("| the store: its open tables and %d for what it writes | a fifth of the limit %d to %d |", storeOtherFiles, minStoreTables, defaults.StoreOpenTables),
		fmt.Sprintf("| connections of the peer port | a sixteenth %d to %d |", minPeerConnections, defaults.PeerConnections),
		fmt.Sprintf("| connections of `--listen-metrics-urls` | a 32nd %d to %d |", minMetricsConnections, defaults.MaxMetricsConnections),
	} {
		if !strings.Contains(document, sentence) {
			t.Errorf("docs/limits.md does not say (without commas): %s", sentence)
		}
	}
}
