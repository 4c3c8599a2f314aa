package persistence

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/troupe-raft/troupe/persistence/vfs"
)

// faultyFS is a filesystem with one fault: it behaves as under a log with a bug, or on a faulty
// disk. If the crash enumeration does not detect the fault, it would not detect such a bug.
type faultyFS struct {
	vfs.FS
	fault fsFault
	// The operations in each directory since its last sync.
	changed map[string]map[vfs.OpKind]bool
	counts  map[string]int
}

// fsFault is what the filesystem reports as done and does not do.
type fsFault struct {
	name string
	// A directory is not synced after this operation in it; for a creation: if it is the only one.
	unsyncedAfter vfs.OpKind
	// The nth sync of a file with this suffix is skipped (each, if nth is 0).
	unsynced string
	// The nth write of a file with this suffix is written after the next one, or never.
	swapped, lost string
	nth           int
}

// noDirectoryOp is an OpKind that no directory has.
const noDirectoryOp = vfs.OpRead

func (l fsFault) wrap(fs vfs.FS) vfs.FS {
	return &faultyFS{FS: fs, fault: l, changed: map[string]map[vfs.OpKind]bool{}, counts: map[string]int{}}
}

func (l *faultyFS) noteChange(path string, kind vfs.OpKind) {
	dir := filepath.Dir(path)
	if l.changed[dir] == nil {
		l.changed[dir] = map[vfs.OpKind]bool{}
	}
	l.changed[dir][kind] = true
}

// isDue counts, and reports whether this is the nth call.
func (l *faultyFS) isDue(what, suffix, path string) bool {
	if suffix == "" || !strings.HasSuffix(path, suffix) {
		return false
	}
	l.counts[what]++
	return l.fault.nth == 0 || l.counts[what] == l.fault.nth
}

func (l *faultyFS) Create(path string) (vfs.File, error) {
	l.noteChange(path, vfs.OpCreate)
	f, err := l.FS.Create(path)
	return l.wrapFile(f, path, err)
}

func (l *faultyFS) OpenReadWrite(path string) (vfs.File, error) {
	f, err := l.FS.OpenReadWrite(path)
	return l.wrapFile(f, path, err)
}

func (l *faultyFS) wrapFile(f vfs.File, path string, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return &faultyFile{File: f, fs: l, path: path}, nil
}

func (l *faultyFS) MkdirAll(path string) error {
	for at := filepath.Clean(path); at != filepath.Dir(at); at = filepath.Dir(at) {
		if _, err := l.FS.Stat(at); err != nil {
			l.noteChange(at, vfs.OpCreate)
		}
	}
	return l.FS.MkdirAll(path)
}

func (l *faultyFS) Rename(from, to string) error {
	l.noteChange(to, vfs.OpRename)
	return l.FS.Rename(from, to)
}

func (l *faultyFS) Remove(path string) error {
	err := l.FS.Remove(path)
	if err == nil {
		l.noteChange(path, vfs.OpRemove)
	}
	return err
}

func (l *faultyFS) SyncDir(dir string) error {
	changed := l.changed[filepath.Clean(dir)]
	if changed[l.fault.unsyncedAfter] && (l.fault.unsyncedAfter != vfs.OpCreate || len(changed) == 1) {
		return nil
	}
	delete(l.changed, filepath.Clean(dir))
	return l.FS.SyncDir(dir)
}

// faultyFile keeps track of the file's present name: a segment is created under another one.
type faultyFile struct {
	vfs.File
	fs         *faultyFS
	path       string
	heldWrite  []byte
	heldOffset int64
}

func (f *faultyFile) currentName() string {
	if _, err := f.fs.FS.Stat(f.path); err != nil {
		return strings.TrimSuffix(strings.TrimSuffix(f.path, newSuffix), spareSuffix) + map[bool]string{true: segmentSuffix}[strings.HasSuffix(f.path, spareSuffix)]
	}
	return f.path
}

func (f *faultyFile) WriteAt(p []byte, off int64) (int, error) {
	name := f.currentName()
	switch {
	case f.heldWrite != nil:
		held := f.heldWrite
		f.heldWrite = nil
		n, err := f.File.WriteAt(p, off)
		if err == nil {
			_, err = f.File.WriteAt(held, f.heldOffset)
		}
		return n, err
	case f.fs.isDue("swapped", f.fs.fault.swapped, name):
		f.heldWrite, f.heldOffset = append([]byte(nil), p...), off
		return len(p), nil
	case f.fs.isDue("lost", f.fs.fault.lost, name):
		return len(p), nil
	}
	return f.File.WriteAt(p, off)
}

func (f *faultyFile) Sync() error     { return f.sync(f.File.Sync) }
func (f *faultyFile) SyncData() error { return f.sync(f.File.SyncData) }

func (f *faultyFile) sync(sync func() error) error {
	if f.fs.isDue("unsynced", f.fs.fault.unsynced, f.currentName()) {
		return nil
	}
	return sync()
}

// TestE6CrashEnumerationDetectsMissingSyncs runs all workloads on filesystems with one fault each,
// which must be detected, and two workloads without a fault.
func TestE6CrashEnumerationDetectsMissingSyncs(t *testing.T) {
	faults := []fsFault{
		{name: "no sync of a directory after something was created in it", unsyncedAfter: vfs.OpCreate},
		{name: "no sync of a directory after a rename", unsyncedAfter: vfs.OpRename},
		{name: "no sync of a directory after a removal", unsyncedAfter: vfs.OpRemove},
		{name: "one sync of the log skipped", unsyncedAfter: noDirectoryOp, unsynced: segmentSuffix, nth: 2},
		{name: "no sync of a segment before it gets its name", unsyncedAfter: noDirectoryOp, unsynced: newSuffix},
		{name: "no sync of the preamble in a spare", unsyncedAfter: noDirectoryOp, unsynced: spareSuffix},
		{name: "no sync of the identity", unsyncedAfter: noDirectoryOp, unsynced: IdentityFile + newSuffix},
		{name: "a hard state is written after the entries that follow it", unsyncedAfter: noDirectoryOp, swapped: segmentSuffix, nth: 1},
		{name: "entries are written after the hard state that follows them", unsyncedAfter: noDirectoryOp, swapped: segmentSuffix, nth: 2},
		{name: "one write lost", unsyncedAfter: noDirectoryOp, lost: segmentSuffix, nth: 2},
	}
	for _, l := range append(faults, fsFault{name: "", unsyncedAfter: noDirectoryOp}) {
		t.Run("fault: "+l.name, func(t *testing.T) {
			t.Parallel()
			run := 0
			for _, s := range handwrittenWorkloads() {
				if l.name == "" && s.name != "base drops segments" && s.name != "roll into a spare" {
					continue
				}
				e := newCrashEnumerator(s, crashLimits{maxProduct: 60, randomOutcomes: 10, secondMaxProduct: 12, secondRandomOutcomes: 2, secondOneIn: 500, killOneIn: 10, writeOneIn: 1}, *crashSeed)
				e.wrapFS = l.wrap
				err := e.run()
				run++
				switch {
				case err == nil:
				case l.name == "":
					t.Fatalf("a fault was reported where there is none: %v", err)
				case errors.Is(err, errViolation) || errors.Is(err, ErrCorrupt) || errors.Is(err, ErrWrongMember):
					t.Logf("detected after %d workloads and %d crash states: %.300v", run, e.counts.states, err)
					return
				default:
					t.Fatalf("an unexpected error: %v", err)
				}
			}
			if l.name != "" {
				t.Fatalf("not detected by %d workloads", run)
			}
		})
	}
}
