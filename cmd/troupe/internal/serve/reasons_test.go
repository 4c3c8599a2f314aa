package serve

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"testing"

	"github.com/troupe-raft/troupe"
	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/cmd/troupe/internal/exit"
	"github.com/troupe-raft/troupe/kv/mvcc"
)

func TestExitCodeOfEachFailure(t *testing.T) {
	noSpace := &fs.PathError{Op: "write", Path: "/data/kv/1.sst", Err: syscall.ENOSPC}
	for _, c := range []struct {
		err            error
		start, running exit.Code
	}{
		{troupe.ErrLocked, exit.DataDir, exit.Stopped},
		{troupe.ErrWrongCluster, exit.DataDir, exit.Stopped},
		{troupe.ErrWrongMember, exit.DataDir, exit.Stopped},
		{troupe.ErrCorrupt, exit.DataDir, exit.DataDir},
		{troupe.ErrFormat, exit.DataDir, exit.DataDir},
		{mvcc.ErrFormat, exit.DataDir, exit.DataDir},
		{&fs.PathError{Op: "open", Path: "/data", Err: fs.ErrPermission}, exit.DataDir, exit.Storage},
		{&actors.StorageError{Operation: "append to /data/log/1", Err: syscall.EIO}, exit.Storage, exit.Storage},
		{&actors.ApplicationError{Err: noSpace}, exit.Storage, exit.Storage},
		// A member whose disk is full or read-only ends with the same code at each start, so that a
		// supervisor restarts it until the disk accepts writes.
		{&actors.StorageError{Operation: "open the log", Err: noSpace}, exit.Storage, exit.Storage},
		{&fs.PathError{Op: "sync", Path: "/data", Err: syscall.EROFS}, exit.Storage, exit.Storage},
		{&fs.PathError{Op: "open", Path: "/data/log/1.seg", Err: syscall.EISDIR}, exit.DataDir, exit.Storage},
		{&actors.ApplicationError{Err: fmt.Errorf("flushing: %w", syscall.ENOSPC)}, exit.Storage, exit.Storage},
		{&actors.ApplicationError{Index: 7, CommandHash: "0123", Err: errors.New("panic")}, exit.Stopped, exit.Stopped},
		{&actors.FatalError{Err: &actors.StorageRefusedError{Peer: 2, Reason: "another storage id"}}, exit.Replaced, exit.Replaced},
		{troupe.ErrNotEmpty, exit.DataDir, exit.Stopped},
		{&actors.FatalError{Err: &actors.ContradictionError{Reason: "the cluster has lost writes"}}, exit.Replaced, exit.Replaced},
		{&actors.FatalError{Err: errors.New("removed from the cluster")}, exit.Stopped, exit.Stopped},
	} {
		err := fmt.Errorf("%w: %w", troupe.ErrStopped, c.err)
		if got := startCode(err); got != c.start {
			t.Errorf("starting: %v: code %d, want %d", c.err, got, c.start)
		}
		if got := runtimeCode(err); got != c.running {
			t.Errorf("running: %v: code %d, want %d", c.err, got, c.running)
		}
	}
}

func TestDiskErrorHasAdvice(t *testing.T) {
	for _, c := range []struct {
		cause  syscall.Errno
		advice string
	}{
		{syscall.ENOSPC, "make room"},
		{syscall.EDQUOT, "make room"},
		{syscall.EROFS, "mount the disk for writing"},
		{syscall.EMFILE, "raise the limit of open files"},
	} {
		err := addDiskAdvice(exit.With(exit.Storage, &fs.PathError{Op: "write", Path: "/data/log/1.seg", Err: c.cause}))
		if !strings.Contains(err.Error(), c.advice) || exit.CodeOf(err) != exit.Storage {
			t.Errorf("%v: %q, code %d", c.cause, err, exit.CodeOf(err))
		}
	}
	if err := errors.New("another"); addDiskAdvice(err) != err {
		t.Error("advice about the disk was added to another error")
	}
}

func TestStopDuringStartIsNoError(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	if nilIfStopped(ctx, troupe.ErrTimeout) == nil {
		t.Fatal("a failure was dropped")
	}
	cancel()
	if err := nilIfStopped(ctx, troupe.ErrTimeout); err != nil {
		t.Fatal(err)
	}
}
