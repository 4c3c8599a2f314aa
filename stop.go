package troupe

import "context"

// Stop stops the node. A leader first tries, for at most an election timeout, to hand leadership
// over. Then the actors stop, the state machine is closed and the data directory is unlocked. Stop
// returns the context's error if the context ends first; the node then continues to stop.
func (n *Node) Stop(ctx context.Context) error {
	n.stopOnce.Do(func() { n.core.Stop(n.config.Timing.ElectionTimeout) })
	select {
	case <-n.core.Done():
		return nil
	case <-ctx.Done():
		n.core.StopActors()
		return ctx.Err()
	}
}

// Kill stops the node without a leadership transfer and without a message to its peers, as if its
// process were killed. It is meant for tests.
func (n *Node) Kill() {
	n.stopOnce.Do(n.core.Kill)
	<-n.core.Done()
}
