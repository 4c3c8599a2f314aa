package persistence

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/troupe-raft/troupe/persistence/vfs"
)

func testIdentity() Identity {
	return Identity{ClusterID: 0xc1, NodeID: 7, StorageID: testStorage, CreatedBy: "troupe test"}
}

func TestDataDirIsCreatedOnce(t *testing.T) {
	fs := vfs.NewMem()
	d, err := OpenDataDir(fs, "/data", testIdentity())
	if err != nil || !d.created || d.Identity != testIdentity() {
		t.Fatalf("%+v, %v", d, err)
	}
	if _, err := OpenDataDir(fs, "/data", testIdentity()); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), "stop the other node") {
		t.Fatalf("a second node on the same directory: %v", err)
	}
	mustSucceed(t, d.Close())
	// The next start draws another storage id, but the one in the directory counts (E37).
	other := testIdentity()
	other.StorageID[5]++
	d, err = OpenDataDir(fs.CrashClone(vfs.LoseUnsynced), "/data", other)
	if err != nil || d.created || d.Identity != testIdentity() {
		t.Fatalf("%+v, %v", d, err)
	}
}

func TestForeignDataDirIsRefusedWithAdvice(t *testing.T) {
	fs := vfs.NewMem()
	d, err := OpenDataDir(fs, "/data", testIdentity())
	mustSucceed(t, err)
	d.Close()
	for want, change := range map[error]func(*Identity){
		ErrWrongCluster: func(id *Identity) { id.ClusterID++ },
		ErrWrongMember:  func(id *Identity) { id.NodeID++ },
	} {
		id := testIdentity()
		change(&id)
		_, err := OpenDataDir(fs, "/data", id)
		if !errors.Is(err, want) || !strings.Contains(err.Error(), "its own data directory") || !strings.Contains(err.Error(), "/data/identity.json") {
			t.Fatalf("%v: %v", want, err)
		}
	}
	id := testIdentity()
	id.ClusterID = 0 // a joining node takes the id in the directory
	if d, err = OpenDataDir(fs, "/data", id); err != nil || d.Identity.ClusterID != 0xc1 {
		t.Fatalf("%+v, %v", d, err)
	}
}

func TestNewerOrDamagedIdentityIsRefused(t *testing.T) {
	b, err := encodeIdentity(testIdentity())
	mustSucceed(t, err)
	if id, err := decodeIdentity("identity.json", b); err != nil || id != testIdentity() {
		t.Fatalf("%+v, %v", id, err)
	}
	var j identityJSON
	mustSucceed(t, json.Unmarshal(b, &j))
	j.FormatVersion++
	j.Checksum = j.computeChecksum()
	future, _ := json.Marshal(j)
	var format *formatError
	if _, err := decodeIdentity("identity.json", future); !errors.As(err, &format) || !strings.Contains(err.Error(), "start the version") {
		t.Fatalf("a version of the future: %v", err)
	}
	for bit := range len(b) * 8 {
		damaged := append([]byte(nil), b...)
		damaged[bit/8] ^= 1 << (bit % 8)
		id, err := decodeIdentity("identity.json", damaged)
		// A flipped bit in the version's digits makes another version, which is refused too.
		if err == nil && id != testIdentity() || err != nil && !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrFormat) {
			t.Fatalf("bit %d flipped: %+v, %v", bit, id, err)
		}
	}
}

func TestLostLogIsNotRecreated(t *testing.T) {
	fs := vfs.NewMem()
	d, err := OpenDataDir(fs, "/data", testIdentity())
	mustSucceed(t, err)
	names, err := fs.List(d.LogDir())
	mustSucceed(t, err)
	for _, name := range names {
		mustSucceed(t, fs.Remove(d.LogDir()+"/"+name))
	}
	o := testOptions(fs)
	o.MustExist = true
	if _, _, err := Open(o); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "the log is lost") {
		t.Fatal(err)
	}
}

