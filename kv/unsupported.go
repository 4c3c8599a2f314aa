package kv

import (
	"context"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"

	"github.com/troupe-raft/troupe/kv/internal/header"
	"github.com/troupe-raft/troupe/kv/mvcc"
)

// authService reports that authentication is off, in the way that makes a client with a password
// continue without it.
type authService struct {
	pb.UnimplementedAuthServer
	headers *header.Maker
	store   *mvcc.StoreRef
}

// initialAuthRevision is etcd's revision of users and roles before their first change.
const initialAuthRevision = 1

func (s *authService) AuthStatus(context.Context, *pb.AuthStatusRequest) (*pb.AuthStatusResponse, error) {
	header := s.headers.At(s.store.Revision())
	return &pb.AuthStatusResponse{Header: header, AuthRevision: initialAuthRevision}, nil
}

func (s *authService) Authenticate(context.Context, *pb.AuthenticateRequest) (*pb.AuthenticateResponse, error) {
	return nil, rpctypes.ErrGRPCAuthNotEnabled
}

// authServiceDesc describes the Auth service without the methods that are not served, which leaves
// them to refuseUnknownMethod and its texts.
func authServiceDesc() *grpc.ServiceDesc {
	desc := pb.Auth_ServiceDesc
	desc.Methods = nil
	for _, m := range pb.Auth_ServiceDesc.Methods {
		if m.MethodName == "AuthStatus" || m.MethodName == "Authenticate" {
			desc.Methods = append(desc.Methods, m)
		}
	}
	return &desc
}

// unsupportedMethods names what is not served, by the prefix of the method.
var unsupportedMethods = []struct{ prefix, name string }{
	{"/etcdserverpb.Lease/", "leases are"},
	{"/etcdserverpb.Auth/", "authentication is"},
	{"/v3electionpb.Election/", "elections by the server are"},
	{"/v3lockpb.Lock/", "locks by the server are"},
}

// refuseUnknownMethod refuses every call that no service has.
func refuseUnknownMethod(_ any, stream grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(stream)
	for _, u := range unsupportedMethods {
		if strings.HasPrefix(method, u.prefix) {
			return errNotSupported(u.name)
		}
	}
	return errNotSupported("the call " + method + " is")
}
