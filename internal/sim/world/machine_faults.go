package world

import (
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/internal/sim/fault"
)

// machineDiskFaults are the present faults of the storage of a state machine. None of them is
// beyond the budget: the log, which is whole, brings back what a state machine loses.
type machineDiskFaults struct {
	FailCountdown int  // the batch that fails, counted from now; 0: none
	Full          bool // nothing can be stored
	// How many of the newest batches are lost at the end of this run, besides those that a crash
	// loses.
	unflushed  int
	Damaged    bool  // it cannot be read
	firstError error // the first failure: like a real store, it accepts nothing after it
}

// ErrStateDamaged is the error of a state machine with damaged files.
var ErrStateDamaged = errors.New("/data/kv/000007.sst: checksum mismatch")

// isStateFault reports whether an error is an injected failure of a state machine.
func isStateFault(err error) bool {
	var application *actors.ApplicationError
	return errors.As(err, &application) && (errors.Is(err, ErrStateDamaged) || errors.Is(err, errStateWrite))
}

var errStateWrite = errors.New("store in /data/kv")

// batchFault reports whether the current batch fails, and whether it is stored nevertheless.
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
			stored = true // it is on the disk although it failed
		case 1:
			s.unflushed = 1 + w.Random.IntN(MaxUndoRecords) // earlier batches were not flushed
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

// injectStateFault injects a fault into the storage of a state machine, and returns its end; 0: it
// does not end by itself.
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
		switch {
		case m.application != nil:
			w.Counts.StatesLost++
			m.application.DiskLost()
		case w.Chance(0.5):
			m.MachineDisk.LoseNewest(MaxUndoRecords)
		default:
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

// ResetStateMachine does what an operator does with files that cannot be read: the state machine
// starts empty, and the log restores its state.
func (m *Member) ResetStateMachine() {
	m.world.Counts.StatesLost++
	full := m.MachineDisk.Full
	m.MachineDisk = newMachineDisk()
	m.MachineDisk.Full = full
}
