package troupe_test

import (
	"context"
	"errors"
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

// newRegister is called for each start and for each restart of a node's actors. It returns a new
// register each time: the log is applied to it from the beginning.
func newRegister() (troupe.StateMachine, error) { return &register{}, nil }

// read returns the value at a node, at least as recent as the mode says.
func read(ctx context.Context, node *troupe.Node, mode troupe.ReadMode) (value string, err error) {
	err = node.Query(ctx, mode, func(state troupe.StateMachine) error {
		r := state.(*register)
		r.mu.RLock()
		defer r.mu.RUnlock()
		value = r.value
		return nil
	})
	return value, err
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

	node, err := troupe.Start(ctx, troupe.Config{
		ID:           1,
		Members:      []troupe.Member{{ID: 1, Name: "a", Address: listener.Addr().String()}},
		DataDir:      filepath.Join(dir, "data"),
		StateMachine: newRegister,
		PeerLink:     &troupe.PeerLink{Listeners: []net.Listener{listener}},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer node.Stop(ctx)

	if _, err := node.Propose(ctx, []byte("hello")); err != nil {
		log.Fatal(err)
	}
	value, err := read(ctx, node, troupe.ReadIndex) // contains everything acknowledged before
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(value)
	// Output: hello
}

// Three members in one process.
func ExampleStartCluster() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	cluster, err := troupe.StartCluster(ctx, troupe.ClusterOptions{
		Size:         3,
		StateMachine: func(uint64) troupe.Factory { return newRegister },
	})
	if err != nil {
		log.Fatal(err)
	}
	defer cluster.Stop(ctx)

	if _, err := cluster.Node(1).Propose(ctx, []byte("written at member 1")); err != nil {
		log.Fatal(err)
	}
	value, err := read(ctx, cluster.Node(3), troupe.ReadIndex)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(value)
	// Output: written at member 1
}

// A program that does something only while its member leads.
func ExampleNode_LeadershipChanges() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	cluster, err := troupe.StartCluster(ctx, troupe.ClusterOptions{
		Size:         1,
		StateMachine: func(uint64) troupe.Factory { return newRegister },
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
func ExampleNode_Query() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	cluster, err := troupe.StartCluster(ctx, troupe.ClusterOptions{
		Size:         1,
		StateMachine: func(uint64) troupe.Factory { return newRegister },
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
		value, err := read(ctx, node, mode)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(mode, value)
	}
	// Output:
	// ReadLog x
	// ReadIndex x
	// ReadLease x
	// ReadLeader x
	// ReadLocal x
}

// An actor fails on request. It restarts from the log, and no acknowledged write is lost.
func ExampleNode_Crash() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	cluster, err := troupe.StartCluster(ctx, troupe.ClusterOptions{
		Size:         1,
		StateMachine: func(uint64) troupe.Factory { return newRegister },
		Configure:    func(c *troupe.Config) { c.CrashInjection = true },
	})
	if err != nil {
		log.Fatal(err)
	}
	defer cluster.Stop(ctx)
	node := cluster.Node(1)
	if _, err := node.Propose(ctx, []byte("before the crash")); err != nil {
		log.Fatal(err)
	}
	if err := node.Crash(troupe.CrashPoint{Actor: "machine", Message: "Committed"}); err != nil {
		log.Fatal(err)
	}
	if _, err := node.Propose(ctx, []byte("the write during the crash")); err != nil {
		log.Fatal(err)
	}
	value, err := read(ctx, node, troupe.ReadIndex)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(value, "- restarts:", node.Status().Restarts)
	// Output: the write during the crash - restarts: 1
}

// startRegister starts a cluster of one register, for the examples below.
func startRegister(ctx context.Context) (*troupe.Cluster, *troupe.Node) {
	cluster, err := troupe.StartCluster(ctx, troupe.ClusterOptions{
		Size:         1,
		StateMachine: func(uint64) troupe.Factory { return newRegister },
	})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := cluster.WaitForLeader(ctx); err != nil {
		log.Fatal(err)
	}
	return cluster, cluster.Node(1)
}

// Many commands are pending at once, without a goroutine for each.
func ExampleNode_ProposeAsync() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	cluster, node := startRegister(ctx)
	defer cluster.Stop(ctx)

	var outcomes []<-chan troupe.Outcome
	for i := range 100 {
		outcomes = append(outcomes, node.ProposeAsync(ctx, fmt.Append(nil, i)))
	}
	applied := 0
	for _, outcome := range outcomes {
		if o := <-outcome; o.Err != nil {
			log.Fatal(o.Err)
		}
		applied++
	}
	fmt.Println(applied, "applied")
	// Output: 100 applied
}

// A program asks a majority before it acts as the leader.
func ExampleNode_VerifyLeader() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	cluster, node := startRegister(ctx)
	defer cluster.Stop(ctx)

	switch err := node.VerifyLeader(ctx); {
	case errors.Is(err, troupe.ErrNotLeader):
		fmt.Println("another member leads; last contact to it:", node.LastContact())
	case err != nil:
		log.Fatal(err)
	default:
		fmt.Println("leading")
	}
	// Output: leading
}

// A program follows what happens to its node, until the node has stopped.
func ExampleNode_Events() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	cluster, node := startRegister(ctx)
	events, stop := node.Events(100)
	defer stop()
	if err := cluster.Stop(ctx); err != nil {
		log.Fatal(err)
	}
	for e := range events {
		if e.Kind == troupe.EventStopped {
			fmt.Println(e.Kind, "- error:", e.Err, "- missed:", e.Dropped)
		}
	}
	// Output: stopped - error: <nil> - missed: 0
}
