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
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/actors/live"
	"github.com/troupe-raft/troupe/messages"
)

// refuseUnary refuses every unary call: those that the library has are not implemented and crash the process.
func refuseUnary(_ context.Context, _ any, info *grpc.UnaryServerInfo, _ grpc.UnaryHandler) (any, error) {
	return nil, status.Errorf(codes.Unimplemented, "%s is not offered by a Troupe member", info.FullMethod)
}

// guardStream puts a guard before the library's reader, and makes its panics errors of the stream.
func guardStream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
	defer func() {
		if reason := recover(); reason != nil {
			err = status.Errorf(codes.Internal, "%s failed: %v", info.FullMethod, reason)
		}
	}()
	return handler(srv, &guardedStream{stream})
}

// guardedStream lets nothing through to the library but greetings and letters for the post.
type guardedStream struct{ grpc.ServerStream }

func (g *guardedStream) RecvMsg(m any) error {
	if err := g.ServerStream.RecvMsg(m); err != nil {
		return err
	}
	if message, ok := m.(*remote.RemoteMessage); ok {
		if err := inspect(message); err != nil {
			return status.Error(codes.PermissionDenied, err.Error())
		}
	}
	return nil
}

var permitted = map[string]bool{
	string((&messages.Hello{}).ProtoReflect().Descriptor().FullName()):  true,
	string((&messages.Letter{}).ProtoReflect().Descriptor().FullName()): true,
}

// inspect says what is wrong with what a caller sent; nil if nothing is. Indexes are checked since the library does not.
func inspect(message *remote.RemoteMessage) error {
	switch m := message.MessageType.(type) {
	case *remote.RemoteMessage_ConnectRequest:
		if _, server := m.ConnectRequest.GetConnectionType().(*remote.ConnectRequest_ServerConnection); !server {
			return fmt.Errorf("only members connect to this port")
		}
		return nil
	case *remote.RemoteMessage_MessageBatch:
		return inspectBatch(m.MessageBatch)
	}
	return fmt.Errorf("%T is not accepted from peers", message.MessageType)
}

func inspectBatch(b *remote.MessageBatch) error {
	for _, envelope := range b.GetEnvelopes() {
		kind, target := int(envelope.GetTypeId()), int(envelope.GetTarget())
		switch {
		case kind < 0 || kind >= len(b.GetTypeNames()) || target < 0 || target >= len(b.GetTargets()):
			return fmt.Errorf("a batch that names what it does not hold")
		case !permitted[b.GetTypeNames()[kind]]:
			return fmt.Errorf("%q is not accepted from peers", b.GetTypeNames()[kind])
		case b.GetTargets()[target] != postName:
			return fmt.Errorf("peers may not write to %q", b.GetTargets()[target])
		case envelope.GetSender() != 0 || envelope.GetSerializerId() != 0 || envelope.GetTargetRequestId() != 0 || envelope.GetMessageHeader() != nil:
			return fmt.Errorf("a letter with more than a letter in it")
		}
	}
	return nil
}

// post is the process that hears what peers send. It runs on the library's reading goroutines and hands on to mailboxes.
type post struct {
	link *Link

	mu      sync.Mutex
	hellos  map[uint64]*messages.Hello // guarded by mu; the last greeting of each who greeted
	refused map[uint64]string          // guarded by mu; why one of them was refused, once said
	closed  bool                       // guarded by mu
}

// maxGreetings bounds what strangers can leave behind.
const maxGreetings = 256

func (p *post) SendUserMessage(_ *actor.PID, message any) {
	_, inner, _ := actor.UnwrapEnvelope(message)
	switch m := inner.(type) {
	case *messages.Hello:
		p.greeted(m)
	case *messages.Letter:
		p.deliver(messages.Role(m.GetRole()), unwrap(m))
	}
}

func (p *post) SendSystemMessage(*actor.PID, any) {}
func (p *post) Stop(*actor.PID)                   {}

func (p *post) greeted(hello *messages.Hello) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.hellos) >= maxGreetings {
		// Members' greetings stay: they greet but once a connection.
		maps.DeleteFunc(p.hellos, func(id uint64, _ *messages.Hello) bool { return p.link.get(id) == nil })
	}
	p.hellos[hello.GetFrom()] = hello
}

func (p *post) deliver(role messages.Role, message proto.Message) {
	from, ok := live.Sender(message)
	if !ok {
		return
	}
	peer := p.link.get(from)
	if peer == nil {
		return
	}
	if err := live.CheckLetter(from, role, message); err != nil || !p.admitted(peer) {
		peer.refused.Add(1)
		return
	}
	peer.received.Add(1)
	p.link.inbox.Deliver(from, role, message)
}

// admitted checks the peer's last greeting against what is known of it now: the greeting may have come first.
func (p *post) admitted(peer *peer) bool {
	id := peer.member.GetId()
	p.mu.Lock()
	defer p.mu.Unlock()
	hello := p.hellos[id]
	if p.closed || hello == nil {
		return false
	}
	err := p.link.self.CheckHello(hello, postName, peer.member)
	if err == nil {
		return true
	}
	if p.refused[id] != err.Error() {
		if p.refused == nil {
			p.refused = map[uint64]string{}
		}
		p.refused[id] = err.Error()
		p.link.log.Error().Str("reason", err.Error()).Msg("refused a peer")
	}
	return false
}

// close ends delivery for good.
func (p *post) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
}

// wrap puts a message into the field of a Letter that is for its type.
func wrap(role messages.Role, message proto.Message) *messages.Letter {
	letter := &messages.Letter{Role: role}
	switch m := message.(type) {
	case *messages.RequestVote:
		letter.Message = &messages.Letter_RequestVote{RequestVote: m}
	case *messages.VoteAnswer:
		letter.Message = &messages.Letter_VoteAnswer{VoteAnswer: m}
	case *messages.AppendEntries:
		letter.Message = &messages.Letter_AppendEntries{AppendEntries: m}
	case *messages.AppendAnswer:
		letter.Message = &messages.Letter_AppendAnswer{AppendAnswer: m}
	case *messages.Heartbeat:
		letter.Message = &messages.Letter_Heartbeat{Heartbeat: m}
	case *messages.HeartbeatAnswer:
		letter.Message = &messages.Letter_HeartbeatAnswer{HeartbeatAnswer: m}
	case *messages.ForwardedProposals:
		letter.Message = &messages.Letter_ForwardedProposals{ForwardedProposals: m}
	case *messages.ProposalsRefused:
		letter.Message = &messages.Letter_ProposalsRefused{ProposalsRefused: m}
	case *messages.ForwardedRead:
		letter.Message = &messages.Letter_ForwardedRead{ForwardedRead: m}
	case *messages.ForwardedReadAnswer:
		letter.Message = &messages.Letter_ForwardedReadAnswer{ForwardedReadAnswer: m}
	case *messages.TimeoutNow:
		letter.Message = &messages.Letter_TimeoutNow{TimeoutNow: m}
	case *messages.Removed:
		letter.Message = &messages.Letter_Removed{Removed: m}
	}
	return letter
}

var kinds = (&messages.Letter{}).ProtoReflect().Descriptor().Oneofs().ByName("message")

// unwrap takes a Letter's message out; nil if it holds none that this release knows.
func unwrap(letter *messages.Letter) proto.Message {
	reflected := letter.ProtoReflect()
	kind := reflected.WhichOneof(kinds)
	if kind == nil {
		return nil
	}
	return reflected.Get(kind).Message().Interface()
}
