package troupe

import (
	"context"
	"errors"
	"fmt"

	"github.com/troupe-raft/troupe/internal/member"
	"github.com/troupe-raft/troupe/internal/session"
	"github.com/troupe-raft/troupe/persistence"
)

// Errors of requests. They come wrapped with what failed and what to do; compare with errors.Is.
var (
	// ErrNoLeader means that the context's deadline passed while no leader was known.
	ErrNoLeader = session.ErrNoLeader
	// ErrOverloaded means that a limit on pending requests was reached. The request had no effect.
	// The error is a *LimitError, except if the leader has too many pending reads.
	ErrOverloaded = session.ErrOverloaded
	// ErrDiskFull means that the leader's disk has less free space than Limits.DiskLowWater. The
	// command had no effect. Writes succeed again when there is space.
	ErrDiskFull = session.ErrDiskFull
	// ErrOutcomeUnknown means that the cluster expired this node's client session, so that nobody
	// can find out whether the command took effect.
	ErrOutcomeUnknown = session.ErrOutcomeUnknown
	// ErrTimeout means that the context's deadline passed while the request was pending. A command may
	// still take effect.
	ErrTimeout = session.ErrTimeout
	// ErrCanceled means that the context was canceled while the request was pending. A command may
	// still take effect, as after ErrTimeout.
	ErrCanceled = session.ErrCanceled
	// ErrNotProposed means that the context ended before the command could be proposed: it has had no
	// effect and never will. It comes with ErrTimeout, ErrNoLeader or
	// ErrCanceled, which alone leave that open.
	ErrNotProposed = session.ErrNotProposed
	// ErrTooLarge means that the command is larger than Limits.MaxRequestBytes.
	ErrTooLarge = session.ErrTooLarge
	// ErrStopped means that the node has stopped. Node.Err returns the reason.
	ErrStopped = member.ErrStopped
	// ErrNotLeader means that only the leader can do this. The text names the leader, if one is known.
	ErrNotLeader = errors.New("not the leader")
	// ErrNotMember means that the id is not that of another member of the cluster.
	ErrNotMember = errors.New("not another member of this cluster")
	// ErrNotRejoining means that a member has not asked to rejoin with a data directory.
	ErrNotRejoining = errors.New("the member has not asked to rejoin")
	// ErrInvalidStorageID means that a text is no storage id, or that it is another member's.
	ErrInvalidStorageID = errors.New("not the storage id of a new data directory")
	// ErrMemberConnected means that the leader is connected to a member with its recorded data
	// directory: it has not lost it.
	ErrMemberConnected = errors.New("the member is connected with its recorded data directory")
	// ErrNotVoter means that leadership cannot go to this member, because it has no vote.
	ErrNotVoter = errors.New("not a voter of this cluster")
)

// LimitError is an ErrOverloaded or ErrTooLarge that names the limit that was reached.
//
//	type LimitError struct {
//		Kind  error
//		Limit string
//		Value uint64
//	}
//	func (e *LimitError) Error() string
//	func (e *LimitError) Unwrap() error
type LimitError = session.LimitError

// Errors of Start and of Node.Err: the data directory cannot be used.
var (
	// ErrWrongCluster means that the data directory belongs to another cluster.
	ErrWrongCluster = persistence.ErrWrongCluster
	// ErrMembersChanged means that the data directory is of the same cluster, but Config.Members is
	// not what it was when the cluster was created: a member was added, or has another name or
	// address.
	ErrMembersChanged = errors.New("the members differ from those in the data directory")
	// ErrWrongMember means that the data directory belongs to another member.
	ErrWrongMember = persistence.ErrWrongMember
	// ErrLocked means that another process uses the data directory.
	ErrLocked = persistence.ErrLocked
	// ErrNotEmpty means that Config.Rejoin is set and the data directory holds the member's data.
	ErrNotEmpty = persistence.ErrNotEmpty
	// ErrFormat means that a file was written by a version that this one cannot read.
	ErrFormat = persistence.ErrFormat
	// ErrCorrupt means that data on disk is damaged or lost. The text names the file and the offset.
	ErrCorrupt = persistence.ErrCorrupt
)

// contextError returns ErrCanceled or ErrTimeout for a context that has ended.
func contextError(ctx context.Context, during string) error {
	return fmt.Errorf("%w: %s: %w", session.ContextErrorKind(ctx.Err()), during, ctx.Err())
}
