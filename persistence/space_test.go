package persistence

import (
	"errors"
	"testing"

	"github.com/troupe-raft/troupe/persistence/vfs"
)

func TestAFullDiskEndsTheLogAndLeavesItWhole(t *testing.T) {
	fs := vfs.NewMem()
	l, m := grown(t, fs)
	fs.SetCapacity(fs.Used())
	var before *model
	for {
		before = m.clone()
		if err := l.Add(0, m.append(0, 1, 500), m.hardState()); err != nil {
			t.Fatal(err)
		}
		if err := l.Commit(); err != nil {
			if !vfs.IsNoSpace(err) || !errors.Is(err, ErrLatched) {
				t.Fatalf("Commit on a full disk said %v", err)
			}
			break
		}
	}
	disk := fs.Crash(vfs.KeepAll)
	disk.SetCapacity(-1)
	l, r := mustOpen(t, testOptions(disk))
	if d := before.differs(r, l); d != "" {
		t.Fatal(d)
	}
}

func TestASparesSpaceIsThereWhenTheDiskIsFull(t *testing.T) {
	fs := vfs.NewMem()
	l, m := grown(t, fs)
	for {
		worked, err := l.PrepareSpare()
		if err != nil {
			t.Fatal(err)
		}
		if !worked {
			break
		}
	}
	fs.SetCapacity(fs.Used())
	segments := l.Stats().Segments
	for l.Stats().Segments == segments {
		mustAppend(t, l, 0, m.append(0, 1, 500), m.hardState())
	}
	l, r := mustOpen(t, Options{FS: unlimited(fs), Dir: "/data/log", Node: 7, StorageID: testStorage, FirstSegmentBytes: 8 << 10})
	if d := m.differs(r, l); d != "" {
		t.Fatal(d)
	}
}

func unlimited(fs *vfs.Mem) *vfs.Mem {
	disk := fs.Crash(vfs.LoseAll)
	disk.SetCapacity(-1)
	return disk
}
