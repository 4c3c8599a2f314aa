package troupe

import (
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/troupe-raft/troupe/statemachine"
)

// machineOpener opens the application's state machine for the actors, and gives it to Node.Query.
//
// The Machine actor opens a state machine at the start of the node and again after each restart of
// the actors, and closes it before it opens the next one. So a node has one or none, and not the
// same one all the time.
//
// The opener refuses what would make this member differ from the others later: a state machine
// whose kind is not certain (checkKind), and one that was open before (claimMachine).
type machineOpener struct {
	factory Factory
	ready   chan struct{} // closed when a state machine has been opened, and recovered, for the first time

	waiting atomic.Bool // changed is not nil, or about to be
	mu      sync.Mutex
	present *openMachine  // nil while none is open
	changed chan struct{} // closed when a state machine is opened or has applied more; nil if nobody waits
}

func newMachineOpener(factory Factory) *machineOpener {
	return &machineOpener{factory: factory, ready: make(chan struct{})}
}

// open calls the factory and checks what it returns.
func (o *machineOpener) open() (statemachine.StateMachine, error) {
	state, err := o.openChecked()
	if err != nil {
		return nil, err
	}
	m := &openMachine{StateMachine: state, opener: o}
	if onDisk, ok := state.(OnDisk); ok {
		return &openOnDisk{m, onDisk}, nil // published when it has recovered
	}
	o.publish(m)
	return &openInMemory{m, state.(InMemory)}, nil
}

func (o *machineOpener) openChecked() (StateMachine, error) {
	state, err := o.factory()
	if err != nil {
		return nil, err
	}
	if err := checkKind(state); err != nil {
		return nil, err
	}
	if err := claimMachine(state); err != nil {
		return nil, err // not closed: another node may use it
	}
	return state, nil
}

// rehearse opens and closes a state machine, as a restart of the actors does. The next open then
// finds out whether the factory returns the same one again.
func (o *machineOpener) rehearse() error {
	state, err := o.openChecked()
	if err != nil {
		return fmt.Errorf("open the state machine: %w", err)
	}
	if err := state.Close(); err != nil {
		return fmt.Errorf("close the state machine: %w", err)
	}
	return nil
}

// publish makes a state machine the present one.
func (o *machineOpener) publish(m *openMachine) {
	o.mu.Lock()
	o.present = m
	select {
	case <-o.ready:
	default:
		close(o.ready)
	}
	o.mu.Unlock()
	o.notify()
}

// notify wakes those who wait for a state machine, or for an index.
func (o *machineOpener) notify() {
	if !o.waiting.Load() {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.waiting.Store(false)
	if o.changed != nil {
		close(o.changed)
		o.changed = nil
	}
}

// acquire returns the present state machine if it has applied the index. The caller must release
// it: it is not closed before. Otherwise acquire returns a channel that is closed when it is worth
// another try.
func (o *machineOpener) acquire(index uint64) (*openMachine, <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.waiting.Store(true) // first, so that an Apply which ends after the check below notifies
	if o.present != nil && o.present.applied.Load() >= index {
		o.present.queries.Add(1)
		o.waiting.Store(o.changed != nil)
		return o.present, nil
	}
	if o.changed == nil {
		o.changed = make(chan struct{})
	}
	return nil, o.changed
}

// retire ends the use of a state machine, and waits for the queries that use it.
func (o *machineOpener) retire(m *openMachine) {
	o.mu.Lock()
	if o.present == m {
		o.present = nil
	}
	o.mu.Unlock()
	m.queries.Wait()
}

// openMachine is an open state machine with the index that it has applied.
type openMachine struct {
	StateMachine
	opener  *machineOpener
	applied atomic.Uint64
	queries sync.WaitGroup // those that use it; none is added once it is not the present one
}

func (m *openMachine) release() { m.queries.Done() }

// Apply applies a batch.
func (m *openMachine) Apply(b *Batch) ([][]byte, error) {
	results, err := m.StateMachine.Apply(b)
	if err == nil {
		m.applied.Store(b.Last)
		m.opener.notify()
	}
	return results, err
}

// MaxResultBytes returns how large the result of a command may become; 0 if the state machine does
// not say.
func (m *openMachine) MaxResultBytes(command []byte) int {
	if sizer, ok := m.StateMachine.(ResultSizer); ok {
		return sizer.MaxResultBytes(command)
	}
	return 0
}

// Close closes the state machine when no query uses it.
func (m *openMachine) Close() error {
	m.opener.retire(m)
	return m.StateMachine.Close()
}

// openInMemory is a open InMemory.
type openInMemory struct {
	*openMachine
	inMemory InMemory
}

// Snapshot writes the whole state.
func (m *openInMemory) Snapshot(w io.Writer) error { return m.inMemory.Snapshot(w) }

// Restore replaces the whole state.
func (m *openInMemory) Restore(r io.Reader) error { return m.inMemory.Restore(r) }

// openOnDisk is a open OnDisk.
type openOnDisk struct {
	*openMachine
	onDisk OnDisk
}

// Recover recovers the state machine, and makes it the present one.
func (m *openOnDisk) Recover() (uint64, []SessionRecord, error) {
	applied, sessions, err := m.onDisk.Recover()
	if err == nil {
		m.applied.Store(applied)
		m.opener.publish(m.openMachine)
	}
	return applied, sessions, err
}
