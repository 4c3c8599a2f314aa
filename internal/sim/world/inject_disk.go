package world

import (
	"errors"
	"time"

	"github.com/troupe-raft/troupe/internal/sim/fault"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/persistence/vfs"
)

// LowWaterBytes is how much space must be free so that members accept writes.
const LowWaterBytes = 32 << 10

// injectDiskFault injects a fault into a disk, and returns its end; 0: it does not end by itself.
func (w *World) injectDiskFault(kind fault.Kind, m *Member) (until time.Duration) {
	d := m.Disk
	switch kind {
	case fault.SlowDisk:
		d.slowUntil = w.now + w.RandomDuration(100*time.Millisecond, 3*time.Second)
		return d.slowUntil
	case fault.StalledDisk:
		d.StalledUntil = w.now + w.RandomDuration(ElectionTimeout+200*time.Millisecond, 4*ElectionTimeout)
		return d.StalledUntil
	case fault.FullDisk:
		d.SetCapacity(d.UsedBytes() + w.Random.Int64N(4*LowWaterBytes))
		return w.endsWithin(6*time.Second, func() { d.SetCapacity(-1) })
	case fault.FailedWrite:
		d.failWrite = 1 + w.Random.IntN(5)
	case fault.FailedSync:
		d.FailSync = 1 + w.Random.IntN(5)
	case fault.FlippedBit:
		d.flipOldBit()
	case fault.LostDisk:
		m.LoseDisk()
	case fault.LostLog:
		m.KillProcess()
		m.MoveLogAway()
		w.After(w.downtime(), m.Restart)
	case fault.EmptiedDisk:
		m.KillProcess()
		m.EmptyDisk(w.Chance(0.3))
		m.RefusedStarts = w.Random.IntN(3)
		w.After(w.downtime(), m.Restart)
	case fault.RestoredDisk:
		m.RestoreCopy(m.olderCopy)
		m.olderCopy, m.restored = nil, true
		m.RefusedStarts = w.Random.IntN(3)
		w.After(w.downtime(), m.Restart)
	case fault.FailedRead, fault.FlippedRead:
		w.injectReadFault(kind, m)
	case fault.FailedState, fault.FullState, fault.LostState, fault.DamagedState:
		return w.injectStateFault(kind, m)
	case fault.LyingDisk:
		d.dropsSyncs = true
		return w.endsWithin(3*time.Second, func() { d.dropsSyncs = false })
	}
	return 0
}

// endsWithin plans the end of a fault, and returns its time.
func (w *World) endsWithin(within time.Duration, end func()) time.Duration {
	lasts := w.RandomDuration(100*time.Millisecond, within)
	w.After(lasts, end)
	return w.now + lasts
}

// LoseDisk takes away all that a member had. It stays down: nobody makes a new data directory.
func (m *Member) LoseDisk() {
	m.KillProcess()
	m.replaceDisk()
	m.Disk.Damaged, m.PermanentlyDown = true, true
}

func (m *Member) replaceDisk() {
	m.Disk.Attach(vfs.NewMem())
	clear(m.Disk.lastWrite)
	clear(m.Disk.lastSyncedWrite)
	if m.application != nil {
		m.application.DiskLost()
	}
	if m.MachineDisk != nil {
		m.MachineDisk = newMachineDisk()
	}
}

// MoveLogAway moves the directory of the log of a member that is down away, as an operator might.
// The identity stays, so the member must notice that it has lost what it acknowledged.
func (m *Member) MoveLogAway() {
	after := m.Disk.KillClone()
	if err := errors.Join(after.Rename(LogDir, LogDir+".moved"), after.SyncDir(DataDir)); err != nil {
		m.world.Fail("simulated disk", "%v", err)
	}
	m.Disk.Attach(after)
	m.Disk.Damaged = true
}

// heal ends all transient faults. Lost data stays lost.
func (d *disk) heal() {
	d.slowUntil, d.StalledUntil, d.failWrite, d.FailSync, d.OperationsToPowerCut = 0, 0, 0, 0, 0
	d.dropsSyncs, d.ReadFault = false, ReadFault{}
	d.SetCapacity(-1)
	if s := d.member.MachineDisk; s != nil {
		s.FailCountdown, s.Full = 0, false
	}
}

// checkForgotten ends the history where a member that has lost synced data, without noticing it,
// recovers: see fault.Profiles.
func (w *World) checkForgotten(message any) bool {
	_, recovers := message.(*messages.Recovered)
	if recovers && !w.beyondGuarantees {
		w.beyondGuarantees = true
		w.Counts.Forgotten++
	}
	return recovers
}

func (w *World) injectClockFault(kind fault.Kind, m *Member) (until time.Duration) {
	switch kind {
	case fault.ClockDrift:
		m.SetClock(TrueRate+w.Random.Int64N(2*driftBound+1)-driftBound, 0)
		return 0
	case fault.ClockFast:
		rate := int64(2 * TrueRate)
		if w.Chance(0.5) {
			rate = TrueRate / 2
		}
		m.SetClock(rate, 0)
	case fault.ClockJump:
		jump := time.Hour
		if w.Chance(0.5) {
			jump = -time.Hour
		}
		m.SetClock(m.clock.rate, jump)
	case fault.ClockFrozen:
		m.SetClock(0, 0)
	}
	return w.endsWithin(5*time.Second, m.RepairClock)
}
