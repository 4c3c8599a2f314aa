package kv

import (
	"fmt"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe"
	"github.com/troupe-raft/troupe/kv/internal/kvtest"
)

func TestWatchReceivesEventsOfItsKeys(t *testing.T) {
	ts := startServer(t)
	for name, c := range map[string]struct {
		key, end string
		want     []string
	}{
		"a key":              {"b", "", []string{"b"}},
		"a range":            {"b", "d", []string{"b", "b/x", "c"}},
		"a prefix":           {"b/", "b0", []string{"b/x"}},
		"from a key on":      {"c", "\x00", []string{"c", "d"}},
		"everything":         {"\x00", "\x00", []string{"a", "b", "b/x", "c", "d"}},
		"everything, no key": {"", "\x00", []string{"a", "b", "b/x", "c", "d"}},
	} {
		w := ts.openWatch(t)
		created := w.create(&pb.WatchCreateRequest{Key: []byte(c.key), RangeEnd: []byte(c.end)})
		var want []string
		for _, k := range []string{"a", "b", "b/x", "c", "d"} {
			revision := ts.put(t, k, name)
			for _, wanted := range c.want {
				if wanted == k {
					want = append(want, fmt.Sprintf("put %s=%s@%d", k, name, revision))
				}
			}
		}
		w.expectEvents(created.WatchId, want...)
	}
}

func TestWatchFromThePastBecomesLive(t *testing.T) {
	ts := startServer(t)
	ts.put(t, "k", "1")
	ts.put(t, "k", "2")
	ts.delete(t, "k", "")
	w := ts.openWatch(t)
	created := w.create(&pb.WatchCreateRequest{Key: []byte("k"), StartRevision: 3, PrevKv: true})
	if created.Header.Revision != 4 {
		t.Errorf("created at revision %d, want 4", created.Header.Revision)
	}
	w.expectEvents(created.WatchId, "put k=2@3<1", "del k@4<2")
	ts.put(t, "k", "3")
	ts.put(t, "k", "4")
	w.expectEvents(created.WatchId, "put k=3@5", "put k=4@6<3")
}

func TestWatchFromTheFutureStartsThere(t *testing.T) {
	ts := startServer(t)
	w := ts.openWatch(t)
	created := w.create(&pb.WatchCreateRequest{Key: []byte("k"), StartRevision: 4})
	for i := range 4 {
		ts.put(t, "k", fmt.Sprint(i))
	}
	w.expectEvents(created.WatchId, "put k=2@4", "put k=3@5")
}

func TestWatchFiltersExcludePutsOrDeletes(t *testing.T) {
	ts := startServer(t)
	ts.put(t, "k", "0")
	w := ts.openWatch(t)
	noPut := w.create(&pb.WatchCreateRequest{Key: []byte("k"), StartRevision: 2, Filters: []pb.WatchCreateRequest_FilterType{pb.WatchCreateRequest_NOPUT}}).WatchId
	ts.delete(t, "k", "")
	w.expectEvents(noPut, "del k@3")
	noDelete := w.create(&pb.WatchCreateRequest{Key: []byte("k"), Filters: []pb.WatchCreateRequest_FilterType{pb.WatchCreateRequest_NODELETE}}).WatchId
	ts.put(t, "k", "1")
	w.expectEvents(noDelete, "put k=1@4")
	ts.delete(t, "k", "")
	w.expectEvents(noPut, "del k@5")
}

