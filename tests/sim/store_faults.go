package sim

import (
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/troupe-raft/troupe/actors"
)

// faults are what is wrong with the disk of a state machine. None of it is beyond the budget: what a state machine holds it
// has from the log, which is whole.
type faults struct {
	fails     int   // at so many batches from now, storing fails; 0: it does not
	full      bool  // nothing can be stored
	unflushed int   // so many of the newest batches are lost at the end of this life, on top of what a crash takes
	damaged   bool  // what is there cannot be read
	failed    error // what was said first: nothing is taken after it, as a store that is honest does
}

var errStateDamaged = errors.New("/data/kv/000007.sst: checksum mismatch")

// stateFault tells a failure of a state machine that this file has made.
func stateFault(err error) bool {
	var application *actors.ApplicationError
	return errors.As(err, &application) && (errors.Is(err, errStateDamaged) || errors.Is(err, errState))
}

var errState = errors.New("store in /data/kv")

// stateFails tells whether the batch in hand meets a fault, and whether it is stored all the same.
func (m *member) stateFails() (err error, stored bool) {
	s, w := m.store, m.world
	switch {
	case s.failed != nil:
		return s.failed, false
	case s.full:
		err = syscall.ENOSPC
	case s.fails > 1:
		s.fails--
		return nil, false
	case s.fails == 1:
		s.fails, err = 0, syscall.EIO
		switch w.random.IntN(3) {
		case 0:
			stored = true // it is on the disk, and nobody was told
		case 1:
			s.unflushed = 1 + w.random.IntN(keptUndos) // earlier ones were not, and nobody was told
		}
	default:
		return nil, false
	}
	w.counts.FailedBatches++
	s.failed = fmt.Errorf("%w: write /data/kv/000009.log: %w", errState, err)
	m.disk.failed, m.disk.failedAt = true, w.now
	m.mustStop()
	return s.failed, stored
}

// strikeState has something happen to what a state machine has on disk, and tells until when; 0: it does not pass by itself.
func (w *World) strikeState(kind Fault, m *member) (until time.Duration) {
	s := m.store
	switch kind {
	case FailedState:
		s.fails = 1 + w.random.IntN(5)
	case FullState:
		s.full = true
		return w.passes(3*time.Second, func() { m.store.full = false })
	case LostState:
		m.killProcess()
		if w.chance(0.5) {
			m.store.crash(keptUndos)
		} else {
			m.moveStateAway()
		}
		w.after(w.absence(), m.return_)
	case DamagedState:
		m.killProcess()
		s.damaged = true
		w.after(w.absence(), m.return_)
	}
	return 0
}

// moveStateAway is what an operator does with the files of a state machine that cannot be read: it starts empty, and the log
// brings back what it held.
func (m *member) moveStateAway() {
	m.world.counts.StatesLost++
	full := m.store.full
	m.store = newStore()
	m.store.full = full
}
