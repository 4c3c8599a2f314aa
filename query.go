package troupe

import "context"

// Query waits as Read does, and then calls read with the state machine that this member has open. A
// restart of the node's actors replaces the state machine: one that the program has kept may be
// closed, or be behind. The one that read receives has applied everything up to the read point, and
// stays open until read returns.
//
// Apply may run meanwhile, so the state machine must allow it. A restart and the stop of the node
// wait for read, so read must not wait for this node. Query returns the error of read, or one of
// those of Read.
func (n *Node) Query(ctx context.Context, mode ReadMode, read func(StateMachine) error) error {
	point, err := n.Read(ctx, mode)
	if err != nil {
		return err
	}
	for {
		m, changed := n.machines.acquire(point.Index)
		if m != nil {
			defer m.release()
			return read(m.StateMachine)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return contextError(ctx, "waiting for the state machine to reach the read point")
		case <-n.core.Done():
			return n.stoppedError()
		}
	}
}
