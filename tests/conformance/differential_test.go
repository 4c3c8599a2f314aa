package conformance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/troupe-raft/troupe/tests/procs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
)

// The differential tests send the same random requests to an etcd of one member and to the server
// under test, and compare every field of every response, revisions included, and the code and text
// of every error. They leave out what must differ: the ids of cluster and member, and the term.

func TestDifferentialRandomCallsOfOneMember(t *testing.T) {
	compareRandomCalls(t, startCluster(t, program, 1))
}

// Any member must respond as the single etcd does: reads wait for what was written at other
// members.
func TestDifferentialRandomCallsOfThreeMembers(t *testing.T) {
	compareRandomCalls(t, startCluster(t, program, 3))
}

func TestTxnThatCrashesEtcdIsRefused(t *testing.T) {
	if program.Name == "etcd" {
		t.Skip("it crashes etcd: index out of range in server/etcdserver/txn/put.go, on every member and at every restart")
	}
	c := startCluster(t, program, 3)
	conn := connect(t, c.Members[0])
	ctx := contextWithin(t, time.Minute)
	if _, err := invoke(ctx, conn, &pb.PutRequest{Key: []byte("k"), Value: []byte("v")}); err != nil {
		t.Fatal(err)
	}
	_, err := invoke(ctx, conn, &pb.TxnRequest{Success: []*pb.RequestOp{
		{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: []byte("a"), RangeEnd: []byte{0}}}},
		{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte("k"), IgnoreValue: true}}},
	}})
	if code := status.Code(err); code != codes.InvalidArgument {
		t.Errorf("response: %v", err)
	}
	kept, err := invoke(ctx, conn, &pb.RangeRequest{Key: []byte("k")})
	mustSucceed(t, err)
	if kvs := kept.(*pb.RangeResponse).Kvs; len(kvs) != 1 || string(kvs[0].Value) != "v" || kvs[0].ModRevision != 2 {
		t.Errorf("a refused transaction has changed the key to %v", kvs)
	}
	for _, m := range c.Members {
		if !m.Running() {
			t.Errorf("%s has crashed", m.Name)
		}
	}
}

func compareRandomCalls(t *testing.T, c *procs.Cluster) {
	seed := *seed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("%d calls, -seed %d", *calls, seed)
	etcd := connect(t, startCluster(t, reference, 1).Members[0])
	var members []*grpc.ClientConn
	for _, m := range c.Members {
		members = append(members, connect(t, m))
	}
	ctx := contextWithin(t, 10*time.Minute)
	caller := &requestGenerator{Rand: rand.New(rand.NewPCG(seed, 0)), revision: 1, serializable: len(members) == 1}
	tally := make(map[string]int)
	for i := range *calls {
		request := caller.next()
		want, wantErr := invoke(ctx, etcd, request)
		got, gotErr := invoke(ctx, members[caller.IntN(len(members))], request)
		if difference := compareResponses(got, gotErr, want, wantErr); difference != "" {
			t.Fatalf("call %d, -seed %d: %s differ:\n%s\n\nthe request:\n%s%s", i, seed, methodOf(request).name, difference,
				prototext.Format(request), describeState(ctx, etcd, caller))
		}
		caller.observe(request, want)
		tally[methodOf(request).name]++
		if wantErr != nil {
			tally["errors"]++
			tally[status.Convert(wantErr).Message()]++
		}
	}
	t.Logf("revision %d, compacted at %d; %v", caller.revision, caller.compacted, tally)
	// A run in which nearly everything succeeds, or fails, compares little.
	if *calls >= 1000 && (tally["errors"] < *calls/50 || tally["errors"] > *calls*2/3) {
		t.Errorf("%d errors of %d calls", tally["errors"], *calls)
	}
	compareHistories(t, ctx, etcd, members, caller)
}

// describeState describes the store around a difference.
func describeState(ctx context.Context, etcd *grpc.ClientConn, c *requestGenerator) string {
	all, err := invoke(ctx, etcd, &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}})
	if err != nil {
		return ""
	}
	return fmt.Sprintf("\nbefore it: revision %d, compacted %d; after it etcd holds:\n%s", c.revision, c.compacted, prototext.Format(all))
}

func connect(t *testing.T, m *procs.Member) *grpc.ClientConn {
	t.Helper()
	client, err := procs.Dial(m.Endpoint())
	mustSucceed(t, err)
	t.Cleanup(func() { _ = client.Close() })
	return client.ActiveConnection()
}

type method struct {
	name     string
	response func() proto.Message
}

