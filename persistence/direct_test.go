package persistence

import (
	"testing"

	"github.com/troupe-raft/troupe/persistence/vfs"
)

// directFS records which files are announced for direct appends, and checks that they are only
// appended to.
type directFS struct {
	vfs.FS
	t     *testing.T
	hints int
}

func (d *directFS) OpenReadWrite(path string) (vfs.File, error) {
	f, err := d.FS.OpenReadWrite(path)
	return &directFile{File: f, fs: d, end: -1}, err
}

func (d *directFS) Create(path string) (vfs.File, error) {
	f, err := d.FS.Create(path)
	return &directFile{File: f, fs: d, end: -1}, err
}

type directFile struct {
	vfs.File
	fs  *directFS
	end int64 // -1 before the hint
}

func (f *directFile) AppendDirect(end int64) bool {
	f.fs.hints++
	f.end = end
	size, err := f.Size()
	if err != nil {
		f.fs.t.Fatal(err)
	}
	if size%4096 != 0 || end > size {
		f.fs.t.Errorf("a segment of %d bytes, announced to end at %d", size, end)
	}
	return true
}

func (f *directFile) WriteAt(p []byte, off int64) (int, error) {
	if f.end >= 0 {
		if off != f.end {
			f.fs.t.Errorf("written at %d, but the file ended at %d", off, f.end)
		}
		f.end += int64(len(p))
	}
	return f.File.WriteAt(p, off)
}

func TestActiveSegmentIsOnlyAppendedTo(t *testing.T) {
	for name, disk := range map[string]vfs.FS{"os": vfs.OS(), "in memory": vfs.NewMem()} {
		t.Run(name, func(t *testing.T) {
			fs := &directFS{FS: disk, t: t}
			o := testOptions(fs)
			o.Dir = t.TempDir()
			mustSucceed(t, disk.MkdirAll(o.Dir))
			last := uint64(0)
			for run := range 3 {
				l, _ := mustOpen(t, o)
				if !l.Stats().DirectIO {
					t.Error("the log does not report direct writes")
				}
				for range 40 {
					mustAppend(t, l, 0, testBatch(last+1, 1, 1, 900), testHardState(1, 0, 0))
					last++
					if _, err := l.PrepareSpare(); err != nil {
						t.Fatal(err)
					}
				}
				mustSucceed(t, l.Close())
				if fs.hints < 3*(run+1) {
					t.Errorf("run %d: %d segments started", run, fs.hints)
				}
			}
		})
	}
}
