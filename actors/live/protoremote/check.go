package protoremote

import (
	"context"
	"fmt"

	"github.com/asynkron/protoactor-go/remote"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/troupe-raft/troupe/messages"
)

// refuseUnary refuses all unary calls. Proto.Actor offers some, does not implement them, and
// crashes the process when they are called.
func refuseUnary(_ context.Context, _ any, info *grpc.UnaryServerInfo, _ grpc.UnaryHandler) (any, error) {
	return nil, status.Errorf(codes.Unimplemented, "%s is not offered by a Troupe member", info.FullMethod)
}

// checkStream checks what Proto.Actor reads from a stream, and turns its panics into errors.
func checkStream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
	defer func() {
		if reason := recover(); reason != nil {
			err = status.Errorf(codes.Internal, "%s failed: %v", info.FullMethod, reason)
		}
	}()
	return handler(srv, &checkedStream{stream})
}

// checkedStream ends with an error at the first message that checkMessage refuses.
type checkedStream struct{ grpc.ServerStream }

func (s *checkedStream) RecvMsg(m any) error {
	if err := s.ServerStream.RecvMsg(m); err != nil {
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

// checkMessage returns an error for everything but Hello and Envelope to the inboundProcess.
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

// checkBatch checks the indexes too, since Proto.Actor does not.
func checkBatch(b *remote.MessageBatch) error {
	for _, envelope := range b.GetEnvelopes() {
		kind, target := int(envelope.GetTypeId()), int(envelope.GetTarget())
		switch {
		case kind < 0 || kind >= len(b.GetTypeNames()) || target < 0 || target >= len(b.GetTargets()):
			return fmt.Errorf("the batch has an index out of range")
		case !acceptedTypes[b.GetTypeNames()[kind]]:
			return fmt.Errorf("%q is not accepted from peers", b.GetTypeNames()[kind])
		case b.GetTargets()[target] != receiverName:
			return fmt.Errorf("peers may not send to %q", b.GetTargets()[target])
		case envelope.GetSender() != 0 || envelope.GetSerializerId() != 0 ||
			envelope.GetTargetRequestId() != 0 || envelope.GetMessageHeader() != nil:
			return fmt.Errorf("the batch uses a feature that is not accepted from peers")
		}
	}
	return nil
}
