package troupe

import (
	"context"
	"sync"

	"github.com/troupe-raft/troupe/internal/member"
)

// Node is one member of a cluster, in this process. All methods are safe for concurrent use.
type Node struct {
	config      Config
	core        *member.Node
	environment *environment
	leadership  *leadershipPublisher
	machines    *machineOpener
	members     memberCache
	stopOnce    sync.Once
}

// ID returns this member's id.
func (n *Node) ID() uint64 { return n.config.ID }

// ClusterID returns the id of the cluster, as its first members computed it (see ClusterID).
func (n *Node) ClusterID() uint64 { return n.core.Identity().ClusterID }

// Done returns a channel that is closed when the node has stopped, through Stop, through Kill or
// because of an error. Err returns that error.
func (n *Node) Done() <-chan struct{} { return n.core.Done() }

// Err returns the error that stopped the node. It is nil while the node runs, and after Stop.
func (n *Node) Err() error {
	select {
	case <-n.core.Done():
		return n.core.Err()
	default:
		return nil
	}
}

// stoppedError waits until the node has stopped, and returns ErrStopped with the reason. Its
// callers know that the node is about to stop.
func (n *Node) stoppedError() error {
	<-n.core.Done()
	return n.core.StopError()
}

// Propose appends a command of at most Limits.MaxRequestBytes to the log, waits until this member
// has applied it, and returns the result of this member's own state machine. Every member applies
// the command exactly once.
//
// If the context ends first, the error is ErrTimeout, or ErrNoLeader if no leader was known. The
// command may then still take effect, unless the error is ErrNotProposed too. It may also after
// ErrStopped (the node stopped) and after ErrOutcomeUnknown (the cluster expired this node's client
// session). ErrOverloaded, ErrDiskFull and ErrTooLarge are returned only if the command has had no
// effect and never will.
func (n *Node) Propose(ctx context.Context, command []byte) (Result, error) {
	return n.core.Session().Propose(ctx, command)
}

// Read waits until this member's state machine is as recent as the mode requires. The caller then
// reads the state machine directly. The error is ErrTimeout or ErrNoLeader if the context ends
// first, ErrOverloaded if too many reads wait, or ErrStopped.
func (n *Node) Read(ctx context.Context, mode ReadMode) (ReadPoint, error) {
	return n.core.Session().Read(ctx, mode)
}

// Barrier waits until this member has applied everything that was committed before the call. It
// appends an entry without effect to the log, as Read with ReadLog does.
func (n *Node) Barrier(ctx context.Context) error {
	_, err := n.Read(ctx, ReadLog)
	return err
}
