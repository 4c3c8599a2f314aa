package vfs

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"pgregory.net/rapid"
)

// createZeroed creates a file of zeros that is appended to from end on, by direct writes if the
// filesystem supports them.
func createZeroed(t testing.TB, path string, size, end int64) *osFile {
	t.Helper()
	f, err := OS().Create(path)
	mustSucceed(t, err)
	t.Cleanup(func() { f.Close(); os.Remove(path) })
	mustWrite(t, func() (int, error) { return f.WriteAt(make([]byte, size), 0) })
	mustWrite(t, func() (int, error) { return f.WriteAt(bytes.Repeat([]byte{0xbe}, int(end)), 0) })
	mustSucceed(t, f.Sync())
	o := f.(*osFile)
	o.AppendDirect(end)
	return o
}

func mustWrite(t testing.TB, do func() (int, error)) {
	t.Helper()
	if _, err := do(); err != nil {
		t.Fatal(err)
	}
}

func requireDirect(t testing.TB, o *osFile) {
	t.Helper()
	if o.direct == nil {
		t.Skip("the filesystem of the temporary directory does not support direct writes")
	}
}

func TestOnlySmallAppendsAreDirect(t *testing.T) {
	o := createZeroed(t, filepath.Join(t.TempDir(), "f"), 1<<20, 100)
	requireDirect(t, o)
	counted := &countingFile{directFile: o.direct.file}
	o.direct.file = counted
	off := int64(100)
	for _, c := range []struct{ size, direct int }{
		{300, 1}, {directBlockBytes, 1}, {directMaxBytes - directBlockBytes, 1}, {directMaxBytes + 1, 0}, {500, 1}, {200 << 10, 0}, {1, 1},
	} {
		counted.writes = 0
		p := bytes.Repeat([]byte{0xab}, c.size)
		mustWrite(t, func() (int, error) { return o.WriteAt(p, off) })
		if off += int64(c.size); counted.writes != c.direct {
			t.Errorf("an append of %d bytes: %d direct writes, not %d", c.size, counted.writes, c.direct)
		}
	}
	whole := append(bytes.Repeat([]byte{0xbe}, 100), bytes.Repeat([]byte{0xab}, int(off)-100)...)
	compareFile(t, o, append(whole, make([]byte, 1<<20-len(whole))...))
}

// After any appends, with reads through the page cache in between, the file holds what was written
// and zeros after it, and has not grown.
func TestFileHoldsWhatWasAppendedEitherWay(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(rt *rapid.T) {
		size := rapid.Int64Range(0, 200<<10).Draw(rt, "size")
		end := rapid.Int64Range(0, min(size, 9000)).Draw(rt, "end")
		path := filepath.Join(dir, "f")
		o := createZeroed(t, path, size, end)
		defer func() { o.Close(); os.Remove(path) }()
		want := make([]byte, size)
		copy(want, bytes.Repeat([]byte{0xbe}, int(end)))
		for next := byte(1); end < size && rapid.IntRange(0, 15).Draw(rt, "on") > 0; next++ {
			n := rapid.OneOf(rapid.Int64Range(0, 700), rapid.Int64Range(0, 9000), rapid.Int64Range(0, 50<<10)).Draw(rt, "bytes")
			p := bytes.Repeat([]byte{next}, int(min(n, size-end)))
			off := end
			if rapid.IntRange(0, 9).Draw(rt, "elsewhere") == 0 {
				off = rapid.Int64Range(0, end).Draw(rt, "offset")
			}
			if n, err := o.WriteAt(p, off); n != len(p) || err != nil {
				rt.Fatalf("%d of %d bytes at %d: %v", n, len(p), off, err)
			}
			copy(want[off:], p)
			end = max(end, off+int64(len(p)))
			if rapid.Bool().Draw(rt, "sync") {
				if err := o.SyncData(); err != nil {
					rt.Fatal(err)
				}
			}
			if rapid.Bool().Draw(rt, "read") {
				compareFile(rt, o, want)
			}
		}
		compareFile(rt, o, want)
	})
}

func compareFile(t interface{ Fatalf(string, ...any) }, o *osFile, want []byte) {
	got, err := os.ReadFile(o.file.Name())
	if err != nil {
		t.Fatalf("%v", err)
	}
	if len(got) != len(want) {
		t.Fatalf("the file has %d bytes, not %d", len(got), len(want))
	}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("byte %d of %d is %x, not %x", i, len(want), got[i], want[i])
		}
	}
}

type countingFile struct {
	directFile
	writes int
	fail   error
}

func (c *countingFile) WriteAt(p []byte, off int64) (int, error) {
	c.writes++
	if c.fail != nil {
		return 0, c.fail
	}
	return c.directFile.WriteAt(p, off)
}

func TestUnalignedDeviceFallsBackToTheCache(t *testing.T) {
	o := createZeroed(t, filepath.Join(t.TempDir(), "f"), 64<<10, 0)
	requireDirect(t, o)
	refusing := &countingFile{directFile: o.direct.file, fail: &os.PathError{Op: "write", Path: "f", Err: syscall.EINVAL}}
	o.direct.file = refusing
	want := make([]byte, 64<<10)
	for i := range 3 {
		copy(want[5*i:], "hello")
		mustWrite(t, func() (int, error) { return o.WriteAt([]byte("hello"), int64(5*i)) })
	}
	compareFile(t, o, want)
	if refusing.writes != 1 {
		t.Errorf("tried %d times", refusing.writes)
	}
}

func TestOSBufferedMakesNoDirectWrites(t *testing.T) {
	f, err := OSBuffered().Create(filepath.Join(t.TempDir(), "f"))
	mustSucceed(t, err)
	defer f.Close()
	mustWrite(t, func() (int, error) { return f.WriteAt(make([]byte, 8192), 0) })
	f.(DirectAppender).AppendDirect(0)
	if f.(*osFile).direct != nil {
		t.Fatal("a direct write was made")
	}
}

func TestDirectWriteErrorIsReturned(t *testing.T) {
	o := createZeroed(t, filepath.Join(t.TempDir(), "f"), 64<<10, 0)
	requireDirect(t, o)
	o.direct.file = &countingFile{directFile: o.direct.file, fail: syscall.EIO}
	if _, err := o.WriteAt([]byte("hello"), 0); !errors.Is(err, syscall.EIO) {
		t.Fatalf("error %v", err)
	}
	compareFile(t, o, make([]byte, 64<<10))
}

func TestDirectAppendFollowsARename(t *testing.T) {
	dir := t.TempDir()
	f, err := OS().Create(filepath.Join(dir, "spare"))
	mustSucceed(t, err)
	defer f.Close()
	mustWrite(t, func() (int, error) { return f.WriteAt(make([]byte, 8192), 0) })
	mustSucceed(t, OS().Rename(filepath.Join(dir, "spare"), filepath.Join(dir, "segment")))
	f.(DirectAppender).AppendDirect(0)
	mustWrite(t, func() (int, error) { return f.WriteAt([]byte("here"), 0) })
	got, err := os.ReadFile(filepath.Join(dir, "segment"))
	if err != nil || len(got) != 8192 || string(got[:4]) != "here" {
		t.Fatalf("%d bytes, %q, %v", len(got), got[:min(4, len(got))], err)
	}
}
