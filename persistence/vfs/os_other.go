//go:build !linux && !darwin && !freebsd && !windows

package vfs

import (
	"errors"
	"os"
	"runtime"
)

// lockFile fails: without a lock, two nodes could use one log.
func lockFile(f *os.File) error {
	return &os.PathError{Op: "lock", Path: f.Name(), Err: errors.New("no file locks known for " + runtime.GOOS)}
}

// unlockFile does nothing: closing the file releases its lock.
func unlockFile(*os.File) error { return nil }

func freeBytes(path string) (uint64, error) {
	return 0, &os.PathError{Op: "free space", Path: path, Err: errors.New("unknown on " + runtime.GOOS)}
}
