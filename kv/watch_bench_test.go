package kv

import (
	"context"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
)

// discardingStream is a client that reads at once.
type discardingStream struct{ pb.Watch_WatchServer }

func (discardingStream) Context() context.Context { return context.Background() }
func (discardingStream) SendMsg(m any) error      { m.(*watchFrame).marshal(); return nil }

// BenchmarkEventToThousandStreams tells what an event costs, all of its watchers together: on the applying goroutine
// (observe), in the hub, and in the streams up to the transport.
func BenchmarkEventToThousandStreams(b *testing.B) {
	consensus, ref := newFakeConsensus(b)
	metrics, err := newMetrics(prometheus.NewRegistry())
	if err != nil {
		b.Fatal(err)
	}
	service := &watchService{
		hub: newWatchHub(ref, 64<<20, metrics), consensus: consensus, maxWatchers: 100, streamBufferBytes: 8 << 20, requestTimeout: 1e9,
		headers: &headers{clusterID: testClusterID, memberID: testMemberID, consensus: consensus},
	}
	var streams []*watchStream
	for range 1000 {
		s := newWatchStream(service, discardingStream{})
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
		service.hub.observe(revision, []*mvccpb.Event{putEvent("/registry/pods/default/x", string(value), revision)})
		service.hub.dispatchBatch()
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
