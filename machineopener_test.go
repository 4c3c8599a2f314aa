package troupe_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/troupe-raft/troupe"
)

// startWith starts a cluster with the factory, and stops it at the end of the test.
func startWith(t *testing.T, size int, factory troupe.Factory, configure func(*troupe.Config)) (*troupe.Cluster, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	t.Cleanup(cancel)
	c, err := troupe.StartCluster(ctx, troupe.ClusterOptions{
		Size: size, StateMachine: func(uint64) troupe.Factory { return factory }, Configure: configure,
	})
	if err == nil {
		t.Cleanup(func() {
			if err := c.Stop(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	return c, err
}

// The log is applied again to what the factory returns after a restart. The same state machine as
// before would count everything twice.
func TestReusedStateMachineIsRefused(t *testing.T) {
	for name, sameState := range map[string]func() troupe.StateMachine{
		"a pointer": func() troupe.StateMachine { return newCounter() },
		"a map":     func() troupe.StateMachine { return mapMachine{} },
	} {
		t.Run(name, func(t *testing.T) {
			same := sameState()
			factory := func() (troupe.StateMachine, error) { return same, nil }
			c, err := startWith(t, 1, factory, func(config *troupe.Config) { config.CrashInjection, config.DebugChecks = true, false })
			if err != nil {
				t.Fatal(err)
			}
			n := c.Node(1)
			for range 5 {
				if _, err := n.Propose(t.Context(), []byte("x")); err != nil {
					t.Fatal(err)
				}
			}
			if err := n.CrashNow("machine"); err != nil {
				t.Fatal(err)
			}
			if r, err := n.Propose(t.Context(), []byte("x")); err == nil {
				t.Fatalf("the node goes on; the result is %x", r.Value)
			}
			<-n.Done()
			if n.Err() == nil || !strings.Contains(n.Err().Error(), "make a new one in each call") {
				t.Errorf("the node stopped with %v", n.Err())
			}
			if counter, ok := same.(*counter); ok {
				if sum, _ := counter.state(); sum != 5 {
					t.Errorf("the state machine counted %d of 5 commands", sum)
				}
			}
		})
	}
}

// mapMachine is a state machine that is a map.
type mapMachine map[string]int

func (m mapMachine) Apply(b *troupe.Batch) ([][]byte, error) {
	return make([][]byte, len(b.Commands)), nil
}
func (m mapMachine) Close() error             { return nil }
func (m mapMachine) Snapshot(io.Writer) error { return nil }
func (m mapMachine) Restore(io.Reader) error  { return nil }

func TestDebugChecksFindReusedStateMachine(t *testing.T) {
	same := newCounter()
	if _, err := startWith(t, 1, func() (troupe.StateMachine, error) { return same, nil }, nil); err == nil ||
		!strings.Contains(err.Error(), "make a new one in each call") {
		t.Errorf("Start returned %v", err)
	}
}

// Two members with one state machine would apply each command twice to it.
func TestStateMachineIsNotShared(t *testing.T) {
	same := newCounter()
	_, err := startWith(t, 2, func() (troupe.StateMachine, error) { return same, nil },
		func(config *troupe.Config) { config.DebugChecks = false })
	if err == nil || !strings.Contains(err.Error(), "make a new one in each call") || !strings.Contains(err.Error(), "member 0x2") {
		t.Errorf("Start returned %v", err)
	}
}

// A state machine without fields has no state that could be applied twice, and Go may give all of
// them the same address.
func TestStateMachineWithoutSizeMayBeReused(t *testing.T) {
	c, err := startWith(t, 1, func() (troupe.StateMachine, error) { return &emptyMachine{}, nil }, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Node(1).Propose(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
}

type emptyMachine struct{}

func (*emptyMachine) Apply(b *troupe.Batch) ([][]byte, error) {
	return make([][]byte, len(b.Commands)), nil
}
func (*emptyMachine) Close() error             { return nil }
func (*emptyMachine) Snapshot(io.Writer) error { return nil }
func (*emptyMachine) Restore(io.Reader) error  { return nil }

// What could be taken for the wrong kind of state machine is refused by Start.
func TestUncertainStateMachineIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		state troupe.StateMachine
		words []string
	}{
		"nil":         {nil, []string{"no state machine"}},
		"nil pointer": {(*counter)(nil), []string{"nil *troupe_test.counter"}},
		"OnDisk that misses a result": {struct {
			*counter
			recoverApplied
		}{newCounter(), recoverApplied{}}, []string{"OnDisk", "Recover() (uint64, error) must be Recover() (uint64, []troupe.SessionRecord, error)"}},
		"both kinds": {struct {
			*counter
			recoverAll
		}{newCounter(), recoverAll{}}, []string{"both kinds", "Snapshot", "Recover"}},
		"neither kind": {applyOnly{}, []string{"neither kind", "Snapshot(io.Writer) error is missing", "Restore(io.Reader) error is missing",
			"Recover() (uint64, []troupe.SessionRecord, error) is missing"}},
		"InMemory with another Restore": {struct {
			applyOnly
			otherRestore
		}{}, []string{"neither kind", "Restore([]uint8) error must be Restore(io.Reader) error"}},
	} {
		_, err := startWith(t, 1, func() (troupe.StateMachine, error) { return c.state, nil },
			func(config *troupe.Config) { config.DebugChecks = false })
		if err == nil {
			t.Errorf("%s: started", name)
			continue
		}
		for _, word := range c.words {
			if !strings.Contains(err.Error(), word) {
				t.Errorf("%s: %v; want %q", name, err, word)
			}
		}
	}
}

type (
	recoverApplied struct{}
	recoverAll     struct{}
	applyOnly      struct{}
	otherRestore   struct{}
)

func (recoverApplied) Recover() (uint64, error)                     { return 0, nil }
func (recoverAll) Recover() (uint64, []troupe.SessionRecord, error) { return 0, nil, nil }
func (applyOnly) Apply(b *troupe.Batch) ([][]byte, error) {
	return make([][]byte, len(b.Commands)), nil
}
func (applyOnly) Close() error                { return nil }
func (otherRestore) Snapshot(io.Writer) error { return nil }
func (otherRestore) Restore([]byte) error     { return nil }

func TestFailedFactoryFailsStart(t *testing.T) {
	broken := errors.New("the disk of the application is broken")
	for _, debug := range []bool{false, true} {
		_, err := startWith(t, 1, func() (troupe.StateMachine, error) { return nil, broken },
			func(config *troupe.Config) { config.DebugChecks = debug })
		if !errors.Is(err, broken) {
			t.Errorf("with DebugChecks %v: Start returned %v", debug, err)
		}
	}
}

// After a restart of the actors the node has another state machine. Query uses that one, and only
// when it has applied what was acknowledged before.
func TestQueryUsesThePresentStateMachine(t *testing.T) {
	c := startTestCluster(t, 1, func(config *troupe.Config) {
		config.CrashInjection = true
		config.RestartLimit.Max = 1000
	})
	n := c.Node(1)
	seen := map[troupe.StateMachine]bool{}
	for i := range 20 {
		c.propose(1, "x")
		if i%2 == 1 {
			if err := n.CrashNow("machine"); err != nil {
				t.Fatal(err)
			}
		}
		for _, mode := range []troupe.ReadMode{troupe.ReadIndex, troupe.ReadLog, troupe.ReadLeader, troupe.ReadLocal} {
			err := n.Query(c.context(), mode, func(state troupe.StateMachine) error {
				seen[state] = true
				if sum, _ := state.(*counter).state(); sum != uint64(i+1) {
					t.Errorf("%v: %d commands of %d", mode, sum, i+1)
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(seen) < 2 {
		t.Error("the state machine was never replaced")
	}
	mine := errors.New("mine")
	if err := n.Query(c.context(), troupe.ReadIndex, func(troupe.StateMachine) error { return mine }); err != mine {
		t.Errorf("the query's error: %v", err)
	}
}
