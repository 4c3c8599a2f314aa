// Package link is the peer link: how the nodes of a cluster reach each other over gRPC.
//
// Each node dials every peer and sends its own letters over the connection that it dialed; the peer's letters come over
// the connection that the peer dialed. A connection carries two streams, control and bulk, each with a queue bounded in
// bytes and one goroutine that writes; no goroutine is made for a message. The handshake of a stream checks protocol,
// cluster, both ids and the storage id. When anything breaks, in either direction, the node's actors hear of it at once:
// that is how followers notice that a leader's process was killed, long before an election timeout.
package link

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"google.golang.org/grpc"

	"github.com/troupe-raft/troupe/actors/live"
	"github.com/troupe-raft/troupe/internal/connlimit"
	"github.com/troupe-raft/troupe/internal/defaults"
	"github.com/troupe-raft/troupe/internal/logonce"
	"github.com/troupe-raft/troupe/messages"
)

// Options says how a node is reached and how it reaches others.
type Options struct {
	// Listeners are where peers dial in; the link closes them. At least one.
	Listeners []net.Listener
	// What this node says of itself, and what its peers must match.
	ClusterID uint64
	StorageID []byte
	// Software is told to peers and stands in their logs when protocols do not match.
	Software string

	// ClientTLS and ServerTLS are the configurations for connecting and accepting; both nil: plaintext.
	ClientTLS, ServerTLS *tls.Config
	// AllowPlaintext permits plaintext beyond loopback: whoever reaches the port can then speak as any member.
	AllowPlaintext bool

	// controlQueueBytes and bulkQueueBytes bound what waits for one peer. Defaults: 4 MiB and 64 MiB.
	controlQueueBytes, bulkQueueBytes int
	// maxMessageBytes bounds one message, in both directions. It must be above the largest AppendEntries that a replicator
	// makes. Default 64 MiB.
	maxMessageBytes int
	// maxConnections bounds the connections that the listeners have open, of peers and of strangers. Default 128.
	maxConnections int
	// Silence is how long a connection may be silent before the host behind it is asked for a sign of life, and how long it
	// has for that: a host that vanished is noticed within twice this. Default 5 s; at least 1 s. A process that ends is
	// noticed at once, whatever this is.
	keepaliveInterval time.Duration
}

const (
	// targetBatchBytes is up to where letters are added to a mail; one letter may go beyond.
	targetBatchBytes = 512 << 10
	// window is the flow-control window of a stream and of a connection: fixed, so that gRPC does not probe for it with
	// pings, and above what a replicator keeps in flight.
	flowControlWindowBytes = 16 << 20
)

// Link is a live.Link over gRPC.
type Link struct {
	options  Options
	receiver *live.PeerReceiver
	log      *zerolog.Logger
	self     Identity
	server   *grpc.Server

	running    sync.WaitGroup // listeners, peers' goroutines, readers of inbound streams
	peersKnown chan struct{}  // closed once SetPeers was called for the first time
	closing    chan struct{}  // closed when Close begins

	mu     sync.Mutex
	peers  map[uint64]*linkPeer // guarded by mu; replaced, never changed, so that Send may read it without mu
	closed bool                 // guarded by mu

	peerTable           peerTable
	rejected            logonce.Counter // connections above the limit
	dialFailures        logonce.Limiter // by peer
	refusedPeers        logonce.Limiter // handshakes that this node refused, by the id that the caller claims
	failedTLSHandshakes logonce.Limiter // by the side that refused
	invalidMessages     logonce.Limiter // that were not sent or not delivered, by peer
}

var _ live.PeerLink = (*Link)(nil)

