package vfs

import (
	"bytes"
	"errors"
	"io/fs"
	"slices"
	"syscall"
	"testing"
)

func mustCreate(t *testing.T, fs FS, path string, data []byte) File {
	t.Helper()
	f, err := fs.Create(path)
	mustSucceed(t, err)
	if _, err := f.WriteAt(data, 0); err != nil {
		t.Fatal(err)
	}
	return f
}

func readContent(t *testing.T, fs FS, path string) []byte {
	t.Helper()
	f, err := fs.Open(path)
	if err != nil {
		t.Fatalf("open %s: %v", path, err)
	}
	defer f.Close()
	size, err := f.Size()
	mustSucceed(t, err)
	b := make([]byte, size)
	if _, err := f.ReadAt(b, 0); err != nil && size > 0 {
		t.Fatal(err)
	}
	return b
}

func mustSucceed(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func sectors(fill ...byte) (b []byte) {
	for _, c := range fill {
		b = append(b, bytes.Repeat([]byte{c}, SectorBytes)...)
	}
	return b
}

func TestPowerCutLosesUnsyncedDataAKillDoesNot(t *testing.T) {
	m := NewMem()
	mustSucceed(t, m.MkdirAll("/d"))
	mustSucceed(t, m.SyncDir("/"))
	f := mustCreate(t, m, "/d/f", []byte("old"))
	mustSucceed(t, f.Sync())
	mustSucceed(t, m.SyncDir("/d"))
	_, err := f.WriteAt([]byte("new and longer"), 0)
	mustSucceed(t, err)
	if got := readContent(t, m.CrashClone(LoseUnsynced), "/d/f"); string(got) != "old" {
		t.Fatalf("after a power cut: %q", got)
	}
	if got := readContent(t, m.CrashClone(KeepUnsynced), "/d/f"); string(got) != "new and longer" {
		t.Fatalf("after a kill: %q", got)
	}
	mustSucceed(t, f.SyncData())
	if got := readContent(t, m.CrashClone(LoseUnsynced), "/d/f"); string(got) != "new and longer" {
		t.Fatalf("after a sync and a power cut: %q", got)
	}
}

func TestE6NameIsLostWithoutDirectorySync(t *testing.T) {
	m := NewMem()
	mustSucceed(t, m.MkdirAll("/a/b"))
	mustSucceed(t, mustCreate(t, m, "/a/b/f", []byte("x")).Sync())
	mustSucceed(t, m.SyncDir("/a/b"))
	mustSucceed(t, m.SyncDir("/"))
	if _, err := m.CrashClone(LoseUnsynced).Stat("/a/b"); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("/a/b is there although /a was not synced: %v", err)
	}
	mustSucceed(t, m.SyncDir("/a"))
	if got := readContent(t, m.CrashClone(LoseUnsynced), "/a/b/f"); string(got) != "x" {
		t.Fatalf("%q", got)
	}
}

func TestRenameIsAtomicAndDurableWithItsDirectory(t *testing.T) {
	m := NewMem()
	mustSucceed(t, mustCreate(t, m, "/old", []byte("one")).Sync())
	mustSucceed(t, mustCreate(t, m, "/taken", []byte("two")).Sync())
	mustSucceed(t, m.SyncDir("/"))
	mustSucceed(t, m.Rename("/old", "/taken"))
	lost, kept := m.CrashClone(LoseUnsynced), m.CrashClone(KeepUnsynced)
	if string(readContent(t, lost, "/old")) != "one" || string(readContent(t, lost, "/taken")) != "two" {
		t.Fatal("a lost rename left a trace")
	}
	if names, _ := kept.List("/"); string(readContent(t, kept, "/taken")) != "one" || !slices.Equal(names, []string{"taken"}) {
		t.Fatalf("a kept rename left %v", names)
	}
	mustSucceed(t, m.Remove("/taken"))
	mustSucceed(t, m.SyncDir("/"))
	if names, _ := m.CrashClone(LoseUnsynced).List("/"); len(names) != 0 {
		t.Fatalf("removed and synced, but there is %v", names)
	}
}

