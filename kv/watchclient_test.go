package kv

import (
	"context"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/troupe-raft/troupe/kv/internal/kvtest"
)

// clientWatch is the client's side of a watch stream.
type clientWatch struct {
	t      testing.TB
	stream pb.Watch_WatchClient
}

func (ts *testServer) openWatch(t testing.TB) *clientWatch { return ts.openWatchFor(t, testContext(t)) }

func (ts *testServer) openWatchFor(t testing.TB, ctx context.Context) *clientWatch {
	t.Helper()
	stream, err := ts.watch.Watch(ctx)
	mustSucceed(t, err)
	return &clientWatch{t: t, stream: stream}
}

func (w *clientWatch) send(r *pb.WatchRequest) {
	w.t.Helper()
	if err := w.stream.Send(r); err != nil {
		w.t.Fatalf("sending %v: %v", r, err)
	}
}

func (w *clientWatch) sendCreate(r *pb.WatchCreateRequest) {
	w.t.Helper()
	w.send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: r}})
}

func (w *clientWatch) cancel(id int64) {
	w.t.Helper()
	w.send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CancelRequest{CancelRequest: &pb.WatchCancelRequest{WatchId: id}}})
}

func (w *clientWatch) requestProgress() {
	w.t.Helper()
	w.send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{ProgressRequest: &pb.WatchProgressRequest{}}})
}

func (w *clientWatch) receive() *pb.WatchResponse {
	w.t.Helper()
	r, err := w.stream.Recv()
	if err != nil {
		w.t.Fatalf("receiving: %v", err)
	}
	return r
}

// create creates a watch and returns the created response.
func (w *clientWatch) create(r *pb.WatchCreateRequest) *pb.WatchResponse {
	w.t.Helper()
	w.sendCreate(r)
	created := w.receive()
	if !created.Created || created.Canceled {
		w.t.Fatalf("not created: %v", created)
	}
	return created
}

// expectEvents receives as many events of the watch as are wanted, and compares them.
func (w *clientWatch) expectEvents(id int64, want ...string) {
	w.t.Helper()
	var got []string
	for len(got) < len(want) {
		r := w.receive()
		if r.WatchId != id || len(r.Events) == 0 {
			w.t.Fatalf("got %v while waiting for events of watch %d", r, id)
		}
		if last := r.Events[len(r.Events)-1].Kv.ModRevision; r.Header.Revision < last {
			w.t.Errorf("header revision %d is below the last event's, %d", r.Header.Revision, last)
		}
		for _, e := range r.Events {
			got = append(got, kvtest.DescribeEvent(e))
		}
	}
	if g, e := strings.Join(got, ", "), strings.Join(want, ", "); g != e {
		w.t.Errorf("watch %d: got %s, want %s", id, g, e)
	}
}
