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
type solo struct {
	factory troupe.Factory

	mu       sync.Mutex
	machine  troupe.OnDisk // guarded by mu
	commands [][]byte      // guarded by mu; the log: index 1 is commands[0]

	refuse atomic.Pointer[error] // what Propose and Read answer instead
	status atomic.Pointer[troupe.Status]
	done   chan struct{}
	mover  func(to uint64) error
	reads  [troupe.ReadLocal + 1]atomic.Int64
}

const (
	soloID      = 0x1234
	soloCluster = 0xc0ffee
	soloTerm    = 7
)

// newSolo is a solo that is closed at the test's end.
func newSolo(t testing.TB) (*solo, *StoreRef) {
	t.Helper()
	s, ref := openSolo(t)
	t.Cleanup(func() { s.close(t) })
	return s, ref
}

func openSolo(t testing.TB) (*solo, *StoreRef) {
	t.Helper()
	factory, ref := Factory("kv", mvcc.Options{FS: vfs.NewMem()})
	s := &solo{factory: factory, done: make(chan struct{})}
	s.status.Store(&troupe.Status{
		ID: soloID, ClusterID: soloCluster, Role: "leader", Term: soloTerm, Leader: soloID, Serving: true,
		Members: []troupe.Member{{ID: soloID, Name: "one", Address: "127.0.0.1:2380"}},
	})
	s.open(t)
	return s, ref
}

func (s *solo) close(t testing.TB) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.machine.Close(); err != nil {
		t.Errorf("closing the store: %v", err)
	}
}

// open opens the store and replays what it lacks.
func (s *solo) open(t testing.TB) {
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
func (s *solo) reopen(t testing.TB, meanwhile func()) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.machine.Close(); err != nil {
		t.Fatalf("closing the store: %v", err)
	}
	meanwhile()
	s.open(t)
}

func (s *solo) apply(index uint64, command []byte) []byte {
	results, err := s.machine.Apply(&troupe.Batch{
		Last:     index,
		Commands: []troupe.Command{{Index: index, Term: soloTerm, Data: command}},
		Ledger:   func([][]byte) troupe.LedgerUpdate { return troupe.LedgerUpdate{} },
	})
	if err != nil {
		panic(err)
	}
	return results[0]
}

func (s *solo) Propose(ctx context.Context, command []byte) (troupe.Result, error) {
	if err := s.refuse.Load(); err != nil {
		return troupe.Result{}, s.refused(ctx, *err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.commands = append(s.commands, append([]byte(nil), command...))
	index := uint64(len(s.commands))
	return troupe.Result{Index: index, Term: soloTerm, Value: s.apply(index, command)}, nil
}

func (s *solo) Read(ctx context.Context, mode troupe.ReadMode) (troupe.ReadPoint, error) {
	s.reads[mode].Add(1)
	if err := s.refuse.Load(); err != nil && mode != troupe.ReadLocal {
		return troupe.ReadPoint{}, s.refused(ctx, *err)
	}
	return troupe.ReadPoint{Term: soloTerm}, nil
}

// errHang makes a call wait until its context ends.
var errHang = errors.New("hang")

func (s *solo) refused(ctx context.Context, err error) error {
	if err == errHang {
		<-ctx.Done()
		return errors.Join(troupe.ErrTimeout, ctx.Err())
	}
	return err
}

func (s *solo) setRefuse(err error) { s.refuse.Store(&err) }

func (s *solo) setStatus(change func(*troupe.Status)) {
	changed := *s.status.Load()
	change(&changed)
	s.status.Store(&changed)
}

func (s *solo) Status() troupe.Status { return *s.status.Load() }
func (s *solo) Term() uint64          { return s.Status().Term }
func (s *solo) Done() <-chan struct{} { return s.done }
func (s *solo) Err() error            { return nil }

func (s *solo) TransferLeadership(_ context.Context, to uint64) error { return s.mover(to) }

// testServer is a server of one member on loopback, and clients of it.
type testServer struct {
	*Server
	solo    *solo
	address string
	conn    *grpc.ClientConn
	kv      pb.KVClient
	watch   pb.WatchClient
}

func startServer(t testing.TB, adjust ...func(*ServerConfig)) *testServer {
	t.Helper()
	consensus, ref := newSolo(t)
	config := ServerConfig{
		Consensus: consensus, Store: ref, MemberID: soloID, ClusterID: soloCluster,
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
	ts := &testServer{Server: server, solo: consensus, address: listener.Addr().String()}
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
func soon(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func (ts *testServer) put(t testing.TB, key, value string) int64 {
	t.Helper()
	r, err := ts.kv.Put(soon(t), &pb.PutRequest{Key: []byte(key), Value: []byte(value)})
	if err != nil {
		t.Fatalf("put %q: %v", key, err)
	}
	return r.Header.Revision
}

func (ts *testServer) delete(t testing.TB, key, end string) int64 {
	t.Helper()
	r, err := ts.kv.DeleteRange(soon(t), &pb.DeleteRangeRequest{Key: []byte(key), RangeEnd: []byte(end)})
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
