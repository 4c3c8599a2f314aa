package troupe

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/troupe-raft/troupe/persistence/vfs"
)

// ClusterOptions say how StartCluster makes its members. Size and StateMachine are required.
type ClusterOptions struct {
	Size int
	// StateMachine makes the factory of one member's state machine.
	StateMachine func(id uint64) Factory
	// Dir keeps the members' data directories on the real disk. Empty: each has a disk in memory.
	Dir string
	// Configure may change a member's configuration before it starts. Nil: as it is.
	Configure func(*Config)
}

// Cluster is several members in one process, joined by a Network: for tests, for learning, and for programs that want a
// replicated state machine without machines. Members are numbered from 1.
type Cluster struct {
	Network            *Network
	options            ClusterOptions
	members            []Member
	disks              map[uint64]FS
	leaderPollInterval time.Duration // between looks for a leader that is on its way

	mu    sync.Mutex
	nodes map[uint64]*Node
}

// StartCluster starts all members and returns as soon as their logs are recovered; see WaitForLeader.
func StartCluster(ctx context.Context, options ClusterOptions) (*Cluster, error) {
	c := &Cluster{Network: NewNetwork(), options: options, disks: map[uint64]FS{}, leaderPollInterval: 2 * time.Millisecond, nodes: map[uint64]*Node{}}
	for id := uint64(1); id <= uint64(options.Size); id++ {
		c.members = append(c.members, Member{ID: id, Name: fmt.Sprintf("member-%d", id), Address: fmt.Sprintf("member-%d:0", id)})
		c.disks[id] = vfs.OS()
		if options.Dir == "" {
			c.disks[id] = vfs.NewMem()
		}
	}
	for _, m := range c.members {
		if _, err := c.Start(ctx, m.ID); err != nil {
			return nil, errors.Join(err, c.Stop(ctx))
		}
	}
	return c, nil
}

// Start starts a member again that was stopped or killed, on the data directory that it left.
func (c *Cluster) Start(ctx context.Context, id uint64) (*Node, error) {
	dir := c.options.Dir
	if dir == "" {
		dir = string(filepath.Separator)
	}
	config := Config{
		ID: id, Members: c.members, DataDir: filepath.Join(dir, fmt.Sprintf("member-%d", id)), FS: c.disks[id],
		StateMachine: c.options.StateMachine(id), Network: c.Network,
	}
	if c.options.Configure != nil {
		c.options.Configure(&config)
	}
	n, err := Start(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("member %d: %w", id, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nodes[id] = n
	return n, nil
}

// Node is a member by its number; nil if it was never started.
func (c *Cluster) Node(id uint64) *Node {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.nodes[id]
}

// Nodes are the members that run, by number.
func (c *Cluster) Nodes() []*Node {
	var running []*Node
	for _, m := range c.members {
		if n := c.Node(m.ID); n != nil && n.Status().Role != "stopped" {
			running = append(running, n)
		}
	}
	return running
}

// WaitForLeader returns the leader as soon as a member that runs leads and knows it.
func (c *Cluster) WaitForLeader(ctx context.Context) (*Node, error) {
	for {
		for _, n := range c.Nodes() {
			id, err := n.WaitForLeader(ctx)
			if err != nil {
				if ctx.Err() != nil {
					return nil, err
				}
				continue
			}
			if leader := c.Node(id); leader != nil && leader.LeaderID() == id && leader.Status().Role == "leader" {
				return leader, nil
			}
		}
		// Who is believed to lead does not know it yet, or does not run any more: the next change tells.
		select {
		case <-time.After(c.leaderPollInterval):
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", ErrNoLeader, ctx.Err())
		}
	}
}

// Stop stops all members.
func (c *Cluster) Stop(ctx context.Context) error {
	var failed error
	for _, n := range c.Nodes() {
		failed = errors.Join(failed, n.Stop(ctx))
	}
	return failed
}