func TestWriteTearsByWholeSectors(t *testing.T) {
	m := NewMem()
	f := mustCreate(t, m, "/f", sectors('a', 'a', 'a', 'a'))
	mustSucceed(t, f.Sync())
	mustSucceed(t, m.SyncDir("/"))
	_, err := f.WriteAt(sectors('b', 'b', 'b'), SectorBytes/2) // unaligned: touches four sectors
	mustSucceed(t, err)
	whole := readContent(t, m, "/f")
	var seen []string
	for way, n := 0, 1; way < n; way++ {
		after := readContent(t, m.CrashClone(func(ways int) int { n = ways; return way }), "/f")
		shape := ""
		for s := range 4 {
			switch sector := after[s*SectorBytes : (s+1)*SectorBytes]; {
			case bytes.Equal(sector, whole[s*SectorBytes:(s+1)*SectorBytes]):
				shape += "b"
			case bytes.Equal(sector, sectors('a')):
				shape += "a"
			default:
				t.Fatalf("way %d tore within sector %d", way, s)
			}
		}
		seen = append(seen, shape)
	}
	want := []string{"aaaa", "bbbb", "baaa", "bbaa", "bbba", "abbb", "aabb", "aaab", "babb", "bbab"}
	if !slices.Equal(seen, want) {
		t.Fatalf("saw  %v\nwant %v", seen, want)
	}
}

func TestExtendedFileIsCutOrHasZeroHoles(t *testing.T) {
	m := NewMem()
	f := mustCreate(t, m, "/f", []byte("head"))
	mustSucceed(t, f.Sync())
	mustSucceed(t, m.SyncDir("/"))
	_, err := f.WriteAt(sectors('x', 'y'), SectorBytes)
	mustSucceed(t, err)
	onlyLast := m.CrashClone(func(n int) int { return 3 }) // the suffix of one sector
	got := readContent(t, onlyLast, "/f")
	want := append(append([]byte("head"), make([]byte, 2*SectorBytes-4)...), sectors('y')...)
	if !bytes.Equal(got, want) {
		t.Fatalf("%d bytes: %q…", len(got), got[:8])
	}
}

func TestTruncationIsLostOrKept(t *testing.T) {
	m := NewMem()
	f := mustCreate(t, m, "/f", sectors('a', 'b', 'c'))
	mustSucceed(t, f.Sync())
	mustSucceed(t, m.SyncDir("/"))
	mustSucceed(t, f.Truncate(700))
	if got := readContent(t, m.CrashClone(LoseUnsynced), "/f"); !bytes.Equal(got, sectors('a', 'b', 'c')) {
		t.Fatalf("lost: %d bytes", len(got))
	}
	if got := readContent(t, m.CrashClone(KeepUnsynced), "/f"); !bytes.Equal(got, sectors('a', 'b', 'c')[:700]) {
		t.Fatalf("kept: %d bytes", len(got))
	}
	mustSucceed(t, f.Truncate(3*SectorBytes)) // extended with zeros, not with the old bytes
	if got := readContent(t, m, "/f"); !bytes.Equal(got[700:], make([]byte, 3*SectorBytes-700)) {
		t.Fatal("the old bytes are back")
	}
}

func TestE5LaterSyncDoesNotWriteAbandonedData(t *testing.T) {
	m := NewMem()
	f := mustCreate(t, m, "/f", sectors('a', 'a'))
	mustSucceed(t, f.Sync())
	mustSucceed(t, m.SyncDir("/"))
	m.Inject(FailNth(OpSync, "/f", 1, nil))
	_, err := f.WriteAt(sectors('b'), 0)
	mustSucceed(t, err)
	if err := f.Sync(); !errors.Is(err, ErrInjected) {
		t.Fatalf("Sync returned %v", err)
	}
	_, err = f.WriteAt(sectors('c', 'c'), SectorBytes)
	mustSucceed(t, err)
	mustSucceed(t, f.Sync()) // reports success
	if got := readContent(t, m, "/f"); !bytes.Equal(got, sectors('b', 'c', 'c')) {
		t.Fatal("what was written cannot be read")
	}
	if got := readContent(t, m.CrashClone(LoseUnsynced), "/f"); !bytes.Equal(got, sectors('a', 'c', 'c')) {
		t.Fatalf("after the power cut: %q %q %q", got[0], got[SectorBytes], got[2*SectorBytes])
	}
}

