package kv

import (
	"context"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// interceptUnary counts a unary call and applies the limits of the client port.
func (s *Server) interceptUnary(ctx context.Context, request any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	m := s.metrics.rpc.methods[info.FullMethod]
	began := m.begin()
	response, err := any(nil), s.admit(ctx, false)
	switch {
	case err != nil:
	case s.requests.tryAcquire():
		reading, reserved := s.budget.reserveFor(ctx, request)
		response, err = handle(reading, request)
		response = reserved.attach(ctx, response, err)
		s.requests.release()
	default:
		err = errTooManyRequests
	}
	m.endUnary(began, err)
	return response, err
}

// interceptStream is interceptUnary for streams.
func (s *Server) interceptStream(service any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
	m := s.metrics.rpc.methods[info.FullMethod]
	began := m.begin()
	if m != nil {
		stream = countedStream{stream, m}
	}
	err := s.admit(stream.Context(), true)
	if err == nil && !s.streams.tryAcquire() {
		err = errTooManyRequests
	} else if err == nil {
		defer s.streams.release()
		if info.FullMethod == healthpb.Health_Watch_FullMethodName {
			// gRPC's health service does not end its streams when the server stops.
			ctx, cancel := context.WithCancel(stream.Context())
			defer cancel()
			defer context.AfterFunc(s.stopContext, cancel)()
			stream = streamWithContext{stream, ctx}
		}
		err = handle(service, stream)
	}
	m.end(began, err)
	return err
}

// streamWithContext replaces the context of a stream.
type streamWithContext struct {
	grpc.ServerStream
	ctx context.Context
}

func (s streamWithContext) Context() context.Context { return s.ctx }

// admit counts a call by its client's version, and refuses it if the client requires a leader and
// there is none.
func (s *Server) admit(ctx context.Context, stream bool) error {
	if err := s.metrics.rpc.clients.count(ctx, stream); err != nil {
		return err
	}
	return s.requireLeader(ctx)
}

// requireLeader refuses calls that require a leader while this member knows none.
func (s *Server) requireLeader(ctx context.Context) error {
	if requiresLeader(ctx) && s.config.Consensus.Status().LeaderID == 0 {
		return rpctypes.ErrGRPCNoLeader
	}
	return nil
}
