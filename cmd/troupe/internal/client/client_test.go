package client

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestWriteUsesReachableMember(t *testing.T) {
	var puts atomic.Int32
	m := startFake(t, &fakeServer{put: func(context.Context, *pb.PutRequest) (*pb.PutResponse, error) {
		puts.Add(1)
		return &pb.PutResponse{}, nil
	}})
	c := newCluster(t, unusedAddress(), unusedAddress(), m.endpoint)
	if err := put(testContext(t, time.Minute), c); err != nil {
		t.Fatal(err)
	}
	if puts.Load() != 1 {
		t.Fatalf("%d puts", puts.Load())
	}
}

func TestUnreachableErrorNamesEveryEndpoint(t *testing.T) {
	t.Parallel() // waits for a timeout
	first, second := unusedAddress(), unusedAddress()
	err := put(testContext(t, 8*time.Second), newCluster(t, first, second))
	var unreachable *UnreachableError
	if !errors.As(err, &unreachable) {
		t.Fatalf("%v", err)
	}
	for _, text := range []string{first, second, "connection refused", "--endpoints"} {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%q does not contain %q", err, text)
		}
	}
}

func TestTimeoutDoesNotReplaceEarlierConnectError(t *testing.T) {
	failed := make(failures, 2)
	timeout, unsigned, refused := errors.New("no connection within 3ms"), errors.New("signed by unknown authority"), errors.New("refused")
	failed.add(0, unsigned, false)
	failed.add(0, timeout, true)
	failed.add(1, timeout, true)
	if failed[0] != unsigned || failed[1] != timeout {
		t.Fatalf("%v", failed)
	}
	failed.add(0, refused, false)
	if failed[0] != refused {
		t.Fatalf("%v, want the later error %v", failed[0], refused)
	}
}

func TestReadIsRepeatedWhenConnectionBreaks(t *testing.T) {
	var first *fakeServer
	first = startFake(t, &fakeServer{ranges: func(ctx context.Context, _ *pb.RangeRequest) (*pb.RangeResponse, error) {
		go first.stop()
		<-ctx.Done()
		return nil, status.FromContextError(ctx.Err()).Err()
	}})
	second := startFake(t, &fakeServer{ranges: respondWith("from the second")})
	got, err := get(testContext(t, time.Minute), newCluster(t, first.endpoint, second.endpoint))
	if err != nil || got != "from the second" {
		t.Fatalf("%q, %v", got, err)
	}
}

func TestReadTriesAnotherMemberWhenOneHangs(t *testing.T) {
	t.Parallel() // waits for a timeout
	hangs := startFake(t, &fakeServer{ranges: func(ctx context.Context, _ *pb.RangeRequest) (*pb.RangeResponse, error) {
		<-ctx.Done()
		return nil, status.FromContextError(ctx.Err()).Err()
	}})
	second := startFake(t, &fakeServer{ranges: respondWith("from the second")})
	got, err := get(testContext(t, 20*time.Second), newCluster(t, hangs.endpoint, second.endpoint))
	if err != nil || got != "from the second" {
		t.Fatalf("%q, %v", got, err)
	}
}

func TestWriteIsNotRepeatedWhenConnectionBreaks(t *testing.T) {
	var first *fakeServer
	first = startFake(t, &fakeServer{put: func(ctx context.Context, _ *pb.PutRequest) (*pb.PutResponse, error) {
		go first.stop()
		<-ctx.Done()
		return nil, status.FromContextError(ctx.Err()).Err()
	}})
	var repeated atomic.Bool
	second := startFake(t, &fakeServer{put: func(context.Context, *pb.PutRequest) (*pb.PutResponse, error) {
		repeated.Store(true)
		return &pb.PutResponse{}, nil
	}})
	err := put(testContext(t, time.Minute), newCluster(t, first.endpoint, second.endpoint))
	var unknown *UnknownOutcomeError
	if !errors.As(err, &unknown) || repeated.Load() {
		t.Fatalf("error %v, repeated %v", err, repeated.Load())
	}
}