func methodOf(request proto.Message) method {
	switch request.(type) {
	case *pb.PutRequest:
		return method{"Put", func() proto.Message { return new(pb.PutResponse) }}
	case *pb.RangeRequest:
		return method{"Range", func() proto.Message { return new(pb.RangeResponse) }}
	case streamedRange:
		return method{"RangeStream", func() proto.Message { return new(pb.RangeResponse) }}
	case *pb.DeleteRangeRequest:
		return method{"DeleteRange", func() proto.Message { return new(pb.DeleteRangeResponse) }}
	case *pb.TxnRequest:
		return method{"Txn", func() proto.Message { return new(pb.TxnResponse) }}
	case *pb.CompactionRequest:
		return method{"Compact", func() proto.Message { return new(pb.CompactionResponse) }}
	}
	panic(fmt.Sprintf("no method of the KV service takes a %T", request))
}

// invoke sends a request as it is: clientv3 would correct some of them and try others again. No
// response with an error.
func invoke(ctx context.Context, conn *grpc.ClientConn, request proto.Message) (proto.Message, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if streamed, ok := request.(streamedRange); ok {
		return invokeStream(ctx, conn, streamed.RangeRequest)
	}
	m := methodOf(request)
	response := m.response()
	if err := conn.Invoke(ctx, "/etcdserverpb.KV/"+m.name, request, response, grpc.WaitForReady(true)); err != nil {
		return nil, err
	}
	return response, nil
}

// invokeStream merges the chunks of a stream: their sizes may differ between servers.
func invokeStream(ctx context.Context, conn *grpc.ClientConn, request *pb.RangeRequest) (proto.Message, error) {
	stream, err := pb.NewKVClient(conn).RangeStream(ctx, request, grpc.WaitForReady(true))
	if err != nil {
		return nil, err
	}
	merged := &pb.RangeResponse{}
	for {
		chunk, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return merged, nil
		}
		if err != nil {
			return nil, err
		}
		proto.Merge(merged, chunk.RangeResponse)
	}
}

// compareResponses describes how two responses differ; "" if they do not.
func compareResponses(got proto.Message, gotErr error, want proto.Message, wantErr error) string {
	if gotErr != nil || wantErr != nil {
		g, w := status.Convert(gotErr), status.Convert(wantErr)
		if g.Code() == w.Code() && g.Message() == w.Message() {
			return ""
		}
		return fmt.Sprintf("%s responds %s\nnot %s", program.Name, describeResponse(got, gotErr), describeResponse(want, wantErr))
	}
	for _, response := range []proto.Message{got, want} {
		header := headerOf(response)
		if header == nil || header.ClusterId == 0 || header.MemberId == 0 || header.RaftTerm == 0 {
			return fmt.Sprintf("an incomplete header: %v", header)
		}
	}
	if proto.Equal(withoutIdentity(got), withoutIdentity(want)) {
		return ""
	}
	return fmt.Sprintf("%s responds %s\nnot %s", program.Name, describeResponse(withoutIdentity(got), nil), describeResponse(withoutIdentity(want), nil))
}

func describeResponse(response proto.Message, err error) string {
	if err != nil {
		return fmt.Sprintf("%v: %s", status.Code(err), status.Convert(err).Message())
	}
	return strings.TrimSpace(prototext.Format(response))
}

// withoutIdentity returns a response without what differs between clusters.
func withoutIdentity(response proto.Message) proto.Message {
	clean := proto.Clone(response)
	if header := headerOf(clean); header != nil {
		header.ClusterId, header.MemberId, header.RaftTerm = 0, 0, 0
	}
	return clean
}

// historyWatches returns watches of the whole history.
func historyWatches(c *requestGenerator) map[string]*pb.WatchCreateRequest {
	from := c.compacted + 1
	everything := []byte{0}
	middle := from + (c.revision-from)/2
	return map[string]*pb.WatchCreateRequest{
		"everything":               {Key: everything, RangeEnd: everything, StartRevision: from},
		"with previous values":     {Key: everything, RangeEnd: everything, StartRevision: from, PrevKv: true},
		"from the middle":          {Key: everything, RangeEnd: everything, StartRevision: middle, PrevKv: true},
		"one key":                  {Key: []byte("a"), StartRevision: from},
		"a prefix":                 {Key: []byte("b/"), RangeEnd: []byte("b0"), StartRevision: from},
		"without puts":             {Key: everything, RangeEnd: everything, StartRevision: from, Filters: []pb.WatchCreateRequest_FilterType{pb.WatchCreateRequest_NOPUT}},
		"without deletes":          {Key: everything, RangeEnd: everything, StartRevision: from, Filters: []pb.WatchCreateRequest_FilterType{pb.WatchCreateRequest_NODELETE}},
		"an empty range":           {Key: []byte("b"), RangeEnd: []byte("a"), StartRevision: from},
		"a compacted one":          {Key: everything, RangeEnd: everything, StartRevision: max(1, c.compacted-1)},
		"the last compacted one":   {Key: everything, RangeEnd: everything, StartRevision: max(1, c.compacted)},
		"from the next revision":   {Key: everything, RangeEnd: everything, StartRevision: c.revision + 1},
		"from now on, with an id":  {Key: everything, RangeEnd: everything, WatchId: 7},
		"from now on, for one key": {Key: []byte("watch-end")},
	}
}

