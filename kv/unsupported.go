package kv

import (
	"context"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
)

// authService says that authentication is off, in the way that lets a client which has a password go on without it.
type authService struct {
	pb.UnimplementedAuthServer
	headers *headers
	store   *StoreRef
}

// initialAuthRevision is the revision of users and roles before the first change, as etcd counts them.
const initialAuthRevision = 1

func (s *authService) AuthStatus(context.Context, *pb.AuthStatusRequest) (*pb.AuthStatusResponse, error) {
	response := &pb.AuthStatusResponse{Header: s.headers.atRevision(0), AuthRevision: initialAuthRevision}
	if store := s.store.ifOpen(); store != nil {
		response.Header.Revision = store.Revision()
	}
	return response, nil
}

func (s *authService) Authenticate(context.Context, *pb.AuthenticateRequest) (*pb.AuthenticateResponse, error) {
	return nil, rpctypes.ErrGRPCAuthNotEnabled
}

// authServiceDesc is the Auth service with no more methods than are served: the rest is refused by refuseUnknownMethod, in
// words that a person understands.
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

// unsupported names what is not served, by the start of the method.
var unsupportedMethods = []struct{ prefix, name string }{
	{"/etcdserverpb.Lease/", "leases are"},
	{"/etcdserverpb.Auth/", "authentication is"},
	{"/v3electionpb.Election/", "elections by the server are"},
	{"/v3lockpb.Lock/", "locks by the server are"},
}

// refuseUnknownMethod answers every call that no service has.
func refuseUnknownMethod(_ any, stream grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(stream)
	for _, u := range unsupportedMethods {
		if strings.HasPrefix(method, u.prefix) {
			return errNotSupported(u.name)
		}
	}
	return errNotSupported("the call " + method + " is")
}
