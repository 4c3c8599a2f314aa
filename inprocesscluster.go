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

// ClusterOptions configure StartCluster. Size and StateMachine are required.
type ClusterOptions struct {
	// Size is the number of members. Their ids are 1 to Size.
	Size int
	// StateMachine returns the factory of one member's state machine.
	StateMachine func(id uint64) Factory
	// Dir holds the members' data directories on the operating system's filesystem. If it is empty,
	// each member has a filesystem in memory.
	Dir string
	// Configure may change a member's configuration before each of its starts. It may be nil.
	Configure func(*Config)
}

// Cluster is a set of members in one process, connected by a Network. It is meant for tests, for
// learning, and for programs that need a replicated state machine on one machine only.
type Cluster struct {
	Network *Network
	options ClusterOptions
	members []Member
	disks   map[uint64]FS

	mu    sync.Mutex
	nodes map[uint64]*Node // the latest node of each member; it may have stopped
}

// leaderPollInterval is the time between two looks at the members for one that leads.
const leaderPollInterval = 2 * time.Millisecond

// StartCluster starts all members and waits until they have recovered their logs. See
// Cluster.WaitForLeader. If a member cannot be started, StartCluster stops the others.
func StartCluster(ctx context.Context, options ClusterOptions) (*Cluster, error) {
	c := &Cluster{Network: NewNetwork(), options: options, disks: map[uint64]FS{}, nodes: map[uint64]*Node{}}
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

// Start starts a member, which must not run, on the data directory of its last run.
func (c *Cluster) Start(ctx context.Context, id uint64) (*Node, error) {
	dir := c.options.Dir
	if dir == "" {
		dir = string(filepath.Separator)
	}
	config := Config{
		ID: id, Members: c.members, DataDir: filepath.Join(dir, fmt.Sprintf("member-%d", id)), FS: c.disks[id],
		StateMachine: c.options.StateMachine(id), Network: c.Network, DebugChecks: true,
	}
	if c.options.Configure != nil {
		c.options.Configure(&config)
	}
	n, err := Start(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("member %#x: %w", id, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nodes[id] = n
	return n, nil
}

// Node returns the latest node of a member, which may have stopped; nil if it was never started.
func (c *Cluster) Node(id uint64) *Node {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.nodes[id]
}

// Nodes returns the nodes that run, ordered by id.
func (c *Cluster) Nodes() []*Node {
	var running []*Node
	for _, m := range c.members {
		if n := c.Node(m.ID); n != nil && n.Status().Role != roleStopped {
			running = append(running, n)
		}
	}
	return running
}

// WaitForLeader waits until a member leads that another member, or itself, names as the leader, and
// returns its node. The error is ErrNoLeader or ErrCanceled if the context ends first.
func (c *Cluster) WaitForLeader(ctx context.Context) (*Node, error) {
	for {
		// No member is waited for: one that is cut off, or waits to rejoin, knows no leader for long.
		for _, n := range c.Nodes() {
			id := n.LeaderID()
			if leader := c.Node(id); leader != nil && leader.LeaderID() == id && leader.Status().Role == roleLeader {
				return leader, nil
			}
		}
		select {
		case <-time.After(leaderPollInterval):
		case <-ctx.Done():
			return nil, noLeaderError(ctx)
		}
	}
}

// Stop stops all members, one after the other.
func (c *Cluster) Stop(ctx context.Context) error {
	var failed error
	for _, n := range c.Nodes() {
		failed = errors.Join(failed, n.Stop(ctx))
	}
	return failed
}
