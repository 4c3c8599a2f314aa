package watch

import (
	"context"
	"fmt"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/troupe-raft/troupe/kv/internal/kvtest"
	"github.com/troupe-raft/troupe/kv/mvcc"
)

// blockedStream is the gRPC side of a stream whose client does not read: SendMsg blocks until
// closed.
type blockedStream struct {
	pb.Watch_WatchServer
	sending chan struct{} // receives when SendMsg blocks
	closed  chan struct{}
}

func (blockedStream) Context() context.Context { return context.Background() }
func (u blockedStream) SendMsg(any) error {
	u.sending <- struct{}{}
	<-u.closed
	return context.Canceled
}

func TestE45UnreadStreamStaysWithinItsBuffer(t *testing.T) {
	const limit = 10 << 10
	hub, consensus := newTestHub(t, 1<<20, limit)
	defer consensus.Close(t)
	client := blockedStream{sending: make(chan struct{}, 1), closed: make(chan struct{})}
	s := newStream(hub, client)
	mustSucceed(t, s.create(&pb.WatchCreateRequest{Key: []byte("k")}))
	s.takePending() // the created response
	revision := int64(1)
	write := func() {
		revision++
		hub.queue.observe(revision, []*mvccpb.Event{putEvent("k", strings.Repeat("v", 1000), revision)})
		hub.dispatchBatch()
	}
	for range 6 {
		write()
	}
	sent := make(chan error, 1)
	go func() {
		_, frames, _ := s.takePending()
		sent <- s.sendFrames(frames)
	}()
	<-client.sending
	for range 100 {
		write()
		s.mu.Lock()
		buffered, sending, queued := s.bufferedBytes, s.sendingBytes, s.watchers[0].queueBytes
		s.mu.Unlock()
		if buffered > limit || buffered != sending+queued || sending < 6000 {
			t.Fatalf("%d bytes are buffered of at most %d: %d being sent, %d queued", buffered, limit, sending, queued)
		}
	}
	if w := s.watchers[0]; w.live || !w.lagging {
		t.Error("the watcher did not fall back to history")
	}
	close(client.closed)
	<-sent
}

func TestE45StreamsShareTheTotalBuffer(t *testing.T) {
	h := &Hub{config: Config{StreamBufferBytes: 8 << 20, TotalBufferBytes: 100 << 20}}
	for streams, want := range map[int64]int{
		0: 8 << 20, 1: 8 << 20, 12: 8 << 20, 20: 5 << 20, 100: 1 << 20, 1 << 20: minStreamBufferBytes,
	} {
		h.streams.Store(streams)
		if got := h.streamBufferBytes(); got != want {
			t.Errorf("of %d streams each may buffer %d bytes, not %d", streams, got, want)
		}
	}
	h.config.StreamBufferBytes = 1000
	if h.streamBufferBytes() != 1000 {
		t.Error("a share above the stream's own limit")
	}
}

// A revision that is too large for one watch is read for each watch alone.
func TestE45LargeRevisionCancelsOnlyItsWatch(t *testing.T) {
	hub, consensus := newTestHub(t, 1<<20, 1<<20)
	defer consensus.Close(t)
	hub.config.RevisionBytes = 4 << 10
	txn := &pb.TxnRequest{}
	for i := range 30 {
		txn.Success = append(txn.Success, kvtest.PutOp(fmt.Sprintf("k%02d", i), "v"))
	}
	command, err := mvcc.EncodeTxn(txn)
	mustSucceed(t, err)
	_, err = consensus.Propose(context.Background(), command)
	mustSucceed(t, err)
	out := &recordingStream{}
	s := newStream(hub, out)
	for _, key := range []string{"k07", "k", "k20"} { // the second one is for all of them
		r := &pb.WatchCreateRequest{Key: []byte(key), StartRevision: 2}
		if key == "k" {
			r.RangeEnd = []byte("l")
		}
		mustSucceed(t, s.create(r))
	}
	s.takePending() // the created responses
	for more := true; more; {
		more, _, err = s.readHistory()
		mustSucceed(t, err)
	}
	got := map[int64]string{}
	for _, r := range out.responses {
		for _, e := range r.Events {
			got[r.WatchId] += string(e.Kv.Key)
		}
		if r.Canceled {
			got[r.WatchId] += "canceled"
		}
	}
	if fmt.Sprint(got) != "map[0:k07 1:canceled 2:k20]" {
		t.Errorf("the watches got %v", got)
	}
}
