package troupe

import (
	"io"
	"testing"
)

// closableMachine reports that it was closed.
type closableMachine struct{ closed chan struct{} }

func (m *closableMachine) Apply(b *Batch) ([][]byte, error) { return nil, nil }
func (m *closableMachine) Snapshot(io.Writer) error         { return nil }
func (m *closableMachine) Restore(io.Reader) error          { return nil }
func (m *closableMachine) Close() error {
	close(m.closed)
	return nil
}

// A state machine is closed only when no query uses it, and no query begins meanwhile.
func TestOpenStateMachineIsClosedAfterItsQueries(t *testing.T) {
	machine := &closableMachine{closed: make(chan struct{})}
	o := newMachineOpener(func() (StateMachine, error) { return machine, nil })
	state, err := o.open()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := state.Apply(&Batch{Last: 7}); err != nil {
		t.Fatal(err)
	}
	if m, _ := o.acquire(8); m != nil {
		t.Fatal("a state machine at 7 was given to a query that needs 8")
	}
	query, _ := o.acquire(7)
	if query == nil {
		t.Fatal("a state machine at 7 was not given to a query that needs 7")
	}
	closed := make(chan error, 1)
	go func() { closed <- state.Close() }()
	for {
		m, changed := o.acquire(0)
		if m == nil {
			if changed == nil {
				t.Error("nothing to wait for")
			}
			break // the state machine is being closed
		}
		m.release()
	}
	select {
	case <-machine.closed:
		t.Error("closed during a query")
	default:
	}
	query.release()
	if err := <-closed; err != nil {
		t.Error(err)
	}
	<-machine.closed
}

// A query that waits for an index is notified of each batch.
func TestApplyNotifiesQueries(t *testing.T) {
	o := newMachineOpener(func() (StateMachine, error) { return &closableMachine{closed: make(chan struct{})}, nil })
	_, opened := o.acquire(0)
	state, err := o.open()
	if err != nil {
		t.Fatal(err)
	}
	mustBeClosed(t, opened, "opening a state machine")
	for last := uint64(1); last <= 3; last++ {
		m, applied := o.acquire(last)
		if m != nil {
			t.Fatalf("a state machine at %d was given to a query that needs %d", last-1, last)
		}
		if _, err := state.Apply(&Batch{Last: last}); err != nil {
			t.Fatal(err)
		}
		mustBeClosed(t, applied, "a batch")
	}
	m, _ := o.acquire(3)
	m.release()
}

func mustBeClosed(t *testing.T, c <-chan struct{}, by string) {
	t.Helper()
	select {
	case <-c:
	default:
		t.Fatalf("not notified by %s", by)
	}
}

// sizingMachine says how large results become.
type sizingMachine struct{ closableMachine }

func (m *sizingMachine) MaxResultBytes(command []byte) int { return 100 * len(command) }

func TestOpenStateMachineBoundsItsResults(t *testing.T) {
	for want, machine := range map[int]StateMachine{0: &closableMachine{}, 300: &sizingMachine{}} {
		state, err := newMachineOpener(func() (StateMachine, error) { return machine, nil }).open()
		if err != nil {
			t.Fatal(err)
		}
		if n := state.(ResultSizer).MaxResultBytes([]byte("abc")); n != want {
			t.Errorf("%T: the bound is %d, want %d", machine, n, want)
		}
	}
}
