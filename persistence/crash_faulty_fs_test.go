package persistence

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/troupe-raft/troupe/persistence/vfs"
)

// liar lies between the log and its disk, as a program with a bug in it, or a disk with one, would: what the crash
// enumeration does not notice of it, it would not notice of us.
type faultyFS struct {
	vfs.FS
	fault fsFault
	// What was done in a directory since it was synced.
	changed map[string]map[vfs.OpKind]bool
	counts  map[string]int
}

// lie says what is not done although it is said to be.
type fsFault struct {
	name string
	// A directory is not synced where this was done in it; for a creation: where nothing else was.
	unsyncedAfter vfs.OpKind
	// The nth sync of a file with this suffix is skipped (each, if nth is 0).
	unsynced string
	// The nth write of such a file: comes after the one that follows it, or never.
	swapped, lost string
	nth           int
}

// noDirectoryOp is no OpKind of a directory.
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

// due counts, and tells whether this is the nth.
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

// faultyFile knows the name that the file has by now: a segment is created under another one.
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

// Each lie must be caught, and the truth told in the same way must not.
func TestE6TheCrashEnumerationNoticesEverySyncThatIsMissing(t *testing.T) {
	lies := []fsFault{
		{name: "no sync of a directory after something was created in it", unsyncedAfter: vfs.OpCreate},
		{name: "no sync of a directory after a rename", unsyncedAfter: vfs.OpRename},
		{name: "no sync of a directory after a removal", unsyncedAfter: vfs.OpRemove},
		{name: "one sync of the log skipped", unsyncedAfter: noDirectoryOp, unsynced: segmentSuffix, nth: 2},
		{name: "no sync of a segment before it gets its name", unsyncedAfter: noDirectoryOp, unsynced: newSuffix},
		{name: "no sync of what a spare is begun with", unsyncedAfter: noDirectoryOp, unsynced: spareSuffix},
		{name: "no sync of the identity", unsyncedAfter: noDirectoryOp, unsynced: IdentityFile + newSuffix},
		{name: "a hard state comes to the disk after the entries that follow it", unsyncedAfter: noDirectoryOp, swapped: segmentSuffix, nth: 1},
		{name: "entries come to the disk after the hard state that follows them", unsyncedAfter: noDirectoryOp, swapped: segmentSuffix, nth: 2},
		{name: "one write lost", unsyncedAfter: noDirectoryOp, lost: segmentSuffix, nth: 2},
	}
	for _, l := range append(lies, fsFault{name: "", unsyncedAfter: noDirectoryOp}) {
		t.Run("lie: "+l.name, func(t *testing.T) {
			t.Parallel()
			told := 0
			for _, s := range handwrittenWorkloads() {
				if l.name == "" && s.name != "base drops segments" && s.name != "roll into a spare" {
					continue
				}
				e := newCrashEnumerator(s, crashLimits{maxProduct: 60, randomOutcomes: 10, secondMaxProduct: 12, secondRandomOutcomes: 2, secondOneIn: 500, killOneIn: 10, writeOneIn: 1}, *crashSeed)
				e.wrapFS = l.wrap
				err := e.run()
				told++
				switch {
				case err == nil:
				case l.name == "":
					t.Fatalf("the truth is taken for a lie: %v", err)
				case errors.Is(err, errViolation) || errors.Is(err, ErrCorrupt) || errors.Is(err, ErrWrongMember):
					t.Logf("caught after %d stories and %d crash states: %.300v", told, e.counts.states, err)
					return
				default:
					t.Fatalf("neither right nor caught: %v", err)
				}
			}
			if l.name != "" {
				t.Fatalf("%d stories were told, and nobody noticed", told)
			}
		})
	}
}
