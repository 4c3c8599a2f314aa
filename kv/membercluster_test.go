package kv

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/metadata"

	"github.com/troupe-raft/troupe"
	"github.com/troupe-raft/troupe/kv/internal/kvtest"
	"github.com/troupe-raft/troupe/kv/mvcc"
	"github.com/troupe-raft/troupe/kv/mvcc/engine/disk"
)

// memberCluster is a cluster of real nodes in this process, each with the services and a client.
type memberCluster struct {
	*troupe.Cluster
	t       *testing.T
	servers map[uint64]*testServer
}

// memberElectionTimeout is longer than most stalls of a loaded machine.
const memberElectionTimeout = time.Second

// startMembers starts three members. A request waits for the others for at most requestTimeout.
func startMembers(t *testing.T, requestTimeout time.Duration, adjust ...func(*ServerConfig)) *memberCluster {
	t.Helper()
	c := &memberCluster{t: t, servers: map[uint64]*testServer{}}
	refs := map[uint64]*mvcc.StoreRef{}
	cluster, err := troupe.StartCluster(testContext(t), troupe.ClusterOptions{
		Size: 3,
		StateMachine: func(id uint64) troupe.Factory {
			factory, ref := mvcc.Factory("kv", mvcc.Options{Engine: disk.Opener(disk.Options{FS: vfs.NewMem()})})
			refs[id] = ref
			return factory
		},
		Configure: func(config *troupe.Config) {
			config.Timing = troupe.Timing{HeartbeatInterval: memberElectionTimeout / 10, ElectionTimeout: memberElectionTimeout}
		},
	})
	mustSucceed(t, err)
	c.Cluster = cluster
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := cluster.Stop(ctx); err != nil {
			t.Errorf("stopping the cluster: %v", err)
		}
	})
	for id, ref := range refs {
		config := ServerConfig{
			Consensus: c.Node(id), Store: ref, MemberID: id, ElectionTimeout: memberElectionTimeout, RequestTimeout: requestTimeout,
		}
		for _, a := range adjust {
			a(&config)
		}
		c.servers[id] = serve(t, config)
	}
	c.leader()
	return c
}

func (c *memberCluster) leader() uint64 {
	c.t.Helper()
	n, err := c.WaitForLeader(testContext(c.t))
	mustSucceed(c.t, err)
	return n.ID()
}

// isolate cuts off a member, which leads or not, and returns its server and that of another one
// that has a majority.
func (c *memberCluster) isolate(leads bool) (isolated, other *testServer) {
	c.t.Helper()
	id := c.leader()
	if !leads {
		id = id%3 + 1
	}
	c.Network.Isolate(id)
	return c.servers[id], c.servers[id%3+1]
}

// readCall is one way to read a key.
type readCall struct {
	name string
	read func(ctx context.Context, ts *testServer, key string) (value string, err error)
}

// readCalls returns all calls that return a key's value and are served from the store, with the
// serializable flag.
func readCalls(serializable bool) []readCall {
	request := func(key string) *pb.RangeRequest {
		return &pb.RangeRequest{Key: []byte(key), Serializable: serializable}
	}
	operation := func(key string) *pb.RequestOp {
		return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: request(key)}}
	}
	txn := func(ctx context.Context, ts *testServer, r *pb.TxnRequest) (*pb.ResponseOp, error) {
		response, err := ts.kv.Txn(ctx, r)
		if err != nil {
			return nil, err
		}
		return response.Responses[0], nil
	}
	return []readCall{
		{"Range", func(ctx context.Context, ts *testServer, key string) (string, error) {
			r, err := ts.kv.Range(ctx, request(key))
			return firstValue(r), err
		}},
		{"RangeStream", func(ctx context.Context, ts *testServer, key string) (string, error) {
			r, err := ts.rangeStream(ctx, request(key))
			return firstValue(r), err
		}},
		{"Txn", func(ctx context.Context, ts *testServer, key string) (string, error) {
			r, err := txn(ctx, ts, &pb.TxnRequest{Success: []*pb.RequestOp{operation(key)}})
			return firstValue(r.GetResponseRange()), err
		}},
		{"Txn, else", func(ctx context.Context, ts *testServer, key string) (string, error) {
			r, err := txn(ctx, ts, &pb.TxnRequest{
				Compare: []*pb.Compare{{Key: []byte("none"), Target: pb.Compare_VERSION, TargetUnion: &pb.Compare_Version{Version: 9}}},
				Failure: []*pb.RequestOp{operation(key)},
			})
			return firstValue(r.GetResponseRange()), err
		}},
	}
}

