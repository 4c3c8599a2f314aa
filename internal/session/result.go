package session

import (
	"errors"
	"fmt"
)

// ReadMode says what a read promises. The zero value is ReadIndex.
type ReadMode int

const (
	// ReadIndex is linearizable: the leader confirms its leadership with a round of heartbeats after the read was asked
	// (dissertation §6.4). It works at every member. The default.
	ReadIndex ReadMode = iota
	// ReadLog is linearizable too and goes through the log as a write does.
	ReadLog
	// ReadLease is linearizable as long as clocks keep to their drift bound; a leader without a lease answers as ReadIndex.
	ReadLease
	// ReadLeader is what the leader has: without a round of confirmation, so that a leader cut off may answer with old data.
	ReadLeader
	// ReadLocal is what this member has, however old (etcd's serializable).
	ReadLocal
)

// Result is the outcome of a proposal.
type Result struct {
	// Index of the log entry that took effect, and the term of the last entry that was applied together with it.
	Index uint64
	Term  uint64
	// Value is what the state machine's Apply returned for the command. It must not be changed.
	Value []byte
}

// ReadPoint is the outcome of a read: the state machine contains everything up to Index.
type ReadPoint struct {
	Index uint64
	Term  uint64
}

// Errors that a caller can tell apart with errors.Is. Each comes wrapped with what happened, to what, and advice.
var (
	// ErrNoLeader: no leader was known until the context ended.
	ErrNoLeader = errors.New("no leader")
	// ErrOverloaded: a limit on what may be pending was reached; the text says which one and its value.
	ErrOverloaded = errors.New("overloaded")
	// ErrDiskFull: the disk of the leader is below its low-water mark; writes are refused until there is space again.
	ErrDiskFull = errors.New("disk full")
	// ErrOutcomeUnknown: the command may or may not have taken effect, and cannot any more be found out.
	ErrOutcomeUnknown = errors.New("outcome unknown")
	// ErrTimeout: the context's deadline passed while the command was under way; it may still take effect.
	ErrTimeout = errors.New("timed out")
	// ErrTooLarge: the command is above the limit for one request.
	ErrTooLarge = errors.New("too large")
)

// LimitError is an ErrOverloaded or ErrTooLarge with the limit that was reached.
type LimitError struct {
	Kind  error  // ErrOverloaded or ErrTooLarge
	Limit string // the name of the limit, as in Limits
	Value uint64
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("%v: limit %s of %d reached; raise it or send less at a time", e.Kind, e.Limit, e.Value)
}

// Unwrap lets errors.Is find the kind.
func (e *LimitError) Unwrap() error { return e.Kind }
