package conformance

import (
	"cmp"
	"context"
	"slices"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
)

// watchStep is an action of a client with one watch stream, and how many responses it must receive.
// Writes cause at most one response of a watch, since a watch that lags may merge them. That a step
// causes no response is shown by the next one, which would receive it.
type watchStep struct {
	name      string
	request   *pb.WatchRequest
	writes    []proto.Message // by the KV service
	responses int
}

func createWatch(r *pb.WatchCreateRequest) *pb.WatchRequest {
	return &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: r}}
}

func cancelWatch(id int64) *pb.WatchRequest {
	return &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CancelRequest{CancelRequest: &pb.WatchCancelRequest{WatchId: id}}}
}

func requestProgress() *pb.WatchRequest {
	return &pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{ProgressRequest: &pb.WatchProgressRequest{}}}
}

func putKey(key, value string) proto.Message {
	return &pb.PutRequest{Key: []byte(key), Value: []byte(value)}
}

func deleteKeys(key, end string) proto.Message {
	return &pb.DeleteRangeRequest{Key: []byte(key), RangeEnd: []byte(end)}
}

// watchScript is the script of one stream; comments count the store's revisions. It requests no
// progress once a watch was canceled by compaction: etcd v3.7.3 counts that watch as not up to date
// from then on, and sends no progress on the stream any more.
func watchScript() []watchStep {
	key := func(k string) *pb.WatchCreateRequest { return &pb.WatchCreateRequest{Key: []byte(k)} }
	span := func(k, end string, from int64) *pb.WatchCreateRequest {
		return &pb.WatchCreateRequest{Key: []byte(k), RangeEnd: []byte(end), StartRevision: from}
	}
	with := func(r *pb.WatchCreateRequest, change func(*pb.WatchCreateRequest)) *pb.WatchRequest {
		change(r)
		return createWatch(r)
	}
	inOneTxn := &pb.TxnRequest{Success: []*pb.RequestOp{ // a key twice in one revision
		{Request: &pb.RequestOp_RequestTxn{RequestTxn: &pb.TxnRequest{Success: []*pb.RequestOp{
			{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte("a"), Value: []byte("5")}}},
		}}}},
		{Request: &pb.RequestOp_RequestTxn{RequestTxn: &pb.TxnRequest{Success: []*pb.RequestOp{
			{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: []byte("a")}}},
		}}}},
	}}
	return []watchStep{
		{name: "progress without a watch", request: requestProgress()},
		{name: "six changes", writes: []proto.Message{
			putKey("a", "1"), putKey("a", "2"), putKey("b", "1"), deleteKeys("a", ""), putKey("a", "3"), deleteKeys("x", "z")}}, // 6
		{name: "a range from the past", request: with(span("a", "c", 2), func(r *pb.WatchCreateRequest) { r.PrevKv = true }), responses: 2},
		{name: "an id of the client's", request: with(key("a"), func(r *pb.WatchCreateRequest) { r.WatchId = 5 }), responses: 1},
		{name: "the same id again", request: with(key("a"), func(r *pb.WatchCreateRequest) { r.WatchId = 5 }), responses: 1},
		{name: "an id below zero", request: with(key("nobody"), func(r *pb.WatchCreateRequest) { r.WatchId = -7 }), responses: 1},
		{name: "a start below zero", request: createWatch(span("a", "", -1)), responses: 1},
		{name: "a range that ends before it begins", request: createWatch(span("b", "a", 0)), responses: 1},
		{name: "a range that ends where it begins", request: createWatch(span("b", "b", 0)), responses: 1},
		{name: "progress", request: requestProgress(), responses: 1},
		{name: "a start in the future", request: createWatch(span("f", "", 9)), responses: 1}, // id 1
		{name: "progress, which a watch of the future holds up", request: requestProgress()},
		{name: "the end of no watch", request: cancelWatch(99)},
		{name: "a change", writes: []proto.Message{putKey("a", "4")}, responses: 2},                                                     // 7
		{name: "changes before the future and at its start", writes: []proto.Message{putKey("f", "1"), putKey("f", "2")}, responses: 1}, // 9
		{name: "a change in the future", writes: []proto.Message{putKey("f", "3")}, responses: 1},                                       // 10
		{name: "progress after the future came", request: requestProgress(), responses: 1},
		{name: "the end of a watch", request: cancelWatch(1), responses: 1},
		{name: "the end of a watch that has ended", request: cancelWatch(1)},
		{name: "a watch without puts and without deletes", request: with(key("a"), func(r *pb.WatchCreateRequest) {
			r.Filters = []pb.WatchCreateRequest_FilterType{pb.WatchCreateRequest_NOPUT, pb.WatchCreateRequest_NODELETE}
		}), responses: 1}, // id 2
		{name: "a key twice in one revision", writes: []proto.Message{inOneTxn}, responses: 2}, // 11
		{name: "the past without deletes", request: with(span("a", "", 2), func(r *pb.WatchCreateRequest) {
			r.Filters = []pb.WatchCreateRequest_FilterType{pb.WatchCreateRequest_NODELETE}
			r.PrevKv = true
		}), responses: 2}, // id 3
		{name: "a compaction", writes: []proto.Message{&pb.CompactionRequest{Revision: 6, Physical: true}}},
		{name: "a compacted start", request: createWatch(span("a", "", 5)), responses: 2},
		{name: "the first start, compacted", request: createWatch(span("a", "", 1)), responses: 2},
		{name: "a start at the compaction", request: with(span("a", "", 6), func(r *pb.WatchCreateRequest) { r.PrevKv = true }), responses: 2},
		{name: "no key", request: createWatch(&pb.WatchCreateRequest{StartRevision: 12}), responses: 1},
		{name: "everything from now on", request: createWatch(span("", "\x00", 0)), responses: 1},
		{name: "a last change", writes: []proto.Message{putKey("\x00", "v")}, responses: 2}, // 12
	}
}

