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
type liar struct {
	vfs.FS
	lie lie
	// What was done in a directory since it was synced.
	changed map[string]map[vfs.OpKind]bool
	counts  map[string]int
}

// lie says what is not done although it is said to be.
type lie struct {
	name string
	// A directory is not synced where this was done in it; for a creation: where nothing else was.
	unsyncedAfter vfs.OpKind
	// The nth sync of a file with this suffix is skipped (each, if nth is 0).
	unsynced string
	// The nth write of such a file: comes after the one that follows it, or never.
	swapped, lost string
	nth           int
}

// notALie is no OpKind of a directory.
const notALie = vfs.OpRead

func (l lie) on(fs vfs.FS) vfs.FS {
	return &liar{FS: fs, lie: l, changed: map[string]map[vfs.OpKind]bool{}, counts: map[string]int{}}
}

func (l *liar) note(path string, kind vfs.OpKind) {
	dir := filepath.Dir(path)
	if l.changed[dir] == nil {
		l.changed[dir] = map[vfs.OpKind]bool{}
	}
	l.changed[dir][kind] = true
}

// due counts, and tells whether this is the nth.
func (l *liar) due(what, suffix, path string) bool {
	if suffix == "" || !strings.HasSuffix(path, suffix) {
		return false
	}
	l.counts[what]++
	return l.lie.nth == 0 || l.counts[what] == l.lie.nth
}

func (l *liar) Create(path string) (vfs.File, error) {
	l.note(path, vfs.OpCreate)
	f, err := l.FS.Create(path)
	return l.file(f, path, err)
}

func (l *liar) OpenReadWrite(path string) (vfs.File, error) {
	f, err := l.FS.OpenReadWrite(path)
	return l.file(f, path, err)
}

func (l *liar) file(f vfs.File, path string, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return &liarsFile{File: f, liar: l, path: path}, nil
}

func (l *liar) MkdirAll(path string) error {
	for at := filepath.Clean(path); at != filepath.Dir(at); at = filepath.Dir(at) {
		if _, err := l.FS.Stat(at); err != nil {
			l.note(at, vfs.OpCreate)
		}
	}
	return l.FS.MkdirAll(path)
}

func (l *liar) Rename(from, to string) error {
	l.note(to, vfs.OpRename)
	return l.FS.Rename(from, to)
}

func (l *liar) Remove(path string) error {
	err := l.FS.Remove(path)
	if err == nil {
		l.note(path, vfs.OpRemove)
	}
	return err
}

func (l *liar) SyncDir(dir string) error {
	changed := l.changed[filepath.Clean(dir)]
	if changed[l.lie.unsyncedAfter] && (l.lie.unsyncedAfter != vfs.OpCreate || len(changed) == 1) {
		return nil
	}
	delete(l.changed, filepath.Clean(dir))
	return l.FS.SyncDir(dir)
}

// liarsFile knows the name that the file has by now: a segment is created under another one.
type liarsFile struct {
	vfs.File
	liar *liar
	path string
	held []byte
	at   int64
}

func (f *liarsFile) name() string {
	if _, err := f.liar.FS.Stat(f.path); err != nil {
		return strings.TrimSuffix(strings.TrimSuffix(f.path, newSuffix), spareSuffix) + map[bool]string{true: segmentSuffix}[strings.HasSuffix(f.path, spareSuffix)]
	}
	return f.path
}

func (f *liarsFile) WriteAt(p []byte, off int64) (int, error) {
	name := f.name()
	switch {
	case f.held != nil:
		held := f.held
		f.held = nil
		n, err := f.File.WriteAt(p, off)
		if err == nil {
			_, err = f.File.WriteAt(held, f.at)
		}
		return n, err
	case f.liar.due("swapped", f.liar.lie.swapped, name):
		f.held, f.at = append([]byte(nil), p...), off
		return len(p), nil
	case f.liar.due("lost", f.liar.lie.lost, name):
		return len(p), nil
	}
	return f.File.WriteAt(p, off)
}

func (f *liarsFile) Sync() error     { return f.sync(f.File.Sync) }
func (f *liarsFile) SyncData() error { return f.sync(f.File.SyncData) }

func (f *liarsFile) sync(sync func() error) error {
	if f.liar.due("unsynced", f.liar.lie.unsynced, f.name()) {
		return nil
	}
	return sync()
}

// Each lie must be caught, and the truth told in the same way must not.
func TestE6TheCrashEnumerationNoticesEverySyncThatIsMissing(t *testing.T) {
	lies := []lie{
		{name: "no sync of a directory after something was created in it", unsyncedAfter: vfs.OpCreate},
		{name: "no sync of a directory after a rename", unsyncedAfter: vfs.OpRename},
		{name: "no sync of a directory after a removal", unsyncedAfter: vfs.OpRemove},
		{name: "one sync of the log skipped", unsyncedAfter: notALie, unsynced: segmentSuffix, nth: 2},
		{name: "no sync of a segment before it gets its name", unsyncedAfter: notALie, unsynced: newSuffix},
		{name: "no sync of what a spare is begun with", unsyncedAfter: notALie, unsynced: spareSuffix},
		{name: "no sync of the identity", unsyncedAfter: notALie, unsynced: IdentityFile + newSuffix},
		{name: "a hard state comes to the disk after the entries that follow it", unsyncedAfter: notALie, swapped: segmentSuffix, nth: 1},
		{name: "entries come to the disk after the hard state that follows them", unsyncedAfter: notALie, swapped: segmentSuffix, nth: 2},
		{name: "one write lost", unsyncedAfter: notALie, lost: segmentSuffix, nth: 2},
	}
	for _, l := range append(lies, lie{name: "", unsyncedAfter: notALie}) {
		t.Run("lie: "+l.name, func(t *testing.T) {
			t.Parallel()
			told := 0
			for _, s := range crashCases() {
				if l.name == "" && s.name != "base drops segments" && s.name != "roll into a spare" {
					continue
				}
				e := newEnumerator(s, limits{all: 60, random: 10, secondAll: 12, secondRandom: 2, oneIn: 500, kill: 10, write: 1}, *crashSeed)
				e.wrap = l.on
				err := e.run()
				told++
				switch {
				case err == nil:
				case l.name == "":
					t.Fatalf("the truth is taken for a lie: %v", err)
				case errors.Is(err, errWrong) || errors.Is(err, ErrCorrupt) || errors.Is(err, ErrWrongMember):
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