func TestLogWithoutIdentityIsRefusedUnchanged(t *testing.T) {
	fs := vfs.NewMem()
	d, err := OpenDataDir(fs, "/data", testIdentity())
	mustSucceed(t, err)
	o := testOptions(fs)
	l, _ := mustOpen(t, o)
	mustAppend(t, l, 0, nil, testHardState(1, 7, 0)) // a vote is enough
	l.Close()
	d.Close()
	mustSucceed(t, fs.Remove("/data/identity.json"))
	if _, err := OpenDataDir(fs, "/data", testIdentity()); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "identity.json") {
		t.Fatal(err)
	}
	if _, r := mustOpen(t, o); r.HardState.Vote != 7 {
		t.Fatalf("the vote is gone: %v", r.HardState)
	}
}

func TestE6DataDirStartsAfterPowerCutInFirstStart(t *testing.T) {
	fs := vfs.NewMem()
	disks := 0
	var last vfs.Op
	check := func(disk *vfs.MemFS, o *exhaustiveChoice) {
		disks++
		second := testIdentity()
		second.StorageID[0]++ // each start draws another storage id
		d, err := OpenDataDir(disk, "/srv/troupe/data", second)
		if err != nil {
			t.Fatalf("power cut after %v, outcome %v: %v", last, o.digits, err)
		}
		if d.created == (d.Identity == testIdentity()) {
			t.Fatalf("power cut after %v, outcome %v: %+v", last, o.digits, d)
		}
		l, r := mustOpen(t, Options{FS: disk, Dir: d.LogDir(), NodeID: 7, StorageID: d.Identity.StorageID, MustExist: true, FirstSegmentBytes: 8 << 10})
		if r.LastIndex != 0 || r.HardState.Term != 0 {
			t.Fatalf("power cut after %v, outcome %v: %+v", last, o.digits, r)
		}
		l.Close()
	}
	fs.Observe(func(op vfs.Op) {
		if op.Kind.ReadOnly() {
			return
		}
		last = op
		o := &exhaustiveChoice{}
		for range 40 {
			// The outcomes of a megabyte of zeros are alike: lost, kept, or a prefix.
			check(fs.CrashClone(func(n int) int { return o.choose(min(n, 4)) }), o)
			if !o.next() {
				break
			}
		}
	})
	d, err := OpenDataDir(fs, "/srv/troupe/data", testIdentity())
	if err != nil || !d.created {
		t.Fatalf("%+v, %v", d, err)
	}
	if disks < 50 {
		t.Fatalf("only %d disks", disks)
	}
}

// A process that was killed between the rename and the sync of the directory leaves an identity
// that can be read, and that a power cut may still remove.
func TestE6UnsyncedIdentityIsSyncedBeforeUse(t *testing.T) {
	fs := vfs.NewMem()
	var killed *vfs.MemFS
	fs.Observe(func(op vfs.Op) {
		if op.Kind == vfs.OpRename && strings.HasSuffix(op.To, IdentityFile) {
			killed = fs.KillClone()
		}
	})
	if _, err := OpenDataDir(fs, "/data", testIdentity()); err != nil {
		t.Fatal(err)
	}
	second := testIdentity()
	second.StorageID[0]++
	d, err := OpenDataDir(killed, "/data", second)
	if err != nil || d.created {
		t.Fatalf("the identity can be read, but: %+v, %v", d, err)
	}
	third, err := OpenDataDir(killed.CrashClone(vfs.LoseUnsynced), "/data", second)
	if err != nil || third.Identity != d.Identity {
		t.Fatalf("storage id %x was reported, after a power cut it is %x (%v)", d.Identity.StorageID, third.Identity.StorageID, err)
	}
}

