package persistence

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/troupe-raft/troupe/persistence/vfs"
)

func marksIn(t *testing.T, fs vfs.FS) (found []string) {
	t.Helper()
	names, err := fs.List(testOptions(fs).Dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, markSuffix) {
			found = append(found, name)
		}
	}
	return found
}

// Whichever segment is lost, a start says which: the older ones are named by those that follow them, the newest by its mark.
func TestE7TheLossOfAnySegmentIsRefusedByNameOnceTheLogWasIdle(t *testing.T) {
	fs := vfs.NewMem()
	l, m := grown(t, fs)
	if err := l.Idle(); err != nil {
		t.Fatal(err)
	}
	for i, s := range l.segments {
		disk := fs.Crash(vfs.LoseAll)
		if err := disk.Remove(s.path); err != nil {
			t.Fatal(err)
		}
		_, err := examine(t, disk, m, s.path)
		var bad *CorruptError
		if !errors.As(err, &bad) {
			t.Fatalf("segment %d of %d is gone: %v", i+1, len(l.segments), err)
		}
		if s == l.catalog.active && bad.File != s.path {
			t.Fatalf("the newest segment is gone, and it says %v", err)
		}
	}
	// All of them.
	disk := fs.Crash(vfs.LoseAll)
	for _, s := range l.segments {
		if err := disk.Remove(s.path); err != nil {
			t.Fatal(err)
		}
	}
	o := testOptions(disk)
	o.MustExist = false
	if _, _, err := Open(o); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("all segments are gone: %v", err)
	}
}

func TestThereIsOneMarkAndItIsOfTheActiveSegment(t *testing.T) {
	fs := vfs.NewMem()
	l, m := grown(t, fs)
	for range 3 {
		if err := l.Idle(); err != nil {
			t.Fatal(err)
		}
		// A power cut keeps it: it was synced.
		for _, disk := range []*vfs.Mem{fs.Fork(), fs.Crash(vfs.LoseAll)} {
			if marks := marksIn(t, disk); !slices.Equal(marks, []string{markName(l.catalog.active.sequence)}) {
				t.Fatalf("marks %q where segment %d is active", marks, l.catalog.active.sequence)
			}
		}
		l.Close()
		l, _ = mustOpen(t, testOptions(fs))
		m.hard.vote = l.hard.vote
		mustAppend(t, l, 0, m.append(0, 3, 500), m.hardState())
	}
	// A leftover of a crash in the middle of things is removed, a mark of a segment that is there does no harm.
	for _, sequence := range []uint64{1, 2} {
		f, err := fs.Create(filepath.Join(testOptions(fs).Dir, markName(sequence)))
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	l.Close()
	mustOpen(t, testOptions(fs))
	if marks := marksIn(t, fs); len(marks) != 1 {
		t.Fatalf("marks %q", marks)
	}
}

// The mark waits for an idle moment, or goes along with a spare: no commit syncs for it.
func TestNoCommitPaysForAMark(t *testing.T) {
	fs := vfs.NewMem()
	l, m := grown(t, fs)
	syncs := 0
	fs.Observe(func(op vfs.Op) {
		if op.Kind == vfs.OpSyncDir || op.Kind == vfs.OpCreate && strings.HasSuffix(op.Path, markSuffix) || strings.HasSuffix(op.To, markSuffix) {
			syncs++
		}
	})
	rolls := l.catalog.active.sequence
	for range 120 {
		mustAppend(t, l, 0, m.append(0, 2, 600), m.hardState())
	}
	if rolls = l.catalog.active.sequence - rolls; rolls < 3 || syncs != int(rolls) {
		t.Fatalf("%d syncs of the directory, or marks, for %d new segments", syncs, rolls)
	}
	syncs = 0
	for worked := true; worked; {
		var err error
		if worked, err = l.PrepareSpare(); err != nil {
			t.Fatal(err)
		}
	}
	if marks := marksIn(t, fs.Crash(vfs.LoseAll)); syncs != 2 || len(marks) != 1 || marks[0] != markName(l.catalog.active.sequence) {
		t.Fatalf("with a spare come %d syncs and marks, and marks %q", syncs, marks)
	}
	if err := l.Idle(); err != nil || syncs != 2 {
		t.Fatalf("then %d syncs and marks in an idle moment: %v", syncs, err)
	}
}