func TestE5RewrittenDataReplacesAbandonedWrites(t *testing.T) {
	m := NewMem()
	f := mustCreate(t, m, "/f", sectors('a', 'a', 'a'))
	mustSucceed(t, f.Sync())
	mustSucceed(t, m.SyncDir("/"))
	m.Inject(FailNth(OpSync, "/f", 1, nil))
	_, err := f.WriteAt(sectors('b', 'b'), 0)
	mustSucceed(t, err)
	if err := f.Sync(); !errors.Is(err, ErrInjected) {
		t.Fatalf("Sync returned %v", err)
	}
	_, err = f.WriteAt(sectors('c', 'c'), SectorBytes)
	mustSucceed(t, err)
	mustSucceed(t, f.Sync())
	// The first sector of the failed sync is still undecided.
	for way, first := range map[int]byte{0: 'a', 1: 'b'} {
		if got := readContent(t, m.CrashClone(func(int) int { return way }), "/f"); !bytes.Equal(got, sectors(first, 'c', 'c')) {
			t.Fatalf("outcome %d: %q %q %q", way, got[0], got[SectorBytes], got[2*SectorBytes])
		}
	}
	_, err = f.WriteAt(sectors('d'), 0)
	mustSucceed(t, err)
	mustSucceed(t, f.Sync())
	m.CrashClone(func(int) int {
		t.Fatal("everything was rewritten and synced, but the crash has a choice left")
		return 0
	})
}

func TestFullDiskWritesWhatFits(t *testing.T) {
	m := NewMem()
	f := mustCreate(t, m, "/f", []byte("1234"))
	m.SetCapacity(10)
	if free, err := m.FreeBytes("/"); err != nil || free != 6 {
		t.Fatalf("%d free, %v", free, err)
	}
	n, err := f.WriteAt([]byte("abcdefgh"), 4)
	if n != 6 || !errors.Is(err, syscall.ENOSPC) || !IsNoSpace(err) {
		t.Fatalf("%d bytes, %v", n, err)
	}
	if _, err := f.WriteAt([]byte("overwrite"), 0); err != nil {
		t.Fatalf("existing bytes must be writable: %v", err)
	}
	mustSucceed(t, m.Remove("/f"))
	if m.UsedBytes() != 0 {
		t.Fatalf("%d bytes in use after the removal", m.UsedBytes())
	}
}

func TestShortWriteWritesItsPart(t *testing.T) {
	m := NewMem()
	f := mustCreate(t, m, "/f", []byte("........"))
	m.Inject(FailNth(OpWrite, "/f", 1, &ShortWrite{Keep: 3, Err: syscall.EIO}))
	n, err := f.WriteAt([]byte("abcdef"), 0)
	if n != 3 || !errors.Is(err, syscall.EIO) || string(readContent(t, m, "/f")) != "abc....." {
		t.Fatalf("%d bytes, %v, %q", n, err, readContent(t, m, "/f"))
	}
}

func TestFlippedBitIsPermanent(t *testing.T) {
	m := NewMem()
	f := mustCreate(t, m, "/f", sectors('a', 'a'))
	mustSucceed(t, f.Sync())
	mustSucceed(t, m.SyncDir("/"))
	mustSucceed(t, m.FlipBit("/f", 8*600+1))
	if got := readContent(t, m.CrashClone(LoseUnsynced), "/f"); got[600] != 'a'^2 || readContent(t, m, "/f")[600] != 'a'^2 {
		t.Fatalf("byte 600 is %q", got[600])
	}
	if err := m.FlipBit("/f", 1<<40); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("a bit that is not there: %v", err)
	}
}

func TestFrozenDiskRejectsOperations(t *testing.T) {
	m := NewMem()
	f := mustCreate(t, m, "/f", []byte("a"))
	m.Freeze()
	if _, err := f.WriteAt([]byte("b"), 0); !errors.Is(err, ErrFrozen) {
		t.Fatal(err)
	}
	if err := m.Remove("/f"); !errors.Is(err, ErrFrozen) {
		t.Fatal(err)
	}
	if got := readContent(t, m.CrashClone(KeepUnsynced), "/f"); string(got) != "a" {
		t.Fatalf("%q", got)
	}
}

