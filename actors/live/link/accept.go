package link

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	grpcpeer "google.golang.org/grpc/peer"

	"github.com/troupe-raft/troupe/actors/live"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// serviceDesc describes the link to gRPC: one method a lane, both streams of mails.
var serviceDesc = grpc.ServiceDesc{
	ServiceName: "troupe.v1.Link",
	HandlerType: (*any)(nil),
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
	silence := l.options.keepaliveInterval
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
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: silence, Timeout: silence, MaxConnectionIdle: time.Minute}),
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

// session is one stream that a peer opened.
type inboundStream struct {
	peer      *linkPeer
	lane      lane
	stopped   atomic.Bool // nothing is delivered from it any more
	endReason chan error  // holds why it is to end
}

// end lets the session's handler return, which ends the stream.
func (s *inboundStream) end(why error) {
	s.stopped.Store(true)
	select {
	case s.endReason <- why:
	default:
	}
}

// accept is the handler of a stream. It returns when the stream is over; another goroutine reads, since gRPC offers no
// way to end a stream that waits for its peer's next word.
func (l *Link) accept(lane lane, stream grpc.ServerStream) error {
	p, err := l.checkHandshake(lane, stream.Context())
	if err != nil {
		return toStatus(err)
	}
	s := &inboundStream{peer: p, lane: lane, endReason: make(chan error, 2)}
	// Before the welcome: who was welcomed on one stream and opens another means the other. Were it taken up afterwards, the
	// former could come second and end the latter.
	p.streamOpened(s)
	if err := stream.SendHeader(encodeMetadata(welcomeKey, l.self.welcome())); err != nil {
		s.stopped.Store(true)
		p.streamClosed(s, err)
		return err
	}
	l.running.Add(1)
	go func() {
		defer l.running.Done()
		s.end(s.receive(stream))
	}()
	err = <-s.endReason
	s.stopped.Store(true)
	p.streamClosed(s, err)
	return toStatus(err)
}

// admit checks the handshake of a stream that was opened by who says to be a peer.
func (l *Link) checkHandshake(lane lane, ctx context.Context) (*linkPeer, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	hello := &messages.Hello{}
	if !decodeMetadata(md, helloKey, hello) {
		return nil, refusef("a caller without the greeting of the peer link: this is the peer port of a Troupe member; clients use its client port")
	}
	// A peer may be up before this node's Node has said who belongs to the cluster: let it wait, as long as it will.
	select {
	case <-l.peersKnown:
	case <-l.closing:
		return nil, refusef("member %x is stopping", l.self.ID)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	p := l.peerTable.get(hello.GetFrom())
	var member *messages.Member
	if p != nil {
		p.mu.Lock()
		member = p.member
		p.mu.Unlock()
	}
	if err := l.self.CheckHello(hello, lane.String(), member); err != nil {
		if l.refusedPeers.Allow(hello.GetFrom(), err.Error()) {
			l.log.Error().Str("peer", raft.FormatID(hello.GetFrom())).Str("caller", remoteAddress(ctx)).Str("reason", err.Error()).Msg("refused a connection")
		}
		return nil, err
	}
	return p, nil
}

func remoteAddress(ctx context.Context) string {
	if from, ok := grpcpeer.FromContext(ctx); ok {
		return from.Addr.String()
	}
	return ""
}

// opened takes a stream up. It takes the place of a former one of the same lane: a peer that lost its connection may be
// back before this side has noticed.
func (p *linkPeer) streamOpened(s *inboundStream) {
	p.link.refusedPeers.Reset(p.id)
	p.updateState("the peer is not reached yet", func() {
		if former := p.inboundStreams[s.lane]; former != nil {
			former.end(refusef("the peer opened this lane anew"))
		}
		p.inboundStreams[s.lane] = s
	})
	p.requestDial()
	if p.ctx.Err() != nil {
		s.end(context.Cause(p.ctx)) // removed between the handshake and now
	}
}

func (p *linkPeer) streamClosed(s *inboundStream, why error) {
	p.updateState(why.Error(), func() {
		if p.inboundStreams[s.lane] == s {
			p.inboundStreams[s.lane] = nil
		}
	})
}

// read delivers what comes until the stream breaks or the peer breaks a rule of encoding.
func (s *inboundStream) receive(stream grpc.ServerStream) error {
	p := s.peer
	mail := &incomingBatch{}
	for {
		if err := stream.RecvMsg(mail); err != nil {
			return streamError(err)
		}
		p.batchesReceived.Add(1)
		p.bytesReceived.Add(uint64(len(mail.data)))
		if err := mail.forEach(s.deliver); err != nil {
			p.refused.Add(1)
			return fmt.Errorf("mail from member %x on lane %v cannot be read: %w", p.id, s.lane, err)
		}
		mail.data = nil
	}
}

// deliver hands a letter to its actor, if it says the truth about its sender and is addressed to whom peers may write.
func (s *inboundStream) deliver(role messages.Role, message messages.PeerMessage) {
	p := s.peer
	if s.stopped.Load() {
		return
	}
	if message == nil {
		p.countRefused(fmt.Errorf("a letter of a kind that this release does not know"))
		return
	}
	if err := live.CheckPeerMessage(p.id, role, message); err != nil {
		p.countRefused(err)
		return
	}
	p.envelopesReceived.Add(1)
	p.link.receiver.Deliver(p.id, role, message)
}

// reject counts a letter that is not delivered, and says so the first time.
func (p *linkPeer) countRefused(why error) {
	p.refused.Add(1)
	if p.link.invalidMessages.Allow(p.id, "refused") {
		p.link.log.Error().Str("peer", raft.FormatID(p.id)).Err(why).Msg("dropped a letter; further ones are only counted")
	}
}
