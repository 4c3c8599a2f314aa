// Package protoremote carries the messages between nodes over Proto.Actor's own remote, for applications that run one
// already. Experimental: package link is the one to use.
//
// The library's remote, as it comes, lets any caller stop any actor by name or crash the process with one call, loses a
// batch above the receive limit without a word, sleeps two seconds between attempts, and queues without bound for a peer
// that cannot be reached. So it is run here in the one configuration found safe:
//   - batches of 16, a receive limit above 16 of the largest messages, windows of 16 MiB, one retry, attempts that wait
//     for the peer with a backoff of 20 to 200 ms;
//   - what comes in is checked before the library sees it (guard.go): nothing but Hello and Letter, to one target, the
//     post; unary calls are refused, panics become errors;
//   - nothing is sent to a peer whose connection does not stand, so that nothing queues up for it.
//
// What it cannot do, and package link can: bound what is queued for a peer that stands and does not read (replicators keep
// at most 1 MiB in flight), keep heartbeats from waiting behind entries, tie a message to the connection's identity: over
// mutual TLS any member can speak as any other.
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
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/actors/live"
	"github.com/troupe-raft/troupe/actors/live/link"
	"github.com/troupe-raft/troupe/internal/defaults"
	"github.com/troupe-raft/troupe/internal/logonce"
	"github.com/troupe-raft/troupe/messages"
)

// Options says where a node listens and what it tells of itself.
type Options struct {
	// Host and Port are listened on. The system's address, which peers dial, must be set already.
	Host string
	Port int

	ClusterID uint64
	StorageID []byte
	Software  string

	// ClientTLS and ServerTLS are the configurations for connecting and accepting; both nil: plaintext.
	ClientTLS, ServerTLS *tls.Config
	// maxMessageBytes bounds one message. Default 8 MiB.
	maxMessageBytes int
}

const (
	writerBatchSize        = 16 // messages the library puts into one write
	flowControlWindowBytes = 16 << 20
	helloRetryDelay        = 50 * time.Millisecond
	receiverName           = "troupe-post"
	keepaliveInterval      = 10 * time.Second
)

// Link is a live.Link over Proto.Actor's remote.
type Link struct {
	options  Options
	self     link.Identity
	receiver *live.PeerReceiver
	log      *zerolog.Logger
	system   *actor.ActorSystem
	remote   *remote.Remote
	events   *eventstream.Subscription
	inbound  *inboundProcess

	ctx          context.Context // ended by Close
	cancel       context.CancelFunc
	helloSenders sync.WaitGroup

	failures logonce.Limiter // by peer

	mu    sync.RWMutex
	peers map[uint64]*remotePeer // guarded by mu
}

var _ live.PeerLink = (*Link)(nil)

// New checks the options and that the port is free: the library would panic on one that is not.
func New(options Options) (*Link, error) {
	if (options.ClientTLS == nil) != (options.ServerTLS == nil) {
		return nil, errors.New("peer link over remote: TLS for calling and for being called must be given together")
	}
	probe, err := net.Listen("tcp", net.JoinHostPort(options.Host, strconv.Itoa(options.Port)))
	if err != nil {
		return nil, fmt.Errorf("peer link over remote: %w", err)
	}
	probe.Close()
	options.maxMessageBytes = cmp.Or(options.maxMessageBytes, defaults.RemoteMessageBytes)
	l := &Link{options: options, peers: map[uint64]*remotePeer{}}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	return l, nil
}

// Start starts the remote of the node's system.
func (l *Link) Start(inbox *live.PeerReceiver) {
	l.receiver, l.log, l.system = inbox, inbox.Log(), inbox.System()
	l.self = link.Identity{ID: inbox.NodeID(), ClusterID: l.options.ClusterID, StorageID: l.options.StorageID, Software: l.options.Software}
	l.inbound = &inboundProcess{link: l, hellos: map[uint64]*messages.Hello{}}
	l.system.ProcessRegistry.Add(l.inbound, receiverName)
	config := remote.Configure(l.options.Host, l.options.Port,
		remote.WithAdvertisedHost(l.system.Address()),
		remote.WithEndpointWriterBatchSize(writerBatchSize),
		remote.WithEndpointWriterQueueSize(1024), // where it begins; it grows
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
			l.withPeerAt(e.Address, (*remotePeer).connected)
		case *remote.EndpointTerminatedEvent:
			l.withPeerAt(e.Address, (*remotePeer).terminated)
		}
	})
}

func (l *Link) serverOptions() []grpc.ServerOption {
	options := []grpc.ServerOption{
		grpc.MaxRecvMsgSize(writerBatchSize*l.options.maxMessageBytes + 1<<20),
		grpc.StaticStreamWindowSize(flowControlWindowBytes),
		grpc.StaticConnWindowSize(flowControlWindowBytes),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: keepaliveInterval, Timeout: keepaliveInterval}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}),
		grpc.UnaryInterceptor(refuseUnary),
		grpc.StreamInterceptor(checkStream),
	}
	if l.options.ServerTLS != nil {
		options = append(options, grpc.Creds(credentials.NewTLS(l.options.ServerTLS)))
	}
	return options
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
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepaliveInterval, Timeout: keepaliveInterval}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 20 * time.Millisecond, Multiplier: 2, Jitter: 0.2, MaxDelay: 200 * time.Millisecond},
			MinConnectTimeout: time.Second,
		}),
		// The library gives its streams no context: without this a peer that is gone for good would be waited for for ever.
		grpc.WithStreamInterceptor(func(_ context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, options ...grpc.CallOption) (grpc.ClientStream, error) {
			return open(l.peerContext(cc.Target()), desc, cc, method, options...)
		}),
	}
}

// peerContext lasts as long as the peer at an address is one.
func (l *Link) peerContext(address string) context.Context {
	l.mu.RLock()
	defer l.mu.RUnlock()
	for _, p := range l.peers {
		if p.member.GetAddress() == address {
			return p.ctx
		}
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	return ended
}

// at passes news of an endpoint to the peer that is there.
func (l *Link) withPeerAt(address string, news func(*remotePeer)) {
	l.mu.RLock()
	var there *remotePeer
	for _, p := range l.peers {
		if p.member.GetAddress() == address {
			there = p
		}
	}
	l.mu.RUnlock()
	if there != nil {
		news(there)
	}
}

func (l *Link) peer(id uint64) *remotePeer {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.peers[id]
}

// SetPeers begins to connect to those that are new, or have moved, and ends what goes on with those that are gone.
func (l *Link) SetPeers(members []*messages.Member) {
	var gone []*remotePeer
	l.mu.Lock()
	next := make(map[uint64]*remotePeer, len(members))
	for _, member := range members {
		if member.GetId() == l.self.ID || l.ctx.Err() != nil {
			continue
		}
		p := l.peers[member.GetId()]
		if p == nil || !proto.Equal(p.member, member) {
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

// Send passes a message to the peer's post, if the connection stands.
func (l *Link) Send(to uint64, role messages.Role, message messages.PeerMessage) {
	if p := l.peer(to); p != nil {
		p.send(role, message)
	}
}

// Close ends the remote. What the library's writers still wait for ends within some seconds.
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

// Stats describes the peers, by id.
func (l *Link) Stats() []live.PeerStat {
	l.mu.RLock()
	defer l.mu.RUnlock()
	stats := make([]live.PeerStat, 0, len(l.peers))
	for _, id := range slices.Sorted(maps.Keys(l.peers)) {
		stats = append(stats, l.peers[id].stat())
	}
	return stats
}
