package kv

import (
	"fmt"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/troupe-raft/troupe/kv/internal/kvtest"
)

// The events of a revision that is too large for memory are not read: the watch that needs them is
// canceled, and others of its stream are not.
func TestE45WatchOfALargeRevisionIsCanceled(t *testing.T) {
	ts := startServer(t, func(c *ServerConfig) { c.WatchRevisionBytes = 4 << 10 })
	ts.put(t, "a", "1")
	many := &pb.TxnRequest{Success: []*pb.RequestOp{kvtest.PutOp("x", "in it")}}
	for i := range 30 {
		many.Success = append(many.Success, kvtest.PutOp(fmt.Sprintf("k%02d", i), "v"))
	}
	large, err := ts.kv.Txn(testContext(t), many) // revision 3
	mustSucceed(t, err)
	ts.put(t, "x", "after")
	w := ts.openWatch(t)
	const wide, narrow = 1, 2
	w.sendCreate(&pb.WatchCreateRequest{WatchId: wide, Key: []byte("a"), RangeEnd: []byte("z"), StartRevision: 2})
	w.sendCreate(&pb.WatchCreateRequest{WatchId: narrow, Key: []byte("x"), StartRevision: 2})
	events := map[int64]string{}
	reason := ""
	for reason == "" || !strings.Contains(events[narrow], "after") {
		r := w.receive()
		if r.Canceled {
			if r.WatchId != wide {
				t.Fatalf("watch %d was canceled: %q", r.WatchId, r.CancelReason)
			}
			reason = r.CancelReason
		}
		for _, e := range r.Events {
			events[r.WatchId] += fmt.Sprintf("%s=%s ", e.Kv.Key, e.Kv.Value)
		}
	}
	if want := "x=in it x=after "; events[narrow] != want {
		t.Errorf("the narrow watch got %q, want %q", events[narrow], want)
	}
	if got := events[wide]; got != "a=1 " {
		t.Errorf("the wide watch got %q before it was canceled", got)
	}
	if !strings.Contains(reason, fmt.Sprintf("revision %d has more than 4096 bytes", large.Header.Revision)) {
		t.Errorf("the reason: %q", reason)
	}
	next := w.create(&pb.WatchCreateRequest{Key: []byte("a"), RangeEnd: []byte("z"), StartRevision: large.Header.Revision + 1}).WatchId
	w.expectEvents(next, "put x=after@4")
}
