package conformance

import (
	"context"
	"fmt"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/protobuf/proto"
)

// serviceCall is a call to a service other than KV. normalize removes from the response what may
// differ between servers.
type serviceCall struct {
	name      string
	call      func(context.Context, *grpc.ClientConn) (proto.Message, error)
	normalize func(proto.Message)
}

// call wraps a method of a generated client.
func call[Request, Response proto.Message](
	method func(*grpc.ClientConn) func(context.Context, Request, ...grpc.CallOption) (Response, error), request Request,
) func(context.Context, *grpc.ClientConn) (proto.Message, error) {
	return func(ctx context.Context, conn *grpc.ClientConn) (proto.Message, error) {
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		response, err := method(conn)(ctx, request)
		if err != nil {
			return nil, err
		}
		return response, nil
	}
}

// otherServices returns the calls to a store of revision 6 that is compacted at 4.
func otherServices() (calls []serviceCall) {
	hashKV := func(c *grpc.ClientConn) func(context.Context, *pb.HashKVRequest, ...grpc.CallOption) (*pb.HashKVResponse, error) {
		return pb.NewMaintenanceClient(c).HashKV
	}
	for _, revision := range []int64{0, 3, 4, 5, 6, 7} {
		calls = append(calls, serviceCall{fmt.Sprintf("HashKV of %d", revision), call(hashKV, &pb.HashKVRequest{Revision: revision}),
			func(m proto.Message) { m.(*pb.HashKVResponse).Hash = 0 }}) // depends on the storage format
	}
	alarm := func(c *grpc.ClientConn) func(context.Context, *pb.AlarmRequest, ...grpc.CallOption) (*pb.AlarmResponse, error) {
		return pb.NewMaintenanceClient(c).Alarm
	}
	return append(calls,
		serviceCall{"Hash", call(func(c *grpc.ClientConn) func(context.Context, *pb.HashRequest, ...grpc.CallOption) (*pb.HashResponse, error) {
			return pb.NewMaintenanceClient(c).Hash
		}, &pb.HashRequest{}), func(m proto.Message) { m.(*pb.HashResponse).Hash = 0 }},
		serviceCall{"the list of alarms", call(alarm, &pb.AlarmRequest{}), nil},
		serviceCall{"the list of one kind of alarm", call(alarm, &pb.AlarmRequest{Alarm: pb.AlarmType_CORRUPT}), nil},
		serviceCall{"MoveLeader to nobody", call(func(c *grpc.ClientConn) func(context.Context, *pb.MoveLeaderRequest, ...grpc.CallOption) (*pb.MoveLeaderResponse, error) {
			return pb.NewMaintenanceClient(c).MoveLeader
		}, &pb.MoveLeaderRequest{TargetID: 1}), nil},
		serviceCall{"Status", call(func(c *grpc.ClientConn) func(context.Context, *pb.StatusRequest, ...grpc.CallOption) (*pb.StatusResponse, error) {
			return pb.NewMaintenanceClient(c).Status
		}, &pb.StatusRequest{}), func(m proto.Message) {
			s := m.(*pb.StatusResponse)
			s.Leader, s.RaftIndex, s.RaftTerm, s.RaftAppliedIndex, s.DbSize, s.DbSizeInUse, s.DbSizeQuota = 0, 0, 0, 0, 0, 0, 0
		}},
		serviceCall{"AuthStatus", call(func(c *grpc.ClientConn) func(context.Context, *pb.AuthStatusRequest, ...grpc.CallOption) (*pb.AuthStatusResponse, error) {
			return pb.NewAuthClient(c).AuthStatus
		}, &pb.AuthStatusRequest{}), nil},
		serviceCall{"Authenticate", call(func(c *grpc.ClientConn) func(context.Context, *pb.AuthenticateRequest, ...grpc.CallOption) (*pb.AuthenticateResponse, error) {
			return pb.NewAuthClient(c).Authenticate
		}, &pb.AuthenticateRequest{Name: "root", Password: "x"}), nil},
		serviceCall{"MemberList", call(func(c *grpc.ClientConn) func(context.Context, *pb.MemberListRequest, ...grpc.CallOption) (*pb.MemberListResponse, error) {
			return pb.NewClusterClient(c).MemberList
		}, &pb.MemberListRequest{Linearizable: true}), func(m proto.Message) {
			for _, member := range m.(*pb.MemberListResponse).Members {
				member.ID, member.ClientURLs, member.PeerURLs = 0, nil, nil
			}
		}},
	)
}

