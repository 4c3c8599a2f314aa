package link

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	grpcpeer "google.golang.org/grpc/peer"

	"github.com/troupe-raft/troupe/actors/live"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// serviceDesc describes the link to gRPC: one method for each lane, a stream of EnvelopeBatch, and
// the probe.
var serviceDesc = grpc.ServiceDesc{
	ServiceName: "troupe.v1.Link",
	HandlerType: (*any)(nil),
	Methods:     []grpc.MethodDesc{{MethodName: probeMethod, Handler: answerProbe}},
	Streams: []grpc.StreamDesc{
		{StreamName: "Control", ClientStreams: true, ServerStreams: true, Handler: func(srv any, stream grpc.ServerStream) error {
			return srv.(*Link).accept(control, stream)
		}},
		{StreamName: "Bulk", ClientStreams: true, ServerStreams: true, Handler: func(srv any, stream grpc.ServerStream) error {
			return srv.(*Link).accept(bulk, stream)
		}},
	},
}

func methodName(lane lane) string {
	return "/" + serviceDesc.ServiceName + "/" + serviceDesc.Streams[lane].StreamName
}

func (l *Link) newServer() *grpc.Server {
	interval := l.options.keepaliveInterval
	options := []grpc.ServerOption{
		grpc.ForceServerCodecV2(batchCodec{}),
		grpc.MaxRecvMsgSize(maxBatchBytes(l.options.maxMessageBytes)),
		grpc.MaxHeaderListSize(16 << 10),
		grpc.MaxConcurrentStreams(8),
		grpc.StaticStreamWindowSize(flowControlWindowBytes),
		grpc.StaticConnWindowSize(flowControlWindowBytes),
		grpc.ReadBufferSize(64 << 10),
		grpc.WriteBufferSize(4 << 10),
		grpc.ConnectionTimeout(5 * time.Second),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			Time: interval, Timeout: interval, MaxConnectionIdle: time.Minute,
		}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}),
		grpc.WaitForHandlers(true),
	}
	if l.options.ServerTLS != nil {
		options = append(options, grpc.Creds(&loggingCredentials{credentials.NewTLS(l.options.ServerTLS), l}))
	}
	server := grpc.NewServer(options...)
	server.RegisterService(&serviceDesc, l)
	return server
}

// inboundStream is one stream that a peer opened.
type inboundStream struct {
	peer      *linkPeer
	lane      lane
	storage   raft.Storage // of the peer
	stopped   atomic.Bool  // nothing is delivered from it any more
	endReason chan error
}

// end makes the handler of the stream return, which ends the stream.
func (s *inboundStream) end(why error) {
	s.stopped.Store(true)
	select {
	case s.endReason <- why:
	default:
	}
}

// accept is the handler of a stream. It returns when the stream has ended. Another goroutine reads,
// since gRPC cannot interrupt a handler that waits for the next message.
func (l *Link) accept(lane lane, stream grpc.ServerStream) error {
	p, storage, err := l.checkHandshake(lane, stream.Context())
	if err != nil {
		return toStatus(err)
	}
	s := &inboundStream{peer: p, lane: lane, storage: storage, endReason: make(chan error, 2)}
	// The stream is registered before the Welcome is sent. Otherwise a peer that was welcomed on a
	// second stream of the lane could find that this one is registered later and ends the second.
	p.streamOpened(s)
	if err := stream.SendHeader(encodeMetadata(welcomeKey, l.self.welcome())); err != nil {
		s.stopped.Store(true)
		p.streamClosed(s, err)
		return err
	}
	l.running.Go(func() { s.end(s.receive(stream)) })
	err = <-s.endReason
	s.stopped.Store(true)
	p.streamClosed(s, err)
	return toStatus(err)
}

