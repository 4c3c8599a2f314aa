package actors

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/troupe-raft/troupe/persistence/vfs"
)

// An actor stops by panicking with one of these; supervision reads the type and decides (see supervisor/). Anything else
// that is panicked with is a bug of ours: the node's subtree restarts from disk, and stops the node when that repeats.

// StorageError is a failure of the disk, or of what is on it: never retried, the node stops (E5).
type StorageError struct {
	// Doing says what was being done, to which file: "append to /data/log/…".
	Operation string
	Err       error
}

func (f *StorageError) Error() string { return fmt.Sprintf("%s: %v", f.Operation, f.Err) }
func (f *StorageError) Unwrap() error { return f.Err }

// ApplicationError is a state machine that failed or panicked on a command. It would do so again on every replica and
// after every restart, so the node stops without a loop and names the command. Where it is the state machine's disk that
// failed, this node alone is concerned; it stops all the same, and what was not stored is applied again from the log.
type ApplicationError struct {
	// Index of the entry; 0 when it was not in a command (opening, for instance).
	Index uint64
	// CommandHash is the first 8 bytes of the SHA-256 of the command, in hexadecimal.
	CommandHash string
	Err         error
}

func (f *ApplicationError) Error() string {
	if f.Index == 0 {
		return fmt.Sprintf("state machine: %v%s", f.Err, f.advice())
	}
	return fmt.Sprintf("state machine failed at index %d (command %s): %v%s", f.Index, f.CommandHash, f.Err, f.advice())
}

// advice is what to do where it is not the command that the state machine failed on, but its disk.
func (f *ApplicationError) advice() string {
	switch {
	case vfs.IsNoSpace(f.Err):
		return "; make room on its disk and start the node again: nothing is lost, what was not stored is applied again from the log"
	case errors.Is(f.Err, syscall.EIO), errors.Is(f.Err, syscall.EROFS):
		return "; check its disk (the system's log says more) and start the node again: what was not stored is applied again from the log"
	}
	return ""
}
func (f *ApplicationError) Unwrap() error { return f.Err }

// FatalError is a condition under which this node must not go on (it was removed, its log lacks what it had applied, it met
// another cluster): the node stops and says why.
type FatalError struct {
	Err error
}

func (f *FatalError) Error() string { return f.Err.Error() }
func (f *FatalError) Unwrap() error { return f.Err }

// InjectedCrash is a crash that a test asked for. It is treated as a bug would be.
type InjectedCrash struct{ Description string }

func (f *InjectedCrash) Error() string { return "injected crash: " + f.Description }

// StopsNode tells whether what an actor failed with ends the whole node, whoever it happened to.
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
