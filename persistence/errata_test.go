package persistence

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/persistence/vfs"
)

func TestE1TermAndVoteAreOneRecord(t *testing.T) {
	disk := vfs.NewMem()
	l, _ := mustOpen(t, testOptions(disk))
	mustAppend(t, l, 0, nil, testHardState(1, 5, 0))
	var found []hardState
	disk.Observe(func(vfs.Op) {
		for o := (&exhaustiveChoice{}); ; {
			_, r := mustOpen(t, testOptions(disk.CrashClone(o.choose)))
			h := hardState{r.HardState.Term, r.HardState.Vote, 0}
			if !slices.Contains(found, h) {
				found = append(found, h)
			}
			if !o.next() {
				return
			}
		}
	})
	mustAppend(t, l, 0, nil, testHardState(2, 9, 0))
	// Never the term of one hard state with the vote of the other.
	if !slices.Equal(found, []hardState{{1, 5, 0}, {2, 9, 0}}) {
		t.Fatalf("after power cuts: %+v", found)
	}
}

func TestE2VoteAndTermNeverGoBack(t *testing.T) {
	l, _ := mustOpen(t, testOptions(vfs.NewMem()))
	mustAppend(t, l, 0, nil, testHardState(3, 0, 0))
	mustAppend(t, l, 0, nil, testHardState(3, 5, 0)) // the vote may follow its term later
	for _, bad := range []*messages.HardState{testHardState(3, 6, 0), testHardState(3, 0, 0), testHardState(2, 5, 0)} {
		var broken *InvariantError
		if err := l.Add(0, nil, bad); !errors.As(err, &broken) {
			t.Fatalf("%v was accepted: %v", bad, err)
		}
	}
	mustAppend(t, l, 0, nil, testHardState(4, 0, 0))
}

func TestE3AppendNeverOvertakesItsHardState(t *testing.T) {
	disk := vfs.NewMem()
	l, _ := mustOpen(t, testOptions(disk))
	mustAppend(t, l, 0, testBatch(1, 3, 1, 200), testHardState(1, 1, 0))
	disk.Observe(func(vfs.Op) {
		for o := (&exhaustiveChoice{}); ; {
			_, r := mustOpen(t, testOptions(disk.CrashClone(o.choose)))
			if r.LastIndex > 3 && (r.HardState.Term != 2 || r.HardState.Vote != 6) {
				t.Fatalf("entries up to %d of term 2 with hard state %v", r.LastIndex, r.HardState)
			}
			if !o.next() {
				return
			}
		}
	})
	mustSucceed(t, l.Add(0, nil, testHardState(2, 6, 0)))
	mustAppend(t, l, 0, testBatch(4, 3, 2, 200), testHardState(2, 6, 0))
}

func TestE6DirectoryIsSyncedAfterEveryNewName(t *testing.T) {
	disk := vfs.NewMem()
	synced := map[string]bool{}
	disk.Observe(func(op vfs.Op) {
		switch op.Kind {
		case vfs.OpSyncDir:
			synced[op.Path] = true
		case vfs.OpRename:
			synced[filepath.Dir(op.To)] = false
		}
	})
	o := testOptions(disk)
	o.Dir = "/var/lib/troupe/member/log"
	l, _ := mustOpen(t, o)
	for _, dir := range []string{"/", "/var", "/var/lib", "/var/lib/troupe", "/var/lib/troupe/member", "/var/lib/troupe/member/log"} {
		if !synced[dir] && dir != "/" {
			t.Fatalf("%s was made in %s, which was not synced", filepath.Base(dir), filepath.Dir(dir))
		}
	}
	for i := range uint64(60) {
		mustAppend(t, l, 0, testBatch(i+1, 1, 1, 1000), testHardState(1, 1, 0))
		if !synced[o.Dir] {
			t.Fatalf("entry %d was acknowledged in a segment whose name is not durable", i+1)
		}
	}
	// So nothing is lost.
	o.FS = disk.CrashClone(vfs.LoseUnsynced)
	if _, r := mustOpen(t, o); r.LastIndex != 60 {
		t.Fatalf("recovered up to %d", r.LastIndex)
	}
}

func TestE6UnsyncedDirectoryIsSyncedByNextStart(t *testing.T) {
	disk := vfs.NewMem()
	if err := disk.MkdirAll("/data/log"); err != nil { // by a process that was killed before its sync
		t.Fatal(err)
	}
	l, _ := mustOpen(t, testOptions(disk))
	mustAppend(t, l, 0, testBatch(1, 1, 1, 10), testHardState(1, 1, 0))
	if _, r := mustOpen(t, testOptions(disk.CrashClone(vfs.LoseUnsynced))); r.LastIndex != 1 {
		t.Fatalf("recovered up to %d", r.LastIndex)
	}
}

// A process is killed between the rename of a segment and the sync of the directory. The next
// process finds that segment and starts another. If then a power cut removed the first name and
// kept the second, the log would have a hole although nothing is damaged.
func TestE6UnsyncedSegmentNameIsSyncedBeforeTheNext(t *testing.T) {
	disk := vfs.NewMem()
	l, _ := mustOpen(t, testOptions(disk))
	mustAppend(t, l, 0, testBatch(1, 1, 1, 10), testHardState(1, 1, 0))
	var killed *vfs.MemFS
	disk.Observe(func(op vfs.Op) {
		if op.Kind == vfs.OpRename && killed == nil {
			killed = disk.KillClone()
		}
	})
	l.Close()
	mustOpen(t, testOptions(disk))
	looked := 0
	killed.Observe(func(op vfs.Op) {
		if op.Kind != vfs.OpRename {
			return
		}
		for o := (&exhaustiveChoice{}); ; {
			looked++
			if _, r, err := Open(testOptions(killed.CrashClone(o.choose))); err != nil || r.LastIndex != 1 {
				t.Fatalf("power cut after %v, outcome %v: %+v, %v", op, o.digits, r, err)
			}
			if !o.next() {
				return
			}
		}
	})
	mustOpen(t, testOptions(killed))
	if looked < 2 {
		t.Fatalf("only %d disks", looked)
	}
}

