package persistence

import (
	"errors"
	"strings"
	"testing"

	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/persistence/vfs"
)

// newDamageTestLog returns a log of several segments with conflicts, and its model. The last batch
// is not proven.
func newDamageTestLog(t testing.TB, fs vfs.FS) (*Log, *logModel) {
	t.Helper()
	o := testOptions(fs)
	l, _ := mustOpen(t, o)
	m := &logModel{}
	for i := range 60 {
		m.hard = hardState{uint64(i/6 + 1), uint64(i%3 + 1), m.hard.commit}
		if i%6 != 0 {
			m.hard.vote = l.active.hard.vote
		}
		var from uint64
		if i%6 == 0 && i > 0 {
			from = m.last() - 2
			m.hard.commit = from - 3
		}
		e := m.append(from, i%4+1, 50*(i%5+1))
		mustAppend(t, l, from, e, m.hardStateMessage())
		if i == 33 {
			l.Close()
			l, _ = mustOpen(t, o)
		}
	}
	return l, m
}

// openAndReadAll opens a damaged log and reads all of it. It returns the error of either.
func openAndReadAll(t *testing.T, fs vfs.FS, m *logModel) (r *Recovery, refused error) {
	t.Helper()
	l, r, err := Open(testOptions(fs))
	if err != nil {
		return nil, err
	}
	defer l.Close()
	_, err = readWholeLog(t, l, m, r.LastIndex, 2000)
	return r, err
}

// flipBit returns a copy of the disk in which one bit of a file is flipped.
func flipBit(t *testing.T, fs *vfs.MemFS, path string, bit int64) *vfs.MemFS {
	t.Helper()
	disk := fs.CrashClone(vfs.KeepUnsynced)
	mustSucceed(t, disk.FlipBit(path, bit))
	return disk
}

// A disk that lost the end of the newest segment, down to its header, panicked at the start.
func TestCutNewestSegmentIsRefused(t *testing.T) {
	fs := vfs.NewMem()
	l, m := newDamageTestLog(t, fs)
	path := l.active.segment.path
	l.Close()
	for _, size := range []int64{segmentHeaderBytes - 1, segmentHeaderBytes, segmentHeaderBytes + 1} {
		disk := fs.CrashClone(vfs.KeepUnsynced)
		f, err := disk.OpenReadWrite(path)
		mustSucceed(t, err)
		mustSucceed(t, f.Truncate(size))
		mustSucceed(t, f.Close())
		if _, err := openAndReadAll(t, disk, m); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), path) {
			t.Errorf("cut to %d bytes: %v", size, err)
		}
	}
}

func TestE7FlippedBitIsRefusedWithFileAndOffset(t *testing.T) {
	fs := vfs.NewMem()
	l, m := newDamageTestLog(t, fs)
	mustSucceed(t, l.Idle())
	step := int64(3)
	if testing.Short() {
		step = 29
	}
	harmless, refusals := 0, 0
	for _, s := range l.segments {
		size := s.size
		if s == l.published.active {
			size = l.active.writeOffset
		}
		for at := int64(0); at < size; at += step {
			r, err := openAndReadAll(t, flipBit(t, fs, s.path, at*8+at%8), m)
			var bad *CorruptError
			switch {
			case err == nil && r.LastIndex == m.last() && r.HardState.Term == m.hard.term && r.HardState.Vote == m.hard.vote:
				harmless++
			case errors.As(err, &bad) && bad.Offset <= at && (bad.File == s.path || strings.HasSuffix(bad.File, segmentSuffix)) && bad.Detail != "":
				refusals++
			default:
				t.Fatalf("bit %d of byte %d of %s flipped: error %v, recovered %+v, want %v", at%8, at, s.path, err, r, m)
			}
		}
	}
	t.Logf("%d flips refused, %d did no harm", refusals, harmless)
	if refusals < 100 {
		t.Fatalf("only %d flips were detected", refusals)
	}
}

