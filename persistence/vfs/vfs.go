// Package vfs is the filesystem interface of the log. OS is the operating system's filesystem;
// MemFS is one in memory that models crashes and faults. The interface is small, so that a model
// can implement it exactly.
package vfs

import (
	"errors"
	"io"
	"io/fs"
)

// FS is a filesystem. Paths are those of the operating system.
//
// Durability is that of a journaled filesystem: data is durable after File.Sync or SyncData, the
// existence and name of a file after SyncDir of its directory, and a directory after SyncDir of its
// parent.
type FS interface {
	// Create creates an empty file for reading and writing. It returns fs.ErrExist if the name is
	// taken.
	Create(path string) (File, error)
	// Open opens an existing file for reading.
	Open(path string) (File, error)
	// OpenReadWrite opens an existing file for reading and writing.
	OpenReadWrite(path string) (File, error)
	Rename(from, to string) error
	Remove(path string) error
	MkdirAll(path string) error
	// List returns the names in a directory, sorted.
	List(dir string) ([]string, error)
	Stat(path string) (fs.FileInfo, error)
	SyncDir(dir string) error
	// Lock takes an exclusive lock on a file, which it creates if missing, until the closer is closed
	// or the process ends. It returns ErrLocked if the lock is held.
	Lock(path string) (io.Closer, error)
	// FreeBytes returns the bytes that this user may still take on the disk that holds path.
	FreeBytes(path string) (uint64, error)
}

// File is an open file. WriteAt returns an error whenever it writes fewer bytes than asked.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Size() (int64, error)
	// Sync makes data and size durable.
	Sync() error
	// SyncData makes data durable, and the size if it changed, but not the times.
	SyncData() error
	Truncate(size int64) error
}

// ErrLocked is the error of Lock if this or another process holds the lock.
var ErrLocked = errors.New("locked by another process")