// compareHistories watches the history that the calls have made and compares the events.
func compareHistories(t *testing.T, ctx context.Context, etcd *grpc.ClientConn, members []*grpc.ClientConn, c *requestGenerator) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	// A linearizable read of each member: one that lags would start its watches too early.
	for _, conn := range members {
		if _, err := invoke(ctx, conn, &pb.RangeRequest{Key: []byte("a")}); err != nil {
			t.Fatal(err)
		}
	}
	// All watches are created before the last change, at which they end.
	watches := make(map[string][]*historyWatch)
	for name, create := range historyWatches(c) {
		for _, conn := range append([]*grpc.ClientConn{etcd}, members...) {
			watches[name] = append(watches[name], openWatch(t, ctx, conn, create))
		}
	}
	last := &pb.TxnRequest{Success: []*pb.RequestOp{
		{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte("watch-end"), Value: []byte("x")}}},
		{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte("b/end"), Value: []byte("x")}}},
		{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte("a"), Value: []byte("x")}}},
		{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: []byte("key")}}},
	}}
	for _, conn := range append([]*grpc.ClientConn{etcd}, members[0]) {
		for _, request := range []proto.Message{&pb.PutRequest{Key: []byte("key")}, last} {
			if _, err := invoke(ctx, conn, request); err != nil {
				t.Fatal(err)
			}
		}
	}
	end := c.revision + 2
	compared := 0
	for name, all := range watches {
		want, wantEnd := all[0].readUntil(end)
		compared += len(want)
		for i, other := range all[1:] {
			if difference := compareResponses(other.created, nil, all[0].created, nil); difference != "" {
				t.Errorf("a watch of %s at member %d has another created response: %s", name, i+1, difference)
				continue
			}
			got, gotEnd := other.readUntil(end)
			if gotEnd != wantEnd {
				t.Errorf("a watch of %s at member %d ends with %q, not %q", name, i+1, gotEnd, wantEnd)
			}
			compareEvents(t, fmt.Sprintf("a watch of %s at member %d", name, i+1), got, want)
		}
	}
	t.Logf("%d events of %d watches compared", compared, len(watches))
}

func compareEvents(t *testing.T, who string, got, want []*mvccpb.Event) {
	t.Helper()
	for i := range min(len(got), len(want)) {
		if !proto.Equal(got[i], want[i]) {
			t.Errorf("%s: event %d is\n%s\nnot\n%s", who, i, prototext.Format(got[i]), prototext.Format(want[i]))
			return
		}
	}
	if len(got) != len(want) {
		t.Errorf("%s has %d events, not %d", who, len(got), len(want))
	}
}

// historyWatch is a watch that was created.
type historyWatch struct {
	stream  pb.Watch_WatchClient
	created *pb.WatchResponse
}

func openWatch(t *testing.T, ctx context.Context, conn *grpc.ClientConn, create *pb.WatchCreateRequest) *historyWatch {
	t.Helper()
	stream, err := pb.NewWatchClient(conn).Watch(ctx)
	mustSucceed(t, err)
	mustSucceed(t, stream.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: create}}))
	created, err := stream.Recv()
	mustSucceed(t, err)
	return &historyWatch{stream: stream, created: created}
}

// readUntil returns the events up to a revision, and how the watch ended if it ended before.
func (h *historyWatch) readUntil(last int64) (events []*mvccpb.Event, end string) {
	if h.created.Canceled {
		return nil, "refused"
	}
	for {
		response, err := h.stream.Recv()
		if err != nil {
			return events, status.Convert(err).Message()
		}
		events = append(events, response.Events...)
		if response.Canceled {
			return events, fmt.Sprintf("cancelled: %q, compacted at %d", response.CancelReason, response.CompactRevision)
		}
		if n := len(events); n > 0 && events[n-1].Kv.ModRevision >= last {
			return events, ""
		}
	}
}
