package serve

import (
	"fmt"
	"math"

	"github.com/troupe-raft/troupe/cmd/troupe/internal/exit"
	"github.com/troupe-raft/troupe/cmd/troupe/internal/settings"
	"github.com/troupe-raft/troupe/internal/defaults"
)

// descriptorBudget divides the files that the process may open, which are connections too, among
// those that open them. Connections get what the others leave: a connection that is refused goes to
// another member, but a file that the log or the store cannot open ends the server.
//
//	what                  files
//	the process itself    processFiles
//	the log               logFiles
//	the store             storeTables, and storeOtherFiles
//	listeners             one each
//	connections to peers  two for each other member: while one is replaced, both are open
//	peer port             peerConnections
//	metrics URLs          metricsConnections
//	client port           clientConnections
//
// The Go runtime raises the soft limit to the hard one when the process starts (package os).
type descriptorBudget struct {
	limit              uint64 // 0: unknown
	reserve            int    // what the parts but clientConnections need
	storeTables        int
	peerConnections    int
	metricsConnections int
	clientConnections  int // at most --max-connections
}

const (
	// processFiles are the standard streams, epoll, log outputs, certificates, files under /proc
	// during a scrape of the metrics, name resolution, and connections that are being refused.
	processFiles = 32
	// logFiles are the lock; the active segment, the next one and a spare, twice each when they are
	// written past the page cache; the probe of the disk; four segments of a LogReader; a marker and a
	// directory that are being synced.
	logFiles = 24
	// storeOtherFiles are Pebble's files outside of its cache of open tables: the lock, the manifest
	// and its marker, directories, and the tables that two compactions and a flush write.
	storeOtherFiles = 16
	// minStoreTables is the least that Pebble uses: 64 open tables, and 10 that it deducts.
	minStoreTables = 74

	minClientConnections  = 8
	minPeerConnections    = 16
	minMetricsConnections = 8
)

// newDescriptorBudget returns an error if the limit is too low for a server.
func newDescriptorBudget(limit uint64, s *settings.Server) (descriptorBudget, error) {
	b := descriptorBudget{
		limit: limit, storeTables: defaults.StoreOpenTables, peerConnections: defaults.PeerConnections,
		metricsConnections: defaults.MaxMetricsConnections, clientConnections: s.MaxConnections,
	}
	if limit == 0 {
		return b, nil
	}
	files := int(min(limit, math.MaxInt32))
	peers := len(s.Members) - 1
	b.storeTables = min(max(files/5, minStoreTables), b.storeTables)
	b.peerConnections = min(max(files/16, minPeerConnections, 2*peers), b.peerConnections)
	b.metricsConnections = min(max(files/32, minMetricsConnections), b.metricsConnections)
	b.reserve = processFiles + logFiles + b.storeTables + storeOtherFiles + 2*peers + b.peerConnections + b.metricsConnections +
		len(s.ListenClient) + len(s.ListenPeer) + len(s.ListenMetrics)
	b.clientConnections = min(files-b.reserve, s.MaxConnections)
	if least := min(minClientConnections, s.MaxConnections); b.clientConnections < least {
		return b, fmt.Errorf("this process may open %d files, and needs %d at least: raise the limit (LimitNOFILE= in a systemd unit, "+
			"ulimit -n in a shell); 65536 is a good value", files, b.reserve+least)
	}
	return b, nil
}

// limitDescriptors reads the limit of open files and divides it. An error has an exit code.
func (v *server) limitDescriptors() (err error) {
	v.descriptors, err = newDescriptorBudget(descriptorLimit(), v.settings)
	return exit.With(exit.Usage, err)
}

// logDescriptors logs how many connections the limit of open files permits. It warns if they are
// fewer than --max-connections.
func (v *server) logDescriptors() {
	b := &v.descriptors
	line := v.log.Info()
	if b.clientConnections < v.settings.MaxConnections {
		line = v.log.Warn().Int("max-connections", v.settings.MaxConnections).
			Str("advice", "raise the limit (LimitNOFILE= in a systemd unit, ulimit -n in a shell), or lower --max-connections")
	}
	line.Uint64("descriptor-limit", b.limit).Int("reserve", b.reserve).Int("client-connections", b.clientConnections).
		Int("metrics-connections", b.metricsConnections).Int("peer-connections", b.peerConnections).Int("store-tables", b.storeTables).
		Msg("open files and connections are limited")
}
