package actors

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/troupe-raft/troupe/persistence/vfs"
)

// An actor stops by a panic. The type of the value that it panics with decides what happens next
// (see package supervisor): StorageError, ApplicationError and FatalError stop the node, everything
// else is an internal error, after which the actors restart from disk.

// StorageError is a failed operation on the node's disk, or a damaged file. It is never retried:
// after a failed sync nobody can know what the disk holds, so the node stops (E5).
type StorageError struct {
	// Operation names what failed and the file or directory, as in "append to /data/log/…".
	Operation string
	Err       error
}

func (e *StorageError) Error() string { return fmt.Sprintf("%s: %v", e.Operation, e.Err) }
func (e *StorageError) Unwrap() error { return e.Err }

// ApplicationError is a state machine that failed or panicked. State machines are deterministic: it
// would fail again on every replica and after every restart, so the node stops and names the
// command. A state machine whose disk failed stops its own node only. Batches that it did not store
// are applied again from the log after the next start.
type ApplicationError struct {
	// Index of the failed entry; 0 if no command was being applied, as when the state machine was
	// opened.
	Index uint64
	// CommandHash is the first 8 bytes of the SHA-256 of the command, in hexadecimal.
	CommandHash string
	Err         error
}

func (e *ApplicationError) Error() string {
	if e.Index == 0 {
		return fmt.Sprintf("state machine: %v%s", e.Err, e.advice())
	}
	return fmt.Sprintf("state machine failed at index %d (command %s): %v%s", e.Index, e.CommandHash, e.Err, e.advice())
}

func (e *ApplicationError) Unwrap() error { return e.Err }

// advice is what to do if the disk caused the failure and not the command.
func (e *ApplicationError) advice() string {
	switch {
	case vfs.IsNoSpace(e.Err):
		return "; make room on its disk and start the node again: what was not stored is applied again from the log"
	case errors.Is(e.Err, syscall.EIO), errors.Is(e.Err, syscall.EROFS):
		return "; check its disk (the system's log says more) and start the node again: what was not stored is applied again from the log"
	}
	return ""
}

// FatalError is any other condition under which this node must not go on: it was removed from the
// cluster, its log ends before its state machine, or it met another cluster. The node stops and
// reports Err.
type FatalError struct {
	Err error
}

func (e *FatalError) Error() string { return e.Err.Error() }
func (e *FatalError) Unwrap() error { return e.Err }

// StorageRefusedError reports that a peer refuses this node's data directory: the member had
// another one before, or this one lost entries that it had acknowledged. The node must not go on,
// as it may have forgotten a vote (E37). Reason is the text of the peer, with what to do.
type StorageRefusedError struct {
	Peer   uint64
	Reason string
}

func (e *StorageRefusedError) Error() string {
	return fmt.Sprintf("member %#x refuses this member's data directory: %s", e.Peer, e.Reason)
}

// ContradictionError reports that another member contradicts what this node knows as certain from
// its own disk: committed entries, or the leader of a term. The node must not go on, and no restart
// helps: a data directory was lost or replaced, and an operator must decide (docs/operations.md).
type ContradictionError struct {
	Reason string
}

func (e *ContradictionError) Error() string { return e.Reason }

// InjectedCrash is a crash that a test requested. It is handled as an internal error.
type InjectedCrash struct{ Description string }

func (e *InjectedCrash) Error() string { return "injected crash: " + e.Description }

// StopsNode reports whether the reason of an actor's failure stops the whole node, whichever actor
// it was.
func StopsNode(reason any) bool {
	err, ok := reason.(error)
	if !ok {
		return false
	}
	var storage *StorageError
	var application *ApplicationError
	var fatal *FatalError
	return errors.As(err, &storage) || errors.As(err, &application) || errors.As(err, &fatal)
}