func TestPrevKVIsSentWhereRequested(t *testing.T) {
	ts := startServer(t)
	ts.put(t, "k", "1")
	plain, prev := ts.openWatch(t), ts.openWatch(t)
	plainID := plain.create(&pb.WatchCreateRequest{Key: []byte("k")}).WatchId
	prevID := prev.create(&pb.WatchCreateRequest{Key: []byte("k"), PrevKv: true}).WatchId
	ts.put(t, "k", "2")
	ts.delete(t, "k", "")
	plain.expectEvents(plainID, "put k=2@3", "del k@4")
	prev.expectEvents(prevID, "put k=2@3<1", "del k@4<2")
	// The last watch with previous values is canceled and another one is created.
	prev.cancel(prevID)
	if r := prev.receive(); !r.Canceled {
		t.Fatalf("not canceled: %v", r)
	}
	ts.put(t, "k", "3")
	prevID = prev.create(&pb.WatchCreateRequest{Key: []byte("k"), PrevKv: true}).WatchId
	ts.put(t, "k", "4")
	prev.expectEvents(prevID, "put k=4@6<3")
}

func TestEventsOfARevisionShareOneResponse(t *testing.T) {
	ts := startServer(t)
	w := ts.openWatch(t)
	id := w.create(&pb.WatchCreateRequest{Key: []byte("k"), RangeEnd: []byte("l")}).WatchId
	big := strings.Repeat("v", 12<<10)
	var ops []*pb.RequestOp
	for i := range 100 { // more than maxResponseBytes together
		ops = append(ops, kvtest.PutOp(fmt.Sprintf("k%03d", i), big))
	}
	if _, err := ts.kv.Txn(testContext(t), &pb.TxnRequest{Success: ops}); err != nil {
		t.Fatal(err)
	}
	if r := w.receive(); len(r.Events) != 100 || r.Fragment {
		t.Errorf("live: %d events, fragment %v", len(r.Events), r.Fragment)
	}
	past := ts.openWatch(t)
	past.create(&pb.WatchCreateRequest{Key: []byte("k"), RangeEnd: []byte("l"), StartRevision: 2})
	if r := past.receive(); len(r.Events) != 100 || r.WatchId != id {
		t.Errorf("from history: %d events", len(r.Events))
	}
}

func TestResponsesBelowTheLimitAreNotFragmented(t *testing.T) {
	ts := startServer(t, func(c *ServerConfig) { c.MaxRequestBytes = 2 << 20 })
	w := ts.openWatch(t)
	w.create(&pb.WatchCreateRequest{Key: []byte("k"), RangeEnd: []byte("l"), Fragment: true})
	big := strings.Repeat("v", 15<<10)
	ops := repeatOp(128, func(i int) *pb.RequestOp { return kvtest.PutOp(fmt.Sprintf("k%03d", i), big) })
	if _, err := ts.kv.Txn(testContext(t), &pb.TxnRequest{Success: ops}); err != nil {
		t.Fatal(err)
	}
	if r := w.receive(); r.Fragment || len(r.Events) != 128 {
		t.Errorf("below the limit: %d events, fragment %v", len(r.Events), r.Fragment)
	}
	ts.put(t, "k000", "small")
	w.receive()
	// History of three revisions that exceed the limit together, but not each: no fragments.
	past := ts.openWatch(t)
	past.create(&pb.WatchCreateRequest{Key: []byte("k"), RangeEnd: []byte("l"), StartRevision: 2, Fragment: true})
	if r := past.receive(); r.Fragment || len(r.Events) != 128 {
		t.Errorf("history: %d events, fragment %v", len(r.Events), r.Fragment)
	}
}

