package vfs

import (
	"os"

	"golang.org/x/sys/unix"
)

// syncData is fdatasync. It updates the journal only if the size changed; that is why segments get
// their full size before they are written.
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
