package machine

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/actors/internal/actortest"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
	"github.com/troupe-raft/troupe/statemachine"
)

// stage is everything around a Machine: its Node, LogReader and handle, which only write down what they hear, and an
// environment in which every message is handled before send returns.
type fixture struct {
	*actortest.Env
	t       testing.TB
	parent  *actor.PID
	reader  *actor.PID
	session *actor.PID
	pid     *actor.PID
	machine *Machine // the newest incarnation

	toNode, toReader, toSession []proto.Message
	views                       []actors.MachineView
}

const (
	ownNodeID   = 7
	incarnation = 3
)

type spawnMachine struct {
	limits sessionLimits
	config Config
}

func newFixture(t testing.TB) *fixture {
	s := &fixture{Env: actortest.New(ownNodeID), t: t}
	s.reader = s.recordMessages(&s.toReader)
	s.session = s.recordMessages(&s.toSession)
	s.parent = s.System.Root.Spawn(s.Props(func() actor.Actor {
		return actor.ReceiveFunc(func(ctx actor.Context) {
			switch m := ctx.Message().(type) {
			case *spawnMachine:
				m.config.Incarnation, m.config.Reader = incarnation, s.reader
				producer := New(s, m.config)
				s.pid = ctx.Spawn(s.Props(func() actor.Actor {
					s.machine = producer().(*Machine)
					s.machine.limits = m.limits
					return s.machine
				}))
			case *actor.Terminated:
			case proto.Message:
				s.toNode = append(s.toNode, m)
			}
		})
	}))
	return s
}

func (s *fixture) recordMessages(heard *[]proto.Message) *actor.PID {
	return s.System.Root.Spawn(s.Props(func() actor.Actor {
		return actor.ReceiveFunc(func(ctx actor.Context) {
			if m, ok := ctx.Message().(proto.Message); ok {
				*heard = append(*heard, m)
			}
		})
	}))
}

// start spawns a Machine and forgets what was heard before.
func (s *fixture) start(config Config) *fixture { return s.startWith(featureLevel1Limits, config) }

func (s *fixture) startWith(l sessionLimits, config Config) *fixture {
	s.toNode, s.toSession, s.toReader = nil, nil, nil
	s.System.Root.Send(s.parent, &spawnMachine{limits: l, config: config})
	s.Run()
	return s
}

func (s *fixture) stop() {
	s.System.Root.Stop(s.pid)
	s.Run()
}

func (s *fixture) send(m proto.Message) { s.Env.Send(s.pid, m) }

// commit answers the standing Pull, which must be there.
func (s *fixture) commit(term uint64, data ...[]byte) {
	s.t.Helper()
	s.send(&messages.Committed{Incarnation: incarnation, Entries: entriesOf(s.pullFrom(), term, data...)})
}

// pulled is where the Pull that stands at the Node begins.
func (s *fixture) pullFrom() uint64 {
	s.t.Helper()
	if len(s.toNode) == 0 {
		s.t.Fatalf("no Pull: failures %v", s.Failures)
	}
	pull, ok := s.toNode[len(s.toNode)-1].(*messages.Pull)
	if !ok {
		s.t.Fatalf("the Node heard %v last, not a Pull", s.toNode[len(s.toNode)-1])
	}
	return pull.From
}

func (s *fixture) takeSessionMessages() []proto.Message {
	heard := s.toSession
	s.toSession = nil
	return heard
}

// results are the Results heard since last asked.
func (s *fixture) takeResults() (all []*messages.CommandResults) {
	for _, m := range s.takeSessionMessages() {
		if r, ok := m.(*messages.CommandResults); ok {
			all = append(all, r)
		}
	}
	return all
}

func entriesOf(first, term uint64, data ...[]byte) *messages.Entries {
	e := &messages.Entries{First: first, Runs: []*messages.TermRun{{FirstIndex: first, Term: term}}, Data: data}
	for _, d := range data {
		e.Bytes += uint64(len(d))
	}
	if err := raft.CheckEntries(e); err != nil && raft.KindOf(data[0]) != 0 {
		panic(err)
	}
	return e
}

// The environment.

func (s *fixture) Session() *actor.PID            { return s.session }
func (s *fixture) Observer() actors.StateObserver { return fixtureObserver{fixture: s} }

