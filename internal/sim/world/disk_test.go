package world

import (
	"bytes"
	"errors"
	"math/bits"
	"syscall"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-raft/troupe/internal/sim/fault"
	"github.com/troupe-raft/troupe/persistence"
	"github.com/troupe-raft/troupe/persistence/vfs"
)

// newTestDisk returns a disk of a new world, with a synced file of four sectors of 'a'.
func newTestDisk(t *testing.T) (*disk, vfs.File) {
	t.Helper()
	w := New(Options{Seed: 1, Nodes: 3, Profile: fault.Scripted})
	m := w.Members[0]
	m.up = true
	f, err := m.Disk.Create("/f")
	if err == nil {
		_, err = f.WriteAt(bytes.Repeat([]byte{'a'}, 4*vfs.SectorBytes), 0)
	}
	if err == nil {
		err = errors.Join(f.Sync(), m.Disk.SyncDir("/"))
	}
	if err != nil {
		t.Fatal(err)
	}
	return m.Disk, f
}

// sectorsOf returns the first bytes of the sectors of the file as a crash left it.
func sectorsOf(t *testing.T, m *vfs.MemFS) string {
	t.Helper()
	f, err := m.Open("/f")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	size, err := f.Size()
	b := make([]byte, size)
	if _, rerr := f.ReadAt(b, 0); err != nil || rerr != nil {
		t.Fatal(err, rerr)
	}
	var firsts []byte
	for at := 0; at < len(b); at += vfs.SectorBytes {
		firsts = append(firsts, b[at])
	}
	return string(firsts)
}

func TestPowerCutLosesKeepsOrTearsWrites(t *testing.T) {
	for _, c := range []struct {
		way  int
		want string
		kind CrashImage
	}{
		{0, "aaaa", LostAll}, {1, "bbbb", KeptAll}, {2, "baaa", Torn}, {7, "aaab", Torn},
	} {
		d, f := newTestDisk(t)
		if _, err := f.WriteAt(bytes.Repeat([]byte{'b'}, 4*vfs.SectorBytes), 0); err != nil {
			t.Fatal(err)
		}
		after := d.crashImage(func(int) int { return c.way })
		if got := sectorsOf(t, after); got != c.want {
			t.Errorf("way %d left %q, want %q", c.way, got, c.want)
		}
		if n := d.member.world.Counts.CrashImages[c.kind]; n != 1 {
			t.Errorf("way %d was not counted as %v", c.way, c.kind)
		}
	}
	d, _ := newTestDisk(t)
	if d.crashImage(vfs.LoseUnsynced); d.member.world.Counts.CrashImages[NothingUnsynced] != 1 {
		t.Error("a power cut without unsynced data was counted as another kind")
	}
}

func TestPowerFailureStopsAllLaterOperations(t *testing.T) {
	d, f := newTestDisk(t)
	m := d.member
	d.OperationsToPowerCut, d.CrashChoice = 2, vfs.KeepUnsynced
	run := m.RunNumber
	if _, err := f.WriteAt([]byte{'b'}, 0); err != nil {
		t.Fatalf("the operation before it: %v", err)
	}
	if err := f.Sync(); !errors.Is(err, vfs.ErrFrozen) {
		t.Fatalf("a sync without power ended with %v", err)
	}
	if m.RunNumber == run || m.imageAfterCut == nil {
		t.Fatal("the run continued")
	}
	if _, err := f.WriteAt([]byte{'c'}, 0); !errors.Is(err, vfs.ErrFrozen) {
		t.Fatalf("a write without power ended with %v", err)
	}
	if got := sectorsOf(t, m.imageAfterCut); got != "baaa" {
		t.Fatalf("the next run finds %q", got)
	}
}

func TestArmedFailureHitsTheRightOperation(t *testing.T) {
	d, f := newTestDisk(t)
	d.FailSync = 2
	if err := f.Sync(); err != nil {
		t.Fatalf("the first sync: %v", err)
	}
	if err := f.SyncData(); !errors.Is(err, syscall.EIO) || !d.failed {
		t.Fatalf("the second sync: %v", err)
	}
	if err := f.Sync(); err != nil {
		t.Fatalf("the third sync: %v", err)
	}
	d.failWrite = 1
	if n, err := f.WriteAt(bytes.Repeat([]byte{'b'}, 2*vfs.SectorBytes), 0); !errors.Is(err, syscall.EIO) || n == 2*vfs.SectorBytes {
		t.Fatalf("a failing write wrote %d bytes: %v", n, err)
	}
	if d.member.world.Counts.FailedOperations != 2 {
		t.Fatalf("%d failed operations were counted", d.member.world.Counts.FailedOperations)
	}
}