// nestedTxn reads in a transaction inside of one. As in etcd it is never serializable as a whole.
func nestedTxn(serializable bool) readCall {
	name := fmt.Sprintf("nested Txn, serializable=%v,", serializable)
	return readCall{name, func(ctx context.Context, ts *testServer, key string) (string, error) {
		read := opRange(key, "")
		read.GetRequestRange().Serializable = serializable
		r, err := ts.kv.Txn(ctx, &pb.TxnRequest{Success: []*pb.RequestOp{opTxn([]*pb.RequestOp{read}, nil)}})
		if err != nil {
			return "", err
		}
		return firstValue(r.Responses[0].GetResponseTxn().Responses[0].GetResponseRange()), nil
	}}
}

// linearizableReads returns every call and mode that must not return an old value.
func linearizableReads() (all []readCall) {
	add := func(mode string, calls []readCall) {
		for _, c := range calls {
			all = append(all, readCall{fmt.Sprintf("%s in mode %q", c.name, mode), func(ctx context.Context, ts *testServer, key string) (string, error) {
				if mode != "" {
					ctx = metadata.AppendToOutgoingContext(ctx, ReadModeKey, mode)
				}
				return c.read(ctx, ts, key)
			}})
		}
	}
	for _, mode := range []string{"", "log", "index", "lease"} {
		add(mode, append(readCalls(false), nestedTxn(false), nestedTxn(true)))
	}
	add("index", readCalls(true)) // the mode counts, not the flag
	return append(all, readsOfWrites()...)
}

// readsOfWrites returns the writes that return what they have read.
func readsOfWrites() []readCall {
	return []readCall{
		{"Txn that writes", func(ctx context.Context, ts *testServer, key string) (string, error) {
			r, err := ts.kv.Txn(ctx, &pb.TxnRequest{Success: []*pb.RequestOp{opRange(key, ""), kvtest.PutOp("other", "x")}})
			if err != nil {
				return "", err
			}
			return firstValue(r.Responses[0].GetResponseRange()), nil
		}},
		{"Put of the same value", func(ctx context.Context, ts *testServer, key string) (string, error) {
			r, err := ts.kv.Put(ctx, &pb.PutRequest{Key: []byte(key), IgnoreValue: true, PrevKv: true})
			return string(r.GetPrevKv().GetValue()), err
		}},
	}
}

func firstValue(r *pb.RangeResponse) string {
	if len(r.GetKvs()) == 0 {
		return ""
	}
	return string(r.Kvs[0].Value)
}

func (ts *testServer) rangeStream(ctx context.Context, r *pb.RangeRequest) (*pb.RangeResponse, error) {
	stream, err := ts.kv.RangeStream(ctx, r)
	if err != nil {
		return nil, err
	}
	all := &pb.RangeResponse{}
	for {
		chunk, err := stream.Recv()
		if err == io.EOF {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		all.Kvs = append(all.Kvs, chunk.RangeResponse.Kvs...)
	}
}

// waiting returns how many calls the server is handling.
func (ts *testServer) waiting() int64 { return ts.requests.held.Load() + ts.streams.held.Load() }

// A member that was cut off, or stopped and continued, must not answer with what it last knew.
func TestNoReadIsStaleAtAnIsolatedMember(t *testing.T) {
	for _, leads := range []bool{false, true} {
		t.Run(fmt.Sprintf("leader=%v", leads), func(t *testing.T) {
			c := startMembers(t, time.Minute)
			c.servers[1].put(t, "k", "old")
			for _, ts := range c.servers {
				if v, err := linearizableReads()[0].read(testContext(t), ts, "k"); err != nil || v != "old" {
					t.Fatalf("before: %q, %v", v, err)
				}
			}
			isolated, other := c.isolate(leads)
			other.put(t, "k", "new")
			for _, call := range readCalls(true) {
				if v, err := call.read(testContext(t), isolated, "k"); err != nil || v != "old" {
					t.Errorf("serializable %s: %q, %v; want the old value", call.name, v, err)
				}
			}
			reads := linearizableReads()
			results := make(chan error, len(reads))
			for _, call := range reads {
				go func() {
					v, err := call.read(testContext(t), isolated, "k")
					if err == nil && v != "new" {
						err = fmt.Errorf("stale value %q", v)
					}
					if err != nil {
						err = fmt.Errorf("%s: %w", call.name, err)
					}
					results <- err
				}()
			}
			for isolated.waiting() < int64(len(reads)) {
				select {
				case err := <-results:
					t.Fatalf("a read ended without a majority: %v", err)
				default:
					runtime.Gosched()
				}
			}
			c.Network.HealAll()
			for range reads {
				if err := <-results; err != nil {
					t.Error(err)
				}
			}
		})
	}
}
