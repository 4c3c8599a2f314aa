//go:build !linux

package vfs

import (
	"errors"
	"os"
)

func openDirect(f *os.File) (*os.File, error) {
	return nil, &os.PathError{Op: "open past the page cache", Path: f.Name(), Err: errors.ErrUnsupported}
}
