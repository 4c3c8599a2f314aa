package persistence

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"

	"github.com/troupe-raft/troupe/persistence/vfs"
)

var (
	// ErrCorrupt means that data on the disk is damaged. It is wrapped in a *CorruptError, which names
	// file and offset.
	ErrCorrupt = errors.New("corrupt data")
	// ErrFormat means that another version of Troupe wrote the file. It is wrapped in a *formatError.
	ErrFormat = errors.New("unknown format version")
	// ErrWrongCluster means that the data directory belongs to another cluster.
	ErrWrongCluster = errors.New("data directory of another cluster")
	// ErrWrongMember means that the data directory, or a file in it, belongs to another member, or to
	// another disk of this one.
	ErrWrongMember = errors.New("data directory of another member")
	// ErrNotEmpty means that a member should rejoin with an empty data directory, and this one is not.
	ErrNotEmpty = errors.New("data directory is not empty")
	// ErrLocked means that the data directory is in use.
	ErrLocked = vfs.ErrLocked
	// ErrNotInLog means that the log does not hold the entries: they were compacted or truncated, or
	// do not exist yet.
	ErrNotInLog = errors.New("not in the log")
	// ErrLogFailed means that a write or sync has failed and the log accepts nothing more (E5). It is
	// wrapped in a *logFailedError.
	ErrLogFailed = errors.New("log has failed")
	// errTooLarge means that a batch is larger than a frame can be, 1 GiB.
	errTooLarge = errors.New("batch too large")
)

const corruptionAdvice = "keep the directory for inspection (`troupe log verify` reports how far it is valid); the other members go on " +
	"without this one; restore a copy of the whole directory only if the member has not run since the copy was made, " +
	"because an older copy lacks votes and entries that this member has acknowledged"

// CorruptError reports damaged data: where it is, what is wrong, and what to do.
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

// ReadError reports a read that failed. It says nothing about the data: a failed read is neither
// the end of the log nor damage to it.
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
	return fmt.Sprintf("%s cannot be read: %v; the data may be intact, and nothing was changed: check the disk (see the system's log), "+
		"then start the node again", where, e.Err)
}
func (e *ReadError) Unwrap() error { return e.Err }

func readError(file string, offset int64, err error) error {
	if errors.Is(err, fs.ErrPermission) { // not a fault of the disk
		return fmt.Errorf("read %s: %w", file, err)
	}
	return &ReadError{File: file, Offset: offset, Err: err}
}

// rereadWarning is the warning about a read that returned invalid bytes, and valid ones when it was
// repeated.
func rereadWarning(file string, offset int64, first error) string {
	return fmt.Sprintf("%s at offset %d: a read returned wrong bytes (%v), and the right ones when repeated: nothing is lost, but check the disk and the memory",
		file, offset, first)
}

// formatError reports a file of another format version.
type formatError struct {
	File  string
	Found uint32
	Reads uint32 // the newest that this program reads; 0: formatVersion
}

func (e *formatError) Error() string {
	return fmt.Sprintf("%v %d in %s (this program reads %d): start the version of troupe that wrote it, nothing was changed",
		ErrFormat, e.Found, e.File, cmp.Or(e.Reads, formatVersion))
}
func (e *formatError) Unwrap() error { return ErrFormat }

// mismatchError reports a data directory of another cluster or member. Kind is ErrWrongCluster or
// ErrWrongMember.
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

// logFailedError is what every call of a log returns after the first failed write or sync.
type logFailedError struct{ Cause error }

func (e *logFailedError) Error() string {
	return fmt.Sprintf("%v: %v; the data written before it is intact: check the disk and start the node again", ErrLogFailed, e.Cause)
}
func (e *logFailedError) Unwrap() []error { return []error{ErrLogFailed, e.Cause} }

// InvariantError reports a request that Raft never makes: an internal error, not a fault of the
// disk. Nothing was written.
type InvariantError struct{ Detail string }

func (e *InvariantError) Error() string { return "log invariant broken: " + e.Detail }

func invariantError(what string, args ...any) error {
	return &InvariantError{Detail: fmt.Sprintf(what, args...)}
}

// corruptIfInvalid turns errInvalidFrame into a *CorruptError, and wraps any other error.
func corruptIfInvalid(path string, offset int64, doing string, err error) error {
	if errors.Is(err, errInvalidFrame) {
		return corruptError(path, offset, "%s: %v", doing, err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}
