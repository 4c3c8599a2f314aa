package persistence

import (
	"errors"
	"strings"
	"testing"

	"github.com/troupe-raft/troupe/persistence/vfs"
)

func TestFullDiskLatchesTheLogIntact(t *testing.T) {
	fs := vfs.NewMem()
	l, m := newDamageTestLog(t, fs)
	fs.SetCapacity(fs.UsedBytes())
	var before *logModel
	for {
		before = m.clone()
		if err := addAndCommit(t, l, 0, m.append(0, 1, 500), m.hardStateMessage()); err != nil {
			if !vfs.IsNoSpace(err) || !errors.Is(err, ErrLogFailed) {
				t.Fatalf("Commit on a full disk returned %v", err)
			}
			break
		}
	}
	disk := fs.CrashClone(vfs.KeepUnsynced)
	disk.SetCapacity(-1)
	mustRecover(t, testOptions(disk), before)
}

func TestSpareIsUsableOnAFullDisk(t *testing.T) {
	fs := vfs.NewMem()
	l, m := newDamageTestLog(t, fs)
	for {
		worked, err := l.PrepareSpare()
		mustSucceed(t, err)
		if !worked {
			break
		}
	}
	fs.SetCapacity(fs.UsedBytes())
	segments := l.Stats().Segments
	for l.Stats().Segments == segments {
		mustAppend(t, l, 0, m.append(0, 1, 500), m.hardStateMessage())
	}
	o := testOptions(withoutCapacity(fs))
	o.SegmentBytes = 0
	mustRecover(t, o, m)
}

func withoutCapacity(fs *vfs.MemFS) *vfs.MemFS {
	disk := fs.CrashClone(vfs.LoseUnsynced)
	disk.SetCapacity(-1)
	return disk
}

func TestSpareThatDoesNotFitIsRemoved(t *testing.T) {
	fs := vfs.NewMem()
	l, m := newDamageTestLog(t, fs)
	if worked, err := l.PrepareSpare(); !worked || err != nil {
		t.Fatal(worked, err)
	}
	fs.SetCapacity(fs.UsedBytes()) // others use the rest of the disk
	if worked, err := l.PrepareSpare(); worked || err != nil {
		t.Fatalf("worked %v, %v", worked, err)
	}
	names, err := fs.List("/data/log")
	mustSucceed(t, err)
	for _, name := range names {
		if strings.HasSuffix(name, partialSpareSuffix) {
			t.Fatalf("%s still takes space", name)
		}
	}
	mustAppend(t, l, 0, m.append(0, 1, 10), m.hardStateMessage())
	if worked, err := l.PrepareSpare(); worked || err != nil {
		t.Fatalf("on a full disk: worked %v, %v", worked, err)
	}
	fs.SetCapacity(-1)
	if worked, err := l.PrepareSpare(); !worked || err != nil {
		t.Fatalf("with room again: worked %v, %v", worked, err)
	}
}

func TestIdleFrameIsWrittenOnce(t *testing.T) {
	fs := vfs.NewMem()
	l, m := newDamageTestLog(t, fs)
	writes := 0
	fs.Observe(func(op vfs.Op) {
		if op.Kind == vfs.OpWrite {
			writes++
		}
	})
	for want, add := range []func(){
		func() {}, // the last batch is proven, once
		func() { m.hard.commit++; mustSucceed(t, l.Add(0, nil, m.hardStateMessage())) },
		func() {
			m.hard.vote, m.hard.term = 3, m.hard.term+1
			mustSucceed(t, l.Add(0, nil, m.hardStateMessage()))
		},
	} {
		add()
		for range 3 {
			mustSucceed(t, l.Idle())
		}
		if writes != want+1 {
			t.Fatalf("%d writes, %d expected", writes, want+1)
		}
	}
	mustRecover(t, testOptions(fs.CrashClone(vfs.LoseUnsynced)), m)
}
