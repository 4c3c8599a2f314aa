package kv

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/troupe-raft/troupe"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// MemberRejoinMethod is the gRPC method by which the leader records the new data directory of a
// member that lost its own: messages.MemberRejoinRequest to messages.MemberRejoinResponse. etcd has
// no such call.
const MemberRejoinMethod = "/troupe.v1.Members/Rejoin"

// rejoiner is an optional interface of a Consensus whose members can rejoin.
type rejoiner interface {
	RejoinMember(ctx context.Context, r troupe.RejoinRequest) (troupe.RejoinResult, error)
}

// membersService is Troupe's own service for operators.
type membersService struct{ consensus Consensus }

// membersServiceDesc describes the service to gRPC.
func membersServiceDesc() *grpc.ServiceDesc {
	return &grpc.ServiceDesc{
		ServiceName: "troupe.v1.Members",
		HandlerType: (*any)(nil),
		Methods:     []grpc.MethodDesc{{MethodName: "Rejoin", Handler: handleRejoin}},
	}
}

func handleRejoin(service any, ctx context.Context, decode func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) {
	request := &messages.MemberRejoinRequest{}
	if err := decode(request); err != nil {
		return nil, err
	}
	info := &grpc.UnaryServerInfo{Server: service, FullMethod: MemberRejoinMethod}
	return intercept(ctx, request, info, func(ctx context.Context, request any) (any, error) {
		return service.(*membersService).rejoin(ctx, request.(*messages.MemberRejoinRequest))
	})
}

func (s *membersService) rejoin(ctx context.Context, r *messages.MemberRejoinRequest) (*messages.MemberRejoinResponse, error) {
	node, ok := s.consensus.(rejoiner)
	if !ok {
		return nil, errNotSupported("rejoining is")
	}
	recorded, err := node.RejoinMember(ctx, troupe.RejoinRequest{MemberID: r.GetMemberId(), StorageID: r.GetStorageId(), Force: r.GetForce()})
	switch {
	case err == nil:
		return &messages.MemberRejoinResponse{StorageId: recorded.StorageID, Unchanged: recorded.Unchanged}, nil
	case errors.Is(err, troupe.ErrNotLeader):
		return nil, rpctypes.ErrGRPCNotLeader
	case errors.Is(err, troupe.ErrNotMember):
		return nil, status.Error(codes.NotFound, "troupe: "+err.Error())
	case errors.Is(err, troupe.ErrInvalidStorageID):
		return nil, status.Error(codes.InvalidArgument, "troupe: "+err.Error())
	case errors.Is(err, troupe.ErrNotRejoining), errors.Is(err, troupe.ErrMemberConnected):
		return nil, status.Error(codes.FailedPrecondition, "troupe: "+err.Error())
	}
	return nil, toStatus(err)
}

// rejoinErrors returns what is wrong with the data directories of members, as far as a node knows.
func rejoinErrors(node troupe.Status) (all []string) {
	if node.Rejoining {
		all = append(all, fmt.Sprintf("troupe: member %s waits to rejoin with a new data directory: %s", raft.FormatID(node.ID), rejoinAdvice(node.ID)))
	}
	for _, p := range node.Peers {
		id := raft.FormatID(p.ID)
		switch {
		case p.AsksToRejoin != "":
			all = append(all, fmt.Sprintf("troupe: member %s asks to rejoin with a new data directory: run `troupe member rejoin %s`", id, id))
		case p.LostEntries:
			all = append(all, fmt.Sprintf("troupe: member %s lost entries that it had acknowledged: its data directory is an older copy, or its disk "+
				"lost writes; move its data directory away, start it with --initial-cluster-state=rejoin, then run `troupe member rejoin %s`", id, id))
		}
	}
	return all
}

// rejoinAdvice returns what an operator does for a member that waits to rejoin.
func rejoinAdvice(member uint64) string {
	return fmt.Sprintf("run `troupe member rejoin %s` with the endpoint of another member", raft.FormatID(member))
}
