package kv

import (
	"context"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
)

// blockedStream is a client that does not read: what is sent to it waits until it goes away.
type blockedStream struct {
	pb.Watch_WatchServer
	sending chan struct{} // gets one when something waits
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
	service, solo := newSteppedWatchService(t, 1<<20, limit)
	defer solo.close(t)
	client := blockedStream{sending: make(chan struct{}, 1), closed: make(chan struct{})}
	s := newWatchStream(service, client)
	if err := s.create(&pb.WatchCreateRequest{Key: []byte("k")}); err != nil {
		t.Fatal(err)
	}
	s.takePending() // that it was created
	revision := int64(1)
	write := func() {
		revision++
		service.hub.observe(revision, []*mvccpb.Event{putEvent("k", strings.Repeat("v", 1000), revision)})
		service.hub.dispatchBatch()
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
		buffered, inHand, queued := s.bufferedBytes, s.sendingBytes, s.watchers[0].queueBytes
		s.mu.Unlock()
		if buffered > limit || buffered != inHand+queued || inHand < 6000 {
			t.Fatalf("%d bytes are buffered of at most %d: %d in hand, %d queued", buffered, limit, inHand, queued)
		}
	}
	if w := s.watchers[0]; w.live || !w.lagging {
		t.Error("the watcher was not sent back to history")
	}
	close(client.closed)
	<-sent
}

func TestE45StreamsShareTheTotalBuffer(t *testing.T) {
	h := &watchHub{totalBufferBytes: 100 << 20}
	for streams, want := range map[int64]int{0: 8 << 20, 1: 8 << 20, 12: 8 << 20, 20: 5 << 20, 100: 1 << 20, 1 << 20: minStreamBufferBytes} {
		h.streams.Store(streams)
		if got := h.streamBufferLimit(8 << 20); got != want {
			t.Errorf("of %d streams each may buffer %d bytes, not %d", streams, got, want)
		}
	}
	if h.streamBufferLimit(1000) != 1000 {
		t.Error("a share above the stream's own limit")
	}
}
