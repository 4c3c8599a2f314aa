package serve

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"github.com/troupe-raft/troupe"
	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/cmd/troupe/internal/exit"
	"github.com/troupe-raft/troupe/cmd/troupe/internal/logview"
	"github.com/troupe-raft/troupe/kv/mvcc"
)

// startCode returns the exit code for an error of a node's start.
func startCode(err error) exit.Code {
	var path *fs.PathError
	switch {
	case isAnyOf(err, troupe.ErrLocked, troupe.ErrWrongCluster, troupe.ErrMembersChanged, troupe.ErrWrongMember, troupe.ErrCorrupt, troupe.ErrFormat, troupe.ErrNotEmpty,
		mvcc.ErrFormat, mvcc.ErrCorrupt):
		return exit.DataDir
	case isDiskFault(err):
		return exit.Storage
	case errors.As(err, &path):
		return exit.DataDir
	}
	return runtimeCode(err)
}

// isDiskFault reports whether the disk is full, read-only or failing. Such an error must keep the
// code Storage at a start too: a supervisor then restarts the server until the disk accepts writes.
func isDiskFault(err error) bool {
	return isAnyOf(err, syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS, syscall.EIO)
}

// runtimeCode returns the exit code for the error with which a running node stopped.
func runtimeCode(err error) exit.Code {
	var storage *actors.StorageError
	var refused *troupe.StorageRefusedError
	var contradiction *actors.ContradictionError
	var path *fs.PathError
	switch {
	case errors.As(err, &refused), errors.As(err, &contradiction):
		return exit.Replaced
	case isAnyOf(err, troupe.ErrCorrupt, troupe.ErrFormat, mvcc.ErrFormat, mvcc.ErrCorrupt):
		return exit.DataDir
	// An error of the store's disk arrives as a failure of the state machine.
	case errors.As(err, &storage), errors.As(err, &path), isDiskFault(err):
		return exit.Storage
	}
	return exit.Stopped
}

func isAnyOf(err error, kinds ...error) bool {
	for _, kind := range kinds {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}

// explainStartError adds the flags that are involved and advice to an error of a node's start.
func (v *server) explainStartError(err error) error {
	s := v.settings
	switch {
	case errors.Is(err, troupe.ErrNotEmpty):
		return fmt.Errorf("--initial-cluster-state=rejoin: %w", err)
	case errors.Is(err, troupe.ErrMembersChanged):
		return fmt.Errorf("--initial-cluster: %w", err)
	case isAnyOf(err, troupe.ErrWrongCluster, troupe.ErrWrongMember):
		owner := "another member"
		if name := logview.Owner(s.DataDir); name != "" {
			owner = fmt.Sprintf("member %q", name)
		}
		if errors.Is(err, troupe.ErrWrongCluster) {
			owner += " of another cluster"
		}
		err = fmt.Errorf("--data-dir: %s holds %s, but this server was started as member %q: %w", s.DataDir, owner, s.Name, err)
		if !s.ClusterGiven {
			err = fmt.Errorf("%w; --initial-cluster is not set: --initial-cluster, --name and --initial-cluster-token must be the same as when the directory was created", err)
		}
		return err
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("--data-dir: %w; give the directory to the user that runs the server", err)
	}
	return addDiskAdvice(err)
}

// addDiskAdvice adds to an error of a full or read-only disk, or of files that cannot be opened any
// more, what to do about it.
func addDiskAdvice(err error) error {
	switch {
	case isAnyOf(err, syscall.ENOSPC, syscall.EDQUOT):
		return fmt.Errorf("%w; nothing acknowledged is lost: make room (space and inodes), then start the server again", err)
	case errors.Is(err, syscall.EROFS):
		return fmt.Errorf("%w; nothing acknowledged is lost: check the kernel's log, mount the disk for writing, then start the server again", err)
	case isAnyOf(err, syscall.EMFILE, syscall.ENFILE):
		return fmt.Errorf("%w; nothing acknowledged is lost: raise the limit of open files (LimitNOFILE= in a systemd unit, ulimit -n in a shell), "+
			"then start the server again", err)
	}
	return err
}

// nilIfStopped returns nil if the context has ended: an error of a start that was interrupted is
// not a failure.
func nilIfStopped(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}
