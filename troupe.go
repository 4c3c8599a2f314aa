// Package troupe is a Raft cluster performed by actors: hand in a state machine and get a supervised, replicated one.
//
// A Node is one member of a cluster. Start opens its data directory, brings its actors to life and joins its peers:
//
//	node, err := troupe.Start(ctx, troupe.Config{
//		ID:           1,
//		Members:      members,
//		DataDir:      "/var/lib/app",
//		StateMachine: func() (troupe.StateMachine, error) { return &counter{}, nil },
//		PeerLink:        &troupe.PeerLink{Listeners: []net.Listener{listener}},
//	})
//	result, err := node.Propose(ctx, []byte("increment"))
//
// Any member takes proposals and reads; who leads is the cluster's own business. A proposal takes effect exactly once,
// also over a change of leader, as long as the member that it was given to lives. Reads come in five modes; the
// default, ReadIndex, is linearizable and works at every member.
//
// For tests, and for learning, a whole cluster lives in one process: see StartCluster.
package troupe

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-raft/troupe/actors/live"
	"github.com/troupe-raft/troupe/internal/session"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/persistence"
	"github.com/troupe-raft/troupe/supervisor"
)

// Node is one member of a cluster, as the program that embeds it sees it. All methods are safe for concurrent use.
type Node struct {
	config         Config
	environment    *live.Env
	rootContext    *actor.RootContext
	supervisorTree *supervisor.Tree
	nodePID        *actor.PID
	injector       *supervisor.CrashInjector
	dataDir        *persistence.DataDir

	session  *session.Session
	observer *nodeObserver

	stopOnce sync.Once
	done     chan struct{}
	err      error // valid once done is closed
}

// ID is this member's id, ClusterID the cluster's.
func (n *Node) ID() uint64        { return n.config.ID }
func (n *Node) ClusterID() uint64 { return n.dataDir.Identity.ClusterID }

// Done is closed when the node has stopped, by Stop or because it could not go on; Err then says why (nil after Stop).
func (n *Node) Done() <-chan struct{} { return n.done }

// Err is why the node stopped by itself. Nil while it runs, and after Stop.
func (n *Node) Err() error {
	select {
	case <-n.done:
		return n.err
	default:
		return nil
	}
}

// Propose has a command applied by every member's state machine, exactly once, and returns what this member's own
// returned for it, after it was applied here. When the context ends first, the command may still take effect (ErrTimeout,
// or ErrNoLeader where none was known), and so it may where the node stops (ErrStopped) or the cluster has forgotten it
// (ErrOutcomeUnknown); ErrOverloaded, ErrDiskFull and ErrTooLarge say that it has not.
func (n *Node) Propose(ctx context.Context, command []byte) (Result, error) {
	return n.session.Propose(ctx, command)
}

// Read returns once this member's state machine reflects what the mode promises; the caller then reads it directly.
func (n *Node) Read(ctx context.Context, mode ReadMode) (ReadPoint, error) {
	return n.session.Read(ctx, mode)
}

// Barrier returns once everything that was committed before it is applied here.
func (n *Node) Barrier(ctx context.Context) error {
	_, err := n.Read(ctx, ReadLog)
	return err
}

// WaitForLeader returns the id of the leader as soon as one is known.
func (n *Node) WaitForLeader(ctx context.Context) (uint64, error) {
	return n.observer.waitForLeader(ctx, n.done)
}

// Leadership is a change of leader as this member saw it. Leader is 0 while none is known.
type Leadership struct {
	Term     uint64
	LeaderID uint64
}

// LeadershipChanges returns a channel with the present leadership and each change from now on. A slow reader misses
// changes but never the latest. stop ends it and closes the channel.
func (n *Node) LeadershipChanges() (changes <-chan Leadership, stop func()) {
	return n.observer.subscribe()
}

// TransferLeadership asks the leader to hand over to target, or to the most up-to-date voter when target is 0, and waits
// until another leads. Only the leader itself can be asked: ErrNotLeader elsewhere. A target without a vote is refused with
// ErrNotVoter; the leader as its own target leads already.
func (n *Node) TransferLeadership(ctx context.Context, target uint64) error {
	status := n.Status()
	switch {
	case status.Role != "leader":
		return fmt.Errorf("%w: ask member %x", ErrNotLeader, status.LeaderID)
	case target == n.ID():
		return nil
	case target != 0 && !slices.ContainsFunc(status.Members, func(m Member) bool { return m.ID == target && !m.IsLearner }):
		return fmt.Errorf("%w: member %x", ErrNotVoter, target)
	}
	changes, stop := n.LeadershipChanges()
	defer stop()
	n.rootContext.Send(n.nodePID, &messages.TransferLeadership{Target: target})
	for {
		select {
		case c := <-changes:
			if c.LeaderID != 0 && c.LeaderID != n.ID() {
				return nil
			}
		case <-ctx.Done():
			return fmt.Errorf("%w: leadership was not taken over", ErrTimeout)
		case <-n.done:
			return ErrStopped
		}
	}
}

// Stop stops the node: a leader first hands over, then the actors stop, the state machine is closed and the data
// directory is free. It returns the context's error if that took longer than the context allows.
func (n *Node) Stop(ctx context.Context) error {
	n.stopOnce.Do(func() {
		n.transferBeforeStop(ctx)
		n.supervisorTree.Stop()
	})
	select {
	case <-n.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Kill stops the node at once, without handing over and without a last word to its peers: the nearest a process comes to
// losing one of its members. For tests.
func (n *Node) Kill() {
	n.stopOnce.Do(func() {
		n.environment.Close()
		n.supervisorTree.Stop()
	})
	<-n.done
}

// transferBeforeStop lets another voter lead before this one goes away, so that nobody waits for an election.
func (n *Node) transferBeforeStop(ctx context.Context) {
	s := n.Status()
	if s.Role != "leader" || !n.hasLinkUp() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, n.config.Timing.ElectionTimeout)
	defer cancel()
	// A cluster without another voter in reach cannot be handed over; stopping is all the same.
	_ = n.TransferLeadership(ctx, 0)
}

func (n *Node) hasLinkUp() bool {
	for _, l := range n.environment.LinkStats() {
		if l.Up {
			return true
		}
	}
	return false
}

// Crash makes an actor of this node fail, to see it rebuilt from disk. It needs Config.CrashInjection.
func (n *Node) Crash(c Crash) {
	n.requireCrashInjection()
	n.injector.Arm(c)
}

// CrashNow makes an actor fail at once; path is as in Crash.Actor.
func (n *Node) CrashNow(path string) {
	n.requireCrashInjection()
	n.injector.CrashNow(n.rootContext, n.nodePID.Address, path)
}

func (n *Node) requireCrashInjection() {
	if n.injector == nil {
		panic("troupe: crash injection is off: set Config.CrashInjection")
	}
}

func sortMembers(members []*messages.Member) {
	sort.Slice(members, func(i, j int) bool { return members[i].Id < members[j].Id })
}

// run waits for the end of the actors, however it came, and clears up after them.
func (n *Node) runUntilStopped() {
	ticker := time.NewTicker(n.config.Timing.HeartbeatInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			n.session.Retry(n.config.Timing.ElectionTimeout)
		case <-n.supervisorTree.Done():
			n.environment.Close()
			n.environment.AwaitActors()
			n.err = errors.Join(publicError(n.supervisorTree.Err()), n.dataDir.Close())
			close(n.done)
			n.session.Close(n.stopError())
			return
		}
	}
}

func (n *Node) stopError() error {
	if n.err != nil {
		return fmt.Errorf("%w: %w", ErrStopped, n.err)
	}
	return ErrStopped
}
