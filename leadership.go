package troupe

import (
	"context"
	"fmt"
	"slices"

	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// Leadership is the leader of a term, as this member knows it.
type Leadership struct {
	Term     uint64
	LeaderID uint64 // 0 if no leader is known
}

// LeaderID returns the id of the leader that this member knows, 0 for none.
func (n *Node) LeaderID() uint64 { return n.leadership.leader.Load() }

// WaitForLeader waits until this member knows a leader, and returns its id. The error is
// ErrNoLeader if the context ends first, or ErrStopped.
func (n *Node) WaitForLeader(ctx context.Context) (uint64, error) {
	return n.leadership.waitForLeader(ctx, n.core.Done())
}

// LeadershipChanges returns a channel that receives the current leadership at once, and then each
// change. The channel holds one value: a slow reader misses changes, but always receives the
// latest. The caller must call stop when it needs no more changes; stop closes the channel.
func (n *Node) LeadershipChanges() (changes <-chan Leadership, stop func()) {
	return n.leadership.subscribe()
}

// TransferLeadership asks this node, which must lead, to hand leadership over to the voter target,
// or to the most up-to-date voter if target is 0 (dissertation §3.10). It waits until another
// member leads. It does nothing if target is the leader itself.
//
// The error is ErrNotLeader if this node does not lead, ErrNotVoter if target is not a voter,
// ErrTimeout if the context ends first (leadership may still move), or ErrStopped.
func (n *Node) TransferLeadership(ctx context.Context, target uint64) error {
	status := n.Status()
	isTarget := func(m Member) bool { return m.ID == target && !m.IsLearner }
	switch {
	case status.Role != roleLeader:
		return fmt.Errorf("%w: ask member %s", ErrNotLeader, raft.FormatID(status.LeaderID))
	case target == n.ID():
		return nil
	case target != 0 && !slices.ContainsFunc(status.Members, isTarget):
		return fmt.Errorf("%w: member %s", ErrNotVoter, raft.FormatID(target))
	}
	changes, stop := n.LeadershipChanges()
	defer stop()
	n.core.Send(&messages.TransferLeadership{Target: target})
	for {
		select {
		case c := <-changes:
			if c.LeaderID != 0 && c.LeaderID != n.ID() {
				return nil
			}
		case <-ctx.Done():
			return fmt.Errorf("%w: no other member has taken over leadership", ErrTimeout)
		case <-n.core.Done():
			return ErrStopped
		}
	}
}
