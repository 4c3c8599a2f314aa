//go:build !linux

package vfs

import "os"

// syncData is a whole Sync where the system has no cheaper call.
func syncData(f *os.File) error { return f.Sync() }
