package watch

import (
	"context"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
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
