package sim

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/bits"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-raft/troupe/internal/sim/fault"
	"github.com/troupe-raft/troupe/persistence"
	"github.com/troupe-raft/troupe/persistence/vfs"
)

// newTestDisk is a disk of a world in which nothing has happened yet, with a file of four sectors of 'a' that is safe.
func newTestDisk(t *testing.T) (*disk, vfs.File) {
	t.Helper()
	w := New(Options{Seed: 1, Nodes: 3, Profile: fault.Scripted})
	m := w.members[0]
	m.up = true
	f, err := m.disk.Create("/f")
	if err == nil {
		_, err = f.WriteAt(bytes.Repeat([]byte{'a'}, 4*vfs.SectorBytes), 0)
	}
	if err == nil {
		err = errors.Join(f.Sync(), m.disk.SyncDir("/"))
	}
	if err != nil {
		t.Fatal(err)
	}
	return m.disk, f
}

// sectorsOf are the first bytes of the sectors of the file as a crash left it.
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

func TestAPowerCutLosesKeepsOrTearsAndIsCountedAsWhatItWas(t *testing.T) {
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
		if n := d.member.world.counts.CrashImages[c.kind]; n != 1 {
			t.Errorf("way %d was not counted as %v", c.way, c.kind)
		}
	}
	d, _ := newTestDisk(t)
	if d.crashImage(vfs.LoseUnsynced); d.member.world.counts.CrashImages[NothingUnsynced] != 1 {
		t.Error("a power cut that found nothing to take was counted as another")
	}
}

func TestThePowerFailsInTheMiddleOfAnOperationAndNothingHappensAfterIt(t *testing.T) {
	d, f := newTestDisk(t)
	m := d.member
	d.operationsToPowerCut, d.crashChoice = 2, vfs.KeepUnsynced
	life := m.runNumber
	if _, err := f.WriteAt([]byte{'b'}, 0); err != nil {
		t.Fatalf("the operation before it: %v", err)
	}
	if err := f.Sync(); !errors.Is(err, vfs.ErrFrozen) {
		t.Fatalf("a sync without power ended with %v", err)
	}
	if m.runNumber == life || m.imageAfterCut == nil {
		t.Fatal("the life went on")
	}
	if _, err := f.WriteAt([]byte{'c'}, 0); !errors.Is(err, vfs.ErrFrozen) {
		t.Fatalf("a write without power ended with %v", err)
	}
	if got := sectorsOf(t, m.imageAfterCut); got != "baaa" {
		t.Fatalf("the next life finds %q", got)
	}
}

func TestAFailedOperationIsTheOneThatWasMeant(t *testing.T) {
	d, f := newTestDisk(t)
	d.failSync = 2
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
	if d.member.world.counts.FailedOperations != 2 {
		t.Fatalf("%d failed operations were counted", d.member.world.counts.FailedOperations)
	}
}