func TestReadFaultsSpareTheSimulatorsOwnReads(t *testing.T) {
	d, f := newTestDisk(t)
	b := make([]byte, 2*vfs.SectorBytes)
	d.ReadFault = ReadFault{Countdown: 2}
	d.WithoutFaults(func() {
		if _, err := d.List("/"); err != nil || d.ReadFault.Countdown != 2 {
			t.Fatalf("the simulator's own read: %v", err)
		}
	})
	if _, err := f.ReadAt(b, 0); err != nil {
		t.Fatalf("the first read: %v", err)
	}
	if _, err := d.Stat("/f"); !errors.Is(err, syscall.EIO) || !d.failed || d.member.world.Counts.FailedReads != 1 {
		t.Fatalf("the second one, a lookup of a name: %v", err)
	}
	d.ReadFault = ReadFault{Countdown: 1, Flips: true}
	if _, err := d.Stat("/f"); err != nil {
		t.Fatalf("a lookup of a name returns no bits: %v", err)
	}
	clean := bytes.Repeat([]byte{'a'}, len(b))
	if _, err := f.ReadAt(b, 0); err != nil || bytes.Equal(b, clean) || !d.readFlipped || d.member.world.Counts.FlippedReads != 1 {
		t.Fatalf("a flipped read: %v", err)
	}
	wrong := 0
	for i := range b {
		wrong += bits.OnesCount8(b[i] ^ clean[i])
	}
	if _, err := f.ReadAt(b, 0); wrong != 1 || err != nil || !bytes.Equal(b, clean) {
		t.Fatalf("%d bits were wrong; the same read again: %v", wrong, err)
	}
}

func TestFailedMachineStoreAcceptsNothingMore(t *testing.T) {
	w := New(Options{Seed: 1, Nodes: 3, Profile: fault.Scripted})
	m := w.Members[0]
	m.up = true
	m.MachineDisk.FailCountdown = 2
	if err, _ := m.batchFault(); err != nil {
		t.Fatalf("the first batch: %v", err)
	}
	first, _ := m.batchFault()
	if !errors.Is(first, syscall.EIO) || !m.Disk.failed || w.Counts.FailedBatches != 1 {
		t.Fatalf("the second batch: %v", first)
	}
	if err, stored := m.batchFault(); err != first || stored || w.Counts.FailedBatches != 1 {
		t.Fatalf("the batch after that: %v", err)
	}
	// The next run has no fault, unless the disk is full.
	m.MachineDisk.firstError, m.MachineDisk.Full = nil, true
	if err, stored := m.batchFault(); !vfs.IsNoSpace(err) || stored {
		t.Fatalf("without space: %v", err)
	}
}

func TestFullDiskRefusesUntilThereIsSpace(t *testing.T) {
	d, f := newTestDisk(t)
	d.SetCapacity(d.UsedBytes() + 100)
	if n, err := f.WriteAt(make([]byte, 200), 4*vfs.SectorBytes); !vfs.IsNoSpace(err) || n != 100 {
		t.Fatalf("%d of 200 bytes were taken: %v", n, err)
	}
	if !d.failed || d.member.world.Counts.RefusedForSpace != 1 {
		t.Fatal("the failure was not noted")
	}
	d.heal()
	if _, err := f.WriteAt(make([]byte, 200), 4*vfs.SectorBytes); err != nil {
		t.Fatal(err)
	}
}

func TestOnlyOldDataIsDamaged(t *testing.T) {
	w := New(Options{Seed: 3, Nodes: 3, Profile: fault.Scripted})
	if !w.runUntil("a first leader", w.Converged) {
		t.Fatal(w.Failure)
	}
	d := w.Members[0].Disk
	files := d.OldFiles()
	if len(files) != 2 || files[1].Path != d.IdentityPath() {
		t.Fatalf("a member that just started has old data in %v", files)
	}
	segment := files[0]
	newest := d.lastSyncedWrite[segment.Path]
	if segment.OldBytes != newest || newest == 0 {
		t.Fatalf("old data of %s ends at %d, its newest write that was synced begins at %d", segment.Path, segment.OldBytes, newest)
	}
	d.flipOldBit()
	if !d.Damaged || w.mayLoseDisk(w.Members[1]) {
		t.Fatal("a second of three disks may be damaged")
	}
	if w.Members[0].PowerCut(vfs.LoseUnsynced); !d.Damaged {
		t.Fatal("a power cut repaired a disk")
	}
}

