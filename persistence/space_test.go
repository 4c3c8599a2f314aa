package persistence

import (
	"errors"
	"strings"
	"testing"

	"github.com/troupe-raft/troupe/messages"
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

func TestASpareThatDoesNotFitIsGivenUpAndTheLogGoesOn(t *testing.T) {
	fs := vfs.NewMem()
	l, m := grown(t, fs)
	if worked, err := l.PrepareSpare(); !worked || err != nil {
		t.Fatal(worked, err)
	}
	fs.SetCapacity(fs.Used()) // somebody else took the room
	if worked, err := l.PrepareSpare(); worked || err != nil {
		t.Fatalf("worked %v, %v", worked, err)
	}
	names, err := fs.List("/data/log")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, makingSuffix) {
			t.Fatalf("%s still takes space", name)
		}
	}
	mustAppend(t, l, 0, m.append(0, 1, 10), m.hardState())
	if worked, err := l.PrepareSpare(); worked || err != nil {
		t.Fatalf("on a full disk: worked %v, %v", worked, err)
	}
	fs.SetCapacity(-1)
	if worked, err := l.PrepareSpare(); !worked || err != nil {
		t.Fatalf("with room again: worked %v, %v", worked, err)
	}
}

func TestAnIdleFrameIsWrittenOnce(t *testing.T) {
	fs := vfs.NewMem()
	l, m := grown(t, fs)
	writes := 0
	fs.Observe(func(op vfs.Op) {
		if op.Kind == vfs.OpWrite {
			writes++
		}
	})
	for want, add := range []func(){
		func() {}, // what grown wrote last is claimed, once
		func() { m.hard.commit++; add(t, l, m.hardState()) },
		func() { m.hard.vote, m.hard.term = 3, m.hard.term+1; add(t, l, m.hardState()) },
	} {
		add()
		for range 3 {
			if err := l.Idle(); err != nil {
				t.Fatal(err)
			}
		}
		if writes != want+1 {
			t.Fatalf("%d writes, %d expected", writes, want+1)
		}
	}
	l, r := mustOpen(t, testOptions(fs.Crash(vfs.LoseAll)))
	if d := m.differs(r, l); d != "" {
		t.Fatal(d)
	}
}

func add(t *testing.T, l *Log, hard *messages.HardState) {
	t.Helper()
	if err := l.Add(0, nil, hard); err != nil {
		t.Fatal(err)
	}
}