func TestAReadGoesWrongWhereItIsMeantToAndTheSimulatorsOwnDoNot(t *testing.T) {
	d, f := newTestDisk(t)
	b := make([]byte, 2*vfs.SectorBytes)
	d.readFault = readFault{countdown: 2}
	d.withoutFaults(func() {
		if _, err := d.List("/"); err != nil || d.readFault.countdown != 2 {
			t.Fatalf("the simulator's own look: %v", err)
		}
	})
	if _, err := f.ReadAt(b, 0); err != nil {
		t.Fatalf("the first read: %v", err)
	}
	if _, err := d.Stat("/f"); !errors.Is(err, syscall.EIO) || !d.failed || d.member.world.counts.FailedReads != 1 {
		t.Fatalf("the second one, a look at a name: %v", err)
	}
	d.readFault = readFault{countdown: 1, flips: true}
	if _, err := d.Stat("/f"); err != nil {
		t.Fatalf("a look at a name brings no bits: %v", err)
	}
	clean := bytes.Repeat([]byte{'a'}, len(b))
	if _, err := f.ReadAt(b, 0); err != nil || bytes.Equal(b, clean) || !d.readFlipped || d.member.world.counts.FlippedReads != 1 {
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

func TestAStateMachineThatCouldNotStoreTakesNothingMore(t *testing.T) {
	w := New(Options{Seed: 1, Nodes: 3, Profile: fault.Scripted})
	m := w.members[0]
	m.up = true
	m.machineDisk.failCountdown = 2
	if err, _ := m.batchFault(); err != nil {
		t.Fatalf("the first batch: %v", err)
	}
	first, _ := m.batchFault()
	if !errors.Is(first, syscall.EIO) || !m.disk.failed || w.counts.FailedBatches != 1 {
		t.Fatalf("the second batch: %v", first)
	}
	if err, stored := m.batchFault(); err != first || stored || w.counts.FailedBatches != 1 {
		t.Fatalf("the batch after that: %v", err)
	}
	// The next life has no fault, unless the disk is full.
	m.machineDisk.firstError, m.machineDisk.full = nil, true
	if err, stored := m.batchFault(); !vfs.IsNoSpace(err) || stored {
		t.Fatalf("without space: %v", err)
	}
}

func TestAFullDiskRefusesAndIsAsBeforeWhenThereIsSpace(t *testing.T) {
	d, f := newTestDisk(t)
	d.SetCapacity(d.UsedBytes() + 100)
	if n, err := f.WriteAt(make([]byte, 200), 4*vfs.SectorBytes); !vfs.IsNoSpace(err) || n != 100 {
		t.Fatalf("%d of 200 bytes were taken: %v", n, err)
	}
	if !d.failed || d.member.world.counts.RefusedForSpace != 1 {
		t.Fatal("nobody took note of it")
	}
	d.heal()
	if _, err := f.WriteAt(make([]byte, 200), 4*vfs.SectorBytes); err != nil {
		t.Fatal(err)
	}
}

func TestOnlyOldDataRots(t *testing.T) {
	w := New(Options{Seed: 3, Nodes: 3, Profile: fault.Scripted})
	(&Driver{World: w}).within(5*electionTimeout, "a first leader", w.converged)
	d := w.members[0].disk
	files := d.oldFiles()
	if len(files) != 2 || files[1].path != d.identityPath() {
		t.Fatalf("old data of a young member is in %v", files)
	}
	segment := files[0]
	newest := d.lastSyncedWrite[segment.path]
	if segment.oldBytes != newest || newest == 0 {
		t.Fatalf("old data of %s ends at %d, its newest write that was synced begins at %d", segment.path, segment.oldBytes, newest)
	}
	d.flipOldBit()
	if !d.damaged || w.mayLoseDisk(w.members[1]) {
		t.Fatal("a second of three disks may be damaged")
	}
	if w.members[0].powerCut(vfs.LoseUnsynced); !d.damaged {
		t.Fatal("a power cut mends no disk")
	}
}

func TestADiskThatLiesIsFoundOutByAPowerCutOnly(t *testing.T) {
	d, f := newTestDisk(t)
	d.dropsSyncs = true
	if _, err := f.WriteAt([]byte{'b'}, 0); err != nil || f.Sync() != nil {
		t.Fatal("a lie was noticed")
	}
	if got := sectorsOf(t, d.KillClone()); got != "baaa" {
		t.Fatalf("after a kill: %q", got)
	}
	if got := sectorsOf(t, d.crashImage(vfs.LoseUnsynced)); got != "aaaa" || !d.lostSynced || !d.damaged {
		t.Fatalf("after a power cut: %q, forgot %v", got, d.lostSynced)
	}
}

func TestANodeWhoseDiskFailsStopsAndReturns(t *testing.T) {
	for _, kind := range []fault.Kind{fault.FailedWrite, fault.FailedSync} {
		for seed := range uint64(20) {
			sc := Scenario{Name: "failing-disk", Nodes: 3, Script: func(s *Driver) {
				victim := s.members[s.random.IntN(3)]
				s.inject(kind, victim)
				for i := 0; i < 20 && s.counts.Stops[StopStorage] == 0; i++ {
					s.writeAndWait(s.others(victim)[0], 1)
				}
				s.within(stopDeadline, "it stops", func() bool { return s.counts.Stops[StopStorage] == 1 })
			}}
			check(t, sc.Run(Options{Seed: seed}))
		}
	}
}

func TestE9ALeaderWhoseDiskStallsIsReplacedAndComesBack(t *testing.T) {
	for seed := range uint64(50) {
		sc := Scenario{Name: "stall", Nodes: 3, Script: func(s *Driver) {
			former := s.majorityLeader()
			former.disk.stalledUntil = s.now + 4*electionTimeout
			s.beginWrites(s.others(former)[0], 5)
			s.within(3*electionTimeout, "another leads", func() bool { l := s.majorityLeader(); return l != nil && l != former })
		}}
		check(t, sc.Run(Options{Seed: seed}))
	}
}

// A member whose data directory lacks something, or holds something else, is refused: what it promised went with it (E37).
func TestE37WhatIsMissingInADataDirectoryIsNoticed(t *testing.T) {
	for name, damage := range map[string]func(s *Driver, m *member) error{
		"the identity": func(s *Driver, m *member) error { return m.disk.Remove(m.disk.identityPath()) },
		"the log": func(s *Driver, m *member) error {
			names, err := m.disk.List(logDir)
			for _, n := range names {
				err = errors.Join(err, m.disk.Remove(logDir+"/"+n))
			}
			return err
		},
		"the disk, exchanged with another's": func(s *Driver, m *member) error {
			other := s.others(m)[0]
			other.powerCut(vfs.LoseUnsynced)
			m.disk.attach(other.disk.KillClone())
			return nil
		},
		"a segment in the middle": func(s *Driver, m *member) error {
			names, err := m.disk.List(logDir)
			segments := slices.DeleteFunc(names, func(n string) bool { return !strings.HasSuffix(n, ".seg") }) // there may be a spare too
			if err != nil || len(segments) < 3 {
				return fmt.Errorf("%d segments in the log, %v", len(segments), err)
			}
			return m.disk.Remove(logDir + "/" + segments[1])
		},
	} {
		t.Run(name, func(t *testing.T) {
			sc := Scenario{Name: "missing", Nodes: 3, Script: func(s *Driver) {
				m := s.others(s.majorityLeader())[0]
				s.writeAndWait(m, 10)
				for range 2 { // so that its log has three segments
					m.powerCut(vfs.LoseUnsynced)
					m.boot()
					s.within(5*electionTimeout, "it is back", s.converged)
				}
				m.powerCut(vfs.LoseUnsynced)
				if err := damage(s, m); err != nil && !errors.Is(err, fs.ErrNotExist) {
					t.Fatal(err)
				}
				m.disk.damaged = true
				m.boot()
				s.advance(electionTimeout)
				if s.counts.Stops[StopRefused] == 0 {
					s.fail("member %d started without %s", m.id, name)
				}
				m.permanentlyDown = true
				if m.up {
					m.killProcess()
				}
			}}
			check(t, sc.Run(Options{Seed: 7}))
		})
	}
}

// A disk that is empty, under the id of a member that has promised something, is what no data directory can tell from a new
// member's: nothing is left to tell it by, and members of a first configuration are known without their storage ids. Nobody
// may do that (errata E37), the budget of faults does not, and the ghost would see it.
func TestE37AnEmptyDiskUnderAnOldIDIsNotRefusedYetAndTheGhostSeesWhatItForgot(t *testing.T) {
	caught := 0
	for seed := range uint64(20) {
		sc := Scenario{Name: "empty", Nodes: 3, Script: func(s *Driver) {
			m := s.others(s.majorityLeader())[0]
			s.writeAndWait(m, 5)
			m.loseDisk()
			m.permanentlyDown = false
			m.boot()
			s.advance(electionTimeout)
		}}
		if r := sc.Run(Options{Seed: seed}); r.Failure != nil {
			caught++
		}
	}
	if caught != 20 {
		t.Fatalf("the ghost saw %d of 20 members forget what they had promised", caught)
	}
}

func TestALogIsOpenedAsTheProgramOpensIt(t *testing.T) {
	w := New(Options{Seed: 3, Nodes: 3, Profile: fault.Scripted})
	(&Driver{World: w}).within(5*electionTimeout, "a first leader", w.converged)
	m := w.members[0]
	id, err := persistence.ReadIdentity(m.disk, dataDir)
	if o := m.logOptions(); err != nil || id.NodeID != m.id || !o.MustExist || o.StorageID != id.StorageID || o.Dir != logDir {
		t.Fatalf("identity %+v, options %+v: %v", id, o, err)
	}
}

func TestClocksRunJumpStandStillAndAreSetRight(t *testing.T) {
	c := clock{reading: 24 * time.Hour, rate: trueRate}
	if got := c.read(5 * time.Second); got != 24*time.Hour+5*time.Second {
		t.Fatalf("a good clock shows %v", got)
	}
	c.set(5*time.Second, 2*trueRate, 0)
	if got := c.read(7 * time.Second); got != 24*time.Hour+9*time.Second || c.until(time.Second) != 500*time.Millisecond {
		t.Fatalf("at double speed: %v, and a second lasts %v", got, c.until(time.Second))
	}
	c.set(7*time.Second, 0, -time.Hour)
	if got := c.read(time.Minute); got != 23*time.Hour+9*time.Second || c.until(1) != never {
		t.Fatalf("standing still, an hour back: %v", got)
	}
	c = clock{rate: trueRate + driftBound}
	if got, want := c.read(1e6*time.Second), time.Duration(1.01e15); got != want {
		t.Fatalf("after %v with 1 %% more: %v, want %v", 1e6*time.Second, got, want)
	}
}

func TestTimersFollowTheirClock(t *testing.T) {
	w := New(Options{Seed: 1, Nodes: 1, Profile: fault.Scripted})
	w.queue = nil
	m := w.members[0]
	fired := func(d time.Duration, change func()) time.Duration {
		began := w.now
		timer := m.After(d, actor.NewPID("", "nobody"), nil).(*timer)
		change()
		for !timer.stopped && w.now < began+10*time.Hour {
			w.step()
		}
		return w.now - began
	}
	for name, c := range map[string]struct {
		change func()
		want   time.Duration
	}{
		"true":        {func() {}, time.Second},
		"double":      {func() { m.setClock(2*trueRate, 0) }, time.Second / 2},
		"an hour on":  {func() { m.setClock(trueRate, time.Hour) }, 0},
		"an hour ago": {func() { m.setClock(trueRate, -time.Hour) }, time.Hour + time.Second},
		"set right": {func() {
			m.setClock(0, -time.Hour)
			w.after(3*time.Second, m.repairClock)
		}, 4 * time.Second},
	} {
		if got := fired(time.Second, c.change); got != c.want {
			t.Errorf("%s: a second lasted %v, want %v", name, got, c.want)
		}
		m.repairClock()
	}
}
