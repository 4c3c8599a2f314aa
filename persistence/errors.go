package persistence

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/troupe-raft/troupe/persistence/vfs"
)

var (
	// ErrCorrupt: what is on disk cannot be trusted. Always in a *CorruptError, which names file and offset.
	ErrCorrupt = errors.New("corrupt data")
	// ErrFormat: written by a version of Troupe that this one does not understand.
	ErrFormat = errors.New("unknown format version")
	// ErrWrongCluster: the data directory belongs to another cluster.
	ErrWrongCluster = errors.New("data directory of another cluster")
	// ErrWrongMember: the data directory, or a file in it, belongs to another member, or to this one in another life.
	ErrWrongMember = errors.New("data directory of another member")
	// ErrLocked: another process uses the data directory.
	ErrLocked = vfs.ErrLocked
	// ErrNotInLog: the log does not hold what was asked for: never did, not any more, or not since a moment ago.
	ErrNotInLog = errors.New("not in the log")
	// ErrLogFailed: an earlier write or sync failed, and the log takes nothing any more (E5).
	ErrLogFailed = errors.New("log is shut after a failed write")
	// ErrTooLarge: one batch above what a frame can hold.
	ErrTooLarge = errors.New("batch too large")
)

const corruptionAdvice = "keep the directory for inspection (`troupe log verify` says how far it is whole), the other members go on " +
	"without this one; put back a copy of the whole directory only if the member has not run since it was taken, " +
	"because an older one has forgotten what this member promised"

// CorruptError says what cannot be trusted, where it lies, and what to do.
type CorruptError struct {
	File   string
	Offset int64
	Detail string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("%v: %s at offset %d: %s; %s", ErrCorrupt, e.File, e.Offset, e.Detail, corruptionAdvice)
}
func (e *CorruptError) Unwrap() error { return ErrCorrupt }

func corruptError(file string, offset int64, what string, args ...any) error {
	return &CorruptError{File: file, Offset: offset, Detail: fmt.Sprintf(what, args...)}
}

// ReadError is a disk that does not give back what lies on it. Nothing follows from that about what lies there: a read
// that fails is neither the end of the log nor damage to it.
type ReadError struct {
	File   string
	Offset int64
	Err    error
}

func (e *ReadError) Error() string {
	where := e.File
	if e.Offset > 0 {
		where = fmt.Sprintf("%s at offset %d", e.File, e.Offset)
	}
	return fmt.Sprintf("%s cannot be read: %v; what lies there may be whole, and nothing was changed: check the disk (the system's log says "+
		"more), then start the node again", where, e.Err)
}
func (e *ReadError) Unwrap() error { return e.Err }

func readError(file string, offset int64, err error) error {
	if errors.Is(err, fs.ErrPermission) { // nothing is wrong with the disk
		return fmt.Errorf("read %s: %w", file, err)
	}
	return &ReadError{File: file, Offset: offset, Err: err}
}

// misread says that a second look at the same place saw what the first did not.
func rereadWarning(file string, offset int64, first error) string {
	return fmt.Sprintf("%s at offset %d was read wrong (%v), and right when it was read again: nothing is lost, but check the disk and the memory",
		file, offset, first)
}

// formatError is a file of an unknown version.
type formatError struct {
	File  string
	Found uint32
}

func (e *formatError) Error() string {
	return fmt.Sprintf("%v %d in %s (this program reads %d): start the version of troupe that wrote it, nothing was changed",
		ErrFormat, e.Found, e.File, formatVersion)
}
func (e *formatError) Unwrap() error { return ErrFormat }

// mismatchError is a data directory that is not the one meant. Kind is ErrWrongCluster or ErrWrongMember.
type mismatchError struct {
	Kind        error
	File        string
	Field       string
	Found, Want string
}

func (e *mismatchError) Error() string {
	return fmt.Sprintf("%v: %s has %s %s, this node was started as %s: give it its own data directory, or correct its name, initial cluster and cluster token",
		e.Kind, e.File, e.Field, e.Found, e.Want)
}
func (e *mismatchError) Unwrap() error { return e.Kind }

// logFailedError is what a log that has failed returns from then on.
type logFailedError struct{ Cause error }

func (e *logFailedError) Error() string {
	return fmt.Sprintf("%v: %v; what is on disk was right before it: check the disk and start the node again", ErrLogFailed, e.Cause)
}
func (e *logFailedError) Unwrap() []error { return []error{ErrLogFailed, e.Cause} }

// InvariantError is a request that a correct Raft never makes: a bug of ours, not a fault of the disk. Nothing was written.
type InvariantError struct{ Detail string }

func (e *InvariantError) Error() string { return "log invariant broken: " + e.Detail }

func invariantError(what string, args ...any) error {
	return &InvariantError{Detail: fmt.Sprintf(what, args...)}
}
