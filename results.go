package troupe

import (
	"context"

	"github.com/troupe-raft/troupe/internal/session"
)

// ReadMode says how recent the state machine must be for a read. The zero value is ReadIndex.
type ReadMode int

const (
	// ReadIndex is linearizable and the default. The leader confirms its leadership with a round of
	// heartbeats that starts after the read arrived (dissertation §6.4).
	ReadIndex = ReadMode(session.ReadIndex)
	// ReadLog is linearizable. It appends an entry without effect to the log and waits for it.
	ReadLog = ReadMode(session.ReadLog)
	// ReadLease is linearizable as long as the members' clocks keep their drift bound. This version
	// has no leases and treats it as ReadIndex.
	ReadLease = ReadMode(session.ReadLease)
	// ReadLeader returns the leader's state without a round of heartbeats. A leader that is cut off
	// from the majority may return stale data.
	ReadLeader = ReadMode(session.ReadLeader)
	// ReadLocal returns this member's state, however old it is (in etcd: a serializable read). It is
	// empty at a node with Status.Rejoining.
	ReadLocal = ReadMode(session.ReadLocal)
)

// String returns the name of the mode, such as "ReadIndex".
func (m ReadMode) String() string { return session.ReadMode(m).String() }

// Result is the outcome of a proposal.
type Result struct {
	// Index is the index of the command's entry.
	Index uint64
	// AppliedTerm is the term of the last entry that was applied in the same batch.
	AppliedTerm uint64
	// Value is what this member's Apply returned for the command. It belongs to the caller.
	Value []byte
}

// Outcome is the outcome of ProposeAsync: the Result, or the error that Propose would return.
type Outcome struct {
	Result
	Err error
}

// ReadPoint is the outcome of a read: the state machine contains all entries up to Index. Term is
// the leader's term when it confirmed the read, or for a local read that of the last applied batch.
type ReadPoint struct {
	Index uint64
	Term  uint64
}

// RefusalCount is the number of requests that were refused because one limit was reached.
type RefusalCount struct {
	Limit string // its name, as in LimitError
	Count uint64
}

// Propose appends a command of at most Limits.MaxRequestBytes to the log, waits until this member
// has applied it, and returns the result of this member's own state machine. Every member applies
// the command exactly once.
//
// If the context ends first, the error is ErrTimeout, ErrNoLeader if no leader was known, or
// ErrCanceled. The command may then still take effect, unless the error is ErrNotProposed too. It
// may also after ErrStopped (the node stopped) and after ErrOutcomeUnknown (the cluster expired
// this node's client session). ErrOverloaded, ErrDiskFull and ErrTooLarge are returned only if the
// command has had no effect and never will.
func (n *Node) Propose(ctx context.Context, command []byte) (Result, error) {
	r, err := n.core.Session().Propose(ctx, command)
	return Result(r), err
}

// ProposeAsync submits a command as Propose does, and does not wait. The channel receives the
// outcome, once; it need not be received. The end of the context ends the proposal as it ends
// Propose. Pending commands count against Limits.MaxPendingRequests and Limits.MaxPendingBytes:
// above them the channel holds ErrOverloaded when ProposeAsync returns.
//
// The order in which pending commands are applied is not specified: a retry may change it.
func (n *Node) ProposeAsync(ctx context.Context, command []byte) <-chan Outcome {
	outcome := make(chan Outcome, 1)
	if ctx.Err() != nil {
		r, err := n.Propose(ctx, command) // which sends nothing
		outcome <- Outcome{r, err}
		return outcome
	}
	var proposal *session.Async
	submitted := make(chan struct{})
	stopWatching := context.AfterFunc(ctx, func() {
		<-submitted
		proposal.Abandon(ctx.Err())
	})
	proposal = n.core.Session().ProposeAsync(command, func(o session.Outcome) {
		stopWatching()
		outcome <- Outcome{Result(o.Result), o.Err}
	})
	close(submitted)
	return outcome
}

// Read waits until this member's state machine is as recent as the mode requires. The caller then
// reads the state machine directly, or better with Query. The error is ErrTimeout, ErrNoLeader or
// ErrCanceled if the context ends first, ErrOverloaded if too many reads wait, or ErrStopped.
func (n *Node) Read(ctx context.Context, mode ReadMode) (ReadPoint, error) {
	p, err := n.core.Session().Read(ctx, session.ReadMode(mode))
	return ReadPoint(p), err
}

// Barrier waits until this member has applied everything that was committed before the call. It
// appends an entry without effect to the log, as Read with ReadLog does.
func (n *Node) Barrier(ctx context.Context) error {
	_, err := n.Read(ctx, ReadLog)
	return err
}
