package sim

import (
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/internal/sim/fault"
)

// faults are what is wrong with the disk of a state machine. None of it is beyond the budget: what a state machine holds it
// has from the log, which is whole.
type machineDiskFaults struct {
	failCountdown int   // at so many batches from now, storing fails; 0: it does not
	full          bool  // nothing can be stored
	unflushed     int   // so many of the newest batches are lost at the end of this life, on top of what a crash takes
	damaged       bool  // what is there cannot be read
	firstError    error // what was said first: nothing is taken after it, as a store that is honest does
}

var errStateDamaged = errors.New("/data/kv/000007.sst: checksum mismatch")

// isStateFault tells a failure of a state machine that this file has made.
func isStateFault(err error) bool {
	var application *actors.ApplicationError
	return errors.As(err, &application) && (errors.Is(err, errStateDamaged) || errors.Is(err, errStateWrite))
}

var errStateWrite = errors.New("store in /data/kv")

// batchFault tells whether the batch in hand meets a fault, and whether it is stored all the same.
func (m *member) batchFault() (err error, stored bool) {
	s, w := m.machineDisk, m.world
	switch {
	case s.firstError != nil:
		return s.firstError, false
	case s.full:
		err = syscall.ENOSPC
	case s.failCountdown > 1:
		s.failCountdown--
		return nil, false
	case s.failCountdown == 1:
		s.failCountdown, err = 0, syscall.EIO
		switch w.random.IntN(3) {
		case 0:
			stored = true // it is on the disk, and nobody was told
		case 1:
			s.unflushed = 1 + w.random.IntN(maxUndoRecords) // earlier ones were not, and nobody was told
		}
	default:
		return nil, false
	}
	w.counts.FailedBatches++
	s.firstError = fmt.Errorf("%w: write /data/kv/000009.log: %w", errStateWrite, err)
	m.disk.failed, m.disk.failedAt = true, w.now
	m.expectStop()
	return s.firstError, stored
}

// injectStateFault has something happen to what a state machine has on disk, and tells until when; 0: it does not pass by itself.
func (w *World) injectStateFault(kind fault.Kind, m *member) (until time.Duration) {
	s := m.machineDisk
	switch kind {
	case fault.FailedState:
		s.failCountdown = 1 + w.random.IntN(5)
	case fault.FullState:
		s.full = true
		return w.endsWithin(3*time.Second, func() { m.machineDisk.full = false })
	case fault.LostState:
		m.killProcess()
		if w.chance(0.5) {
			m.machineDisk.loseNewest(maxUndoRecords)
		} else {
			m.resetStateMachine()
		}
		w.after(w.downtime(), m.restart)
	case fault.DamagedState:
		m.killProcess()
		s.damaged = true
		w.after(w.downtime(), m.restart)
	}
	return 0
}

// resetStateMachine is what an operator does with the files of a state machine that cannot be read: it starts empty, and the log
// brings back what it held.
func (m *member) resetStateMachine() {
	m.world.counts.StatesLost++
	full := m.machineDisk.full
	m.machineDisk = newMachineDisk()
	m.machineDisk.full = full
}
