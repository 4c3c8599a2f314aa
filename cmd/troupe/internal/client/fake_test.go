package client

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// fakeServer is a member that responds with the functions and values of a test.
type fakeServer struct {
	pb.UnimplementedKVServer
	pb.UnimplementedWatchServer
	pb.UnimplementedClusterServer
	pb.UnimplementedMaintenanceServer

	put    func(context.Context, *pb.PutRequest) (*pb.PutResponse, error)
	ranges func(context.Context, *pb.RangeRequest) (*pb.RangeResponse, error)
	watch  func(*pb.WatchCreateRequest, pb.Watch_WatchServer) error
	list   []*pb.Member
	status *pb.StatusResponse
	hash   func(*pb.HashKVRequest) (*pb.HashKVResponse, error)

	endpoint string
	server   *grpc.Server
	stopOnce sync.Once
}

func (f *fakeServer) Put(ctx context.Context, r *pb.PutRequest) (*pb.PutResponse, error) {
	return f.put(ctx, r)
}

func (f *fakeServer) Range(ctx context.Context, r *pb.RangeRequest) (*pb.RangeResponse, error) {
	return f.ranges(ctx, r)
}

func (f *fakeServer) Watch(stream pb.Watch_WatchServer) error {
	r, err := stream.Recv()
	if err != nil {
		return err
	}
	return f.watch(r.GetCreateRequest(), stream)
}

func (f *fakeServer) MemberList(context.Context, *pb.MemberListRequest) (*pb.MemberListResponse, error) {
	return &pb.MemberListResponse{Header: &pb.ResponseHeader{MemberId: f.status.GetHeader().GetMemberId()}, Members: f.list}, nil
}

func (f *fakeServer) Status(ctx context.Context, _ *pb.StatusRequest) (*pb.StatusResponse, error) {
	if len(metadata.ValueFromIncomingContext(ctx, rpctypes.MetadataRequireLeaderKey)) > 0 && f.status.GetLeader() == 0 {
		return nil, rpctypes.ErrGRPCNoLeader
	}
	return f.status, nil
}

func (f *fakeServer) HashKV(_ context.Context, r *pb.HashKVRequest) (*pb.HashKVResponse, error) {
	return f.hash(r)
}

// startFake serves f on a free port until the test ends.
func startFake(t *testing.T, f *fakeServer) *fakeServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f.endpoint, f.server = l.Addr().String(), grpc.NewServer()
	pb.RegisterKVServer(f.server, f)
	pb.RegisterWatchServer(f.server, f)
	pb.RegisterClusterServer(f.server, f)
	pb.RegisterMaintenanceServer(f.server, f)
	go func() { _ = f.server.Serve(l) }()
	t.Cleanup(f.stop)
	return f
}

// stop ends the member; every connection breaks.
func (f *fakeServer) stop() { f.stopOnce.Do(f.server.Stop) }

// unusedAddresses counts the calls of unusedAddress.
var unusedAddresses atomic.Int32

// unusedAddress returns an address without a listener: the system never assigns ports so low.
func unusedAddress() string { return fmt.Sprintf("127.0.0.1:%d", 1+unusedAddresses.Add(1)%6) }

func newCluster(t *testing.T, endpoints ...string) *Cluster {
	t.Helper()
	var parsed []Endpoint
	for _, text := range endpoints {
		e, err := ParseEndpoints(text, false)
		if err != nil {
			t.Fatal(err)
		}
		parsed = append(parsed, e...)
	}
	c := New(parsed, nil)
	t.Cleanup(c.Close)
	return c
}

func testContext(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

func put(ctx context.Context, c *Cluster) error {
	return c.Write(ctx, func(ctx context.Context, conn grpc.ClientConnInterface) error {
		_, err := pb.NewKVClient(conn).Put(ctx, &pb.PutRequest{Key: []byte("k")})
		return err
	})
}

func get(ctx context.Context, c *Cluster) (string, error) {
	var value string
	err := c.Read(ctx, func(ctx context.Context, conn grpc.ClientConnInterface) error {
		response, err := pb.NewKVClient(conn).Range(ctx, &pb.RangeRequest{Key: []byte("k")})
		if err == nil {
			value = string(response.Kvs[0].Value)
		}
		return err
	})
	return value, err
}

func respondWith(value string) func(context.Context, *pb.RangeRequest) (*pb.RangeResponse, error) {
	return func(context.Context, *pb.RangeRequest) (*pb.RangeResponse, error) {
		return &pb.RangeResponse{Kvs: []*mvccpb.KeyValue{{Key: []byte("k"), Value: []byte(value)}}}, nil
	}
}
