package kv

import (
	"context"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
)

// unreadStream is a client that does not read: what is sent to it waits until it goes away.
type unreadStream struct {
	pb.Watch_WatchServer
	sending chan struct{} // gets one when something waits
	gone    chan struct{}
}

func (unreadStream) Context() context.Context { return context.Background() }
func (u unreadStream) SendMsg(any) error {
	u.sending <- struct{}{}
	<-u.gone
	return context.Canceled
}

func TestE45AStreamThatIsNotReadBuffersNoMoreThanItsLimitWithWhatItHasInHand(t *testing.T) {
	const limit = 10 << 10
	service, solo := newSteppedWatchService(t, 1<<20, limit)
	defer solo.close(t)
	client := unreadStream{sending: make(chan struct{}, 1), gone: make(chan struct{})}
	s := newWatchStream(service, client)
	if err := s.create(&pb.WatchCreateRequest{Key: []byte("k")}); err != nil {
		t.Fatal(err)
	}
	s.take() // that it was created
	revision := int64(1)
	write := func() {
		revision++
		service.hub.observe(revision, []*mvccpb.Event{putEvent("k", strings.Repeat("v", 1000), revision)})
		service.hub.dispatchSome()
	}
	for range 6 {
		write()
	}
	sent := make(chan error, 1)
	go func() {
		_, frames, _ := s.take()
		sent <- s.sendFrames(frames)
	}()
	<-client.sending
	for range 100 {
		write()
		s.mu.Lock()
		buffered, inHand, queued := s.buffered, s.inHand, s.watchers[0].queueBytes
		s.mu.Unlock()
		if buffered > limit || buffered != inHand+queued || inHand < 6000 {
			t.Fatalf("%d bytes are buffered of at most %d: %d in hand, %d queued", buffered, limit, inHand, queued)
		}
	}
	if w := s.watchers[0]; w.live || !w.lagging {
		t.Error("the watcher was not sent back to history")
	}
	close(client.gone)
	<-sent
}

func TestE45AllStreamsTogetherShareWhatMayBeBuffered(t *testing.T) {
	h := &watchHub{buffers: 100 << 20}
	for streams, want := range map[int64]int{0: 8 << 20, 1: 8 << 20, 12: 8 << 20, 20: 5 << 20, 100: 1 << 20, 1 << 20: leastAllowance} {
		h.streams.Store(streams)
		if got := h.allowance(8 << 20); got != want {
			t.Errorf("of %d streams each may buffer %d bytes, not %d", streams, got, want)
		}
	}
	if h.allowance(1000) != 1000 {
		t.Error("a share above the stream's own limit")
	}
}