// runWatchScript returns the responses to each step, in the order of watch ids: the order between
// watches is not defined.
func runWatchScript(t *testing.T, ctx context.Context, conn *grpc.ClientConn) (responses [][]*pb.WatchResponse) {
	t.Helper()
	stream, err := pb.NewWatchClient(conn).Watch(ctx)
	mustSucceed(t, err)
	for _, step := range watchScript() {
		if step.request != nil {
			if err := stream.Send(step.request); err != nil {
				t.Fatalf("%s: %v", step.name, err)
			}
		}
		for _, w := range step.writes {
			if _, err := invoke(ctx, conn, w); err != nil {
				t.Fatalf("%s: %v", step.name, err)
			}
		}
		var received []*pb.WatchResponse
		for range step.responses {
			response, err := stream.Recv()
			if err != nil {
				t.Fatalf("%s: after %d of %d responses: %v", step.name, len(received), step.responses, err)
			}
			received = append(received, withoutIdentity(response).(*pb.WatchResponse))
		}
		slices.SortStableFunc(received, func(a, b *pb.WatchResponse) int { return cmp.Compare(a.WatchId, b.WatchId) })
		responses = append(responses, received)
	}
	return responses
}

func TestWatchStreamMatchesEtcd(t *testing.T) {
	ctx := contextWithin(t, 5*time.Minute)
	want := runWatchScript(t, ctx, connect(t, startCluster(t, reference, 1).Members[0]))
	got := runWatchScript(t, ctx, connect(t, startCluster(t, program, 3).Members[0]))
	for i, step := range watchScript() {
		for j := range want[i] {
			if !proto.Equal(got[i][j], want[i][j]) {
				t.Errorf("%s: response %d is\n%s\nnot\n%s", step.name, j, prototext.Format(got[i][j]), prototext.Format(want[i][j]))
			}
		}
	}
}
