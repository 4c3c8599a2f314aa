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

// startCode is the exit code for what kept a node from starting: nearly always its data directory.
func startCode(err error) exit.Code {
	var path *fs.PathError
	switch {
	case isAnyOf(err, troupe.ErrLocked, troupe.ErrWrongCluster, troupe.ErrWrongMember, troupe.ErrCorrupt, troupe.ErrFormat,
		mvcc.ErrFormat, mvcc.ErrCorrupt):
		return exit.DataDir
	case isDiskFault(err):
		return exit.Storage
	case errors.As(err, &path):
		return exit.DataDir
	}
	return runtimeCode(err)
}

// isDiskFault tells whether the disk is the matter rather than what is on it: full, read-only, or failing. A server that
// stopped for that meets the same at its next start, and must not be given up for it: once there is room it starts.
func isDiskFault(err error) bool {
	return isAnyOf(err, syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS, syscall.EIO)
}

// runtimeCode is the exit code for why a running node stopped itself.
func runtimeCode(err error) exit.Code {
	var storage *actors.StorageError
	var path *fs.PathError
	switch {
	case isAnyOf(err, troupe.ErrCorrupt, troupe.ErrFormat, mvcc.ErrFormat, mvcc.ErrCorrupt):
		return exit.DataDir
	// The store's disk is a disk as well, though it is the state machine that failed then.
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

// advise adds to the node's own words what only the command line knows.
func (v *server) explainStartError(err error) error {
	s := v.settings
	switch {
	case isAnyOf(err, troupe.ErrWrongCluster, troupe.ErrWrongMember):
		owner := "another member"
		if name := logview.Owner(s.DataDir); name != "" {
			owner = fmt.Sprintf("member %q", name)
		}
		err = fmt.Errorf("--data-dir: %s holds %s, and this server was started as member %q: %w", s.DataDir, owner, s.Name, err)
		if !s.ClusterGiven {
			err = fmt.Errorf("%w; --initial-cluster is not set: it, --name and --initial-cluster-token must be as when the directory was made", err)
		}
		return err
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("--data-dir: %w; it must belong to the user that runs the server", err)
	}
	return addDiskAdvice(err)
}

// remedy adds what to do about a disk that takes no writes.
func addDiskAdvice(err error) error {
	switch {
	case isAnyOf(err, syscall.ENOSPC, syscall.EDQUOT):
		return fmt.Errorf("%w; nothing acknowledged is lost: make room (space and inodes), then start it again", err)
	case errors.Is(err, syscall.EROFS):
		return fmt.Errorf("%w; nothing acknowledged is lost: look at the kernel's log, mount the disk for writing, then start it again", err)
	}
	return err
}

// stopped makes nil of an error that only says that the server was told to stop while it was starting.
func nilIfStopped(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}