func TestWatchControlResponsesMatchEtcd(t *testing.T) {
	ts := startServer(t)
	ts.put(t, "k", "1")
	w := ts.openWatch(t)
	header := &pb.ResponseHeader{ClusterId: kvtest.ClusterID, MemberId: kvtest.MemberID, RaftTerm: kvtest.Term, Revision: 2}
	expect := func(what string, want *pb.WatchResponse) {
		t.Helper()
		want.Header = header
		if got := w.receive(); !proto.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", what, got, want)
		}
	}
	key := []byte("k")
	w.sendCreate(&pb.WatchCreateRequest{Key: key})
	expect("first", &pb.WatchResponse{WatchId: 0, Created: true})
	w.sendCreate(&pb.WatchCreateRequest{Key: key, WatchId: 1})
	expect("chosen", &pb.WatchResponse{WatchId: 1, Created: true})
	w.sendCreate(&pb.WatchCreateRequest{Key: key})
	expect("next free", &pb.WatchResponse{WatchId: 2, Created: true})
	w.sendCreate(&pb.WatchCreateRequest{Key: key, WatchId: 1})
	expect("taken", &pb.WatchResponse{WatchId: -1, Created: true, Canceled: true,
		CancelReason: "mvcc: duplicate watch ID provided on the WatchStream"})
	w.sendCreate(&pb.WatchCreateRequest{Key: key, RangeEnd: []byte("a")})
	expect("empty range", &pb.WatchResponse{WatchId: -1, Created: true, Canceled: true, CancelReason: "mvcc: watcher range is empty"})
	w.sendCreate(&pb.WatchCreateRequest{Key: key, StartRevision: -1})
	expect("negative revision", &pb.WatchResponse{WatchId: -1, Created: true, Canceled: true,
		CancelReason: "etcdserver: mvcc: required revision has been compacted"})
	w.cancel(77) // unknown: no response
	w.cancel(1)
	expect("canceled", &pb.WatchResponse{WatchId: 1, Canceled: true})
	w.sendCreate(&pb.WatchCreateRequest{Key: key, WatchId: 1})
	expect("chosen again", &pb.WatchResponse{WatchId: 1, Created: true})
}

func TestCanceledWatchReceivesNoEvents(t *testing.T) {
	ts := startServer(t)
	w := ts.openWatch(t)
	kept := w.create(&pb.WatchCreateRequest{Key: []byte("k")}).WatchId
	gone := w.create(&pb.WatchCreateRequest{Key: []byte("k")}).WatchId
	w.cancel(gone)
	if r := w.receive(); !r.Canceled || r.WatchId != gone {
		t.Fatalf("got %v", r)
	}
	ts.put(t, "k", "1")
	ts.put(t, "k", "2")
	w.expectEvents(kept, "put k=1@2", "put k=2@3")
}

func TestWatchOfCompactedRevisionIsCanceled(t *testing.T) {
	ts := startServer(t)
	for i := range 5 {
		ts.put(t, "k", fmt.Sprint(i))
	}
	if _, err := ts.kv.Compact(testContext(t), &pb.CompactionRequest{Revision: 4, Physical: true}); err != nil {
		t.Fatal(err)
	}
	w := ts.openWatch(t)
	created := w.create(&pb.WatchCreateRequest{Key: []byte("k"), StartRevision: 2})
	canceled := w.receive()
	want := &pb.WatchResponse{
		Header:  &pb.ResponseHeader{ClusterId: kvtest.ClusterID, MemberId: kvtest.MemberID, RaftTerm: kvtest.Term},
		WatchId: created.WatchId, Canceled: true, CompactRevision: 4,
	}
	if !proto.Equal(canceled, want) {
		t.Errorf("got %v, want %v", canceled, want)
	}
	next := w.create(&pb.WatchCreateRequest{Key: []byte("k"), StartRevision: 5})
	w.expectEvents(next.WatchId, "put k=3@5", "put k=4@6")
}

func TestProgressRequestWaitsForAllWatches(t *testing.T) {
	ts := startServer(t)
	w := ts.openWatch(t)
	w.requestProgress() // without a watch there is no response
	id := w.create(&pb.WatchCreateRequest{Key: []byte("k"), StartRevision: 1}).WatchId
	ts.put(t, "other", "1")
	ts.put(t, "other", "2")
	w.requestProgress()
	if r := w.receive(); r.WatchId != -1 || r.Header.Revision > 3 || len(r.Events) != 0 {
		t.Errorf("got %v", r)
	}
	last := ts.put(t, "k", "1")
	w.expectEvents(id, fmt.Sprintf("put k=1@%d", last))
	w.requestProgress()
	if r := w.receive(); r.WatchId != -1 || r.Header.Revision != last {
		t.Errorf("got %v, want progress at %d", r, last)
	}
}

