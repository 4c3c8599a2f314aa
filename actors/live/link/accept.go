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
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/actors/live"
	"github.com/troupe-raft/troupe/messages"
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

func method(lane lane) string {
	return "/" + serviceDesc.ServiceName + "/" + serviceDesc.Streams[lane].StreamName
}

func (l *Link) newServer() *grpc.Server {
	silence := l.options.Silence
	options := []grpc.ServerOption{
		grpc.ForceServerCodecV2(codec{}),
		grpc.MaxRecvMsgSize(mailLimit(l.options.MaxLetterBytes)),
		grpc.MaxHeaderListSize(16 << 10),
		grpc.MaxConcurrentStreams(8),
		grpc.StaticStreamWindowSize(window),
		grpc.StaticConnWindowSize(window),
		grpc.ReadBufferSize(64 << 10),
		grpc.WriteBufferSize(4 << 10),
		grpc.ConnectionTimeout(5 * time.Second),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: silence, Timeout: silence, MaxConnectionIdle: time.Minute}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}),
		grpc.WaitForHandlers(true),
	}
	if l.options.ServerTLS != nil {
		options = append(options, grpc.Creds(&witnessed{credentials.NewTLS(l.options.ServerTLS), l}))
	}
	server := grpc.NewServer(options...)
	server.RegisterService(&serviceDesc, l)
	return server
}

// session is one stream that a peer opened.
type session struct {
	peer  *peer
	lane  lane
	over  atomic.Bool // nothing is delivered from it any more
	ended chan error  // holds why it is to end
}

// end lets the session's handler return, which ends the stream.
func (s *session) end(why error) {
	s.over.Store(true)
	select {
	case s.ended <- why:
	default:
	}
}

// accept is the handler of a stream. It returns when the stream is over; another goroutine reads, since gRPC offers no
// way to end a stream that waits for its peer's next word.
func (l *Link) accept(lane lane, stream grpc.ServerStream) error {
	p, err := l.admit(lane, stream.Context())
	if err != nil {
		return asStatus(err)
	}
	s := &session{peer: p, lane: lane, ended: make(chan error, 2)}
	// Before the welcome: who was welcomed on one stream and opens another means the other. Were it taken up afterwards, the
	// former could come second and end the latter.
	p.opened(s)
	if err := stream.SendHeader(put(welcomeKey, l.self.welcome())); err != nil {
		s.over.Store(true)
		p.left(s, err)
		return err
	}
	l.serving.Add(1)
	go func() {
		defer l.serving.Done()
		s.end(s.read(stream))
	}()
	err = <-s.ended
	s.over.Store(true)
	p.left(s, err)
	return asStatus(err)
}

// admit checks the handshake of a stream that was opened by who says to be a peer.
func (l *Link) admit(lane lane, ctx context.Context) (*peer, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	hello := &messages.Hello{}
	if !get(md, helloKey, hello) {
		return nil, refuse("a caller without the greeting of the peer link: this is the peer port of a Troupe member; clients use its client port")
	}
	// A peer may be up before this node's Node has said who belongs to the cluster: let it wait, as long as it will.
	select {
	case <-l.named:
	case <-l.closing:
		return nil, refuse("member %x is stopping", l.self.ID)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	p := l.roster.get(hello.GetFrom())
	var member *messages.Member
	if p != nil {
		p.mu.Lock()
		member = p.member
		p.mu.Unlock()
	}
	if err := l.self.CheckHello(hello, lane.String(), member); err != nil {
		if l.callers.First(hello.GetFrom(), err.Error()) {
			l.log.Error().Str("peer", hex(hello.GetFrom())).Str("caller", caller(ctx)).Str("reason", err.Error()).Msg("refused a connection")
		}
		return nil, err
	}
	return p, nil
}

func caller(ctx context.Context) string {
	if from, ok := grpcpeer.FromContext(ctx); ok {
		return from.Addr.String()
	}
	return ""
}

// opened takes a stream up. It takes the place of a former one of the same lane: a peer that lost its connection may be
// back before this side has noticed.
func (p *peer) opened(s *session) {
	p.link.callers.Forget(p.id)
	p.settle("the peer is not reached yet", func() {
		if former := p.inbound[s.lane]; former != nil {
			former.end(refuse("the peer opened this lane anew"))
		}
		p.inbound[s.lane] = s
	})
	p.nudge()
	if p.ctx.Err() != nil {
		s.end(context.Cause(p.ctx)) // removed between the handshake and now
	}
}

func (p *peer) left(s *session, why error) {
	p.settle(why.Error(), func() {
		if p.inbound[s.lane] == s {
			p.inbound[s.lane] = nil
		}
	})
}

// read delivers what comes until the stream breaks or the peer breaks a rule of encoding.
func (s *session) read(stream grpc.ServerStream) error {
	p := s.peer
	mail := &incoming{}
	for {
		if err := stream.RecvMsg(mail); err != nil {
			return closed(err)
		}
		p.mailsReceived.Add(1)
		p.bytesReceived.Add(uint64(len(mail.data)))
		if err := mail.letters(s.deliver); err != nil {
			p.refused.Add(1)
			return fmt.Errorf("mail from member %x on lane %v cannot be read: %w", p.id, s.lane, err)
		}
		mail.data = nil
	}
}

// deliver hands a letter to its actor, if it says the truth about its sender and is addressed to whom peers may write.
func (s *session) deliver(role messages.Role, message proto.Message) {
	p := s.peer
	if s.over.Load() {
		return
	}
	if message == nil {
		p.reject(fmt.Errorf("a letter of a kind that this release does not know"))
		return
	}
	if err := live.CheckLetter(p.id, role, message); err != nil {
		p.reject(err)
		return
	}
	p.lettersReceived.Add(1)
	p.link.inbox.Deliver(p.id, role, message)
}

// reject counts a letter that is not delivered, and says so the first time.
func (p *peer) reject(why error) {
	if p.refused.Add(1) == 1 {
		p.link.log.Error().Str("peer", hex(p.id)).Err(why).Msg("dropped a letter; further ones are only counted")
	}
}