// New checks the options; nothing is served before Start.
func New(options Options) (*Link, error) {
	if len(options.Listeners) == 0 {
		return nil, errors.New("peer link: no listener given")
	}
	if (options.ClientTLS == nil) != (options.ServerTLS == nil) {
		return nil, errors.New("peer link: TLS for calling and for being called must be given together")
	}
	if options.ServerTLS == nil && !options.AllowPlaintext {
		for _, listener := range options.Listeners {
			if !onLoopback(listener.Addr()) {
				return nil, fmt.Errorf("peer link: %v is reached beyond this host and would speak plaintext: configure peer TLS, or allow plaintext explicitly", listener.Addr())
			}
		}
	}
	options.controlQueueBytes = cmp.Or(options.controlQueueBytes, defaults.PeerControlQueueBytes)
	options.bulkQueueBytes = cmp.Or(options.bulkQueueBytes, defaults.PeerBulkQueueBytes)
	options.maxMessageBytes = cmp.Or(options.maxMessageBytes, defaults.PeerMessageBytes)
	options.maxConnections = cmp.Or(options.maxConnections, defaults.PeerConnections)
	options.keepaliveInterval = cmp.Or(options.keepaliveInterval, defaults.PeerKeepaliveInterval)
	options.keepaliveInterval = max(options.keepaliveInterval, time.Second)
	return &Link{options: options, peersKnown: make(chan struct{}), closing: make(chan struct{})}, nil
}

func onLoopback(address net.Addr) bool {
	switch a := address.(type) {
	case *net.TCPAddr:
		return a.IP.IsLoopback()
	case *net.UnixAddr:
		return true
	}
	return false
}

// Start serves the listeners.
func (l *Link) Start(inbox *live.PeerReceiver) {
	l.receiver, l.log = inbox, inbox.Log()
	l.self = Identity{ID: inbox.NodeID(), ClusterID: l.options.ClusterID, StorageID: l.options.StorageID, Software: l.options.Software}
	l.server = l.newServer()
	limiter := connlimit.New(l.options.maxConnections, l.rejectConnection)
	for _, listener := range l.options.Listeners {
		l.running.Go(func() {
			if err := l.server.Serve(limiter.Listener(listener)); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
				l.log.Error().Err(err).Str("address", listener.Addr().String()).Msg("peer port is closed: peers cannot reach this member any more")
			}
		})
	}
}

func (l *Link) rejectConnection(from net.Addr) {
	if rejected, allow := l.rejected.Add(); allow {
		l.log.Error().Stringer("remote", from).Uint64("rejected", rejected).Int("limit", l.options.maxConnections).
			Msg("peer port has as many connections as it may: closed one more; keep strangers from this port, peers need one connection each")
	}
}

// RejectedConnections counts those that came while there were as many as may be.
func (l *Link) RejectedConnections() uint64 { return l.rejected.Count() }

// Send queues a message for a peer, or drops it. It never waits.
func (l *Link) Send(to uint64, role messages.Role, message messages.PeerMessage) {
	if p := l.peerTable.get(to); p != nil {
		p.send(role, message)
	}
}

// SetPeers begins to dial those that are new, and ends what goes on with those that are gone or have moved.
func (l *Link) SetPeers(members []*messages.Member) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	next := make(map[uint64]*linkPeer, len(members))
	for _, member := range members {
		if member.GetId() == l.self.ID {
			continue
		}
		p := l.peers[member.GetId()]
		if p == nil {
			p = newLinkPeer(l, member)
			l.running.Go(p.run)
		} else {
			p.update(member)
		}
		next[member.GetId()] = p
	}
	for id, p := range l.peers {
		if next[id] == nil {
			p.stop("not a member any more")
		}
	}
	l.peers = next
	l.peerTable.set(next)
	select {
	case <-l.peersKnown:
	default:
		close(l.peersKnown)
	}
}

// Close ends all connections and waits until nothing is delivered any more.
func (l *Link) Close() {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return
	}
	l.closed = true
	close(l.closing)
	for _, p := range l.peers {
		p.stop("this member is stopping")
	}
	l.peerTable.set(nil)
	l.mu.Unlock()
	if l.server != nil {
		l.server.Stop()
	} else {
		for _, listener := range l.options.Listeners {
			listener.Close()
		}
	}
	l.running.Wait()
}

// Stats describes the peers, by id.
func (l *Link) Stats() []live.PeerStat {
	peers := l.peerTable.all()
	stats := make([]live.PeerStat, 0, len(peers))
	for _, id := range slices.Sorted(maps.Keys(peers)) {
		stats = append(stats, peers[id].stat())
	}
	return stats
}
