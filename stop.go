package troupe

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Stop stops the node. A leader first tries, for at most an election timeout, to hand leadership
// over. Then the actors stop, the state machine is closed and the data directory is unlocked. Stop
// returns the context's error if the context ends first; the node then continues to stop.
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

// Kill stops the node without a leadership transfer and without a message to its peers, as if its
// process were killed. It is meant for tests.
func (n *Node) Kill() {
	n.stopOnce.Do(func() {
		n.environment.Close()
		n.supervisorTree.Stop()
	})
	<-n.done
}

// transferBeforeStop hands leadership over, so that the cluster need not wait for an election
// timeout. It does nothing if this node does not lead, or is connected to no peer.
func (n *Node) transferBeforeStop(ctx context.Context) {
	if n.Status().Role != roleLeader || !n.hasLinkUp() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, n.config.Timing.ElectionTimeout)
	defer cancel()
	// Without a voter to hand over to, the node stops all the same.
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

// retryUntilStopped retries pending requests once per heartbeat until the actors have stopped. Then
// it releases the node's resources.
func (n *Node) retryUntilStopped() {
	ticker := time.NewTicker(n.config.Timing.HeartbeatInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			n.session.Retry(n.config.Timing.ElectionTimeout)
		case <-n.supervisorTree.Done():
			n.environment.Close()
			n.environment.AwaitActors()
			n.err = errors.Join(n.supervisorTree.Err(), n.dataDir.Close())
			close(n.done)
			n.session.Close(n.stopError())
			return
		}
	}
}

// stopError returns the error for requests that were pending when the node stopped.
func (n *Node) stopError() error {
	if n.err != nil {
		return fmt.Errorf("%w: %w", ErrStopped, n.err)
	}
	return ErrStopped
}
