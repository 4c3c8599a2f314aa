package client

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// A member without a leader answers after its request timeout that it has not proposed the write.
func TestUnproposedWriteGoesToNextEndpoint(t *testing.T) {
	notProposed := func(context.Context, *pb.PutRequest) (*pb.PutResponse, error) {
		return nil, status.FromContextError(context.DeadlineExceeded).Err()
	}
	without := startFake(t, &fakeServer{put: notProposed, status: &pb.StatusResponse{}})
	with := startFake(t, &fakeServer{put: func(context.Context, *pb.PutRequest) (*pb.PutResponse, error) { return &pb.PutResponse{}, nil }})
	if err := put(testContext(t, time.Minute), newCluster(t, without.endpoint, with.endpoint)); err != nil {
		t.Fatalf("another member has a leader: %v", err)
	}
	awaitNoLeader(t, "no member has a leader", func(ctx context.Context) error { return put(ctx, newCluster(t, without.endpoint)) })
}

// awaitNoLeader repeats a request until it ends with a *NoLeaderError, and returns its text. A
// write's outcome is unknown if the machine stalls while the last of many attempts is under way.
func awaitNoLeader(t *testing.T, what string, request func(context.Context) error) string {
	t.Helper()
	for try := 1; ; try++ {
		err := request(testContext(t, time.Second))
		var none *NoLeaderError
		if errors.As(err, &none) {
			return err.Error()
		}
		if t.Logf("%s: %v", what, err); try == 20 {
			t.Fatalf("%s: no try returned a NoLeaderError", what)
		}
	}
}

// A member that waits to rejoin, or that is cut off, refuses a request that requires a leader, and
// the next endpoint is tried at once.
func TestMemberWithoutLeaderIsSkipped(t *testing.T) {
	requires := func(ctx context.Context) bool {
		return len(metadata.ValueFromIncomingContext(ctx, rpctypes.MetadataRequireLeaderKey)) > 0
	}
	without := startFake(t, &fakeServer{
		put: func(ctx context.Context, _ *pb.PutRequest) (*pb.PutResponse, error) {
			if !requires(ctx) {
				return nil, rpctypes.ErrGRPCTimeout // after it has waited for a leader
			}
			return nil, rpctypes.ErrGRPCNoLeader
		},
		ranges: func(ctx context.Context, r *pb.RangeRequest) (*pb.RangeResponse, error) {
			if requires(ctx) {
				return nil, rpctypes.ErrGRPCNoLeader
			}
			return respondWith("its own")(ctx, r)
		},
	})
	with := startFake(t, &fakeServer{
		put:    func(context.Context, *pb.PutRequest) (*pb.PutResponse, error) { return &pb.PutResponse{}, nil },
		ranges: respondWith("of the cluster"),
	})
	ctx := testContext(t, time.Minute)
	if err := put(ctx, newCluster(t, without.endpoint, unusedAddress(), with.endpoint)); err != nil {
		t.Errorf("put: %v", err)
	}
	request := func(read func(context.Context, func(context.Context, grpc.ClientConnInterface) error) error) (value string) {
		if err := read(ctx, func(ctx context.Context, conn grpc.ClientConnInterface) error {
			response, err := pb.NewKVClient(conn).Range(ctx, &pb.RangeRequest{Key: []byte("k")})
			if err == nil {
				value = string(response.Kvs[0].Value)
			}
			return err
		}); err != nil {
			t.Errorf("get: %v", err)
		}
		return value
	}
	if got := request(newCluster(t, without.endpoint, with.endpoint).ReadWithLeader); got != "of the cluster" {
		t.Errorf("a read that needs a leader got %q", got)
	}
	if got := request(newCluster(t, without.endpoint, with.endpoint).Read); got != "its own" {
		t.Errorf("a read that needs none got %q", got)
	}
}

