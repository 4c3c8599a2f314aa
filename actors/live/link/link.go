// Package link is the peer link over gRPC: it carries messages between the nodes of a cluster.
//
// # Connections and lanes
//
// Each node dials every peer. It sends its own messages over the connection that it dialed, and it
// receives the peer's messages over the connection that the peer dialed:
//
//	node A                                     node B
//	sendQueue control ── stream "control" ──►  inboundStream
//	sendQueue bulk    ── stream "bulk"    ──►  inboundStream    one connection, dialed by A
//	inboundStream   ◄── stream "control" ──    sendQueue control
//	inboundStream   ◄── stream "bulk"    ──    sendQueue bulk   one connection, dialed by B
//
// The two streams of a connection are its lanes. AppendEntries and ForwardedProposals, which may be
// large, use the lane bulk, all other messages the lane control: votes, heartbeats and responses do
// not wait behind entries. A lane keeps the order of its messages; between lanes there is no order.
// Each lane has one goroutine that writes and one that reads. No message starts a goroutine.
//
// # Bounds
//
// Each lane of each peer has a queue that is bounded in bytes and drops its oldest messages at the
// bound (sendQueue). A queue accepts messages only while the peer is connected or being dialed. A
// message above raft.MaxMessageBytes is dropped. Raft repeats what was dropped; the replicator of
// the peer receives EnvelopesDropped, so that it does not wait for responses. On the receiver's
// side, the flow-control windows bound what is in memory, and at most MaxConnections are
// open.
//
// # Handshake
//
// The metadata of a stream carry a Hello from the node that dialed and a Welcome from the other.
// Each side checks the protocol version, the cluster id, both member ids and the storage id
// (Identity.CheckHello, PeerReceiver.Admit). A failed check refuses the stream with a text that
// names both values and what to do; both sides log it once. A message is delivered only if its
// sender id is that of the connection (E46).
//
// # Reconnection
//
// linkPeer.run dials again after a random pause of up to 20 ms, which doubles up to 1 s while
// attempts fail. A stream that the peer opens is a sign that it runs, so the node then dials it at
// once. A connection that broke shortly after it was made counts as a failed attempt. gRPC's own
// reconnection is not used.
//
// # LinkUp and LinkDown
//
// A peer is up while all four streams are open (lanes.Connections decides). When the first of them
// breaks, the Node and the peer's replicator receive LinkDown; when all are open again, LinkUp. A
// process that ends closes its connections, so followers notice within milliseconds that the leader
// was killed, long before an election timeout. A host that disappears without closing them is
// noticed by gRPC's keepalive within 10 s.
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
	"github.com/troupe-raft/troupe/raft"
)

// Options configures the link of a node.
type Options struct {
	// Listeners accept the connections of peers. There is at least one. The link closes them.
	Listeners []net.Listener
	// ClusterID is sent in the handshake, with the node's data directory (live.Options.Storage); peers
	// compare both with what they know.
	ClusterID uint64
	// Software names this release to peers whose protocol version differs.
	Software string

	// ClientTLS and ServerTLS are the configurations for connecting and accepting; both nil:
	// plaintext.
	ClientTLS, ServerTLS *tls.Config
	// AllowPlaintext permits plaintext beyond loopback. Any client of the port can then send in the
	// name of any member.
	AllowPlaintext bool
	// MaxConnections bounds the connections of all listeners together. Zero means 128.
	MaxConnections int

	// MaxCommandBytes is the largest command that this member accepts. A queue of a peer holds at
	// least two of them.
	MaxCommandBytes uint64

	// The following options are for tests. Zero means the default of package defaults.

	controlQueueBytes, bulkQueueBytes int // of the messages that wait for one peer
	maxMessageBytes                   int // the same on all members; raft.MaxMessageBytes
	// keepaliveInterval is how long a connection may be idle before gRPC pings the other host, and how
	// long it then waits for the response; at least 1 s.
	keepaliveInterval time.Duration
	probeInterval     time.Duration // between two measurements of the round trip to a peer
}

const (
	// A batch takes messages until it has targetBatchBytes. Its last message may exceed that.
	targetBatchBytes = 512 << 10
	// flowControlWindowBytes is the window of a stream and of a connection. It is above what a
	// replicator keeps in flight. A fixed window keeps gRPC from measuring the bandwidth with
	// pings.
	flowControlWindowBytes = 16 << 20
)

// Link is a live.PeerLink over gRPC.
type Link struct {
	options  Options
	receiver *live.PeerReceiver
	log      *zerolog.Logger
	self     Identity
	server   *grpc.Server

	running    sync.WaitGroup // listeners, goroutines of peers, readers of inbound streams
	peersKnown chan struct{}  // closed by the first SetPeers
	closing    chan struct{}  // closed when Close begins

	mu     sync.Mutex
	closed bool      // guarded by mu
	peers  peerTable // written with mu held

	rejected            logonce.Counter // connections above the limit
	dialFailures        logonce.Limiter // by peer
	refusedPeers        logonce.Limiter // handshakes that this node refused, by the id in the Hello
	failedTLSHandshakes logonce.Limiter // by the side that refused
	invalidMessages     logonce.Limiter // messages that were not sent or not delivered, by peer
}

