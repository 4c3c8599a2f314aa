package actors

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/troupe-raft/troupe/persistence/vfs"
)

// An actor stops by panicking with one of these; supervision reads the type and decides (see supervisor/). Anything else
// that is panicked with is a bug of ours: the node's subtree restarts from disk, and stops the node when that repeats.

// StorageFault is a failure of the disk, or of what is on it: never retried, the node stops (E5).
type StorageFault struct {
	// Doing says what was being done, to which file: "append to /data/log/…".
	Doing string
	Err   error
}

func (f *StorageFault) Error() string { return fmt.Sprintf("%s: %v", f.Doing, f.Err) }
func (f *StorageFault) Unwrap() error { return f.Err }

// ApplicationFault is a state machine that failed or panicked on a command. It would do so again on every replica and
// after every restart, so the node stops without a loop and names the command. Where it is the state machine's disk that
// failed, this node alone is concerned; it stops all the same, and what was not stored is applied again from the log.
type ApplicationFault struct {
	// Index of the entry; 0 when it was not in a command (opening, for instance).
	Index uint64
	// CommandHash is the first 8 bytes of the SHA-256 of the command, in hexadecimal.
	CommandHash string
	Err         error
}

func (f *ApplicationFault) Error() string {
	if f.Index == 0 {
		return fmt.Sprintf("state machine: %v%s", f.Err, f.advice())
	}
	return fmt.Sprintf("state machine failed at index %d (command %s): %v%s", f.Index, f.CommandHash, f.Err, f.advice())
}

// advice is what to do where it is not the command that the state machine failed on, but its disk.
func (f *ApplicationFault) advice() string {
	switch {
	case vfs.IsNoSpace(f.Err):
		return "; make room on its disk and start the node again: nothing is lost, what was not stored is applied again from the log"
	case errors.Is(f.Err, syscall.EIO), errors.Is(f.Err, syscall.EROFS):
		return "; check its disk (the system's log says more) and start the node again: what was not stored is applied again from the log"
	}
	return ""
}
func (f *ApplicationFault) Unwrap() error { return f.Err }

// Fatal is a condition under which this node must not go on (it was removed, its log lacks what it had applied, it met
// another cluster): the node stops and says why.
type Fatal struct {
	Err error
}

func (f *Fatal) Error() string { return f.Err.Error() }
func (f *Fatal) Unwrap() error { return f.Err }

// Injected is a crash that a test asked for. It is treated as a bug would be.
type Injected struct{ What string }

func (f *Injected) Error() string { return "injected crash: " + f.What }

// StopsNode tells whether what an actor failed with ends the whole node, whoever it happened to.
func StopsNode(reason any) bool {
	err, ok := reason.(error)
	if !ok {
		return false
	}
	var storage *StorageFault
	var application *ApplicationFault
	var fatal *Fatal
	return errors.As(err, &storage) || errors.As(err, &application) || errors.As(err, &fatal)
}
