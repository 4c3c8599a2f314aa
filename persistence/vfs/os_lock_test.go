//go:build linux || darwin || freebsd

package vfs

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// A process that this one starts holds copies of all its files until it executes its program. A
// lock that is released meanwhile is free.
func TestReleasedLockIsFreeWhileAFileIsInherited(t *testing.T) {
	path := filepath.Join(t.TempDir(), "LOCK")
	lock, err := OS().Lock(path)
	if err != nil {
		t.Fatal(err)
	}
	inherited, err := unix.Dup(int(lock.(heldLock).file.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	copied := os.NewFile(uintptr(inherited), path)
	defer copied.Close()
	if _, err := OS().Lock(path); err == nil {
		t.Fatal("the lock was taken twice")
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := OS().Lock(path)
	if err != nil {
		t.Fatalf("after the release: %v", err)
	}
	again.Close()
}
