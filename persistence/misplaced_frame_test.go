package persistence

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/troupe-raft/troupe/persistence/vfs"
)

// These tests use frames and indexes with correct checksums in a wrong place: from a misdirected or
// lost write, or a file restored from an older copy.

// rewriteFrame changes the frame at an offset of a segment and corrects its checksum.
func rewriteFrame(t *testing.T, fs vfs.FS, path string, offset int64, change func(f *frameHeader, b []byte)) {
	t.Helper()
	f, b := mustReadFrame(t, fs, path, offset)
	change(&f, b)
	f.encode(b)
	file, err := fs.OpenReadWrite(path)
	mustSucceed(t, err)
	defer file.Close()
	if _, err := file.WriteAt(b, offset); err != nil {
		t.Fatal(err)
	}
}

// mustReadFrame returns the frame at an offset, and its bytes.
func mustReadFrame(t *testing.T, fs vfs.FS, path string, offset int64) (frameHeader, []byte) {
	t.Helper()
	sequence, _ := parseSegmentName(filepath.Base(path))
	f, b, err := mustOpenWindow(t, fs, path).readFrame(offset, sequence)
	mustSucceed(t, err)
	return f, b
}

func mustOpenWindow(t *testing.T, fs vfs.FS, path string) *fileWindow {
	t.Helper()
	w, err := openFileWindow(fs, path, 4096)
	mustSucceed(t, err)
	t.Cleanup(func() { w.file.Close() })
	return w
}

// frameOffsets returns the offsets of a segment's frames.
func frameOffsets(t *testing.T, l *Log, s *segment) (offsets []int64) {
	t.Helper()
	w := mustOpenWindow(t, l.options.FS, s.path)
	for at := int64(segmentHeaderBytes); ; {
		f, _, err := w.readFrame(at, s.sequence)
		if err != nil {
			return offsets
		}
		offsets = append(offsets, at)
		at = f.endOffset()
	}
}

func TestReplacedFrameBreaksTheChain(t *testing.T) {
	fs := vfs.NewMem()
	l, _ := newDamageTestLog(t, fs)
	offsets := frameOffsets(t, l, l.published.active)
	at := offsets[len(offsets)-3]
	rewriteFrame(t, fs, l.published.active.path, at, func(f *frameHeader, b []byte) { f.hard.vote++ })
	var bad *CorruptError
	if _, _, err := Open(testOptions(fs)); !errors.As(err, &bad) || bad.Offset != offsets[len(offsets)-2] || !strings.Contains(bad.Detail, "follows") {
		t.Fatalf("Open returned %v", err)
	}
}

func TestMisplacedFrameIsInvalid(t *testing.T) {
	fs := vfs.NewMem()
	l, _ := newDamageTestLog(t, fs)
	s := l.published.active
	at := frameOffsets(t, l, s)[1]
	for name, change := range map[string]func(f *frameHeader, b []byte){
		"place":   func(f *frameHeader, _ []byte) { f.offset += 8 },
		"segment": func(f *frameHeader, _ []byte) { f.segment-- },
	} {
		disk := fs.CrashClone(vfs.KeepUnsynced)
		rewriteFrame(t, disk, s.path, at, change)
		w := mustOpenWindow(t, disk, s.path)
		if _, _, err := w.readFrame(at, s.sequence); !errors.Is(err, errInvalidFrame) {
			t.Fatalf("a frame of another %s was accepted: %v", name, err)
		}
	}
}

func TestIndexOfAnotherEndIsRebuilt(t *testing.T) {
	fs := vfs.NewMem()
	l, m := newDamageTestLog(t, fs)
	s := l.segments[0]
	if s.indexAt.path != s.path {
		t.Fatalf("the index of %s is in %s", s.path, s.indexAt.path)
	}
	for name, field := range map[string]int{"end": 8, "sum": 32} {
		disk := fs.CrashClone(vfs.KeepUnsynced)
		rewriteFrame(t, disk, s.path, s.indexAt.offset, func(f *frameHeader, b []byte) {
			payload := f.payload(b)
			le.PutUint32(payload[field:], le.Uint32(payload[field:])+8)
			f.payloadCRC = checksum(payload)
		})
		l, r := mustOpen(t, testOptions(disk))
		if len(r.Warnings) != 1 || m.diff(r, l) != "" {
			t.Fatalf("%s: warnings %q, %s", name, r.Warnings, m.diff(r, l))
		}
	}
}

func TestBaseAboveTheEndOfTheLogIsRefused(t *testing.T) {
	fs := vfs.NewMem()
	l, m := newDamageTestLog(t, fs)
	payload, err := (&base{index: m.last() + 10, term: 1}).encode()
	mustSucceed(t, err)
	f := l.active.newFrame(m.last()+1, m.last(), l.active.hard)
	mustSucceed(t, l.active.writeFrame(&f, appendFrame(nil, &f, kindBase, payload)))
	mustSucceed(t, l.Idle())
	if _, _, err := Open(testOptions(fs)); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("Open returned %v", err)
	}
}

func TestCommitIndexIsLimitedToTheLastIndex(t *testing.T) {
	fs := vfs.NewMem()
	l, _ := mustOpen(t, testOptions(fs))
	mustAppend(t, l, 0, testBatch(1, 3, 1, 10), testHardState(1, 1, 9))
	l, r := mustOpen(t, testOptions(fs.CrashClone(vfs.LoseUnsynced)))
	if r.HardState.Commit != 3 {
		t.Fatalf("recovered %v", r.HardState)
	}
	// A restarted node may not know the commit index yet; it stays valid.
	mustAppend(t, l, 0, testBatch(4, 1, 1, 10), testHardState(1, 1, 0))
	if got := l.Stats().HardState.Commit; got != 3 {
		t.Fatalf("commit went back to %d", got)
	}
}

func TestE7DamagedPreambleIsNeverATornWrite(t *testing.T) {
	fs := vfs.NewMem()
	l, m := newDamageTestLog(t, fs)
	l.Close()
	l, _ = mustOpen(t, testOptions(fs)) // copies the last frame; nothing is written after it
	path, end := l.published.active.path, l.active.writeOffset
	for at := int64(0); at < end; at++ {
		r, err := openAndReadAll(t, flipBit(t, fs, path, at*8+at%8), m)
		var bad *CorruptError
		if errors.As(err, &bad) && bad.File == path && bad.Offset <= at {
			continue
		}
		if err != nil || r.LastIndex != m.last() || r.HardState.Term != m.hard.term || r.HardState.Vote != m.hard.vote {
			t.Fatalf("byte %d of %d: error %v, recovered %+v", at, end, err, r)
		}
	}
}