func TestWriteTimeoutIsUnknownOutcomeRefusalIsNot(t *testing.T) {
	putError := rpctypes.ErrGRPCTimeout
	m := startFake(t, &fakeServer{put: func(context.Context, *pb.PutRequest) (*pb.PutResponse, error) { return nil, putError }})
	c := newCluster(t, m.endpoint)
	var unknown *UnknownOutcomeError
	if err := put(testContext(t, time.Minute), c); !errors.As(err, &unknown) {
		t.Fatalf("timed out: %v", err)
	}
	putError = rpctypes.ErrGRPCRequestTooLarge
	var refused *RefusedError
	if err := put(testContext(t, time.Minute), c); !errors.As(err, &refused) || refused.Error() != "etcdserver: request is too large" {
		t.Fatalf("refused: %v", err)
	}
}

// fakeWithHistory serves watches with events of the revisions 1 to last, one in each response, and
// then calls end.
func fakeWithHistory(last int64, end func(*fakeServer, pb.Watch_WatchServer) error) *fakeServer {
	f := &fakeServer{}
	f.watch = func(r *pb.WatchCreateRequest, stream pb.Watch_WatchServer) error {
		if err := stream.Send(&pb.WatchResponse{Header: &pb.ResponseHeader{Revision: last}, Created: true}); err != nil {
			return err
		}
		from := r.StartRevision
		if from == 0 {
			from = last + 1
		}
		for rev := from; rev <= last; rev++ {
			e := &mvccpb.Event{Kv: &mvccpb.KeyValue{Key: []byte("k"), Value: fmt.Append(nil, rev), ModRevision: rev}}
			if err := stream.Send(&pb.WatchResponse{Header: &pb.ResponseHeader{Revision: rev}, Events: []*mvccpb.Event{e}}); err != nil {
				return err
			}
		}
		return end(f, stream)
	}
	return f
}

func holdStream(_ *fakeServer, stream pb.Watch_WatchServer) error {
	<-stream.Context().Done()
	return nil
}

// collectWatch watches from one revision to another. It returns the revisions of the events, and
// how often the connection broke. It calls observe with each response, unless observe is nil.
func collectWatch(t *testing.T, c *Cluster, from, until int64, observe func(*pb.WatchResponse)) (revisions []int64, lost int) {
	t.Helper()
	ctx, cancel := context.WithCancel(testContext(t, time.Minute))
	defer cancel()
	err := c.Watch(ctx, &pb.WatchCreateRequest{Key: []byte("k"), StartRevision: from}, func(response *pb.WatchResponse) error {
		if observe != nil {
			observe(response)
		}
		for _, e := range response.Events {
			revisions = append(revisions, e.Kv.ModRevision)
			if e.Kv.ModRevision == until {
				cancel()
			}
		}
		return nil
	}, func(error) { lost++ })
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("watch ended with %v after %v", err, revisions)
	}
	return revisions, lost
}

func TestWatchContinuesAtNextMemberExactlyOnce(t *testing.T) {
	// The first member has three events and stops; the second has five.
	first, second := startFake(t, fakeWithHistory(3, holdStream)), startFake(t, fakeWithHistory(5, holdStream))
	revisions, lost := collectWatch(t, newCluster(t, first.endpoint, second.endpoint), 1, 5, func(response *pb.WatchResponse) {
		if response.Header.Revision == 3 && len(response.Events) > 0 {
			first.stop()
		}
	})
	if fmt.Sprint(revisions) != "[1 2 3 4 5]" || lost == 0 {
		t.Fatalf("revisions %v, connection lost %d times", revisions, lost)
	}
}

func TestWatchMissesNoEventBetweenConnections(t *testing.T) {
	// The watch begins at revision 3 and receives nothing before the member stops. The revisions 4 and
	// 5 are created before the watch connects again.
	first, second := startFake(t, fakeWithHistory(3, holdStream)), startFake(t, fakeWithHistory(5, holdStream))
	revisions, _ := collectWatch(t, newCluster(t, first.endpoint, second.endpoint), 0, 5, func(response *pb.WatchResponse) {
		if response.Created {
			first.stop()
		}
	})
	if fmt.Sprint(revisions) != "[4 5]" {
		t.Fatalf("revisions %v", revisions)
	}
}

