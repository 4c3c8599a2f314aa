package persistence

import (
	"flag"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/troupe-raft/troupe/internal/mutation"
)

var huntCrashMutations = flag.Bool("crash.mutations", false, "run the crash enumeration on copies of this package with one bug each")

// crashMutation is a deliberate bug in this package.
type crashMutation struct {
	name string
	edit mutation.Edit
}

// in returns the place of an edit in a function of this package.
func in(function string) mutation.Place { return mutation.In("persistence", function) }

var crashMutations = []crashMutation{
	{"a batch is not synced",
		in("segmentWriter.writeFrame").Replace(`_file.SyncData()`, `error(nil)`)},
	{"hard state and entries are two frames, the entries first",
		in("Log.Commit").Replace(`
			_f := _l.newFrame(_first, _last, _p.hard)
			_l.frameBuf = appendBatchFrame(_l.frameBuf[:0], &_f, _entries)
			if _err := _l.writeFrame(&_f, _l.frameBuf); _err != nil { ___fail }`, `
			_f := _l.newFrame(_first, _last, _l.hard)
			_l.frameBuf = appendBatchFrame(_l.frameBuf[:0], &_f, _entries)
			if _err := _l.writeFrame(&_f, _l.frameBuf); _err != nil { return _err }
			g := _l.newFrame(l.lastIndex()+1, l.lastIndex(), _p.hard)
			if _err := _l.writeFrame(&g, appendFrame(nil, &g, kindIdle, nil)); _err != nil { ___fail }`)},
	{"the index frame of a full segment carries the next batch's hard state",
		in("rollSegment").Replace(
			`_f := _l.newFrame(_first, _last, _l.hard)`, `
			hard := _l.hard
			if l.pending.nonEmpty {
				hard = l.pending.hard
			}
			_f := _l.newFrame(_first, _last, hard)`)},
	{"a segment gets its name before its preamble is synced",
		in("Log.createSegmentFile").Replace(`_file.Sync()`, `nil`)},
	{"the name of a segment is not synced",
		in("Log.createSegmentFile").Replace(`_fs.SyncDir(_dir)`, `nil`)},
	{"unproven frames are taken for proven and not written again",
		in("newestSegment.addFrame").Replace(
			`max(_proven, int64(_f.durableEnd))`,
			`max(_proven, int64(_f.durableEnd), _f.endOffset())`)},
	{"unproven frames are dropped",
		in("newestSegment.keepUnproven").Replace(
			`_t.unproven = append(_t.unproven, _u)`,
			`_ = _u`)},
	{"a torn write is refused as corruption",
		in("classifyEnd").InsertBefore(
			`if _claim != nil { return corruptError(___found) }`, `
			if used > sc.end {
				return corruptError(path, sc.end, "torn")
			}`)},
	{"the end of the former newest segment is 8 bytes too high",
		in("addNewest").Replace(
			`predecessor{___before, end: _end, ___after}`,
			`predecessor{___before, end: _end + 8, ___after}`)},
	{"the former newest segment is truncated by 8 bytes too many",
		in("truncatePredecessor").Replace(
			`_file.Truncate(_end)`,
			`_file.Truncate(_end - 8)`)},
	{"the names that recovery found are not synced",
		in("syncAndRemoveLeftovers").Replace(`len(_r.segments) > 0`, `false`)},
	{"leftovers of crashes are not removed",
		in("syncAndRemoveLeftovers").Replace(`_r.leftovers`, `_r.leftovers[:0]`)},
	{"new directories are not synced",
		in("makeDurableDir").Replace(
			`if _err := _fs.SyncDir(_dir); _err != nil { ___fail }`,
			`if _err := error(nil); _err != nil { ___fail }`)},
	{"existing directories are not synced",
		in("makeDurableDir").Replace(
			`[]string{_at, filepath.Dir(_at)}`,
			`[]string{}`)},
	{"segments are removed before the base that replaces them is written",
		in("rebase").InsertAfter(
			`_l.frameBuf = appendFrame(_l.frameBuf[:0], _f, kindBase, _payload)`, `
			for len(l.segments) > 1 {
				l.options.FS.Remove(l.segments[0].path)
				l.segments = l.segments[1:]
			}`)},
	{"the removal of segments is not synced",
		in("removeObsoleteSegments").Replace(
			`_fs.SyncDir(_dir)`,
			`error(nil)`)},
	{"the segment marker is created before the segment's name is synced",
		in("Log.startSegment").InsertBefore(
			`_file, _err := _l.createSegmentFile(___segment)`, `
			if f, err := _l.options.FS.Create(_l.path(markerName(sequence))); err == nil {
				f.Close()
			}`)},
	{"invalid bytes are not read again",
		in("fileWindow.withReread").Replace(
			`!errors.Is(_bad, errInvalidFrame) && !errors.Is(_bad, ErrCorrupt)`,
			`true`)},
	{"a failed read is taken for the end of the log",
		in("segmentScanner.scan").Replace(
			`if errors.Is(_err, errInvalidFrame) { _s.stopReason = _err; ___end }`,
			`if _err != nil { _s.stopReason = _err; ___end }`)},
	{"a directory that cannot be read is taken for a new one",
		in("makeDurableDir").Replace(
			`!errors.Is(_err, fs.ErrNotExist)`,
			`false`)},
	{"the identity is created before the log",
		in("createDataDir").InsertBefore(
			`_l, _, _err := Open(_o)`, `
			if err := createIdentity(filesystem, d.dir, d.Identity); err != nil {
				return err
			}`)},
	{"the identity is not synced before it gets its name",
		in("replaceFile").Replace(`_file.Sync()`, `nil`)},
	{"the name of the identity is not synced",
		in("replaceFile").Replace(`_fs.SyncDir(_dir)`, `nil`)},
	{"an existing identity is not synced",
		in("OpenDataDir").Replace(`_fs.SyncDir(_dir)`, `nil`)},
	{"a log without an identity is not removed",
		in("removeUnusedLog").Replace(`len(_r.segments) - 1`, `-1`)},
}

