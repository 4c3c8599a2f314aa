package kv

import (
	"context"
	"slices"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"

	"github.com/troupe-raft/troupe/kv/internal/header"
	"github.com/troupe-raft/troupe/kv/mvcc"
)

// authService is etcd's Auth service while authentication is off and there are no users and roles:
// that makes a client with a password continue without it. Changes are not served.
type authService struct {
	pb.UnimplementedAuthServer
	headers *header.Maker
	store   *mvcc.StoreRef
}

// initialAuthRevision is etcd's revision of users and roles before their first change.
const initialAuthRevision = 1

func (s *authService) AuthStatus(context.Context, *pb.AuthStatusRequest) (*pb.AuthStatusResponse, error) {
	return &pb.AuthStatusResponse{Header: s.header(), AuthRevision: initialAuthRevision}, nil
}

func (s *authService) Authenticate(context.Context, *pb.AuthenticateRequest) (*pb.AuthenticateResponse, error) {
	return nil, rpctypes.ErrGRPCAuthNotEnabled
}

func (s *authService) header() *pb.ResponseHeader { return s.headers.At(s.store.Revision()) }

func (s *authService) UserList(context.Context, *pb.AuthUserListRequest) (*pb.AuthUserListResponse, error) {
	return &pb.AuthUserListResponse{Header: s.header()}, nil
}

func (s *authService) UserGet(context.Context, *pb.AuthUserGetRequest) (*pb.AuthUserGetResponse, error) {
	return nil, rpctypes.ErrGRPCUserNotFound
}

func (s *authService) RoleList(context.Context, *pb.AuthRoleListRequest) (*pb.AuthRoleListResponse, error) {
	return &pb.AuthRoleListResponse{Header: s.header()}, nil
}

func (s *authService) RoleGet(context.Context, *pb.AuthRoleGetRequest) (*pb.AuthRoleGetResponse, error) {
	return nil, rpctypes.ErrGRPCRoleNotFound
}

// authMethods are the methods of the Auth service that are served.
var authMethods = []string{"AuthStatus", "Authenticate", "UserList", "UserGet", "RoleList", "RoleGet"}

// authServiceDesc describes the Auth service without the methods that are not served, which leaves
// them to refuseUnknownMethod and its texts.
func authServiceDesc() *grpc.ServiceDesc {
	desc := pb.Auth_ServiceDesc
	desc.Methods = nil
	for _, m := range pb.Auth_ServiceDesc.Methods {
		if slices.Contains(authMethods, m.MethodName) {
			desc.Methods = append(desc.Methods, m)
		}
	}
	return &desc
}

// unsupportedMethods names what is not served, by the prefix of the method.
var unsupportedMethods = []struct{ prefix, name string }{
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