// checkHandshake checks the Hello of a stream and returns the peer that opened it, with its data
// directory.
func (l *Link) checkHandshake(lane lane, ctx context.Context) (*linkPeer, raft.Storage, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	hello := &messages.Hello{}
	if !decodeMetadata(md, helloKey, hello) {
		return nil, raft.Storage{}, refusef("no Hello of the peer link: this is the peer port of a Troupe member; clients use its client port")
	}
	p, err := l.awaitPeer(ctx, hello.GetFrom())
	if err != nil {
		return nil, raft.Storage{}, err
	}
	var member *messages.Member
	if p != nil {
		p.mu.Lock()
		member = p.member
		p.mu.Unlock()
	}
	err = l.self.CheckHello(hello, lane.String(), member)
	if err == nil {
		err = p.admit(StorageOf(hello))
	}
	if err != nil {
		if l.refusedPeers.Allow(hello.GetFrom(), err.Error()) {
			level := zerolog.ErrorLevel
			var refused *refusedError
			if errors.As(err, &refused) {
				level = refused.level()
			}
			l.log.WithLevel(level).Str("peer", raft.FormatID(hello.GetFrom())).Str("remote", remoteAddress(ctx)).
				Str("reason", err.Error()).Msg("refused an incoming peer connection")
		}
		return nil, raft.Storage{}, err
	}
	return p, StorageOf(hello), nil
}

// awaitPeer returns the peer with an id, nil if it is none. A peer may connect before the Node has
// called SetPeers; it then waits. The error is that of a link that closes: it has no peers, which
// must not read as if they were removed from the configuration.
func (l *Link) awaitPeer(ctx context.Context, id uint64) (*linkPeer, error) {
	select {
	case <-l.peersKnown:
	case <-l.closing:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	p := l.peers.get(id)
	select {
	case <-l.closing: // before Close removed the peers
		return nil, refusef("member %#x is stopping", l.self.ID)
	default:
		return p, nil
	}
}

func remoteAddress(ctx context.Context) string {
	if from, ok := grpcpeer.FromContext(ctx); ok {
		return from.Addr.String()
	}
	return ""
}

// streamOpened registers a stream. It replaces an earlier stream of the lane, since a peer may
// reconnect before this node has noticed that the earlier connection broke.
func (p *linkPeer) streamOpened(s *inboundStream) {
	p.link.refusedPeers.Reset(p.id)
	change := p.updateState("the connection to the peer is not open yet", func(c *connections) connectionChange {
		return c.StreamOpened(s.lane, s)
	})
	p.requestDial()
	if change.Refused {
		s.end(context.Cause(p.ctx)) // the peer was removed since its handshake was checked
	} else if err := p.admit(s.storage); err != nil {
		s.end(err) // the configuration names another data directory since then
	}
}

func (p *linkPeer) streamClosed(s *inboundStream, why error) {
	p.updateState(why.Error(), func(c *connections) connectionChange { return c.StreamClosed(s.lane, s) })
}

// receive delivers messages until the stream breaks or a batch is malformed.
func (s *inboundStream) receive(stream grpc.ServerStream) error {
	p := s.peer
	batch := &incomingBatch{}
	for {
		if err := stream.RecvMsg(batch); err != nil {
			return streamError(err)
		}
		p.batchesReceived.Add(1)
		p.bytesReceived.Add(uint64(len(batch.data)))
		if err := batch.forEach(s.deliver); err != nil {
			p.refused.Add(1)
			return fmt.Errorf("cannot decode a batch from member %#x on lane %v: %w", p.id, s.lane, err)
		}
		batch.data = nil
	}
}

// deliver delivers a message to its actor, unless it breaks a rule of CheckPeerMessage.
func (s *inboundStream) deliver(role messages.Receiver, message messages.PeerMessage) {
	p := s.peer
	if s.stopped.Load() {
		return
	}
	if message == nil {
		p.countRefused(errors.New("this release does not know the type of the message"))
		return
	}
	if err := live.CheckPeerMessage(p.id, role, message); err != nil {
		p.countRefused(err)
		return
	}
	p.envelopesReceived.Add(1)
	p.link.receiver.Deliver(p.id, role, message)
}

// countRefused counts a message that is not delivered, and logs the first.
func (p *linkPeer) countRefused(why error) {
	p.refused.Add(1)
	if p.link.invalidMessages.Allow(p.id, "refused") {
		p.event(zerolog.ErrorLevel).Err(why).Msg("refused a message from peer, further ones are only counted")
	}
}
