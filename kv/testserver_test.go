package kv

import (
	"context"
	"net"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/troupe-raft/troupe/kv/internal/kvtest"
)

// testServer is a server of one member on loopback, with clients.
type testServer struct {
	*Server
	consensus *kvtest.Consensus // nil: that of a member of a memberCluster
	address   string
	conn      *grpc.ClientConn
	kv        pb.KVClient
	watch     pb.WatchClient
}

func startServer(t testing.TB, adjust ...func(*ServerConfig)) *testServer {
	t.Helper()
	consensus, ref := kvtest.New(t)
	config := ServerConfig{
		Consensus: consensus, Store: ref, MemberID: kvtest.MemberID, ClusterID: kvtest.ClusterID,
		Name: "one", AdvertiseClientURLs: []string{"http://127.0.0.1:2379"}, Version: "0.1.0-test",
	}
	for _, a := range adjust {
		a(&config)
	}
	ts := serve(t, config)
	ts.consensus = consensus
	return ts
}

// serve starts a server until the test ends.
func serve(t testing.TB, config ServerConfig) *testServer {
	t.Helper()
	server, err := NewServer(config)
	if err != nil {
		t.Fatalf("making the server: %v", err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	mustSucceed(t, err)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	ts := &testServer{Server: server, address: listener.Addr().String()}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		server.Stop(ctx)
		if err := <-served; err != nil {
			t.Errorf("serving: %v", err)
		}
	})
	ts.conn = ts.dial(t)
	ts.kv, ts.watch = pb.NewKVClient(ts.conn), pb.NewWatchClient(ts.conn)
	return ts
}

func (ts *testServer) dial(t testing.TB) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+ts.address, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(1<<30)),
		// Fixed windows: otherwise they grow with the traffic, and a client that does not read might
		// not be slow.
		grpc.WithStaticStreamWindowSize(64<<10), grpc.WithStaticConnWindowSize(16<<20))
	mustSucceed(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// testContext ends a test that hangs.
func testContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func (ts *testServer) put(t testing.TB, key, value string) int64 {
	t.Helper()
	r, err := ts.kv.Put(testContext(t), &pb.PutRequest{Key: []byte(key), Value: []byte(value)})
	if err != nil {
		t.Fatalf("put %q: %v", key, err)
	}
	return r.Header.Revision
}

func (ts *testServer) delete(t testing.TB, key, end string) int64 {
	t.Helper()
	r, err := ts.kv.DeleteRange(testContext(t), &pb.DeleteRangeRequest{Key: []byte(key), RangeEnd: []byte(end)})
	if err != nil {
		t.Fatalf("delete %q: %v", key, err)
	}
	return r.Header.Revision
}

func mustSucceed(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
