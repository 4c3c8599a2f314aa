package world

import (
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/internal/sim/fault"
)

// faults are what is wrong with the disk of a state machine. None of it is beyond the budget: what
// a state machine holds it has from the log, which is whole.
type machineDiskFaults struct {
	FailCountdown int   // at so many batches from now, storing fails; 0: it does not
	Full          bool  // nothing can be stored
	unflushed     int   // so many of the newest batches are lost at the end of this life, on top of what a crash takes
	Damaged       bool  // what is there cannot be read
	firstError    error // what was said first: nothing is taken after it, as a store that is honest does
}

var ErrStateDamaged = errors.New("/data/kv/000007.sst: checksum mismatch")

// isStateFault tells a failure of a state machine that this file has made.
func isStateFault(err error) bool {
	var application *actors.ApplicationError
	return errors.As(err, &application) && (errors.Is(err, ErrStateDamaged) || errors.Is(err, errStateWrite))
}

var errStateWrite = errors.New("store in /data/kv")

// batchFault tells whether the batch in hand meets a fault, and whether it is stored all the same.
func (m *Member) batchFault() (err error, stored bool) {
	s, w := m.MachineDisk, m.world
	switch {
	case s.firstError != nil:
		return s.firstError, false
	case s.Full:
		err = syscall.ENOSPC
	case s.FailCountdown > 1:
		s.FailCountdown--
		return nil, false
	case s.FailCountdown == 1:
		s.FailCountdown, err = 0, syscall.EIO
		switch w.Random.IntN(3) {
		case 0:
			stored = true // it is on the disk, and nobody was told
		case 1:
			s.unflushed = 1 + w.Random.IntN(MaxUndoRecords) // earlier ones were not, and nobody was told
		}
	default:
		return nil, false
	}
	w.Counts.FailedBatches++
	s.firstError = fmt.Errorf("%w: write /data/kv/000009.log: %w", errStateWrite, err)
	m.Disk.failed, m.Disk.failedAt = true, w.now
	m.expectStop()
	return s.firstError, stored
}

// injectStateFault has something happen to what a state machine has on disk, and tells until when;
// 0: it does not pass by itself.
func (w *World) injectStateFault(kind fault.Kind, m *Member) (until time.Duration) {
	s := m.MachineDisk
	switch kind {
	case fault.FailedState:
		s.FailCountdown = 1 + w.Random.IntN(5)
	case fault.FullState:
		s.Full = true
		return w.endsWithin(3*time.Second, func() { m.MachineDisk.Full = false })
	case fault.LostState:
		m.KillProcess()
		if w.Chance(0.5) {
			m.MachineDisk.LoseNewest(MaxUndoRecords)
		} else {
			m.ResetStateMachine()
		}
		w.After(w.downtime(), m.Restart)
	case fault.DamagedState:
		m.KillProcess()
		s.Damaged = true
		w.After(w.downtime(), m.Restart)
	}
	return 0
}

// ResetStateMachine is what an operator does with the files of a state machine that cannot be read:
// it starts empty, and the log brings back what it held.
func (m *Member) ResetStateMachine() {
	m.world.Counts.StatesLost++
	full := m.MachineDisk.Full
	m.MachineDisk = newMachineDisk()
	m.MachineDisk.Full = full
}