func TestIdleWatchReceivesProgressNotifications(t *testing.T) {
	ts := startServer(t, func(c *ServerConfig) { c.WatchProgressInterval = 20 * time.Millisecond })
	w := ts.openWatch(t)
	w.create(&pb.WatchCreateRequest{Key: []byte("silent")})
	id := w.create(&pb.WatchCreateRequest{Key: []byte("k"), ProgressNotify: true}).WatchId
	for range 2 {
		if r := w.receive(); r.WatchId != id || len(r.Events) != 0 || r.Created || r.Canceled || r.Header.Revision != 1 {
			t.Errorf("got %v", r)
		}
	}
}

func TestRequireLeaderStreamEndsOnLeaderLoss(t *testing.T) {
	ts := startServer(t, func(c *ServerConfig) { c.ElectionTimeout = time.Millisecond })
	asking := ts.openWatchFor(t, metadata.AppendToOutgoingContext(testContext(t), rpctypes.MetadataRequireLeaderKey, rpctypes.MetadataHasLeader))
	asking.create(&pb.WatchCreateRequest{Key: []byte("k")})
	other := ts.openWatch(t)
	id := other.create(&pb.WatchCreateRequest{Key: []byte("k")}).WatchId
	ts.consensus.SetStatus(func(s *troupe.Status) { s.LeaderID = 0 })
	if _, err := asking.stream.Recv(); status.Convert(err).Message() != "etcdserver: no leader" {
		t.Errorf("got %v", err)
	}
	ts.put(t, "k", "1")
	other.expectEvents(id, "put k=1@2")
}

func TestManyWatchersOfOneStreamAllReceive(t *testing.T) {
	ts := startServer(t)
	w := ts.openWatch(t)
	const n = 2000
	for i := range n {
		key := []byte("k")
		var end []byte
		if i%2 == 0 {
			end = []byte(fmt.Sprintf("k%04d", i+1))
		}
		w.create(&pb.WatchCreateRequest{Key: key, RangeEnd: end, PrevKv: i%3 == 0})
	}
	ts.put(t, "k", "1")
	received := map[int64]int{}
	for len(received) < n {
		r := w.receive()
		received[r.WatchId] += len(r.Events)
	}
	for id, count := range received {
		if count != 1 {
			t.Errorf("watch %d received %d events", id, count)
		}
	}
}

func TestWatchContinuesAfterStoreReopens(t *testing.T) {
	ts := startServer(t)
	w := ts.openWatch(t)
	id := w.create(&pb.WatchCreateRequest{Key: []byte("k"), PrevKv: true}).WatchId
	ts.put(t, "k", "1")
	ts.put(t, "k", "2")
	w.expectEvents(id, "put k=1@2", "put k=2@3<1")
	ts.consensus.Reopen(t, func() {})
	ts.put(t, "k", "3")
	w.expectEvents(id, "put k=3@4<2")
}

func TestHalfClosedWatchStreamContinues(t *testing.T) {
	ts := startServer(t)
	w := ts.openWatch(t)
	w.create(&pb.WatchCreateRequest{Key: []byte("k"), PrevKv: true})
	mustSucceed(t, w.stream.CloseSend())
	other := ts.openWatch(t)
	id := other.create(&pb.WatchCreateRequest{Key: []byte("k")}).WatchId
	ts.put(t, "k", "1")
	other.expectEvents(id, "put k=1@2")
	if r := w.receive(); len(r.Events) != 1 {
		t.Errorf("the half-closed stream got %v", r)
	}
	watchers := func() float64 { return ts.metric(t, "etcd_debugging_mvcc_watcher_total") }
	if n := watchers(); n != 2 {
		t.Errorf("%v watchers, want 2", n)
	}
	ts.conn.Close()
	eventually(t, "all watchers are removed", func() bool { return watchers() == 0 })
}
