// Package protoremote is a peer link over Proto.Actor's own remote, for applications that use it
// already. It is experimental; package link is the recommended one.
//
// With its defaults, the remote lets any client stop any actor by name, or crash the process with
// one call. It drops a batch above the receive limit silently, sleeps for two seconds between
// attempts to connect, and queues without a bound for a peer that cannot be reached. This package
// runs it in one configuration that avoids this:
//   - batches have 16 messages; the receive limit is above one of the largest messages together
//     with 15 of 8 MiB (a replicator has one larger request in flight at a time); windows have
//     16 MiB; there is one retry; attempts to connect have a backoff of 20 to 200 ms;
//   - received messages are checked before Proto.Actor sees them (check.go): only Hello and
//     Envelope to one process are accepted, unary calls are refused, and panics become errors;
//   - nothing is sent to a peer that is not connected, so nothing queues up for it;
//   - connections are bounded in number, with the same default as those of package link.
//
// Three things remain that package link does better. The queue for a connected peer that does not
// read has no bound (a replicator keeps at most 1 MiB in flight). Heartbeats wait behind entries.
// And messages are not tied to the connection's identity: over mutual TLS, a member can send in the
// name of any other. So if a copy of a member's data directory connects and is refused, messages of
// the member itself are refused too, until the copy has ended and the member has connected again.
package protoremote

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/asynkron/protoactor-go/eventstream"
	"github.com/asynkron/protoactor-go/remote"
	"github.com/rs/zerolog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	"github.com/troupe-raft/troupe/actors/live"
	"github.com/troupe-raft/troupe/actors/live/link"
	"github.com/troupe-raft/troupe/internal/connlimit"
	"github.com/troupe-raft/troupe/internal/defaults"
	"github.com/troupe-raft/troupe/internal/logonce"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// Options configures the link of a node.
type Options struct {
	// Host and Port are the address to listen on. Peers dial the address of the actor system, which
	// must be set already.
	Host string
	Port int

	// ClusterID and Software are sent in the Hello (link.Identity).
	ClusterID uint64
	Software  string

	// ClientTLS and ServerTLS are the configurations for connecting and accepting; both nil:
	// plaintext.
	ClientTLS, ServerTLS *tls.Config
	// MaxConnections bounds the connections of the port. Zero means 128.
	MaxConnections int

	// For tests; 0 means the default: raft.MaxMessageBytes, or the constant of the same name.
	maxMessageBytes                                  int
	keepaliveInterval, handshakeTimeout, idleTimeout time.Duration
}

const (
	writerBatchSize        = 16      // messages in one write
	frequentMessageBytes   = 8 << 20 // above all messages but those with a single large entry
	flowControlWindowBytes = 16 << 20
	helloRetryDelay        = 50 * time.Millisecond
	receiverName           = "troupe-peer-receiver"
	keepaliveInterval      = 10 * time.Second
	handshakeTimeout       = 5 * time.Second // of a caller, from accepting its connection on
	idleTimeout            = time.Minute     // of a caller's connection without a stream
)

// Link is a live.PeerLink over Proto.Actor's remote.
type Link struct {
	options  Options
	self     link.Identity
	receiver *live.PeerReceiver
	log      *zerolog.Logger
	system   *actor.ActorSystem
	remote   *remote.Remote
	events   *eventstream.Subscription
	inbound  *inboundProcess

	ctx          context.Context // cancelled by Close
	cancel       context.CancelFunc
	helloSenders sync.WaitGroup

	rejected logonce.Counter // connections above the limit
	failures logonce.Limiter // refused Hellos and oversized messages, by peer

	mu    sync.RWMutex
	peers map[uint64]*remotePeer // guarded by mu
}

var _ live.PeerLink = (*Link)(nil)

// New checks the options and that the port is free; Proto.Actor panics if it is not.
func New(options Options) (*Link, error) {
	if (options.ClientTLS == nil) != (options.ServerTLS == nil) {
		return nil, errors.New("peer link over remote: client and server TLS must be given together")
	}
	probe, err := net.Listen("tcp", net.JoinHostPort(options.Host, strconv.Itoa(options.Port)))
	if err != nil {
		return nil, fmt.Errorf("peer link over remote: %w", err)
	}
	probe.Close()
	options.maxMessageBytes = cmp.Or(options.maxMessageBytes, raft.MaxMessageBytes)
	options.keepaliveInterval = cmp.Or(options.keepaliveInterval, keepaliveInterval)
	options.handshakeTimeout = cmp.Or(options.handshakeTimeout, handshakeTimeout)
	options.idleTimeout = cmp.Or(options.idleTimeout, idleTimeout)
	options.MaxConnections = cmp.Or(options.MaxConnections, defaults.PeerConnections)
	l := &Link{options: options, peers: map[uint64]*remotePeer{}}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	return l, nil
}

