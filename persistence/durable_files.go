package persistence

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/troupe-raft/troupe/persistence/vfs"
)

// makeDurableDir creates a directory and its missing ancestors so that they survive a crash: from
// the top down, each with a sync of its parent before anything is created in it (E6).
//
// So a start that was interrupted leaves at most the deepest existing directory, and the one that
// holds it, without a sync. Both are synced here, because it is not known what created them.
// Directories above may belong to others.
func makeDurableDir(filesystem vfs.FS, dir string) error {
	var missing []string
	at := filepath.Clean(dir)
	for ; at != filepath.Dir(at); at = filepath.Dir(at) {
		_, err := filesystem.Stat(at)
		if err == nil {
			break
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return readError(at, 0, err)
		}
		missing = append(missing, at)
	}
	for _, found := range []string{at, filepath.Dir(at)} {
		if err := filesystem.SyncDir(filepath.Dir(found)); err != nil && !errors.Is(err, fs.ErrPermission) {
			return err
		}
	}
	for _, at := range slices.Backward(missing) {
		if err := filesystem.MkdirAll(at); err != nil {
			return err
		}
		if err := filesystem.SyncDir(filepath.Dir(at)); err != nil {
			return err
		}
	}
	return nil
}

// replaceFile writes a file of a data directory atomically: to a temporary file, which is synced
// and renamed. Another attempt after a failure begins with another file.
func replaceFile(filesystem vfs.FS, dir, name string, b []byte) error {
	path := filepath.Join(dir, name)
	temporary := path + newSuffix
	if err := filesystem.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("create %s: %w", path, err)
	}
	file, err := filesystem.Create(temporary)
	if err != nil {
		return fmt.Errorf("create %s: %w", path, err)
	}
	if err = writeFull(file, temporary, b, 0); err == nil {
		err = file.Sync()
	}
	if cerr := file.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = filesystem.Rename(temporary, path)
	}
	if err == nil {
		err = filesystem.SyncDir(dir)
	}
	if err != nil {
		return fmt.Errorf("create %s: %w", path, err)
	}
	return nil
}

// readSmallFile reads a file that replaceFile wrote. It returns fs.ErrNotExist if there is none.
func readSmallFile(filesystem vfs.FS, path string) ([]byte, error) {
	file, err := filesystem.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, err
	} else if err != nil {
		return nil, readError(path, 0, err)
	}
	defer file.Close()
	size, err := file.Size()
	if err != nil {
		return nil, readError(path, 0, err)
	}
	if size > 64<<10 {
		return nil, corruptError(path, 0, "%d bytes are too large for this file", size)
	}
	b := make([]byte, size)
	if n, err := file.ReadAt(b, 0); int64(n) < size {
		return nil, readError(path, 0, orShortWrite(err))
	}
	return b, nil
}

// writeFull writes p at an offset. It checks the length too: a full disk may write less and report
// no error.
func writeFull(file vfs.File, path string, p []byte, off int64) error {
	if n, err := file.WriteAt(p, off); err != nil || n != len(p) {
		return fmt.Errorf("write %d bytes to %s at offset %d (%d written): %w", len(p), path, off, n, orShortWrite(err))
	}
	return nil
}

func orShortWrite(err error) error {
	if err == nil {
		return io.ErrShortWrite
	}
	return err
}

func align4K(n int64) int64 { return (n + 4095) &^ 4095 }
