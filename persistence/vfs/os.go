package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sort"
)

// Files hold the cluster's data and secrets, so only their owner may read them (E46).
const (
	fileMode = 0o600
	dirMode  = 0o700
)

// OS returns the operating system's filesystem. Small appends bypass the page cache if possible
// (see DirectAppender).
func OS() FS { return osFS{direct: true} }

// OSBuffered returns the operating system's filesystem with every write through the page cache.
func OSBuffered() FS { return osFS{} }

type osFS struct{ direct bool }

func (o osFS) Create(path string) (File, error) {
	return o.open(path, os.O_RDWR|os.O_CREATE|os.O_EXCL)
}

func (o osFS) Open(path string) (File, error)          { return o.open(path, os.O_RDONLY) }
func (o osFS) OpenReadWrite(path string) (File, error) { return o.open(path, os.O_RDWR) }
func (osFS) Rename(from, to string) error              { return os.Rename(from, to) }
func (osFS) Remove(path string) error                  { return os.Remove(path) }
func (osFS) MkdirAll(path string) error                { return os.MkdirAll(path, dirMode) }
func (osFS) Stat(path string) (fs.FileInfo, error)     { return os.Stat(path) }
func (osFS) SyncDir(dir string) error                  { return syncDir(dir) }
func (osFS) FreeBytes(path string) (uint64, error)     { return freeBytes(path) }

func (osFS) List(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	sort.Strings(names)
	return names, nil
}

// Lock keeps the file open while the lock is held. The operating system releases the lock when the
// process ends, so the file of a crashed process blocks nothing.
func (osFS) Lock(path string) (io.Closer, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, fileMode)
	if err != nil {
		return nil, err
	}
	if err := lockFile(f); err != nil {
		f.Close()
		return nil, err
	}
	return heldLock{f}, nil
}

// heldLock is the lock of a file. Close releases the lock before it closes the file: a process that
// this one has just started holds the file open until it executes its program, and would keep the
// lock until then.
type heldLock struct{ file *os.File }

func (l heldLock) Close() error { return errors.Join(unlockFile(l.file), l.file.Close()) }

func (o osFS) open(path string, flags int) (File, error) {
	f, err := os.OpenFile(path, flags, fileMode)
	if err != nil {
		return nil, err
	}
	return &osFile{file: f, allowDirect: o.direct}, nil
}

type osFile struct {
	file        *os.File
	allowDirect bool
	direct      *directWriter // nil but after AppendDirect
}

func (o *osFile) ReadAt(p []byte, off int64) (int, error) { return o.file.ReadAt(p, off) }

// Truncate ends direct writes: they depend on the file's size.
func (o *osFile) Truncate(size int64) error {
	o.disableDirect()
	return o.file.Truncate(size)
}

func (o *osFile) Sync() error     { return o.file.Sync() }
func (o *osFile) SyncData() error { return syncData(o.file) }

func (o *osFile) Close() error {
	o.disableDirect()
	return o.file.Close()
}

// WriteAt checks the length too: a full disk may write less and report no error.
func (o *osFile) WriteAt(p []byte, off int64) (int, error) {
	if o.direct != nil && o.direct.accepts(off, len(p)) {
		n, err := o.direct.append(p)
		if !errors.Is(err, errNotAligned) {
			return n, err
		}
		o.disableDirect() // the device needs larger blocks; nothing was written
	}
	n, err := o.file.WriteAt(p, off)
	switch {
	case err == nil && n != len(p):
		err = fmt.Errorf("write %s: %w (%d of %d bytes)", o.file.Name(), io.ErrShortWrite, n, len(p))
	case o.direct == nil:
	case err == nil && off == o.direct.end:
		o.direct.noteAppended(p)
	default:
		o.disableDirect() // the content of the last block is unknown
	}
	return n, err
}

func (o *osFile) Size() (int64, error) {
	info, err := o.file.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}
