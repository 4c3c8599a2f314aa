package vfs

import (
	"errors"
	"io"
	"io/fs"
	"slices"
	"testing"
)

// checkNames checks the operations on names, which both filesystems must do alike.
func checkNames(t *testing.T, filesystem FS, dir string) {
	path := func(name string) string { return dir + "/" + name }
	mustSucceed(t, filesystem.MkdirAll(path("a/b")))
	mustSucceed(t, filesystem.MkdirAll(path("a/b")))
	f := mustCreate(t, filesystem, path("a/f"), []byte("hello, world!"))
	defer f.Close()
	if _, err := filesystem.Create(path("a/f")); !errors.Is(err, fs.ErrExist) {
		t.Fatalf("created twice: %v", err)
	}
	for _, err := range []error{
		errorOf(filesystem.Create(path("none/f"))), errorOf(filesystem.Open(path("none"))), errorOf(filesystem.OpenReadWrite(path("none"))),
		errorOf(filesystem.Stat(path("none"))), errorOf(filesystem.List(path("none"))), filesystem.Remove(path("none")),
		filesystem.Rename(path("none"), path("other")), filesystem.SyncDir(path("none")),
	} {
		if !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("a missing file gave %v", err)
		}
	}
	mustSucceed(t, filesystem.Rename(path("a/f"), path("a/g")))
	mustSucceed(t, filesystem.SyncDir(path("a")))
	if names, err := filesystem.List(path("a")); err != nil || !slices.Equal(names, []string{"b", "g"}) {
		t.Fatalf("%v, %v", names, err)
	}
	if info, err := filesystem.Stat(path("a/g")); err != nil || info.Size() != 13 || info.IsDir() || info.Mode().Perm() != 0o600 || info.Name() != "g" {
		t.Fatalf("%v, %v", info, err)
	}
	if info, err := filesystem.Stat(path("a")); err != nil || !info.IsDir() || info.Mode().Perm() != 0o700 {
		t.Fatalf("%v, %v", info, err)
	}
	if err := filesystem.Remove(path("a")); err == nil {
		t.Fatal("a directory that is not empty was removed")
	}
}

// checkFiles checks reads and writes, also of a renamed and a removed file.
func checkFiles(t *testing.T, filesystem FS, dir string) {
	path := func(name string) string { return dir + "/" + name }
	f := mustCreate(t, filesystem, path("f"), []byte("hello"))
	_, err := f.WriteAt([]byte("world"), 8)
	mustSucceed(t, err)
	mustSucceed(t, f.SyncData())
	mustSucceed(t, f.Sync())
	if size, err := f.Size(); err != nil || size != 13 {
		t.Fatalf("size %d, %v", size, err)
	}
	b := make([]byte, 20)
	if n, err := f.ReadAt(b, 0); n != 13 || err != io.EOF || string(b[:n]) != "hello\x00\x00\x00world" {
		t.Fatalf("read %q, %v", b[:n], err)
	}
	mustSucceed(t, filesystem.Rename(path("f"), path("g")))
	reader, err := filesystem.Open(path("g"))
	mustSucceed(t, err)
	if _, err := reader.WriteAt([]byte("x"), 0); err == nil {
		t.Fatal("written through a file opened for reading")
	}
	// A removed file stays readable through open files.
	mustSucceed(t, filesystem.Remove(path("g")))
	if n, _ := reader.ReadAt(b[:5], 0); string(b[:n]) != "hello" {
		t.Fatalf("read %q of a removed file", b[:n])
	}
	mustSucceed(t, f.Truncate(2))
	if size, err := f.Size(); err != nil || size != 2 {
		t.Fatalf("size %d, %v", size, err)
	}
	mustSucceed(t, reader.Close())
	mustSucceed(t, f.Close())
	if _, err := f.WriteAt([]byte("x"), 0); !errors.Is(err, fs.ErrClosed) {
		t.Fatalf("written to a closed file: %v", err)
	}
}

// checkLocks checks locks and the free space.
func checkLocks(t *testing.T, filesystem FS, dir string) {
	lock, err := filesystem.Lock(dir + "/LOCK")
	mustSucceed(t, err)
	if _, err := filesystem.Lock(dir + "/LOCK"); !errors.Is(err, ErrLocked) {
		t.Fatalf("locked twice: %v", err)
	}
	mustSucceed(t, lock.Close())
	lock, err = filesystem.Lock(dir + "/LOCK")
	mustSucceed(t, err)
	mustSucceed(t, lock.Close())
	if free, err := filesystem.FreeBytes(dir); err != nil || free == 0 {
		t.Fatalf("%d bytes free, %v", free, err)
	}
}

func errorOf[T any](_ T, err error) error { return err }

func TestFilesystemsBehaveAlike(t *testing.T) {
	for name, check := range map[string]func(*testing.T, FS, string){"names": checkNames, "files": checkFiles, "locks": checkLocks} {
		t.Run("mem "+name, func(t *testing.T) {
			m := NewMem()
			mustSucceed(t, m.MkdirAll("/top"))
			check(t, m, "/top")
		})
		t.Run("os "+name, func(t *testing.T) { check(t, OS(), t.TempDir()) })
	}
}
