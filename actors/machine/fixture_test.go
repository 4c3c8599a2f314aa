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

// fixture runs a Machine, and records what it sends to the Node, the LogReader and the Session.
type fixture struct {
	*actortest.Env
	t       testing.TB
	pid     *actor.PID
	machine *Machine // of the newest start

	toNode, toReader, toSession []proto.Message
}

const (
	ownNodeID   = 7
	incarnation = 3
)

func newFixture(t testing.TB) *fixture {
	f := &fixture{Env: actortest.New(ownNodeID), t: t}
	f.ToSession = func(m proto.Message) { f.toSession = append(f.toSession, m) }
	return f
}

// start spawns a Machine and clears what was recorded before.
func (f *fixture) start(config Config) *fixture { return f.startWith(featureLevel1Limits, config) }

func (f *fixture) startWith(l SessionLimits, config Config) *fixture {
	f.toNode, f.toSession, f.toReader = nil, nil, nil
	config.Incarnation = incarnation
	config.Reader = f.Sink("reader", func(m proto.Message) { f.toReader = append(f.toReader, m) })
	producer := New(f, config)
	_, f.pid = f.SpawnBelow(actors.MachineName, func() actor.Actor {
		f.machine = producer().(*Machine)
		f.machine.limits = l
		return f.machine
	}, func(m proto.Message) { f.toNode = append(f.toNode, m) })
	f.Run()
	return f
}

func (f *fixture) stop() {
	f.System.Root.Stop(f.pid)
	f.Run()
}

func (f *fixture) send(m proto.Message) { f.Env.Send(f.pid, m) }

// commit responds to the pending Pull, which there must be.
func (f *fixture) commit(term uint64, data ...[]byte) {
	f.t.Helper()
	f.send(&messages.Committed{Incarnation: incarnation, Entries: entriesOf(f.pullFrom(), term, data...)})
}

// pullFrom is where the pending Pull begins.
func (f *fixture) pullFrom() uint64 {
	f.t.Helper()
	if len(f.toNode) == 0 {
		f.t.Fatalf("no Pull: failures %v", f.Failures)
	}
	pull, ok := f.toNode[len(f.toNode)-1].(*messages.Pull)
	if !ok {
		f.t.Fatalf("the Node received %v last, not a Pull", f.toNode[len(f.toNode)-1])
	}
	return pull.From
}

func (f *fixture) takeSessionMessages() []proto.Message {
	received := f.toSession
	f.toSession = nil
	return received
}

// takeResults are the CommandResults since the last call.
func (f *fixture) takeResults() (all []*messages.CommandResults) {
	for _, m := range f.takeSessionMessages() {
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

// fireTimers fires all timers that were not stopped.
func (f *fixture) fireTimers() {
	timers := f.Timers
	f.Timers = nil
	for _, timer := range timers {
		if !timer.Stopped {
			f.Env.Send(timer.To, timer.Message)
		}
	}
}

func (f *fixture) lastView() actors.MachineView { return f.Views.Machines[len(f.Views.Machines)-1] }

// appliedCommand is a command that a state machine has applied.
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

// replyBound bounds what replyTo returns. It allocates nothing.
func replyBound(command []byte) (n int) {
	big, isBig := bytes.CutPrefix(command, []byte("big:"))
	if !isBig {
		const indexBytes = 21
		return indexBytes + len(command)
	}
	for _, digit := range big {
		n = 10*n + int(digit-'0')
	}
	return n
}

func (s *fakeInMemory) MaxResultBytes(command []byte) int { return replyBound(command) }
func (s *fakeOnDisk) MaxResultBytes(command []byte) int   { return replyBound(command) }

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
		return nil, errors.New("an InMemory state machine has to store no session record")
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

// inMemoryFactory makes empty state machines, of which one at a time may be open.
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

// fakeDisk is what a fakeOnDisk machine has stored after each of its batches.
type fakeDisk struct {
	states []diskState
}

type diskState struct {
	last     uint64
	applied  []appliedCommand
	sessions []statemachine.SessionRecord
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
	return state.last, state.sessions, nil
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
	next.sessions = old.sessions[:len(old.sessions):len(old.sessions)]
	if len(update.Put.Data) > 0 {
		next.sessions = append(next.sessions, statemachine.SessionRecord{Index: update.Put.Index, Data: bytes.Clone(update.Put.Data)})
	}
	next.sessions = slices.DeleteFunc(slices.Clone(next.sessions), func(r statemachine.SessionRecord) bool { return r.Index < update.DropBelow })
	s.disk.states = append(s.disk.states, next)
	return results, nil
}

func (s *fakeOnDisk) Close() error { return nil }
