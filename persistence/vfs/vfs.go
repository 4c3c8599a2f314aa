// Package vfs is the filesystem that everything which survives a crash is written through: the live one, and an in-memory
// one that can lose what was not synced. Small on purpose, so that a simulated disk can implement it honestly.
package vfs

import (
	"errors"
	"io"
	"io/fs"
)

// FS is a filesystem. Paths are as the operating system has them.
//
// Durability is as on a journaled disk: data is durable after File.Sync or SyncData, the existence and name of a file after
// SyncDir of its directory, and that of a directory after SyncDir of its parent.
type FS interface {
	// Create makes an empty file for reading and writing; it fails with fs.ErrExist if the name is taken.
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
	// Lock takes an exclusive lock on the file, made if missing, until the closer is closed or the process ends. It fails
	// with ErrLocked when another holds it.
	Lock(path string) (io.Closer, error)
	// Free tells how many bytes are free for this user on the disk that holds path.
	FreeBytes(path string) (uint64, error)
}

// File is an open file. WriteAt returns an error whenever it wrote less than asked.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Size() (int64, error)
	// Sync makes data and size durable.
	Sync() error
	// SyncData makes data durable, and size where it changed, but no times.
	SyncData() error
	Truncate(size int64) error
}

// ErrLocked is the error of Lock when another process, or another user in this one, holds the lock.
var ErrLocked = errors.New("locked by another process")
