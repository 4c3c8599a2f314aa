package persistence

import (
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

var crashMutations = flag.Bool("crash.mutations", false, "run the crash enumeration on this package with one bug at a time put into it")

// mutation is a bug: in one file, one piece of code is replaced by another.
type mutation struct{ name, file, code, bug string }

var mutations = []mutation{
	{"a batch is not synced", "log.go",
		"if err := l.file.SyncData(); err != nil {", "if err := error(nil); err != nil {"},
	{"hard state and entries are two frames, the entries first", "log.go",
		"f := l.nextFrame(p.entries.First, l.Last(), p.hard)\n\tl.frame = appendBatch(l.frame[:0], &f, &p.entries)\n\tif err := l.write(&f, l.frame); err != nil {",
		"f := l.nextFrame(p.entries.First, l.Last(), l.hard)\n\tl.frame = appendBatch(l.frame[:0], &f, &p.entries)\n\tif err := l.write(&f, l.frame); err != nil {\n\t\treturn err\n\t}\n" +
			"\tg := l.nextFrame(l.Last()+1, l.Last(), p.hard)\n\tif err := l.write(&g, appendFrame(nil, &g, kindIdle, nil)); err != nil {"},
	{"the hard state of a batch goes ahead with the index of the full segment", "begin.go",
		"f := l.nextFrame(last+1, last, l.hard)\n\tl.frame = appendFrame(l.frame[:0], &f, kindIndex",
		"hard := l.hard\n\tif l.pending.any {\n\t\thard = l.pending.hard\n\t}\n\tf := l.nextFrame(last+1, last, hard)\n\tl.frame = appendFrame(l.frame[:0], &f, kindIndex"},
	{"a segment gets its name before what it begins with is synced", "begin.go",
		"err == nil {\n\t\terr = file.Sync()\n\t}", "err == nil {\n\t\terr = nil\n\t}"},
	{"the name of a segment is not synced", "begin.go",
		"err = l.o.FS.SyncDir(l.o.Dir)", "err = nil"},
	{"whole frames that nothing proves are believed and not written anew", "tail.go",
		"proven = max(proven, int64(f.durable))", "proven = max(proven, int64(f.durable), f.end())"},
	{"whole frames that nothing proves are dropped", "tail.go",
		"t.copies = append(t.copies, c)", "_ = c"},
	{"a torn write is corruption", "tail.go",
		"if claim != nil {", "if used > sc.end {\n\t\treturn corrupt(path, sc.end, \"torn\")\n\t}\n\tif claim != nil {"},
	{"a torn write is the end of a finished segment too", "tail.go",
		"segment: s, end: t.end,", "segment: s, end: t.end + 8,"},
	{"the cut behind the former newest segment is too deep", "tail.go",
		"file.Truncate(r.predecessor.end)", "file.Truncate(r.predecessor.end - 8)"},
	{"the names that recovery found are not synced", "tail.go",
		"if len(r.segments) > 0 {\n\t\tif err := r.o.FS.SyncDir(r.o.Dir)", "if false {\n\t\tif err := r.o.FS.SyncDir(r.o.Dir)"},
	{"what crashes left behind is not removed", "tail.go",
		"for _, path := range r.leftover {", "for _, path := range r.leftover[:0] {"},
	{"new directories are not synced", "tail.go",
		"if err := filesystem.SyncDir(filepath.Dir(at)); err != nil {", "if err := error(nil); err != nil {"},
	{"directories that were found are not synced", "tail.go",
		"for _, found := range []string{at, filepath.Dir(at)} {", "for _, found := range []string{} {"},
	{"segments are removed before the base that replaces them is written", "compact.go",
		"l.frame = appendFrame(l.frame[:0], &f, kindBase, payload)",
		"l.frame = appendFrame(l.frame[:0], &f, kindBase, payload)\n\tfor len(l.segments) > 1 {\n\t\tl.o.FS.Remove(l.segments[0].path)\n\t\tl.segments = l.segments[1:]\n\t}"},
	{"the removal of segments is not synced", "compact.go",
		"if err := l.o.FS.SyncDir(l.o.Dir); err != nil {", "if err := error(nil); err != nil {"},
	{"a segment is marked before its name is synced", "begin.go",
		"file, err := l.place(next, content, need)",
		"if f, err := l.o.FS.Create(l.path(markName(sequence))); err == nil {\n\t\tf.Close()\n\t}\n\tfile, err := l.place(next, content, need)"},
	{"what was read wrong is not read again", "window.go",
		"if !errors.Is(bad, errBadFrame) && !errors.Is(bad, ErrCorrupt) {", "if true {"},
	{"a read that fails is the end of the log", "scan.go",
		"if errors.Is(err, errBadFrame) {\n\t\t\ts.stopped", "if err != nil {\n\t\t\ts.stopped"},
	{"a directory that cannot be looked at is a new one", "tail.go",
		"if !errors.Is(err, fs.ErrNotExist) {", "if false {"},
	{"the identity is made before the log", "datadir.go",
		"l, _, err := Open(o)", "if err := CreateIdentity(filesystem, d.Dir, d.Identity); err != nil {\n\t\treturn err\n\t}\n\tl, _, err := Open(o)"},
	{"the identity is not synced before it gets its name", "identity.go",
		"err == nil {\n\t\terr = file.Sync()\n\t}", "err == nil {\n\t\terr = nil\n\t}"},
	{"the name of the identity is not synced", "identity.go",
		"err = filesystem.SyncDir(dir)", "err = nil"},
	{"an identity that was found is not synced", "datadir.go",
		"err = filesystem.SyncDir(dir)", "err = nil"},
	{"a log without an identity is not removed", "datadir.go",
		"for i := len(r.segments) - 1; i >= 0; i-- {", "for i := -1; i >= 0; i-- {"},
}

// TestTheCrashEnumerationCatchesEveryBugPutIntoTheLog builds this package anew for each bug, so it is asked for by name:
// go test ./persistence -run EveryBugPut -crash.mutations -v
func TestTheCrashEnumerationCatchesEveryBugPutIntoTheLog(t *testing.T) {
	if !*crashMutations {
		t.Skip("one build for each bug: ask for it with -crash.mutations")
	}
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mutations {
		t.Run(m.name, func(t *testing.T) {
			source, err := os.ReadFile(m.file)
			if err != nil {
				t.Fatal(err)
			}
			if n := strings.Count(string(source), m.code); n != 1 {
				t.Fatalf("the code to replace is %d times in %s", n, m.file)
			}
			dir := t.TempDir()
			mutant, overlay := filepath.Join(dir, m.file), filepath.Join(dir, "overlay.json")
			list, err := json.Marshal(map[string]map[string]string{"Replace": {filepath.Join(here, m.file): mutant}})
			if err != nil {
				t.Fatal(err)
			}
			for path, b := range map[string][]byte{mutant: []byte(strings.Replace(string(source), m.code, m.bug, 1)), overlay: list} {
				if err := os.WriteFile(path, b, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			out, err := exec.CommandContext(t.Context(), "go", "test", "-vet=off", "-overlay", overlay, "-failfast",
				"-run", "EveryPowerCutLeavesTheLog|ReadThatGoesWrong", ".").CombinedOutput()
			switch {
			case err == nil:
				t.Fatalf("nobody noticed:\n%s", out)
			case strings.Contains(string(out), "[build failed]") || !strings.Contains(string(out), "--- FAIL"):
				t.Fatalf("%v:\n%s", err, out)
			}
			for line := range strings.SplitSeq(string(out), "\n") {
				if strings.Contains(line, "story ") {
					t.Logf("caught: %.400s", strings.TrimSpace(line))
					return
				}
			}
			t.Fatalf("it failed, but not at a story:\n%s", out)
		})
	}
}
