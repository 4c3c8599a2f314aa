package troupe_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/troupe-raft/troupe"
)

// register is an in-memory state machine that holds one value. Each command replaces it.
type register struct {
	mu    sync.RWMutex
	value string
}

func (r *register) Apply(b *troupe.Batch) ([][]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	results := make([][]byte, len(b.Commands))
	for i, c := range b.Commands {
		results[i] = []byte(r.value) // the value that was replaced
		r.value = string(c.Data)
	}
	return results, nil
}

func (r *register) Snapshot(w io.Writer) error {
	r.mu.RLock()
	defer r.mu.RUnlock()
	_, err := io.WriteString(w, r.value)
	return err
}

func (r *register) Restore(from io.Reader) error {
	data, err := io.ReadAll(from)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.value = string(data)
	return err
}

func (r *register) Close() error { return nil }

func (r *register) get() string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.value
}

// A server of a program that embeds Troupe, with one member. With more members, each server has its
// own ID and listener, and all have the same list of Members.
func ExampleStart() {
	dir, err := os.MkdirTemp("", "troupe-example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()

	var state *register
	node, err := troupe.Start(ctx, troupe.Config{
		ID:           1,
		Members:      []troupe.Member{{ID: 1, Name: "a", Address: listener.Addr().String()}},
		DataDir:      filepath.Join(dir, "data"),
		StateMachine: func() (troupe.StateMachine, error) { state = &register{}; return state, nil },
		PeerLink:     &troupe.PeerLink{Listeners: []net.Listener{listener}},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer node.Stop(ctx)

	if _, err := node.Propose(ctx, []byte("hello")); err != nil {
		log.Fatal(err)
	}
	if _, err := node.Read(ctx, troupe.ReadIndex); err != nil { // state contains everything acknowledged before
		log.Fatal(err)
	}
	fmt.Println(state.get())
	// Output: hello
}

// Three members in one process.
func ExampleStartCluster() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	states := map[uint64]*register{1: {}, 2: {}, 3: {}}
	cluster, err := troupe.StartCluster(ctx, troupe.ClusterOptions{
		Size: 3,
		StateMachine: func(id uint64) troupe.Factory {
			return func() (troupe.StateMachine, error) { return states[id], nil }
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer cluster.Stop(ctx)

	if _, err := cluster.Node(1).Propose(ctx, []byte("written at member 1")); err != nil {
		log.Fatal(err)
	}
	if _, err := cluster.Node(3).Read(ctx, troupe.ReadIndex); err != nil {
		log.Fatal(err)
	}
	fmt.Println(states[3].get())
	// Output: written at member 1
}

// A program that does something only while its member leads.
func ExampleNode_LeadershipChanges() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	cluster, err := troupe.StartCluster(ctx, troupe.ClusterOptions{
		Size:         1,
		StateMachine: func(uint64) troupe.Factory { return func() (troupe.StateMachine, error) { return &register{}, nil } },
	})
	if err != nil {
		log.Fatal(err)
	}
	defer cluster.Stop(ctx)

	changes, stop := cluster.Node(1).LeadershipChanges()
	defer stop()
	for change := range changes {
		if change.LeaderID == 1 {
			fmt.Println("leading")
			break
		}
	}
	// Output: leading
}

// The five modes of reads.
func ExampleNode_Read() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	state := &register{}
	cluster, err := troupe.StartCluster(ctx, troupe.ClusterOptions{
		Size:         1,
		StateMachine: func(uint64) troupe.Factory { return func() (troupe.StateMachine, error) { return state, nil } },
	})
	if err != nil {
		log.Fatal(err)
	}
	defer cluster.Stop(ctx)
	node := cluster.Node(1)
	if _, err := node.Propose(ctx, []byte("x")); err != nil {
		log.Fatal(err)
	}
	for _, mode := range []troupe.ReadMode{
		troupe.ReadLog, troupe.ReadIndex, troupe.ReadLease, troupe.ReadLeader, troupe.ReadLocal,
	} {
		if _, err := node.Read(ctx, mode); err != nil {
			log.Fatal(err)
		}
		fmt.Println(state.get())
	}
	// Output:
	// x
	// x
	// x
	// x
	// x
}

// An actor fails on request. It restarts from the log, and no acknowledged write is lost.
func ExampleNode_Crash() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var state *register
	cluster, err := troupe.StartCluster(ctx, troupe.ClusterOptions{
		Size: 1,
		StateMachine: func(uint64) troupe.Factory {
			return func() (troupe.StateMachine, error) { state = &register{}; return state, nil }
		},
		Configure: func(c *troupe.Config) { c.CrashInjection = true },
	})
	if err != nil {
		log.Fatal(err)
	}
	defer cluster.Stop(ctx)
	node := cluster.Node(1)
	if _, err := node.Propose(ctx, []byte("before the crash")); err != nil {
		log.Fatal(err)
	}
	node.Crash(troupe.CrashPoint{Actor: "machine", Message: "Committed"})
	if _, err := node.Propose(ctx, []byte("the write during the crash")); err != nil {
		log.Fatal(err)
	}
	fmt.Println(state.get(), "- restarts:", node.Status().Restarts)
	// Output: the write during the crash - restarts: 1
}