var _ live.PeerLink = (*Link)(nil)

// New checks the options. The link accepts connections from Start on.
func New(options Options) (*Link, error) {
	if len(options.Listeners) == 0 {
		return nil, errors.New("peer link: no listener given")
	}
	if (options.ClientTLS == nil) != (options.ServerTLS == nil) {
		return nil, errors.New("peer link: client and server TLS must be given together")
	}
	if options.ServerTLS == nil && !options.AllowPlaintext {
		for _, listener := range options.Listeners {
			if !onLoopback(listener.Addr()) {
				return nil, fmt.Errorf("peer link: %v is reachable from other hosts in plaintext: configure peer TLS, "+
					"or allow plaintext explicitly", listener.Addr())
			}
		}
	}
	options.controlQueueBytes = cmp.Or(options.controlQueueBytes, defaults.PeerControlQueueBytes)
	options.bulkQueueBytes = cmp.Or(options.bulkQueueBytes, int(max(defaults.PeerBulkQueueBytes, 2*options.MaxCommandBytes+1<<20)))
	options.maxMessageBytes = cmp.Or(options.maxMessageBytes, raft.MaxMessageBytes)
	options.MaxConnections = cmp.Or(options.MaxConnections, defaults.PeerConnections)
	options.keepaliveInterval = cmp.Or(options.keepaliveInterval, defaults.PeerKeepaliveInterval)
	options.keepaliveInterval = max(options.keepaliveInterval, time.Second)
	options.probeInterval = cmp.Or(options.probeInterval, defaults.PeerProbeInterval)
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

// Start accepts connections on the listeners.
func (l *Link) Start(receiver *live.PeerReceiver) {
	l.receiver, l.log = receiver, receiver.Log()
	l.self = Identity{
		ID: receiver.NodeID(), ClusterID: l.options.ClusterID,
		Storage: receiver.Storage, Software: l.options.Software,
	}
	l.server = l.newServer()
	limiter := connlimit.New(l.options.MaxConnections, l.rejectConnection)
	for _, listener := range l.options.Listeners {
		l.running.Go(func() {
			err := l.server.Serve(limiter.Listener(listener))
			if err != nil && !errors.Is(err, grpc.ErrServerStopped) {
				l.log.Error().Err(err).Stringer("address", listener.Addr()).Msg("peer port failed, peers cannot connect")
			}
		})
	}
}

func (l *Link) rejectConnection(from net.Addr) {
	if rejected, allow := l.rejected.Add(); allow {
		l.log.Error().Stringer("remote", from).Uint64("rejected", rejected).Int("limit", l.options.MaxConnections).
			Str("advice", "each peer needs one connection; keep other clients away from the peer port").
			Msg("peer connection limit reached")
	}
}

// RejectedConnections counts the connections that were closed because too many were open.
func (l *Link) RejectedConnections() uint64 { return l.rejected.Count() }

// Send queues a message for a peer, or drops it. It never blocks.
func (l *Link) Send(to uint64, role messages.Receiver, message messages.PeerMessage) {
	if p := l.peers.get(to); p != nil {
		p.send(role, message)
	}
}

// SetPeers dials new peers, dials peers with a new address again, and disconnects the peers that
// members does not contain.
func (l *Link) SetPeers(members []*messages.Member) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	current := l.peers.all()
	next := make(map[uint64]*linkPeer, len(members))
	for _, member := range members {
		if member.GetId() == l.self.ID {
			continue
		}
		p := current[member.GetId()]
		if p == nil {
			p = newLinkPeer(l, member)
			l.running.Go(p.run)
		} else {
			p.update(member)
			p.closeUnlessAdmitted()
		}
		next[member.GetId()] = p
	}
	for id, p := range current {
		if next[id] == nil {
			p.stop(fmt.Sprintf("member %#x was removed from the configuration of member %#x", id, l.self.ID))
			l.invalidMessages.Reset(id) // its Stats begin at 0 if it is added again
		}
	}
	l.peers.set(next)
	select {
	case <-l.peersKnown:
	default:
		close(l.peersKnown)
	}
}

// Close closes all connections. When it returns, nothing is delivered any more.
func (l *Link) Close() {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return
	}
	l.closed = true
	close(l.closing)
	for _, p := range l.peers.all() {
		p.stop(fmt.Sprintf("member %#x is stopping", l.self.ID))
	}
	l.peers.set(nil)
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

// Stats describes the peers, ordered by id.
func (l *Link) Stats() []live.PeerStat {
	peers := l.peers.all()
	stats := make([]live.PeerStat, 0, len(peers))
	for _, id := range slices.Sorted(maps.Keys(peers)) {
		stats = append(stats, peers[id].stat())
	}
	return stats
}