func TestE7DamagedUnprovenFrameIsDroppedWithWarning(t *testing.T) {
	fs := vfs.NewMem()
	l, m := newDamageTestLog(t, fs)
	offsets := frameOffsets(t, l, l.published.active)
	start := offsets[len(offsets)-1]
	path := l.published.active.path
	f, b := mustReadFrame(t, fs, path, start)
	dropped := m.last() - uint64(len(f.decodeEntries(b).Data))
	for at := start; at < l.active.writeOffset; at++ {
		r, err := openAndReadAll(t, flipBit(t, fs, path, at*8+at%8), m)
		if err != nil {
			t.Fatalf("byte %d: %v", at, err)
		}
		if r.LastIndex == m.last() {
			continue // the bit was in the padding
		}
		if r.LastIndex != dropped || len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], path) {
			t.Fatalf("byte %d: recovered up to %d (%d expected), warnings %q", at, r.LastIndex, dropped, r.Warnings)
		}
	}
}

func TestE7TornWriteIsDroppedOrWhole(t *testing.T) {
	for _, size := range []int{100, 600, 2000} {
		fs := vfs.NewMem()
		l, m := newDamageTestLog(t, fs)
		before := m.clone()
		// The power fails during the write of the next batch: any of its sectors may be on the disk.
		fs.Inject(vfs.FailNth(vfs.OpSync, segmentSuffix, 1, nil))
		m.hard.vote = l.active.hard.vote
		if err := addAndCommit(t, l, 0, m.append(0, 3, size), m.hardStateMessage()); !errors.Is(err, ErrLogFailed) {
			t.Fatalf("the sync failed and Commit returned %v", err)
		}
		fs.Inject(nil)
		outcomes := 0
		for o := (&exhaustiveChoice{}); ; {
			l, r, err := Open(testOptions(fs.CrashClone(o.choose)))
			if err != nil {
				t.Fatalf("outcome %v: %v", o.digits, err)
			}
			outcomes++
			if m.diff(r, l) != "" {
				if d := before.diff(r, l); d != "" {
					t.Fatalf("outcome %v: %s, not %v", o.digits, d, before)
				}
			}
			if !o.next() {
				break
			}
		}
		if outcomes < 2 {
			t.Fatalf("only %d outcomes", outcomes)
		}
	}
}

// An operating system that failed a sync reports success for the next one and drops what it did not
// write. Recovery without a reboot reads the frame from the page cache, so it must write it again.
func TestE5RecoveryRewritesFramesOfAFailedSync(t *testing.T) {
	fs := vfs.NewMem()
	l, m := newDamageTestLog(t, fs)
	fs.Inject(vfs.FailNth(vfs.OpSync, segmentSuffix, 1, nil))
	err := addAndCommit(t, l, 0, m.append(0, 2, 80), m.hardStateMessage())
	if !errors.Is(err, ErrLogFailed) || !errors.Is(err, vfs.ErrInjected) {
		t.Fatalf("the sync failed and Commit returned %v", err)
	}
	// The sync is never repeated, and the entries are never reported as durable.
	if err := l.Commit(); !errors.Is(err, ErrLogFailed) {
		t.Fatalf("Commit again: %v", err)
	}
	if err := l.Add(0, nil, m.hardStateMessage()); !errors.Is(err, ErrLogFailed) {
		t.Fatalf("Add after the failure: %v", err)
	}
	if got := l.Stats().LastIndex; got != m.last()-2 {
		t.Fatalf("durable up to %d, but the sync of %d failed", got, m.last())
	}
	l.Close()

	mustRecover(t, testOptions(fs), m) // the frame is whole in memory
	// The power fails, and what the failed sync abandoned is lost.
	mustRecover(t, testOptions(fs.CrashClone(vfs.LoseUnsynced)), m)
}

func TestE5ShortWriteLatchesTheLog(t *testing.T) {
	for name, fault := range map[string]error{
		"failed": vfs.ErrInjected,
		"short":  &vfs.ShortWrite{Keep: 10, Err: vfs.ErrInjected},
	} {
		t.Run(name, func(t *testing.T) {
			fs := vfs.NewMem()
			l, m := newDamageTestLog(t, fs)
			fs.Inject(vfs.FailNth(vfs.OpWrite, segmentSuffix, 1, fault))
			after := m.clone()
			if err := addAndCommit(t, l, 0, after.append(0, 2, 80), after.hardStateMessage()); !errors.Is(err, ErrLogFailed) {
				t.Fatalf("Commit returned %v", err)
			}
			mustRecover(t, testOptions(fs.CrashClone(vfs.KeepUnsynced)), m)
		})
	}
}

