package troupe

import "context"

// Stop stops the node. A leader first tries, for at most an election timeout, to hand leadership
// over. Then the actors stop, the state machine is closed and the data directory is unlocked. Stop
// returns the context's error if the context ends first; the node then continues to stop.
func (n *Node) Stop(ctx context.Context) error {
	n.stopOnce.Do(func() {
		n.transferBeforeStop(ctx)
		n.core.Stop()
	})
	select {
	case <-n.core.Done():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Kill stops the node without a leadership transfer and without a message to its peers, as if its
// process were killed. It is meant for tests.
func (n *Node) Kill() {
	n.stopOnce.Do(n.core.Kill)
	<-n.core.Done()
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
