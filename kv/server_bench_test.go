package kv

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"github.com/troupe-raft/troupe"
	"github.com/troupe-raft/troupe/kv/internal/kvtest"
)

// fixedConsensus returns a fixed result to all proposals at once, each millisecond, as a node does
// after a commit. A benchmark with it measures the client port.
type fixedConsensus struct {
	*kvtest.Consensus
	result []byte
	commit atomic.Pointer[chan struct{}]
}

func newFixedConsensus(s *kvtest.Consensus, result []byte) *fixedConsensus {
	c := &fixedConsensus{Consensus: s, result: result}
	next := make(chan struct{})
	c.commit.Store(&next)
	return c
}

// run commits until done is closed.
func (c *fixedConsensus) run(done <-chan struct{}) {
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			next := make(chan struct{})
			close(*c.commit.Swap(&next))
		case <-done:
			return
		}
	}
}

func (c *fixedConsensus) Propose(ctx context.Context, _ []byte) (troupe.Result, error) {
	select {
	case <-*c.commit.Load():
		return troupe.Result{Index: 1, AppliedTerm: kvtest.Term, Value: c.result}, nil
	case <-ctx.Done():
		return troupe.Result{}, ctx.Err()
	}
}

func cpuTime(b *testing.B) time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// BenchmarkClientPort measures the CPU time of a request over loopback, including the client's.
func BenchmarkClientPort(b *testing.B) {
	const conns, clients = 50, 500
	for _, workers := range []uint32{0, 128} {
		consensus, ref := kvtest.New(b)
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		first, err := consensus.Propose(context.Background(), kvtest.EncodePut(b, "k", "v"))
		if err != nil {
			b.Fatal(err)
		}
		node, done := newFixedConsensus(consensus, first.Value), make(chan struct{})
		go node.run(done)
		server, err := NewServer(ServerConfig{
			Consensus: node, Store: ref, MemberID: kvtest.MemberID, StreamWorkers: workers,
		})
		if err != nil {
			b.Fatal(err)
		}
		served := make(chan error, 1)
		go func() { served <- server.Serve(listener) }()
		var kvs []pb.KVClient
		for range conns {
			conn, err := grpc.NewClient("passthrough:///"+listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
			if err != nil {
				b.Fatal(err)
			}
			defer conn.Close()
			kvs = append(kvs, pb.NewKVClient(conn))
		}
		value := make([]byte, 256)
		for name, call := range map[string]func(pb.KVClient) error{
			"put": func(kv pb.KVClient) error {
				_, err := kv.Put(context.Background(), &pb.PutRequest{Key: []byte("key-of-some-length"), Value: value})
				return err
			},
			"range": func(kv pb.KVClient) error {
				_, err := kv.Range(context.Background(), &pb.RangeRequest{Key: []byte("k")})
				return err
			},
		} {
			b.Run(fmt.Sprintf("%s/workers=%d", name, workers), func(b *testing.B) {
				before := cpuTime(b)
				var running sync.WaitGroup
				for i := range clients {
					running.Go(func() {
						for n := i; n < b.N; n += clients {
							if err := call(kvs[i%conns]); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				running.Wait()
				b.ReportMetric(float64((cpuTime(b)-before).Nanoseconds())/float64(b.N), "cpu-ns/op")
			})
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		server.Stop(ctx)
		cancel()
		close(done)
		if err := <-served; err != nil {
			b.Error(err)
		}
	}
}

// BenchmarkRequestMetrics measures what counting and timing one put costs, without its request.
func BenchmarkRequestMetrics(b *testing.B) {
	consensus, ref := kvtest.New(b)
	server, err := NewServer(ServerConfig{Consensus: consensus, Store: ref, MemberID: kvtest.MemberID})
	if err != nil {
		b.Fatal(err)
	}
	defer server.Stop(context.Background())
	m := server.metrics
	ctx := metadata.NewIncomingContext(context.Background(), metadata.Pairs(rpctypes.MetadataClientAPIVersionKey, "3.7"))
	for b.Loop() {
		rpc := m.rpc.methods[pb.KV_Put_FullMethodName]
		began := rpc.begin()
		if err := m.rpc.clients.count(ctx, false); err != nil {
			b.Fatal(err)
		}
		m.receivedBytes.Add(300)
		m.kv.requestEnded(requestPut, time.Now(), nil)
		m.sentBytes.Add(30)
		rpc.endUnary(began, nil)
	}
}
