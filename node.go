package troupe

import (
	"sync"

	"github.com/troupe-raft/troupe/internal/member"
)

// Node is one member of a cluster, in this process. All methods are safe for concurrent use.
type Node struct {
	config      Config
	core        *member.Node
	environment *environment
	leadership  *leadershipPublisher
	events      *eventPublisher
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
