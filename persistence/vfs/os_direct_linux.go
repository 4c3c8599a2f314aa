package vfs

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// openDirect opens a file a second time, under any name that it has, for writing past the page
// cache.
func openDirect(f *os.File) (*os.File, error) {
	fd, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), unix.O_RDWR|unix.O_DIRECT|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open past the page cache", Path: f.Name(), Err: err}
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}
