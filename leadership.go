package troupe

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/troupe-raft/troupe/actors/live"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// Leadership is the leader of a term, as this member knows it.
type Leadership struct {
	Term     uint64
	LeaderID uint64 // 0 if no leader is known
}

// LeaderID returns the id of the leader that this member knows; 0 for none, and when the node has
// stopped.
func (n *Node) LeaderID() uint64 { return n.leadership.leader.Load() }

// WaitForLeader waits until this member knows a leader, and returns its id. The error is
// ErrNoLeader or ErrCanceled if the context ends first, or ErrStopped.
func (n *Node) WaitForLeader(ctx context.Context) (uint64, error) {
	changes, stop := n.LeadershipChanges()
	defer stop()
	for {
		select {
		case c, running := <-changes:
			switch {
			case !running:
				return 0, n.stoppedError()
			case c.LeaderID != 0:
				return c.LeaderID, nil
			}
		case <-ctx.Done():
			return 0, noLeaderError(ctx)
		}
	}
}

// noLeaderError is the error of a wait for a leader whose context has ended.
func noLeaderError(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return contextError(ctx, "waiting for a leader")
	}
	return fmt.Errorf("%w is known; check that a majority of the members run and reach each other: %w", ErrNoLeader, ctx.Err())
}

// LeadershipChanges returns a channel that receives the current leadership at once, and then each
// change. The channel holds one value: a slow reader misses changes, but always receives the
// latest. When the node stops, the channel receives a last value without a leader, and is closed.
// The caller must call stop when it needs no more changes; stop closes the channel.
func (n *Node) LeadershipChanges() (changes <-chan Leadership, stop func()) {
	return n.leadership.subscribe()
}

// VerifyLeader confirms with a round of heartbeats that this node leads: nil means that it has led
// at some time after the call began. The error is ErrNotLeader if it does not lead, or one of those
// of Read. Another member may lead when VerifyLeader returns.
func (n *Node) VerifyLeader(ctx context.Context) error {
	for {
		before := n.Status()
		switch before.Role {
		case roleStopped:
			return n.stoppedError()
		case roleLeader:
		default:
			return notLeaderError(before.LeaderID)
		}
		// A term has one leader. So it was this node that confirmed the read, if that was in its term.
		if point, err := n.Read(ctx, ReadIndex); err != nil || point.Term == before.Term {
			return err
		}
	}
}

// LastContact returns when this member last received a message of a leader; the zero time if it has
// received none since its actors started. At a member that leads it is the present time.
func (n *Node) LastContact() time.Time {
	switch v := n.core.Observer().Views().Node; {
	case v.Role == roleLeader && n.Err() == nil && n.LeaderID() == n.ID():
		return time.Now()
	case v.LeaderContact == 0:
		return time.Time{}
	default:
		return time.Now().Add(v.LeaderContact - live.Now())
	}
}

// TransferLeadership asks this node, which must lead, to hand leadership over to the voter target,
// or to the most up-to-date voter if target is 0 (dissertation §3.10). It waits until another
// member leads. It does nothing if target is the leader itself.
//
// The error is ErrNotLeader if this node does not lead, ErrNotVoter if target is not a voter,
// ErrTimeout or ErrCanceled if the context ends first (leadership may still move), or ErrStopped.
func (n *Node) TransferLeadership(ctx context.Context, target uint64) error {
	if ctx.Err() != nil {
		return contextError(ctx, "leadership was not transferred")
	}
	status := n.Status()
	isTarget := func(m Member) bool { return m.ID == target && !m.IsLearner }
	switch {
	case status.Role == roleStopped:
		return n.stoppedError()
	case status.Role != roleLeader:
		return notLeaderError(status.LeaderID)
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
		case c, running := <-changes:
			switch {
			case !running:
				return n.stoppedError()
			case c.LeaderID != 0 && c.LeaderID != n.ID():
				return nil
			}
		case <-ctx.Done():
			return contextError(ctx, "no other member has taken over leadership")
		}
	}
}

// notLeaderError returns ErrNotLeader with the leader, if one is known.
func notLeaderError(leader uint64) error {
	if leader == 0 {
		return fmt.Errorf("%w, and no leader is known: check that a majority of the members run and reach each other", ErrNotLeader)
	}
	return fmt.Errorf("%w: ask member %s", ErrNotLeader, raft.FormatID(leader))
}