func TestDroppedSyncShowsOnlyAfterPowerCut(t *testing.T) {
	d, f := newTestDisk(t)
	d.dropsSyncs = true
	if _, err := f.WriteAt([]byte{'b'}, 0); err != nil || f.Sync() != nil {
		t.Fatal("a dropped sync was noticed")
	}
	if got := sectorsOf(t, d.KillClone()); got != "baaa" {
		t.Fatalf("after a kill: %q", got)
	}
	if got := sectorsOf(t, d.crashImage(vfs.LoseUnsynced)); got != "aaaa" || !d.lostSynced || !d.Damaged {
		t.Fatalf("after a power cut: %q, forgot %v", got, d.lostSynced)
	}
}

func TestLogOptionsMatchTheProgram(t *testing.T) {
	w := New(Options{Seed: 3, Nodes: 3, Profile: fault.Scripted})
	if !w.runUntil("a first leader", w.Converged) {
		t.Fatal(w.Failure)
	}
	m := w.Members[0]
	id, err := persistence.ReadIdentity(m.Disk, DataDir)
	if o := m.LogOptions(); err != nil || id.NodeID != m.id || !o.MustExist || o.StorageID != id.StorageID || o.Dir != LogDir {
		t.Fatalf("identity %+v, options %+v: %v", id, o, err)
	}
}

func TestIdsDifferBetweenMembers(t *testing.T) {
	w := New(Options{Seed: 3, Nodes: 3, Profile: fault.Scripted})
	if !w.runUntil("a first leader", w.Converged) {
		t.Fatal(w.Failure)
	}
	owners := map[[16]byte]uint64{}
	for _, m := range w.Members {
		id := m.identity.StorageID
		if other := owners[id]; other != 0 || id == [16]byte{} {
			t.Errorf("storage id %x of member %d is that of member %d", id, m.id, other)
		}
		owners[id] = m.id
		m.KillProcess()
		m.Boot()
		if m.identity.StorageID != id {
			t.Errorf("the storage id of member %d changes from %x to %x in a restart", m.id, id, m.identity.StorageID)
		}
	}
}

func TestClockRatesJumpsAndRepair(t *testing.T) {
	c := clock{reading: 24 * time.Hour, rate: TrueRate}
	if got := c.read(5 * time.Second); got != 24*time.Hour+5*time.Second {
		t.Fatalf("a good clock shows %v", got)
	}
	c.set(5*time.Second, 2*TrueRate, 0)
	if got := c.read(7 * time.Second); got != 24*time.Hour+9*time.Second || c.until(time.Second) != 500*time.Millisecond {
		t.Fatalf("at double speed: %v, and a second lasts %v", got, c.until(time.Second))
	}
	c.set(7*time.Second, 0, -time.Hour)
	if got := c.read(time.Minute); got != 23*time.Hour+9*time.Second || c.until(1) != never {
		t.Fatalf("standing still, an hour back: %v", got)
	}
	c = clock{rate: TrueRate + driftBound}
	if got, want := c.read(1e6*time.Second), time.Duration(1.01e15); got != want {
		t.Fatalf("after %v with 1 %% more: %v, want %v", 1e6*time.Second, got, want)
	}
}

func TestTimersFollowTheirClock(t *testing.T) {
	w := New(Options{Seed: 1, Nodes: 1, Profile: fault.Scripted})
	w.queue = nil
	m := w.Members[0]
	fired := func(d time.Duration, change func()) time.Duration {
		began := w.now
		timer := m.After(d, actor.NewPID("", "unknown"), nil).(*timer)
		change()
		for !timer.stopped && w.now < began+10*time.Hour {
			w.Step()
		}
		return w.now - began
	}
	for name, c := range map[string]struct {
		change func()
		want   time.Duration
	}{
		"true":        {func() {}, time.Second},
		"double":      {func() { m.SetClock(2*TrueRate, 0) }, time.Second / 2},
		"an hour on":  {func() { m.SetClock(TrueRate, time.Hour) }, 0},
		"an hour ago": {func() { m.SetClock(TrueRate, -time.Hour) }, time.Hour + time.Second},
		"set right": {func() {
			m.SetClock(0, -time.Hour)
			w.After(3*time.Second, m.RepairClock)
		}, 4 * time.Second},
	} {
		if got := fired(time.Second, c.change); got != c.want {
			t.Errorf("%s: a second lasted %v, want %v", name, got, c.want)
		}
		m.RepairClock()
	}
}