// Start starts the remote of the node's actor system.
func (l *Link) Start(receiver *live.PeerReceiver) {
	l.receiver, l.log, l.system = receiver, receiver.Log(), receiver.System()
	l.self = link.Identity{
		ID: receiver.NodeID(), ClusterID: l.options.ClusterID,
		Storage: receiver.Storage, Software: l.options.Software,
	}
	l.inbound = &inboundProcess{link: l, hellos: map[uint64]*messages.Hello{}}
	l.system.ProcessRegistry.Add(l.inbound, receiverName)
	config := remote.Configure(l.options.Host, l.options.Port,
		remote.WithAdvertisedHost(l.system.Address()),
		remote.WithEndpointWriterBatchSize(writerBatchSize),
		remote.WithEndpointWriterQueueSize(1024), // the initial size
		remote.WithServerOptions(l.serverOptions()...),
		remote.WithDialOptions(l.dialOptions()...),
		remote.WithCallOptions(grpc.WaitForReady(true)),
	)
	config.MaxRetryCount = 1
	l.remote = remote.NewRemote(l.system, config)
	l.remote.Start()
	l.events = l.system.EventStream.Subscribe(func(event any) {
		switch e := event.(type) {
		case *remote.EndpointConnectedEvent:
			if p := l.peerAt(e.Address); p != nil {
				p.connected()
			}
		case *remote.EndpointTerminatedEvent:
			if p := l.peerAt(e.Address); p != nil {
				p.terminated()
			}
		}
	})
}

func (l *Link) serverOptions() []grpc.ServerOption {
	secret := insecure.NewCredentials()
	if l.options.ServerTLS != nil {
		secret = credentials.NewTLS(l.options.ServerTLS)
	}
	limiter := connlimit.New(l.options.MaxConnections, l.rejectConnection)
	interval := l.options.keepaliveInterval
	return []grpc.ServerOption{
		grpc.MaxRecvMsgSize(l.options.maxMessageBytes + writerBatchSize*frequentMessageBytes),
		grpc.StaticStreamWindowSize(flowControlWindowBytes),
		grpc.StaticConnWindowSize(flowControlWindowBytes),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: interval, Timeout: interval, MaxConnectionIdle: l.options.idleTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}),
		grpc.ConnectionTimeout(l.options.handshakeTimeout),
		grpc.UnaryInterceptor(refuseUnary),
		grpc.StreamInterceptor(checkStream),
		grpc.Creds(&limitedCredentials{secret, limiter}),
	}
}

func (l *Link) dialOptions() []grpc.DialOption {
	secret := insecure.NewCredentials()
	if l.options.ClientTLS != nil {
		secret = credentials.NewTLS(l.options.ClientTLS)
	}
	return []grpc.DialOption{
		grpc.WithTransportCredentials(secret),
		grpc.WithNoProxy(),
		grpc.WithStaticStreamWindowSize(flowControlWindowBytes),
		grpc.WithStaticConnWindowSize(flowControlWindowBytes),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: l.options.keepaliveInterval, Timeout: l.options.keepaliveInterval}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 20 * time.Millisecond, Multiplier: 2, Jitter: 0.2, MaxDelay: 200 * time.Millisecond},
			MinConnectTimeout: time.Second,
		}),
		// Proto.Actor's streams have no context: without this, they would wait for a removed peer
		// for ever.
		grpc.WithStreamInterceptor(func(_ context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string,
			open grpc.Streamer, options ...grpc.CallOption) (grpc.ClientStream, error) {
			return open(l.peerContext(cc.Target()), desc, cc, method, options...)
		}),
	}
}

// peerContext returns the context of the peer at an address; a cancelled one if there is none.
func (l *Link) peerContext(address string) context.Context {
	if p := l.peerAt(address); p != nil {
		return p.ctx
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	return ended
}

// peerAt returns the peer at an address; nil if there is none.
func (l *Link) peerAt(address string) *remotePeer {
	l.mu.RLock()
	defer l.mu.RUnlock()
	for _, p := range l.peers {
		if p.member.GetAddress() == address {
			return p
		}
	}
	return nil
}

func (l *Link) peer(id uint64) *remotePeer {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.peers[id]
}

// SetPeers connects to peers that are new or have another address, and disconnects the peers that
// members does not contain.
func (l *Link) SetPeers(members []*messages.Member) {
	var gone []*remotePeer
	l.mu.Lock()
	next := make(map[uint64]*remotePeer, len(members))
	for _, member := range members {
		if member.GetId() == l.self.ID || l.ctx.Err() != nil {
			continue
		}
		p := l.peers[member.GetId()]
		if p == nil || p.member.GetAddress() != member.GetAddress() {
			p = newRemotePeer(l, member)
			l.helloSenders.Go(p.sendHellos)
		}
		next[member.GetId()] = p
	}
	for id, p := range l.peers {
		if next[id] != p {
			gone = append(gone, p)
		}
	}
	l.peers = next
	l.mu.Unlock()
	for _, p := range gone {
		p.stop("not a member any more")
	}
}

// Send sends a message to a peer if it is connected.
func (l *Link) Send(to uint64, role messages.Receiver, message messages.PeerMessage) {
	if p := l.peer(to); p != nil {
		p.send(role, message)
	}
}

// Close stops the remote. Writers of Proto.Actor that wait for a peer end within some seconds.
func (l *Link) Close() {
	l.mu.Lock()
	peers := l.peers
	l.peers = map[uint64]*remotePeer{}
	closed := l.ctx.Err() != nil
	l.cancel()
	l.mu.Unlock()
	if closed {
		return
	}
	l.system.EventStream.Unsubscribe(l.events)
	for _, p := range peers {
		p.stop("this member is stopping")
	}
	l.helloSenders.Wait()
	l.remote.Shutdown(false)
	l.inbound.close()
}

// Stats describes the peers, ordered by id.
func (l *Link) Stats() []live.PeerStat {
	l.mu.RLock()
	defer l.mu.RUnlock()
	stats := make([]live.PeerStat, 0, len(l.peers))
	for _, id := range slices.Sorted(maps.Keys(l.peers)) {
		stats = append(stats, l.peers[id].stat())
	}
	return stats
}
