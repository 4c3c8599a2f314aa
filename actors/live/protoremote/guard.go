package protoremote

import (
	"context"
	"fmt"
	"maps"
	"sync"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/asynkron/protoactor-go/remote"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/troupe-raft/troupe/actors/live"
	"github.com/troupe-raft/troupe/messages"
)

// refuseUnary refuses every unary call: those that the library has are not implemented and crash the process.
func refuseUnary(_ context.Context, _ any, info *grpc.UnaryServerInfo, _ grpc.UnaryHandler) (any, error) {
	return nil, status.Errorf(codes.Unimplemented, "%s is not offered by a Troupe member", info.FullMethod)
}

// checkStream puts a guard before the library's reader, and makes its panics errors of the stream.
func checkStream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
	defer func() {
		if reason := recover(); reason != nil {
			err = status.Errorf(codes.Internal, "%s failed: %v", info.FullMethod, reason)
		}
	}()
	return handler(srv, &checkedStream{stream})
}

// checkedStream lets nothing through to the library but greetings and letters for the post.
type checkedStream struct{ grpc.ServerStream }

func (g *checkedStream) RecvMsg(m any) error {
	if err := g.ServerStream.RecvMsg(m); err != nil {
		return err
	}
	if message, ok := m.(*remote.RemoteMessage); ok {
		if err := checkMessage(message); err != nil {
			return status.Error(codes.PermissionDenied, err.Error())
		}
	}
	return nil
}

var acceptedTypes = map[string]bool{
	string((&messages.Hello{}).ProtoReflect().Descriptor().FullName()):    true,
	string((&messages.Envelope{}).ProtoReflect().Descriptor().FullName()): true,
}

// inspect says what is wrong with what a caller sent; nil if nothing is. Indexes are checked since the library does not.
func checkMessage(message *remote.RemoteMessage) error {
	switch m := message.MessageType.(type) {
	case *remote.RemoteMessage_ConnectRequest:
		if _, server := m.ConnectRequest.GetConnectionType().(*remote.ConnectRequest_ServerConnection); !server {
			return fmt.Errorf("only members connect to this port")
		}
		return nil
	case *remote.RemoteMessage_MessageBatch:
		return checkBatch(m.MessageBatch)
	}
	return fmt.Errorf("%T is not accepted from peers", message.MessageType)
}

func checkBatch(b *remote.MessageBatch) error {
	for _, envelope := range b.GetEnvelopes() {
		kind, target := int(envelope.GetTypeId()), int(envelope.GetTarget())
		switch {
		case kind < 0 || kind >= len(b.GetTypeNames()) || target < 0 || target >= len(b.GetTargets()):
			return fmt.Errorf("a batch that names what it does not hold")
		case !acceptedTypes[b.GetTypeNames()[kind]]:
			return fmt.Errorf("%q is not accepted from peers", b.GetTypeNames()[kind])
		case b.GetTargets()[target] != receiverName:
			return fmt.Errorf("peers may not write to %q", b.GetTargets()[target])
		case envelope.GetSender() != 0 || envelope.GetSerializerId() != 0 || envelope.GetTargetRequestId() != 0 || envelope.GetMessageHeader() != nil:
			return fmt.Errorf("a letter with more than a letter in it")
		}
	}
	return nil
}

// post is the process that hears what peers send. It runs on the library's reading goroutines and hands on to mailboxes.
type inboundProcess struct {
	link *Link

	mu     sync.Mutex
	hellos map[uint64]*messages.Hello // guarded by mu; the last greeting of each who greeted
	closed bool                       // guarded by mu
}

// maxHellos bounds what strangers can leave behind.
const maxHellos = 256

func (p *inboundProcess) SendUserMessage(_ *actor.PID, message any) {
	_, inner, _ := actor.UnwrapEnvelope(message)
	switch m := inner.(type) {
	case *messages.Hello:
		p.storeHello(m)
	case *messages.Envelope:
		p.deliver(m.GetRole(), m.PeerMessage())
	}
}

func (p *inboundProcess) SendSystemMessage(*actor.PID, any) {}
func (p *inboundProcess) Stop(*actor.PID)                   {}

func (p *inboundProcess) storeHello(hello *messages.Hello) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.hellos) >= maxHellos {
		// Members' greetings stay: they greet but once a connection.
		maps.DeleteFunc(p.hellos, func(id uint64, _ *messages.Hello) bool { return p.link.peer(id) == nil })
	}
	p.hellos[hello.GetFrom()] = hello
}

func (p *inboundProcess) deliver(role messages.Role, message messages.PeerMessage) {
	if message == nil {
		return
	}
	from := message.SenderID()
	peer := p.link.peer(from)
	if peer == nil {
		return
	}
	if err := live.CheckPeerMessage(from, role, message); err != nil || !p.helloAccepted(peer) {
		peer.refused.Add(1)
		return
	}
	peer.received.Add(1)
	p.link.receiver.Deliver(from, role, message)
}

// admitted checks the peer's last greeting against what is known of it now: the greeting may have come first.
func (p *inboundProcess) helloAccepted(peer *remotePeer) bool {
	id := peer.member.GetId()
	p.mu.Lock()
	defer p.mu.Unlock()
	hello := p.hellos[id]
	if p.closed || hello == nil {
		return false
	}
	err := p.link.self.CheckHello(hello, receiverName, peer.member)
	if err == nil {
		return true
	}
	if p.link.failures.Allow(id, err.Error()) {
		p.link.log.Error().Str("reason", err.Error()).Msg("refused a peer")
	}
	return false
}

// close ends delivery for good.
func (p *inboundProcess) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
}
