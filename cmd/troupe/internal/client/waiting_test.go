package client

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
)

const waitsText = "member 0x1 waits to rejoin with a new data directory: run `troupe member rejoin 0x1` with the endpoint of another member"

// startWaiting starts a member that waits to rejoin.
func startWaiting(t *testing.T) *fakeServer {
	t.Helper()
	return startFake(t, &fakeServer{
		put:    func(context.Context, *pb.PutRequest) (*pb.PutResponse, error) { return nil, rpctypes.ErrGRPCNoLeader },
		status: &pb.StatusResponse{Header: &pb.ResponseHeader{MemberId: 1}, Errors: []string{"etcdserver: no leader", "troupe: " + waitsText}},
		list:   []*pb.Member{{ID: 1, Name: "c"}, {ID: 2, Name: "a"}},
	})
}

// A majority may well run: the error says that the member itself waits, and for which command.
func TestNoLeaderNamesTheMemberThatWaits(t *testing.T) {
	t.Parallel() // waits for a timeout
	waiting := startWaiting(t)
	if got := awaitNoLeader(t, "put", func(ctx context.Context) error { return put(ctx, newCluster(t, waiting.endpoint)) }); !strings.Contains(got, waitsText) ||
		strings.Contains(got, "a majority of the members") {
		t.Errorf("of the waiting member alone: %s", got)
	}
	without := startFake(t, &fakeServer{put: waiting.put, status: &pb.StatusResponse{Header: &pb.ResponseHeader{MemberId: 2}}})
	both := (&NoLeaderError{})
	c := newCluster(t, waiting.endpoint, without.endpoint)
	both.addStatus(c.endpoints[0], waiting.status)
	both.addStatus(c.endpoints[1], without.status)
	for _, text := range []string{waiting.endpoint + " and http://" + without.endpoint, "a majority of the members", waitsText} {
		if !strings.Contains(both.Error(), text) {
			t.Errorf("%s lacks %q", both, text)
		}
	}
}

// No wait helps a command at the leader if the only endpoint is that of the member that waits.
func TestLeaderIsNotAwaitedAtAMemberThatWaits(t *testing.T) {
	c := newCluster(t, startWaiting(t).endpoint)
	ctx := testContext(t, time.Hour) // longer than the test may take
	members, err := c.Statuses(ctx)
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.AtLeader(ctx, members, func(grpc.ClientConnInterface) error { return nil })
	var none *NoLeaderError
	if !errors.As(err, &none) || !strings.Contains(err.Error(), waitsText) {
		t.Errorf("%v", err)
	}
}
