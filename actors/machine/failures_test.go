package machine

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
	"github.com/troupe-raft/troupe/statemachine"
)

func applicationFailure(t *testing.T, s *fixture) *actors.ApplicationError {
	t.Helper()
	if len(s.Failures) != 1 {
		t.Fatalf("failures: %v", s.Failures)
	}
	f, ok := s.Failures[0].(*actors.ApplicationError)
	if !ok {
		t.Fatalf("failed with %v", s.Failures[0])
	}
	return f
}

func TestFailedApplyStopsTheNodeWithTheCommand(t *testing.T) {
	broken := errors.New("disk on fire")
	for _, c := range []struct {
		name string
		fail func(b *statemachine.Batch) ([][]byte, error)
		text string
	}{
		{"an error", func(*statemachine.Batch) ([][]byte, error) { return nil, broken }, "disk on fire"},
		{"a panic", func(b *statemachine.Batch) ([][]byte, error) { panic(fmt.Sprintf("cannot do %s", b.Commands[0].Data)) }, "panic: cannot do this"},
		{"too few results", func(*statemachine.Batch) ([][]byte, error) { return nil, nil }, "0 results for 1 commands"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var state *fakeInMemory
			s := newFixture(t).start(Config{Factory: inMemoryFactory(t, &state, c.fail)})
			s.send(&messages.Committed{Incarnation: incarnation, Entries: entriesOf(1, 1, raft.EncodeRegisterSession(nil, 1), commandEntry(1, 1, 1, "this"))})
			f := applicationFailure(t, s)
			// sha256("this") begins 1eb79602411ef02c
			if f.Index != 2 || f.CommandHash != "1eb79602411ef02c" || !strings.Contains(f.Error(), c.text) {
				t.Errorf("%v", f)
			}
			if c.name == "an error" && !errors.Is(f, broken) {
				t.Error("the cause is not wrapped")
			}
			if *state.open != 0 {
				t.Error("the state machine is open")
			}
			for _, m := range s.takeSessionMessages() {
				if _, ok := m.(*messages.CommandResults); ok {
					t.Errorf("the Session received %v", m)
				}
			}
		})
	}
}

func TestFailedBatchNamesItsCommands(t *testing.T) {
	var state *fakeInMemory
	s := newFixture(t).start(Config{Factory: inMemoryFactory(t, &state, func(b *statemachine.Batch) ([][]byte, error) {
		if len(b.Commands) == 0 {
			return nil, errors.New("nothing to do")
		}
		return nil, errors.New("one of them")
	})})
	s.send(&messages.Committed{Incarnation: incarnation, Entries: entriesOf(1, 1,
		raft.EncodeRegisterSession(nil, 1), commandEntry(1, 1, 1, "this"), raft.EncodeNoop(), commandEntry(1, 2, 1, "that"))})
	if f := applicationFailure(t, s); f.Index != 2 || !strings.Contains(f.Error(), "2 commands up to index 4") {
		t.Errorf("%v", f)
	}

	s.Failures = nil
	s.start(Config{Factory: inMemoryFactory(t, &state, state.fail)})
	s.send(&messages.Committed{Incarnation: incarnation, Entries: entriesOf(1, 1, raft.EncodeNoop(), raft.EncodeNoop())})
	if f := applicationFailure(t, s); f.Index != 0 || !strings.Contains(f.Error(), "without commands that ends at index 2: nothing to do") {
		t.Errorf("%v", f)
	}
}

// failingRecovery is an OnDisk state machine with a Recover of the test.
type failingRecovery struct {
	fakeOnDisk
	recover func() (uint64, []statemachine.SessionRecord, error)
}

func (s *failingRecovery) Recover() (uint64, []statemachine.SessionRecord, error) { return s.recover() }

func TestFailedOpenStopsTheNode(t *testing.T) {
	recovering := func(f func() (uint64, []statemachine.SessionRecord, error)) statemachine.Factory {
		return func() (statemachine.StateMachine, error) { return &failingRecovery{recover: f}, nil }
	}
	for name, c := range map[string]struct {
		factory statemachine.Factory
		text    string
	}{
		"an error":            {func() (statemachine.StateMachine, error) { return nil, errors.New("no such directory") }, "open the state machine: no such directory"},
		"a panic":             {func() (statemachine.StateMachine, error) { panic("oh") }, "open the state machine: panic: oh"},
		"nothing":             {func() (statemachine.StateMachine, error) { return nil, nil }, "returned no state machine"},
		"a failed recovery":   {recovering(func() (uint64, []statemachine.SessionRecord, error) { return 0, nil, errors.New("bad block") }), "recover the state machine: bad block"},
		"a panic in recovery": {recovering(func() (uint64, []statemachine.SessionRecord, error) { panic("oh") }), "recover the state machine: panic: oh"},
		"damaged session records": {recovering(func() (uint64, []statemachine.SessionRecord, error) {
			return 5, []statemachine.SessionRecord{{Index: 4, Data: []byte{1, 1, 9}}}, nil
		}), "record at index 4: the session records are damaged"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newFixture(t).start(Config{Factory: c.factory})
			if f := applicationFailure(t, s); f.Index != 0 || !strings.Contains(f.Error(), c.text) {
				t.Errorf("%v", f)
			}
			expectMessages(t, "the Node", s.toNode)
		})
	}
}

func TestOnDiskMustStoreItsSessionRecordOnce(t *testing.T) {
	for text, fail := range map[string]func(b *statemachine.Batch) ([][]byte, error){
		"did not store its session record": func(b *statemachine.Batch) ([][]byte, error) { return make([][]byte, len(b.Commands)), nil },
		"called before: true": func(b *statemachine.Batch) ([][]byte, error) {
			b.SessionUpdate(make([][]byte, 1))
			b.SessionUpdate(make([][]byte, 1))
			return make([][]byte, 1), nil
		},
		"called with 3 results for 1": func(b *statemachine.Batch) ([][]byte, error) {
			b.SessionUpdate(make([][]byte, 3))
			return make([][]byte, 1), nil
		},
	} {
		s := newFixture(t).start(Config{Factory: func() (statemachine.StateMachine, error) { return &fakeOnDisk{disk: new(fakeDisk), fail: fail}, nil }})
		s.send(&messages.Committed{Incarnation: incarnation, Entries: entriesOf(1, 1, raft.EncodeRegisterSession(nil, 1), commandEntry(1, 1, 1, "x"))})
		if f := applicationFailure(t, s); f.Index != 2 || !strings.Contains(f.Error(), text) {
			t.Errorf("%s: %v", text, f)
		}
	}
}

func TestUnknownCommittedEntryStopsTheNode(t *testing.T) {
	s, _ := startWithSession(t)
	s.send(&messages.Committed{Incarnation: incarnation, Entries: entriesOf(2, 1, []byte{200})})
	if len(s.Failures) != 1 {
		t.Fatal("it did not fail")
	}
	f, ok := s.Failures[0].(*actors.FatalError)
	if !ok || !errors.Is(f, raft.ErrMalformedEntry) || !strings.Contains(f.Error(), "entry 2") {
		t.Errorf("%v", s.Failures[0])
	}
}