func TestMissingSegmentIsRefused(t *testing.T) {
	fs := vfs.NewMem()
	l, _ := newDamageTestLog(t, fs)
	if len(l.segments) < 4 {
		t.Fatalf("only %d segments", len(l.segments))
	}
	for _, s := range l.segments[:len(l.segments)-1] {
		disk := fs.CrashClone(vfs.KeepUnsynced)
		mustSucceed(t, disk.Remove(s.path))
		_, _, err := Open(testOptions(disk))
		if !errors.Is(err, ErrCorrupt) {
			t.Fatalf("without %s: %v", s.path, err)
		}
	}
	// Without its newest segment the log is valid but shorter. That is why a segment's name must be
	// durable before anything in it is acknowledged (E6).
	o := testOptions(vfs.NewMem())
	o.MustExist = true
	if _, _, err := Open(o); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("an empty directory that was in use: %v", err)
	}
}

func TestForeignOrNewerFileIsRefusedUnchanged(t *testing.T) {
	fs := vfs.NewMem()
	l, m := newDamageTestLog(t, fs)
	l.Close()
	for name, c := range map[string]struct {
		change func(o *Options)
		want   error
	}{
		"node":    {func(o *Options) { o.NodeID = 8 }, ErrWrongMember},
		"storage": {func(o *Options) { o.StorageID[0]++ }, ErrWrongMember},
	} {
		o := testOptions(fs)
		c.change(&o)
		if _, _, err := Open(o); !errors.Is(err, c.want) {
			t.Fatalf("%s: %v", name, err)
		}
	}
	// A later format version.
	disk := fs.CrashClone(vfs.KeepUnsynced)
	path := l.segments[len(l.segments)-1].path
	file, err := disk.OpenReadWrite(path)
	mustSucceed(t, err)
	b := make([]byte, segmentHeaderBytes)
	if _, err := file.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	le.PutUint32(b[8:], formatVersion+1)
	le.PutUint32(b[segmentHeaderBytes-4:], checksum(b[:segmentHeaderBytes-4]))
	if _, err := file.WriteAt(b, 0); err != nil {
		t.Fatal(err)
	}
	var format *formatError
	if _, _, err := Open(testOptions(disk)); !errors.As(err, &format) || format.Found != formatVersion+1 {
		t.Fatalf("a version of the future: %v", err)
	}
	mustRecover(t, testOptions(fs), m)
}

func TestDamagedIndexIsRebuiltWithWarning(t *testing.T) {
	fs := vfs.NewMem()
	l, m := newDamageTestLog(t, fs)
	rebuilt := 0
	for _, s := range l.segments[:len(l.segments)-1] {
		l, r, err := Open(testOptions(flipBit(t, fs, s.indexAt.path, (s.indexAt.offset+frameHeaderBytes+3)*8)))
		if s.indexAt.path == s.path {
			if err != nil || len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], "index") {
				t.Fatalf("index of %s: error %v, recovered %+v", s.path, err, r)
			}
			if d := m.diff(r, l); d != "" {
				t.Fatal(d)
			}
			rebuilt++
		} else if err != nil && !errors.Is(err, ErrCorrupt) {
			t.Fatalf("index of %s: %v", s.path, err)
		}
	}
	if rebuilt == 0 {
		t.Fatal("no index was rebuilt")
	}
}

func TestRecoveryFindsEveryConfiguration(t *testing.T) {
	fs := vfs.NewMem()
	l, _ := mustOpen(t, testOptions(fs))
	next := uint64(1)
	var want []uint64
	for i := range 60 {
		var e *messages.Entries
		if i%7 == 3 {
			want = append(want, next)
			e = testConfigurationBatch(next, 1)
		} else {
			e = testBatch(next, 2, 1, 400)
		}
		mustAppend(t, l, 0, e, testHardState(1, 1, 0))
		next += uint64(len(e.Data))
	}
	// The last configuration is overridden.
	mustAppend(t, l, want[len(want)-1], testBatch(want[len(want)-1], 1, 2, 10), testHardState(2, 1, 0))
	want = want[:len(want)-1]
	for range 2 {
		l.Close()
		var r *Recovery
		l, r = mustOpen(t, testOptions(fs))
		if len(r.Configurations) != len(want) {
			t.Fatalf("%d configurations, %d expected", len(r.Configurations), len(want))
		}
		for i, c := range r.Configurations {
			if c.Index != want[i] || c.Configuration.ClusterId != want[i] {
				t.Fatalf("configuration %d at %d is %v, %d expected", i, c.Index, c.Configuration, want[i])
			}
		}
	}
}
