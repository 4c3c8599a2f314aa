package persistence

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/troupe-raft/troupe/persistence/vfs"
)

func markerFiles(t *testing.T, fs vfs.FS) (found []string) {
	t.Helper()
	names, err := fs.List(testOptions(fs).Dir)
	mustSucceed(t, err)
	for _, name := range names {
		if strings.HasSuffix(name, markerSuffix) {
			found = append(found, name)
		}
	}
	return found
}

// A start reports which segment is lost: an older one is named by its successor, the newest by its
// marker.
func TestE7LostSegmentIsNamedOnceTheLogWasIdle(t *testing.T) {
	fs := vfs.NewMem()
	l, m := newDamageTestLog(t, fs)
	mustSucceed(t, l.Idle())
	for i, s := range l.segments {
		disk := fs.CrashClone(vfs.LoseUnsynced)
		mustSucceed(t, disk.Remove(s.path))
		_, err := openAndReadAll(t, disk, m)
		var bad *CorruptError
		if !errors.As(err, &bad) {
			t.Fatalf("segment %d of %d is gone: %v", i+1, len(l.segments), err)
		}
		if s == l.published.active && bad.File != s.path {
			t.Fatalf("the newest segment is missing, and the error is %v", err)
		}
	}
	// All segments are lost.
	disk := fs.CrashClone(vfs.LoseUnsynced)
	for _, s := range l.segments {
		mustSucceed(t, disk.Remove(s.path))
	}
	o := testOptions(disk)
	o.MustExist = false
	if _, _, err := Open(o); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("all segments are gone: %v", err)
	}
}

func TestOneMarkerNamesTheActiveSegment(t *testing.T) {
	fs := vfs.NewMem()
	l, m := newDamageTestLog(t, fs)
	for range 3 {
		mustSucceed(t, l.Idle())
		// It was synced, so it survives a power cut.
		for _, disk := range []*vfs.MemFS{fs.KillClone(), fs.CrashClone(vfs.LoseUnsynced)} {
			if marks := markerFiles(t, disk); !slices.Equal(marks, []string{markerName(l.published.active.sequence)}) {
				t.Fatalf("markers %q, but segment %d is active", marks, l.published.active.sequence)
			}
		}
		l.Close()
		l, _ = mustOpen(t, testOptions(fs))
		m.hard.vote = l.active.hard.vote
		mustAppend(t, l, 0, m.append(0, 3, 500), m.hardStateMessage())
	}
	// A start removes the markers of older segments.
	for _, sequence := range []uint64{1, 2} {
		f, err := fs.Create(filepath.Join(testOptions(fs).Dir, markerName(sequence)))
		mustSucceed(t, err)
		f.Close()
	}
	l.Close()
	mustOpen(t, testOptions(fs))
	if marks := markerFiles(t, fs); len(marks) != 1 {
		t.Fatalf("markers %q", marks)
	}
}

// The marker is created in an idle moment or together with a spare.
func TestNoCommitSyncsForAMarker(t *testing.T) {
	fs := vfs.NewMem()
	l, m := newDamageTestLog(t, fs)
	syncs := 0
	fs.Observe(func(op vfs.Op) {
		if op.Kind == vfs.OpSyncDir || op.Kind == vfs.OpCreate && strings.HasSuffix(op.Path, markerSuffix) || strings.HasSuffix(op.To, markerSuffix) {
			syncs++
		}
	})
	rolls := l.published.active.sequence
	for range 120 {
		mustAppend(t, l, 0, m.append(0, 2, 600), m.hardStateMessage())
	}
	if rolls = l.published.active.sequence - rolls; rolls < 3 || syncs != int(rolls) {
		t.Fatalf("%d syncs of the directory and markers for %d new segments", syncs, rolls)
	}
	syncs = 0
	for worked := true; worked; {
		var err error
		if worked, err = l.PrepareSpare(); err != nil {
			t.Fatal(err)
		}
	}
	if marks := markerFiles(t, fs.CrashClone(vfs.LoseUnsynced)); syncs != 2 || len(marks) != 1 || marks[0] != markerName(l.published.active.sequence) {
		t.Fatalf("%d syncs and markers with a spare, and markers %q", syncs, marks)
	}
	if err := l.Idle(); err != nil || syncs != 2 {
		t.Fatalf("%d syncs and markers after an idle moment: %v", syncs, err)
	}
}
