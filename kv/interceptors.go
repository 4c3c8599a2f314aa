package kv

import (
	"context"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// intercept is the interceptor of unary calls; it must stay cheap. Clients that require a leader are refused without one.
func (s *Server) interceptUnary(ctx context.Context, request any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	m := s.metrics.methods[info.FullMethod]
	if m != nil {
		m.started.Inc()
	}
	response, err := any(nil), s.requireLeader(ctx)
	switch {
	case err != nil:
	case s.requests.tryAcquire():
		response, err = handle(ctx, request)
		s.requests.release()
	default:
		err = errTooManyRequests
	}
	if m != nil {
		m.countResult(err)
	}
	return response, err
}

func (s *Server) interceptStream(service any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
	m := s.metrics.methods[info.FullMethod]
	if m != nil {
		m.started.Inc()
	}
	err := s.requireLeader(stream.Context())
	if err == nil && !s.streams.tryAcquire() {
		err = errTooManyRequests
	} else if err == nil {
		defer s.streams.release()
		if info.FullMethod == healthpb.Health_Watch_FullMethodName {
			// The library's health service would watch on while everybody else has finished.
			ctx, cancel := context.WithCancel(stream.Context())
			defer cancel()
			defer context.AfterFunc(s.stopContext, cancel)()
			stream = streamWithContext{stream, ctx}
		}
		err = handle(service, stream)
	}
	if m != nil {
		m.countResult(err)
	}
	return err
}

// streamWithContext is a stream that ends earlier than its client wants.
type streamWithContext struct {
	grpc.ServerStream
	ctx context.Context
}

func (s streamWithContext) Context() context.Context { return s.ctx }

// requireLeader refuses clients that ask to be refused by a member that knows no leader.
func (s *Server) requireLeader(ctx context.Context) error {
	if requiresLeader(ctx) && s.config.Consensus.Status().LeaderID == 0 {
		return rpctypes.ErrGRPCNoLeader
	}
	return nil
}
