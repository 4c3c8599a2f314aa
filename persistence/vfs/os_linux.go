package vfs

import (
	"os"

	"golang.org/x/sys/unix"
)

// syncData is fdatasync: the journal is touched only when the size changed, which is why segments are made full size ahead.
func syncData(f *os.File) error {
	for {
		err := unix.Fdatasync(int(f.Fd()))
		if err == nil {
			return nil
		}
		if err != unix.EINTR {
			return &os.PathError{Op: "fdatasync", Path: f.Name(), Err: err}
		}
	}
}