// All requests that need a leader end with one text, that names who was asked and what to do.
func TestNoLeaderHasOneText(t *testing.T) {
	t.Parallel() // waits for timeouts
	refuse := &fakeServer{
		put: func(context.Context, *pb.PutRequest) (*pb.PutResponse, error) { return nil, rpctypes.ErrGRPCNoLeader },
		ranges: func(context.Context, *pb.RangeRequest) (*pb.RangeResponse, error) {
			return nil, rpctypes.ErrGRPCNoLeader
		},
		status: &pb.StatusResponse{Header: &pb.ResponseHeader{MemberId: 1}},
		list:   []*pb.Member{{ID: 1, Name: "a"}, {ID: 2, Name: "b"}},
	}
	startFake(t, refuse)
	c := newCluster(t, refuse.endpoint)
	want := (&NoLeaderError{Asked: c.endpoints}).Error()
	for _, text := range []string{"no leader is known to http://" + refuse.endpoint, "not carried out", "a majority of the members", "--endpoints"} {
		if !strings.Contains(want, text) {
			t.Errorf("%q does not contain %q", want, text)
		}
	}
	members, err := c.Statuses(testContext(t, time.Minute))
	if err != nil || len(members) != 2 || members[0].Name != "a" || members[0].Status == nil {
		t.Fatalf("%+v, %v", members, err)
	}
	for what, request := range map[string]func(context.Context) error{
		"put": func(ctx context.Context) error { return put(ctx, c) },
		"get": func(ctx context.Context) error { _, err := get(ctx, c); return err },
		"at the leader": func(ctx context.Context) error {
			_, err := c.AtLeader(ctx, members, func(grpc.ClientConnInterface) error { return nil })
			return err
		},
	} {
		if got := awaitNoLeader(t, what, request); got != want {
			t.Errorf("%s: %s, want %s", what, got, want)
		}
	}
}

func TestReadWaitsForLeaderThenReportsNone(t *testing.T) {
	t.Parallel() // waits for a timeout
	var requests atomic.Int32
	m := startFake(t, &fakeServer{ranges: func(ctx context.Context, r *pb.RangeRequest) (*pb.RangeResponse, error) {
		if requests.Add(1) < 3 {
			return nil, rpctypes.ErrGRPCNoLeader
		}
		return respondWith("led")(ctx, r)
	}})
	if got, err := get(testContext(t, time.Minute), newCluster(t, m.endpoint)); err != nil || got != "led" {
		t.Fatalf("%q, %v", got, err)
	}
	never := startFake(t, &fakeServer{ranges: func(context.Context, *pb.RangeRequest) (*pb.RangeResponse, error) {
		return nil, rpctypes.ErrGRPCNoLeader
	}})
	_, err := get(testContext(t, 8*time.Second), newCluster(t, never.endpoint))
	var none *NoLeaderError
	if !errors.As(err, &none) {
		t.Fatalf("%v", err)
	}
}

// A member without a leader, one that waits to rejoin above all, does not know what the others have
// published: the list of one that has a leader is used.
func TestMemberListIsOfAMemberWithALeader(t *testing.T) {
	leader := startFake(t, &fakeServer{status: &pb.StatusResponse{Header: &pb.ResponseHeader{MemberId: 1, Revision: 7}, Leader: 1}})
	waiting := startFake(t, &fakeServer{
		status: &pb.StatusResponse{Header: &pb.ResponseHeader{MemberId: 2, Revision: 1}, Errors: []string{"troupe: waits to rejoin"}},
		list:   []*pb.Member{{ID: 1, Name: "a"}, {ID: 2, Name: "b"}},
	})
	leader.list = []*pb.Member{{ID: 1, Name: "a", ClientURLs: []string{"http://" + leader.endpoint}}, {ID: 2, Name: "b"}}
	leader.hash = func(r *pb.HashKVRequest) (*pb.HashKVResponse, error) {
		return &pb.HashKVResponse{HashRevision: r.Revision}, nil
	}
	waiting.hash = leader.hash
	ctx := testContext(t, time.Minute)
	members, err := newCluster(t, waiting.endpoint, unusedAddress(), leader.endpoint).Statuses(ctx)
	if err != nil || len(members) != 2 || members[0].Role() != "leader" || members[1].Role() != "follower" {
		t.Fatalf("%+v, %v", members, err)
	}
	if got := members[1].Problems(); len(got) != 1 || got[0] != "waits to rejoin" {
		t.Errorf("the waiting member's problems are %q", got)
	}
	hashes, err := newCluster(t, waiting.endpoint, leader.endpoint).HashKV(ctx, 0)
	if err != nil || hashes[0].Err != nil || hashes[0].Revision != 7 || hashes[1].Err == nil {
		t.Errorf("hashes %+v, %v; want that of revision 7, without the waiting member's", hashes, err)
	}
}