// fire lets all timers run out that were not stopped.
func (s *fixture) fireTimers() {
	timers := s.Timers
	s.Timers = nil
	for _, timer := range timers {
		if !timer.Stopped {
			s.Env.Send(timer.To, timer.Message)
		}
	}
}

func (s *fixture) lastView() actors.MachineView { return s.views[len(s.views)-1] }

// fixtureObserver is what the Machine shows itself to.
type fixtureObserver struct {
	actortest.NoObserver
	fixture *fixture
}

func (p fixtureObserver) Machine(v actors.MachineView) { p.fixture.views = append(p.fixture.views, v) }

// done is one command as a state machine saw it.
type appliedCommand struct {
	index, term uint64
	data        string
}

// replyTo is what the test's state machines answer: the index and the command; for "big:N" N bytes.
func replyTo(c statemachine.Command) []byte {
	var n int
	if _, err := fmt.Sscanf(string(c.Data), "big:%d", &n); err == nil {
		return bytes.Repeat([]byte{'x'}, n)
	}
	return fmt.Appendf(nil, "%d=%s", c.Index, c.Data)
}

// fakeInMemory is a state machine that remembers what it applied.
type fakeInMemory struct {
	t       testing.TB
	open    *int // how many are open; never more than one
	applied []appliedCommand
	last    uint64
	fail    func(b *statemachine.Batch) ([][]byte, error)
}

func (s *fakeInMemory) Apply(b *statemachine.Batch) ([][]byte, error) {
	if s.fail != nil {
		return s.fail(b)
	}
	if b.SessionUpdate != nil {
		return nil, errors.New("an InMemory machine is asked to store a ledger")
	}
	results := make([][]byte, len(b.Commands))
	for i, c := range b.Commands {
		s.applied = append(s.applied, appliedCommand{c.Index, c.Term, string(c.Data)})
		results[i] = replyTo(c)
	}
	s.last = b.Last
	return results, nil
}

func (s *fakeInMemory) Close() error {
	if s.open != nil {
		*s.open--
	}
	return nil
}

// factory makes empty ones, each the successor of the last.
func inMemoryFactory(t testing.TB, newest **fakeInMemory, fail func(b *statemachine.Batch) ([][]byte, error)) statemachine.Factory {
	open := new(int)
	return func() (statemachine.StateMachine, error) {
		if *open++; *open > 1 {
			t.Errorf("%d state machines are open", *open)
		}
		*newest = &fakeInMemory{t: t, open: open, fail: fail}
		return *newest, nil
	}
}

// disk is what an fakeOnDisk machine has stored after each of its batches.
type fakeDisk struct {
	states []diskState
}

type diskState struct {
	last    uint64
	applied []appliedCommand
	ledger  []statemachine.SessionRecord
}

func (d *fakeDisk) newest() diskState {
	if len(d.states) == 0 {
		return diskState{}
	}
	return d.states[len(d.states)-1]
}

// fakeOnDisk is a state machine that persists itself, as OnDisk demands.
type fakeOnDisk struct {
	disk *fakeDisk
	fail func(b *statemachine.Batch) ([][]byte, error)
}

func (s *fakeOnDisk) Recover() (uint64, []statemachine.SessionRecord, error) {
	state := s.disk.newest()
	return state.last, state.ledger, nil
}

func (s *fakeOnDisk) Apply(b *statemachine.Batch) ([][]byte, error) {
	if s.fail != nil {
		return s.fail(b)
	}
	old := s.disk.newest()
	next := diskState{last: b.Last, applied: append([]appliedCommand(nil), old.applied...)}
	results := make([][]byte, len(b.Commands))
	for i, c := range b.Commands {
		next.applied = append(next.applied, appliedCommand{c.Index, c.Term, string(c.Data)})
		results[i] = replyTo(c)
	}
	update := b.SessionUpdate(results)
	next.ledger = old.ledger[:len(old.ledger):len(old.ledger)]
	if len(update.Put.Data) > 0 {
		next.ledger = append(next.ledger, statemachine.SessionRecord{Index: update.Put.Index, Data: bytes.Clone(update.Put.Data)})
	}
	next.ledger = slices.DeleteFunc(slices.Clone(next.ledger), func(r statemachine.SessionRecord) bool { return r.Index < update.DropBelow })
	s.disk.states = append(s.disk.states, next)
	return results, nil
}

func (s *fakeOnDisk) Close() error { return nil }