func TestE12TruncationLowersTheLastIndex(t *testing.T) {
	disk := vfs.NewMem()
	l, _ := mustOpen(t, testOptions(disk))
	mustAppend(t, l, 0, testBatch(1, 9, 1, 20), testHardState(1, 1, 0))
	mustSucceed(t, l.Add(0, testBatch(10, 2, 1, 20), testHardState(1, 1, 0)))
	mustAppend(t, l, 5, testBatch(5, 1, 2, 20), testHardState(2, 1, 0))
	if last := l.Stats().LastIndex; last != 5 {
		t.Fatalf("last index %d", last)
	}
	reader := l.Reader()
	if _, _, err := reader.Read(6, 9, 1000); !errors.Is(err, ErrNotInLog) {
		t.Fatalf("truncated entries read: %v", err)
	}
	if e, prev, err := reader.Read(5, 9, 1000); err != nil || prev != 1 || len(e.Data) != 1 || e.Runs[0].Term != 2 {
		t.Fatalf("read %v, term before %d, %v", e, prev, err)
	}
	var broken *InvariantError
	mustAppend(t, l, 0, nil, testHardState(2, 1, 5))
	if err := l.Add(5, testBatch(5, 1, 3, 20), testHardState(3, 1, 5)); !errors.As(err, &broken) {
		t.Fatalf("a committed entry was truncated: %v", err)
	}
}

// Such a base would leave a log whose commit index goes back, which every start refuses.
func TestBaseAgainstCommittedEntryIsRefused(t *testing.T) {
	disk := vfs.NewMem()
	l, _ := mustOpen(t, testOptions(disk))
	mustAppend(t, l, 0, testBatch(1, 9, 1, 20), testHardState(3, 1, 5))
	var broken *InvariantError
	if err := l.rebase(4, 2, nil); !errors.As(err, &broken) {
		t.Fatalf("entry 4 of term 1 is committed, a base of term 2 was accepted: %v", err)
	}
	if err := l.rebase(6, 2, nil); err != nil { // not committed, so the snapshot wins (E38)
		t.Fatal(err)
	}
	if _, r := mustOpen(t, testOptions(disk.CrashClone(vfs.LoseUnsynced))); r.BaseIndex != 6 || r.LastIndex != 6 || r.HardState.Commit != 5 {
		t.Fatalf("recovered %+v", r)
	}
}

func TestE13NothingIsVisibleBeforeItsSync(t *testing.T) {
	disk := vfs.NewMem()
	l, _ := mustOpen(t, testOptions(disk))
	mustAppend(t, l, 0, testBatch(1, 1, 1, 10), testHardState(1, 1, 0))
	reader := l.Reader()
	looked := 0
	disk.Inject(func(op vfs.Op) error {
		if op.Kind == vfs.OpSync {
			looked++
			if _, _, err := reader.Read(2, 2, 100); !errors.Is(err, ErrNotInLog) {
				t.Errorf("entry 2 was seen before its sync: %v", err)
			}
			if got := l.Stats(); got.LastIndex != 1 || got.HardState.Term != 1 {
				t.Errorf("reported before the sync: %+v", got)
			}
		}
		return nil
	})
	mustAppend(t, l, 0, testBatch(2, 1, 2, 10), testHardState(2, 1, 0))
	disk.Inject(nil)
	if _, _, err := reader.Read(2, 2, 100); err != nil || looked != 1 {
		t.Fatalf("after the sync: %v (%d syncs)", err, looked)
	}
}

func TestE46OnlyTheOwnerCanAccessFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "member")
	d, err := OpenDataDir(vfs.OS(), dir, Identity{ClusterID: 1, NodeID: 7, StorageID: testStorage})
	mustSucceed(t, err)
	defer d.Close()
	l, _ := mustOpen(t, Options{FS: vfs.OS(), Dir: d.LogDir(), NodeID: 7, StorageID: testStorage, MustExist: true, FirstSegmentBytes: 8 << 10})
	for i := range uint64(40) {
		mustAppend(t, l, 0, testBatch(i+1, 1, 1, 1000), testHardState(1, 1, 0))
		if _, err := l.PrepareSpare(); err != nil {
			t.Fatal(err)
		}
	}
	seen := 0
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		want := os.FileMode(0o600)
		if e.IsDir() {
			want = 0o700
		}
		if err == nil && info.Mode().Perm() != want {
			t.Errorf("%s has mode %v, not %v", path, info.Mode().Perm(), want)
		}
		seen++
		return err
	})
	if err != nil || seen < 6 {
		t.Fatalf("%d files looked at, %v", seen, err)
	}
	mustSucceed(t, l.Close())
	if names, err := os.ReadDir(d.LogDir()); err != nil || !slices.ContainsFunc(names, func(e os.DirEntry) bool {
		return strings.HasSuffix(e.Name(), spareSuffix) || strings.HasSuffix(e.Name(), partialSpareSuffix)
	}) {
		t.Fatalf("no spare was looked at: %v, %v", names, err)
	}
}
