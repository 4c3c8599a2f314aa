package sim

import (
	"time"

	"github.com/troupe-raft/troupe/internal/sim/fault"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/persistence/vfs"
)

// lowWater is how much space must be free so that members take writes.
const lowWater = 32 << 10

// injectDiskFault has something happen to a disk, and tells until when; 0: it does not pass by itself.
func (w *World) injectDiskFault(kind fault.Kind, m *member) (until time.Duration) {
	d := m.disk
	switch kind {
	case fault.SlowDisk:
		d.slowUntil = w.now + w.randomDuration(100*time.Millisecond, 3*time.Second)
		return d.slowUntil
	case fault.StalledDisk:
		d.stalledUntil = w.now + w.randomDuration(electionTimeout+200*time.Millisecond, 4*electionTimeout)
		return d.stalledUntil
	case fault.FullDisk:
		d.SetCapacity(d.UsedBytes() + w.random.Int64N(4*lowWater))
		return w.endsWithin(6*time.Second, func() { d.SetCapacity(-1) })
	case fault.FailedWrite:
		d.failWrite = 1 + w.random.IntN(5)
	case fault.FailedSync:
		d.failSync = 1 + w.random.IntN(5)
	case fault.FlippedBit:
		d.flipOldBit()
	case fault.LostDisk:
		m.loseDisk()
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

// passes plans the end of something, and tells when that is.
func (w *World) endsWithin(within time.Duration, end func()) time.Duration {
	lasts := w.randomDuration(100*time.Millisecond, within)
	w.after(lasts, end)
	return w.now + lasts
}

// loseDisk takes all that a member had. Without a change of the membership it cannot be added anew, and must not return
// under its id: it stays away for ever (E37).
func (m *member) loseDisk() {
	m.killProcess()
	m.disk.attach(vfs.NewMem())
	m.disk.generation++
	m.disk.damaged, m.permanentlyDown = true, true
	clear(m.disk.lastWrite)
	clear(m.disk.lastSyncedWrite)
	if m.machineDisk != nil {
		m.machineDisk = newMachineDisk()
	}
}

// heal ends what passes by. What was lost stays lost.
func (d *disk) heal() {
	d.slowUntil, d.stalledUntil, d.failWrite, d.failSync, d.operationsToPowerCut = 0, 0, 0, 0, 0
	d.dropsSyncs, d.readFault = false, readFault{}
	d.SetCapacity(-1)
	if s := d.member.machineDisk; s != nil {
		s.failCountdown, s.full = 0, false
	}
}

// forgotten ends the history where a member that has forgotten what it had promised, without anybody noticing, goes to work
// again: see Profiles.
func (w *World) checkForgotten(message any) bool {
	_, recovers := message.(*messages.Recovered)
	if recovers && !w.beyondGuarantees {
		w.beyondGuarantees = true
		w.counts.Forgotten++
	}
	return recovers
}

func (w *World) injectClockFault(kind fault.Kind, m *member) (until time.Duration) {
	switch kind {
	case fault.ClockDrift:
		m.setClock(trueRate+w.random.Int64N(2*driftBound+1)-driftBound, 0)
		return 0
	case fault.ClockFast:
		rate := int64(2 * trueRate)
		if w.chance(0.5) {
			rate = trueRate / 2
		}
		m.setClock(rate, 0)
	case fault.ClockJump:
		jump := time.Hour
		if w.chance(0.5) {
			jump = -time.Hour
		}
		m.setClock(m.clock.rate, jump)
	case fault.ClockFrozen:
		m.setClock(0, 0)
	}
	return w.endsWithin(5*time.Second, m.repairClock)
}