// A start was killed while it created the directory and its ancestors. The next start finds them,
// and must make them durable.
func TestE6NewDirectoriesSurviveAnInterruptedStart(t *testing.T) {
	fs := vfs.NewMem()
	var killed []*vfs.MemFS
	fs.Observe(func(op vfs.Op) {
		if op.Kind == vfs.OpMkdir || op.Kind == vfs.OpSyncDir {
			killed = append(killed, fs.KillClone())
		}
	})
	const dir = "/a/b/c/d/data"
	if _, err := OpenDataDir(fs, dir, testIdentity()); err != nil {
		t.Fatal(err)
	}
	if len(killed) < 10 {
		t.Fatalf("only %d kills", len(killed))
	}
	for i, disk := range killed {
		d, err := OpenDataDir(disk, dir, testIdentity())
		if err != nil {
			t.Fatalf("start after kill %d: %v", i, err)
		}
		again, err := OpenDataDir(disk.CrashClone(vfs.LoseUnsynced), dir, testIdentity())
		if err != nil || again.created {
			t.Fatalf("kill %d, a start (%+v), a power cut: %+v, %v", i, d, again, err)
		}
	}
}

func TestDumpAndVerifyReadEveryFrame(t *testing.T) {
	fs := vfs.NewMem()
	d, err := OpenDataDir(fs, "/data", testIdentity())
	mustSucceed(t, err)
	l, m := newDamageTestLog(t, fs)
	l.Close()
	if _, err := Verify(fs, "/data", InspectOptions{}); !errors.Is(err, ErrLocked) {
		t.Fatalf("verify while a node runs: %v", err)
	}
	report, err := Verify(fs, "/data", InspectOptions{EvenIfRunning: true})
	mustSucceed(t, err)
	d.Close()
	if report.LastIndex != m.last() || report.FirstIndex != 1 || report.HardState.Term != m.hard.term || report.Identity != testIdentity() || len(report.Warnings) != 0 {
		t.Fatalf("report %+v, model %v", report, m)
	}
	// The frames in order give the log.
	replayed := &logModel{}
	frames, kinds := 0, map[string]int{}
	err = Dump(fs, "/data", InspectOptions{}, func(f FrameInfo) error {
		frames++
		kinds[f.Kind]++
		replayed.hard = hardState{f.HardState.Term, f.HardState.Vote, f.HardState.Commit}
		if f.Kind != "batch" {
			return nil
		}
		replayed.terms, replayed.sizes = replayed.terms[:f.First-1], replayed.sizes[:f.First-1]
		for i := range f.Entries.Data {
			index := f.First + uint64(i)
			if string(f.Entries.Data[i]) != string(entryData(index, f.HardState.Term, m.sizes[index-1])) && m.terms[index-1] == f.HardState.Term {
				return fmt.Errorf("entry %d is %q", index, f.Entries.Data[i])
			}
			replayed.terms, replayed.sizes = append(replayed.terms, f.HardState.Term), append(replayed.sizes, 0)
		}
		return nil
	})
	mustSucceed(t, err)
	if frames != report.Frames || replayed.last() != m.last() || fmt.Sprint(replayed.terms) != fmt.Sprint(m.terms) || replayed.hard != m.hard {
		t.Fatalf("%d frames (%v) give %v; the log is %v", frames, kinds, replayed, m)
	}
	if kinds["open"] != report.Segments || kinds["batch"] < 50 {
		t.Fatalf("kinds %v in %d segments", kinds, report.Segments)
	}
}

func TestVerifyFindsDamageThatOpenDoesNotRead(t *testing.T) {
	fs := vfs.NewMem()
	d, err := OpenDataDir(fs, "/data", testIdentity())
	mustSucceed(t, err)
	l, _ := newDamageTestLog(t, fs)
	path := l.segments[1].path
	l.Close()
	d.Close()
	at := l.published.spans[0].segment.size / 2
	mustSucceed(t, fs.FlipBit(path, at*8))
	if _, _, err := Open(testOptions(fs.CrashClone(vfs.KeepUnsynced))); err != nil {
		t.Fatalf("open read more than it needs: %v", err)
	}
	var bad *CorruptError
	if _, err := Verify(fs, "/data", InspectOptions{}); !errors.As(err, &bad) || bad.File != path || bad.Offset > at {
		t.Fatalf("Verify returned %v", err)
	}
}
