package watch

import (
	"context"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/kv/internal/header"
	"github.com/troupe-raft/troupe/kv/internal/kvtest"
	"github.com/troupe-raft/troupe/kv/mvcc"
)

var testHeader = &header.Maker{
	ClusterID: kvtest.ClusterID, MemberID: kvtest.MemberID, Term: func() uint64 { return kvtest.Term },
}

// newTestHub returns a hub that does not run: the test calls its steps, and those of its streams.
func newTestHub(t testing.TB, queueBytes, streamBufferBytes int) (*Hub, *kvtest.Consensus) {
	consensus, store := kvtest.Open(t)
	return NewHub(testConfig(consensus, store, queueBytes, streamBufferBytes)), consensus
}

func testConfig(consensus *kvtest.Consensus, store *mvcc.StoreRef, queueBytes, streamBufferBytes int) Config {
	return Config{
		Store: store, Consensus: consensus, Header: testHeader,
		Metrics:    NewMetrics(prometheus.NewCounter(prometheus.CounterOpts{})),
		QueueBytes: queueBytes, StreamBufferBytes: streamBufferBytes, FragmentBytes: 1 << 20,
		MaxWatchersPerStream: 100, RequestTimeout: time.Minute,
	}
}

// recordingStream is the gRPC side of a stream. It records the responses.
type recordingStream struct {
	pb.Watch_WatchServer
	responses []*pb.WatchResponse
}

func (r *recordingStream) Context() context.Context { return context.Background() }

func (r *recordingStream) Send(response *pb.WatchResponse) error {
	r.responses = append(r.responses, response)
	return nil
}

func (r *recordingStream) SendMsg(m any) error {
	buffers, err := m.(*Frame).MarshalBuffers()
	if err != nil {
		return err
	}
	response := &pb.WatchResponse{}
	if err := proto.Unmarshal(buffers.Materialize(), response); err != nil {
		return err
	}
	return r.Send(response)
}

func putEvent(key, value string, revision int64) *mvccpb.Event {
	return &mvccpb.Event{Kv: &mvccpb.KeyValue{
		Key: []byte(key), Value: []byte(value), CreateRevision: revision, ModRevision: revision, Version: 1,
	}}
}

func mustSucceed(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
