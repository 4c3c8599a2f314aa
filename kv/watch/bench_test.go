package watch

import (
	"context"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
)

// discardingStream is the gRPC side of a stream whose client reads at once.
type discardingStream struct{ pb.Watch_WatchServer }

func (discardingStream) Context() context.Context { return context.Background() }
func (discardingStream) SendMsg(m any) error      { _, err := m.(*Frame).MarshalBuffers(); return err }

// BenchmarkEventToThousandStreams measures an event for all of its watchers together: on the
// applying goroutine (observe), in the hub, and in the streams up to the transport.
func BenchmarkEventToThousandStreams(b *testing.B) {
	hub, consensus := newTestHub(b, 64<<20, 8<<20)
	defer consensus.Close(b)
	var streams []*stream
	for range 1000 {
		s := newStream(hub, discardingStream{})
		if err := s.create(&pb.WatchCreateRequest{Key: []byte("/registry/"), RangeEnd: []byte("/registry0")}); err != nil {
			b.Fatal(err)
		}
		s.takePending()
		streams = append(streams, s)
	}
	value := make([]byte, 1024)
	revision := int64(1)
	for b.Loop() {
		revision++
		hub.queue.observe(revision, []*mvccpb.Event{putEvent("/registry/pods/default/x", string(value), revision)})
		hub.dispatchBatch()
		for _, s := range streams {
			_, frames, _ := s.takePending()
			if len(frames) != 1 {
				b.Fatalf("%d frames", len(frames))
			}
			if err := s.sendFrames(frames); err != nil {
				b.Fatal(err)
			}
		}
	}
}