// emptyServices returns the calls to a store without users, roles and leases.
func emptyServices() []serviceCall {
	return []serviceCall{
		{"UserList", call(func(c *grpc.ClientConn) func(context.Context, *pb.AuthUserListRequest, ...grpc.CallOption) (*pb.AuthUserListResponse, error) {
			return pb.NewAuthClient(c).UserList
		}, &pb.AuthUserListRequest{}), nil},
		{"UserGet", call(func(c *grpc.ClientConn) func(context.Context, *pb.AuthUserGetRequest, ...grpc.CallOption) (*pb.AuthUserGetResponse, error) {
			return pb.NewAuthClient(c).UserGet
		}, &pb.AuthUserGetRequest{Name: "u"}), nil},
		{"RoleList", call(func(c *grpc.ClientConn) func(context.Context, *pb.AuthRoleListRequest, ...grpc.CallOption) (*pb.AuthRoleListResponse, error) {
			return pb.NewAuthClient(c).RoleList
		}, &pb.AuthRoleListRequest{}), nil},
		{"RoleGet", call(func(c *grpc.ClientConn) func(context.Context, *pb.AuthRoleGetRequest, ...grpc.CallOption) (*pb.AuthRoleGetResponse, error) {
			return pb.NewAuthClient(c).RoleGet
		}, &pb.AuthRoleGetRequest{Role: "r"}), nil},
		{"LeaseLeases", call(func(c *grpc.ClientConn) func(context.Context, *pb.LeaseLeasesRequest, ...grpc.CallOption) (*pb.LeaseLeasesResponse, error) {
			return pb.NewLeaseClient(c).LeaseLeases
		}, &pb.LeaseLeasesRequest{}), nil},
		{"LeaseTimeToLive", call(func(c *grpc.ClientConn) func(context.Context, *pb.LeaseTimeToLiveRequest, ...grpc.CallOption) (*pb.LeaseTimeToLiveResponse, error) {
			return pb.NewLeaseClient(c).LeaseTimeToLive
		}, &pb.LeaseTimeToLiveRequest{ID: 291, Keys: true}), nil},
		{"LeaseRevoke", call(func(c *grpc.ClientConn) func(context.Context, *pb.LeaseRevokeRequest, ...grpc.CallOption) (*pb.LeaseRevokeResponse, error) {
			return pb.NewLeaseClient(c).LeaseRevoke
		}, &pb.LeaseRevokeRequest{ID: 291}), nil},
		{"LeaseKeepAlive", keepAlive, nil},
		{"a gzip-compressed call", call(func(c *grpc.ClientConn) func(context.Context, *pb.AuthStatusRequest, ...grpc.CallOption) (*pb.AuthStatusResponse, error) {
			return func(ctx context.Context, r *pb.AuthStatusRequest, o ...grpc.CallOption) (*pb.AuthStatusResponse, error) {
				return pb.NewAuthClient(c).AuthStatus(ctx, r, append(o, grpc.UseCompressor(gzip.Name))...)
			}
		}, &pb.AuthStatusRequest{}), nil},
	}
}

// keepAlive renews a lease that does not exist.
func keepAlive(ctx context.Context, conn *grpc.ClientConn) (proto.Message, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	stream, err := pb.NewLeaseClient(conn).LeaseKeepAlive(ctx)
	if err == nil {
		err = stream.Send(&pb.LeaseKeepAliveRequest{ID: 291})
	}
	if err != nil {
		return nil, err
	}
	return stream.Recv()
}

func TestOtherServicesMatchEtcd(t *testing.T) {
	ctx := contextWithin(t, 5*time.Minute)
	etcd := connect(t, startCluster(t, reference, 1).Members[0])
	own := connect(t, startCluster(t, program, 1).Members[0])
	for _, request := range []proto.Message{
		putKey("a", "1"), putKey("a", "2"), putKey("b", "1"), deleteKeys("a", ""), putKey("a", "3"),
		&pb.CompactionRequest{Revision: 4, Physical: true},
	} {
		for _, conn := range []*grpc.ClientConn{etcd, own} {
			if _, err := invoke(ctx, conn, request); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, c := range append(otherServices(), emptyServices()...) {
		want, wantErr := c.call(ctx, etcd)
		got, gotErr := c.call(ctx, own)
		for _, response := range []proto.Message{got, want} {
			if response != nil && c.normalize != nil {
				c.normalize(response)
			}
		}
		if difference := compareResponses(got, gotErr, want, wantErr); difference != "" {
			t.Errorf("%s: %s", c.name, difference)
		}
	}
}