func TestWatchLeavesMemberWithoutLeader(t *testing.T) {
	first := startFake(t, fakeWithHistory(2, func(_ *fakeServer, stream pb.Watch_WatchServer) error {
		return stream.Send(&pb.WatchResponse{Header: &pb.ResponseHeader{Revision: 2}, Canceled: true, CancelReason: "etcdserver: no leader"})
	}))
	second := startFake(t, fakeWithHistory(4, holdStream))
	revisions, _ := collectWatch(t, newCluster(t, first.endpoint, second.endpoint), 1, 4, nil)
	if fmt.Sprint(revisions) != "[1 2 3 4]" {
		t.Fatalf("revisions %v", revisions)
	}
}

func TestRefusedWatchEnds(t *testing.T) {
	compacted := startFake(t, fakeWithHistory(0, func(_ *fakeServer, stream pb.Watch_WatchServer) error {
		return stream.Send(&pb.WatchResponse{Header: &pb.ResponseHeader{Revision: 9}, Canceled: true, CompactRevision: 7})
	}))
	refused := startFake(t, &fakeServer{watch: func(*pb.WatchCreateRequest, pb.Watch_WatchServer) error {
		return status.Error(codes.InvalidArgument, "etcdserver: key is not provided")
	}})
	for endpoint, want := range map[string]string{compacted.endpoint: "--rev=7", refused.endpoint: "key is not provided"} {
		err := newCluster(t, endpoint).Watch(testContext(t, time.Minute), &pb.WatchCreateRequest{StartRevision: 1},
			func(*pb.WatchResponse) error { return nil }, func(err error) { t.Errorf("tried again after %v", err) })
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestStatusShowsUnreachableMembers(t *testing.T) {
	leader := startFake(t, &fakeServer{status: &pb.StatusResponse{Header: &pb.ResponseHeader{MemberId: 1}, Leader: 1, RaftTerm: 5}})
	follower := startFake(t, &fakeServer{status: &pb.StatusResponse{Header: &pb.ResponseHeader{MemberId: 2}, Leader: 1, RaftTerm: 5}})
	down := unusedAddress()
	follower.list = []*pb.Member{
		{ID: 1, Name: "a", ClientURLs: []string{"http://" + leader.endpoint}},
		{ID: 2, Name: "b", ClientURLs: []string{"http://" + follower.endpoint}},
		{ID: 3, Name: "c", ClientURLs: []string{"http://" + down}},
		{ID: 4, Name: "d"},
	}
	members, err := newCluster(t, follower.endpoint).Statuses(testContext(t, time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range members {
		got = append(got, fmt.Sprintf("%s:%s:%v", m.Name, m.Role(), m.Err != nil))
	}
	if want := "a:leader:false b:follower:false c::true d::true"; strings.Join(got, " ") != want {
		t.Fatalf("%q, want %q", got, want)
	}
}

func TestParseEndpoints(t *testing.T) {
	for text, want := range map[string]string{
		"a:1":                       "http://a:1",
		" a:1 , https://b:2/,":      "http://a:1 https://b:2",
		"unix:///run/x,unixs://y:1": "unix:///run/x unixs://y:1",
	} {
		got, err := ParseEndpoints(text, false)
		var texts []string
		for _, e := range got {
			texts = append(texts, e.String())
		}
		if err != nil || strings.Join(texts, " ") != want {
			t.Errorf("%q: %q, %v", text, texts, err)
		}
	}
	if e, err := ParseEndpoints("a:1", true); err != nil || !e[0].Secure {
		t.Errorf("with TLS flags: %v, %v", e, err)
	}
	for _, text := range []string{"", ",", "a", "ftp://a:1", "http://a"} {
		if _, err := ParseEndpoints(text, false); err == nil || !strings.Contains(err.Error(), "--endpoints") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestPrefixEnd(t *testing.T) {
	for prefix, want := range map[string]string{"a": "b", "a\xff": "b", "\xff\xff": "\x00", "ab": "ac"} {
		if got := PrefixEnd([]byte(prefix)); string(got) != want {
			t.Errorf("%q: %q, want %q", prefix, got, want)
		}
	}
	if key, end := PrefixRange(nil); string(key) != "\x00" || string(end) != "\x00" {
		t.Errorf("all keys: %q to %q", key, end)
	}
}
