package kv

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/troupe-raft/troupe"
	"github.com/troupe-raft/troupe/kv/mvcc"
)

// solo is a Consensus of one member without a disk of its own: what is proposed is applied, in order, to a store. Its log
// is kept in memory, so that the store may be closed and opened again as supervision does it.
type fakeConsensus struct {
	factory troupe.Factory

	mu       sync.Mutex
	machine  troupe.OnDisk // guarded by mu
	commands [][]byte      // guarded by mu; the log: index 1 is commands[0]

	failure    atomic.Pointer[error] // what Propose and Read answer instead
	status     atomic.Pointer[troupe.Status]
	done       chan struct{}
	onTransfer func(to uint64) error
	reads      [troupe.ReadLocal + 1]atomic.Int64
}

const (
	testMemberID  = 0x1234
	testClusterID = 0xc0ffee
	testTerm      = 7
)

// newFakeConsensus is a solo that is closed at the test's end.
func newFakeConsensus(t testing.TB) (*fakeConsensus, *StoreRef) {
	t.Helper()
	s, ref := openFakeConsensus(t)
	t.Cleanup(func() { s.close(t) })
	return s, ref
}

func openFakeConsensus(t testing.TB) (*fakeConsensus, *StoreRef) {
	t.Helper()
	factory, ref := Factory("kv", mvcc.Options{FS: vfs.NewMem()})
	s := &fakeConsensus{factory: factory, done: make(chan struct{})}
	s.status.Store(&troupe.Status{
		ID: testMemberID, ClusterID: testClusterID, Role: "leader", Term: testTerm, LeaderID: testMemberID, Serving: true,
		Members: []troupe.Member{{ID: testMemberID, Name: "one", Address: "127.0.0.1:2380"}},
	})
	s.open(t)
	return s, ref
}

func (s *fakeConsensus) close(t testing.TB) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.machine.Close(); err != nil {
		t.Errorf("closing the store: %v", err)
	}
}

// open opens the store and replays what it lacks.
func (s *fakeConsensus) open(t testing.TB) {
	t.Helper()
	machine, err := s.factory()
	if err != nil {
		t.Fatalf("opening the store: %v", err)
	}
	s.machine = machine.(troupe.OnDisk)
	applied, _, err := s.machine.Recover()
	if err != nil {
		t.Fatalf("recovering the store: %v", err)
	}
	for i := int(applied); i < len(s.commands); i++ {
		s.apply(uint64(i+1), s.commands[i])
	}
}

// reopen closes the store, lets meanwhile run in the gap, and opens it again.
func (s *fakeConsensus) reopen(t testing.TB, meanwhile func()) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.machine.Close(); err != nil {
		t.Fatalf("closing the store: %v", err)
	}
	meanwhile()
	s.open(t)
}

func (s *fakeConsensus) apply(index uint64, command []byte) []byte {
	results, err := s.machine.Apply(&troupe.Batch{
		Last:          index,
		Commands:      []troupe.Command{{Index: index, Term: testTerm, Data: command}},
		SessionUpdate: func([][]byte) troupe.SessionUpdate { return troupe.SessionUpdate{} },
	})
	if err != nil {
		panic(err)
	}
	return results[0]
}

func (s *fakeConsensus) Propose(ctx context.Context, command []byte) (troupe.Result, error) {
	if err := s.failure.Load(); err != nil {
		return troupe.Result{}, s.fail(ctx, *err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.commands = append(s.commands, append([]byte(nil), command...))
	index := uint64(len(s.commands))
	return troupe.Result{Index: index, Term: testTerm, Value: s.apply(index, command)}, nil
}

func (s *fakeConsensus) Read(ctx context.Context, mode troupe.ReadMode) (troupe.ReadPoint, error) {
	s.reads[mode].Add(1)
	if err := s.failure.Load(); err != nil && mode != troupe.ReadLocal {
		return troupe.ReadPoint{}, s.fail(ctx, *err)
	}
	return troupe.ReadPoint{Term: testTerm}, nil
}

// errHangUntilDeadline makes a call wait until its context ends.
var errHangUntilDeadline = errors.New("hang")

func (s *fakeConsensus) fail(ctx context.Context, err error) error {
	if err == errHangUntilDeadline {
		<-ctx.Done()
		return errors.Join(troupe.ErrTimeout, ctx.Err())
	}
	return err
}

func (s *fakeConsensus) setFailure(err error) { s.failure.Store(&err) }

func (s *fakeConsensus) setStatus(change func(*troupe.Status)) {
	changed := *s.status.Load()
	change(&changed)
	s.status.Store(&changed)
}

func (s *fakeConsensus) Status() troupe.Status { return *s.status.Load() }
func (s *fakeConsensus) Term() uint64          { return s.Status().Term }
func (s *fakeConsensus) Done() <-chan struct{} { return s.done }
func (s *fakeConsensus) Err() error            { return nil }

func (s *fakeConsensus) TransferLeadership(_ context.Context, to uint64) error {
	return s.onTransfer(to)
}

// testServer is a server of one member on loopback, and clients of it.
type testServer struct {
	*Server
	consensus *fakeConsensus
	address   string
	conn      *grpc.ClientConn
	kv        pb.KVClient
	watch     pb.WatchClient
}

func startServer(t testing.TB, adjust ...func(*ServerConfig)) *testServer {
	t.Helper()
	consensus, ref := newFakeConsensus(t)
	config := ServerConfig{
		Consensus: consensus, Store: ref, MemberID: testMemberID, ClusterID: testClusterID,
		Name: "one", AdvertiseClientURLs: []string{"http://127.0.0.1:2379"}, Version: "0.1.0-test",
	}
	for _, a := range adjust {
		a(&config)
	}
	server, err := NewServer(config)
	if err != nil {
		t.Fatalf("making the server: %v", err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	ts := &testServer{Server: server, consensus: consensus, address: listener.Addr().String()}
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
		// Left to itself the library makes the windows grow with the traffic: no client would be slow for sure.
		grpc.WithStaticStreamWindowSize(64<<10), grpc.WithStaticConnWindowSize(16<<20))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// soon is a context that ends a hanging test.
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

func mustEncodePut(t testing.TB, key, value string) []byte {
	t.Helper()
	command, err := mvcc.EncodePut(&pb.PutRequest{Key: []byte(key), Value: []byte(value)})
	if err != nil {
		t.Fatal(err)
	}
	return command
}
