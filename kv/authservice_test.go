package kv

import (
	"bytes"
	"io"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/status"
)

// Programs ask for users, roles and leases although they use none, as the npm package @keyv/etcd.
func TestUsersRolesAndLeasesAreEmpty(t *testing.T) {
	ts := startServer(t)
	revision := ts.put(t, "k", "v")
	ctx := testContext(t)
	auth, lease := pb.NewAuthClient(ts.conn), pb.NewLeaseClient(ts.conn)
	users, err := auth.UserList(ctx, &pb.AuthUserListRequest{})
	if err != nil || len(users.Users) != 0 || users.Header.Revision != revision {
		t.Errorf("users: %v, %v", users, err)
	}
	roles, err := auth.RoleList(ctx, &pb.AuthRoleListRequest{})
	if err != nil || len(roles.Roles) != 0 || roles.Header.Revision != revision {
		t.Errorf("roles: %v, %v", roles, err)
	}
	leases, err := lease.LeaseLeases(ctx, &pb.LeaseLeasesRequest{})
	if err != nil || len(leases.Leases) != 0 || leases.Header.Revision != revision {
		t.Errorf("leases: %v, %v", leases, err)
	}
	ttl, err := lease.LeaseTimeToLive(ctx, &pb.LeaseTimeToLiveRequest{ID: 291, Keys: true})
	if err != nil || ttl.ID != 291 || ttl.TTL != -1 || ttl.GrantedTTL != 0 || ttl.Header.Revision != revision {
		t.Errorf("time to live: %v, %v", ttl, err)
	}
	keep, err := lease.LeaseKeepAlive(ctx)
	mustSucceed(t, err)
	for id := range int64(3) {
		mustSucceed(t, keep.Send(&pb.LeaseKeepAliveRequest{ID: id}))
		if r, err := keep.Recv(); err != nil || r.ID != id || r.TTL != 0 || r.Header.Revision != revision {
			t.Errorf("keep alive: %v, %v", r, err)
		}
	}
	mustSucceed(t, keep.CloseSend())
	if _, err := keep.Recv(); err != io.EOF {
		t.Errorf("the end of the renewals: %v", err)
	}
	_, user := auth.UserGet(ctx, &pb.AuthUserGetRequest{Name: "u"})
	_, role := auth.RoleGet(ctx, &pb.AuthRoleGetRequest{Role: "r"})
	_, revoke := lease.LeaseRevoke(ctx, &pb.LeaseRevokeRequest{ID: 291})
	for want, err := range map[string]error{
		"etcdserver: user name not found": user, "etcdserver: role name not found": role,
		"etcdserver: requested lease not found": revoke,
	} {
		if status.Convert(err).Message() != want {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestGzipRequestsAreServed(t *testing.T) {
	ts := startServer(t)
	compressed := grpc.UseCompressor(gzip.Name)
	const size = 1 << 20 // more than is sent without a reservation
	value := bytes.Repeat([]byte("v"), size)
	if _, err := ts.kv.Put(testContext(t), &pb.PutRequest{Key: []byte("k"), Value: value}, compressed); err != nil {
		t.Fatal(err)
	}
	r, err := ts.kv.Range(testContext(t), &pb.RangeRequest{Key: []byte("k"), RangeEnd: []byte("l")}, compressed)
	if err != nil || !bytes.Equal(r.Kvs[0].Value, value) {
		t.Fatalf("range: %v", err)
	}
	eventually(t, "the response's memory is returned", func() bool { return ts.budget.reservedBytes.Load() == 0 })
	watch, err := ts.watch.Watch(testContext(t), compressed)
	mustSucceed(t, err)
	mustSucceed(t, watch.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{
		CreateRequest: &pb.WatchCreateRequest{Key: []byte("k"), StartRevision: 2}}}))
	for events := 0; events == 0; {
		r, err := watch.Recv()
		mustSucceed(t, err)
		events = len(r.Events)
	}
	// A small request that grows beyond the limit is refused before it fills the memory.
	_, err = ts.kv.Put(testContext(t), &pb.PutRequest{Key: []byte("k"), Value: make([]byte, 64<<20)}, compressed)
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("64 MiB in some KiB: %v", err)
	}
}