func TestCrashBankFitsTheSource(t *testing.T) {
	checker, err := mutation.NewChecker(repository(t), crashMutations[0].edit)
	mustSucceed(t, err)
	for _, m := range crashMutations {
		if err := checker.Check(m.edit); err != nil {
			t.Errorf("%s: %v", m.name, err)
		}
	}
}

// repository returns the absolute path of the repository's root.
func repository(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs("..")
	mustSucceed(t, err)
	return root
}

// TestCrashEnumerationCatchesEveryBug builds this package once for each bug, so it runs on demand:
// go test ./persistence -run EnumerationCatches -crash.mutations -v
func TestCrashEnumerationCatchesEveryBug(t *testing.T) {
	if !*huntCrashMutations {
		t.Skip("this needs one build for each bug; run it with -crash.mutations")
	}
	root := repository(t)
	for _, m := range crashMutations {
		t.Run(m.name, func(t *testing.T) {
			overlay, err := mutation.Apply(root, t.TempDir(), m.edit)
			mustSucceed(t, err)
			out, err := exec.CommandContext(t.Context(), "go", "test", "-vet=off", "-overlay", overlay, "-failfast",
				"-run", "PowerCutLeavesLog|RecoveryReadFault", ".").CombinedOutput()
			switch {
			case err == nil:
				t.Fatalf("no test failed:\n%s", out)
			case strings.Contains(string(out), "[build failed]") || !strings.Contains(string(out), "--- FAIL"):
				t.Fatalf("%v:\n%s", err, out)
			}
			for line := range strings.SplitSeq(string(out), "\n") {
				if strings.Contains(line, "workload ") {
					t.Logf("caught: %.400s", strings.TrimSpace(line))
					return
				}
			}
			t.Fatalf("a test failed, but not in a workload:\n%s", out)
		})
	}
}