func TestKillCloneKeepsUnsyncedDataUnsynced(t *testing.T) {
	m := NewMem()
	mustSucceed(t, m.MkdirAll("/d"))
	mustSucceed(t, m.SyncDir("/"))
	f := mustCreate(t, m, "/d/f", sectors('a', 'a'))
	mustSucceed(t, f.Sync())
	mustSucceed(t, m.SyncDir("/d"))
	_, err := f.WriteAt(sectors('b'), 0)
	mustSucceed(t, err)
	mustSucceed(t, m.Rename("/d/f", "/d/g"))

	fork := m.KillClone()
	_, err = f.WriteAt(sectors('c', 'c'), 0) // by the killed process, invisible to the clone
	mustSucceed(t, err)
	if got := readContent(t, fork, "/d/g"); !bytes.Equal(got, sectors('b', 'a')) {
		t.Fatalf("the next process reads %q… %q…", got[0], got[SectorBytes])
	}
	if got := readContent(t, fork.CrashClone(LoseUnsynced), "/d/f"); !bytes.Equal(got, sectors('a', 'a')) {
		t.Fatalf("a power cut left %q… %q…", got[0], got[SectorBytes])
	}
	g, err := fork.OpenReadWrite("/d/g")
	mustSucceed(t, err)
	mustSucceed(t, g.Sync()) // makes durable what the killed process wrote
	mustSucceed(t, fork.SyncDir("/d"))
	if got := readContent(t, fork.CrashClone(LoseUnsynced), "/d/g"); !bytes.Equal(got, sectors('b', 'a')) {
		t.Fatalf("after the sync a power cut left %q… %q…", got[0], got[SectorBytes])
	}
	if got := readContent(t, m.CrashClone(LoseUnsynced), "/d/f"); !bytes.Equal(got, sectors('a', 'a')) {
		t.Fatalf("a sync of the copy reached the original: %q…", got[0])
	}
}

func TestCrashCloneIsACopy(t *testing.T) {
	m := NewMem()
	f := mustCreate(t, m, "/f", sectors('a', 'a'))
	mustSucceed(t, f.Sync())
	mustSucceed(t, m.SyncDir("/"))
	after := m.CrashClone(LoseUnsynced)
	_, err := f.WriteAt(sectors('b'), 0)
	mustSucceed(t, err)
	mustSucceed(t, after.FlipBit("/f", 8*SectorBytes))
	if got := readContent(t, after, "/f"); got[0] != 'a' || got[SectorBytes] != 'a'^1 {
		t.Fatalf("the copy holds %q %q", got[0], got[SectorBytes])
	}
	if got := readContent(t, m, "/f"); got[0] != 'b' || got[SectorBytes] != 'a' {
		t.Fatalf("the original holds %q %q", got[0], got[SectorBytes])
	}
}

func TestIgnoredSyncMakesNothingDurable(t *testing.T) {
	m := NewMem()
	ignore := true
	m.Inject(func(op Op) error {
		if ignore && (op.Kind == OpSync || op.Kind == OpSyncDir) {
			return ErrSyncIgnored
		}
		return nil
	})
	f := mustCreate(t, m, "/a", sectors('1'))
	mustSucceed(t, f.Sync())
	mustSucceed(t, m.SyncDir("/"))
	if _, err := m.CrashClone(LoseUnsynced).Open("/a"); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("the name survived a directory sync that did nothing: %v", err)
	}
	ignore = false
	mustSucceed(t, m.SyncDir("/"))
	if got := readContent(t, m.CrashClone(LoseUnsynced), "/a"); len(got) != 0 {
		t.Fatalf("%d bytes survived a sync that did nothing", len(got))
	}
	mustSucceed(t, f.Sync())
	if got := readContent(t, m.CrashClone(LoseUnsynced), "/a"); !bytes.Equal(got, sectors('1')) {
		t.Fatalf("a real sync made %d bytes durable", len(got))
	}
}
