package world

import (
	"time"

	"github.com/troupe-raft/troupe/statemachine"
)

// Application is what runs on the members of a world in place of the small key-value store of this
// package, with clients of its own. Package kv/simulation has one.
type Application interface {
	// AddMember is called once for each member, before its first run.
	AddMember(*Member) MemberApplication
	AddClients()
	// Write begins a write at a member, which may be down.
	Write(*Member)
	// AfterStep is called after every step of the world.
	AfterStep()
	// Pending reports whether an operation of a client is under way.
	Pending() bool
	// CheckConverged checks what must hold once the cluster has converged.
	CheckConverged()
	// CountInto sets the counts of what happened.
	CountInto(*Counts)
}

// MemberApplication is the application on one member.
type MemberApplication interface {
	// RunStarts is called before anything else in a run.
	RunStarts()
	// Open opens the state machine.
	Open() (statemachine.StateMachine, error)
	// RunEnds is called when the process ends, however it ends: what is only in memory is lost.
	RunEnds()
	// DiskLost is called while the member is down: its state machine starts empty.
	DiskLost()
	// Applied is called with every command that the state machine has applied, in order; after a
	// recovery from an earlier state some again. It returns a number that is the same for all copies
	// of one proposal, and different for other proposals.
	Applied(c *statemachine.Command, result []byte) (number uint64)
}

// NewApplication makes the application of a world. It is what fault.Profile.Application holds.
type NewApplication func(*World) Application

// Application returns what runs on the members; nil: the small key-value store.
func (w *World) Application() Application { return w.application }

// AfterInRun plans an event of the present run of the member.
func (m *Member) AfterInRun(d time.Duration, run func()) { m.after(d, run) }

// RunUntil runs the world until what must happen soon has happened, and reports whether it did.
func (w *World) RunUntil(when string, happened func() bool) bool { return w.runUntil(when, happened) }

// watchedMachine is the state machine of an application. The checker sees what it applies.
type watchedMachine struct {
	statemachine.OnDisk
	member *Member
}

// Apply implements statemachine.StateMachine.
func (a *watchedMachine) Apply(b *statemachine.Batch) ([][]byte, error) {
	results, err := a.OnDisk.Apply(b)
	if err != nil {
		return nil, err
	}
	m := a.member
	for i := range b.Commands {
		c := &b.Commands[i]
		effect := hashNumbers(c.Index, c.Term, hashOf(c.Data), hashOf(results[i]))
		m.world.Checker.CommandApplied(m.id, c.Index, m.application.Applied(c, results[i]), effect)
	}
	return results, nil
}

// MaxResultBytes implements statemachine.ResultSizer.
func (a *watchedMachine) MaxResultBytes(command []byte) int {
	if sizer, ok := a.OnDisk.(statemachine.ResultSizer); ok {
		return sizer.MaxResultBytes(command)
	}
	return 0
}

// Close implements statemachine.StateMachine.
func (a *watchedMachine) Close() error {
	a.member.machineOpen = false
	return a.OnDisk.Close()
}

// openApplication opens the application's state machine, which must be on disk.
func (m *Member) openApplication() (statemachine.StateMachine, error) {
	machine, err := m.application.Open()
	if err != nil {
		return nil, err
	}
	return &watchedMachine{machine.(statemachine.OnDisk), m}, nil
}
