//go:build !linux

package vfs

import "os"

// syncData is a full sync: the system has no cheaper call.
func syncData(f *os.File) error { return f.Sync() }
