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
	"github.com/troupe-raft/troupe/actors/internal/rehearsal"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// stage is everything around a Machine: its Node, LogReader and handle, which only write down what they hear, and an
// environment in which every message is handled before send returns.
type stage struct {
	*rehearsal.Env
	t       testing.TB
	parent  *actor.PID
	reader  *actor.PID
	handle  *actor.PID
	machine *actor.PID
	actor   *Machine // the newest incarnation

	toNode, toReader, toHandle []proto.Message
	views                      []actors.MachineView
}

const (
	ownNode     = 7
	incarnation = 3
)

type spawnMachine struct {
	limits limits
	config Config
}

func newStage(t testing.TB) *stage {
	s := &stage{Env: rehearsal.New(ownNode), t: t}
	s.reader = s.listener(&s.toReader)
	s.handle = s.listener(&s.toHandle)
	s.parent = s.System.Root.Spawn(s.Props(func() actor.Actor {
		return actor.ReceiveFunc(func(ctx actor.Context) {
			switch m := ctx.Message().(type) {
			case *spawnMachine:
				m.config.Incarnation, m.config.Reader = incarnation, s.reader
				producer := New(s, m.config)
				s.machine = ctx.Spawn(s.Props(func() actor.Actor {
					s.actor = producer().(*Machine)
					s.actor.limits = m.limits
					return s.actor
				}))
			case *actor.Terminated:
			case proto.Message:
				s.toNode = append(s.toNode, m)
			}
		})
	}))
	return s
}

func (s *stage) listener(heard *[]proto.Message) *actor.PID {
	return s.System.Root.Spawn(s.Props(func() actor.Actor {
		return actor.ReceiveFunc(func(ctx actor.Context) {
			if m, ok := ctx.Message().(proto.Message); ok {
				*heard = append(*heard, m)
			}
		})
	}))
}

// start spawns a Machine and forgets what was heard before.
func (s *stage) start(config Config) *stage { return s.startWith(featureLevel1, config) }

func (s *stage) startWith(l limits, config Config) *stage {
	s.toNode, s.toHandle, s.toReader = nil, nil, nil
	s.System.Root.Send(s.parent, &spawnMachine{limits: l, config: config})
	s.Run()
	return s
}

func (s *stage) stop() {
	s.System.Root.Stop(s.machine)
	s.Run()
}

func (s *stage) send(m proto.Message) { s.Env.Send(s.machine, m) }

// commit answers the standing Pull, which must be there.
func (s *stage) commit(term uint64, data ...[]byte) {
	s.t.Helper()
	s.send(&messages.Committed{Incarnation: incarnation, Entries: entriesOf(s.pulled(), term, data...)})
}

// pulled is where the Pull that stands at the Node begins.
func (s *stage) pulled() uint64 {
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

func (s *stage) heard() []proto.Message {
	heard := s.toHandle
	s.toHandle = nil
	return heard
}

// results are the Results heard since last asked.
func (s *stage) results() (all []*messages.Results) {
	for _, m := range s.heard() {
		if r, ok := m.(*messages.Results); ok {
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

func (s *stage) Handle() *actor.PID  { return s.handle }
func (s *stage) Probe() actors.Probe { return stageProbe{s: s} }

// fire lets all timers run out that were not stopped.
func (s *stage) fire() {
	timers := s.Timers
	s.Timers = nil
	for _, timer := range timers {
		if !timer.Stopped {
			s.Env.Send(timer.To, timer.Message)
		}
	}
}

func (s *stage) lastView() actors.MachineView { return s.views[len(s.views)-1] }

// stageProbe is what the Machine shows itself to.
type stageProbe struct {
	rehearsal.NoProbe
	s *stage
}

func (p stageProbe) Machine(v actors.MachineView) { p.s.views = append(p.s.views, v) }

// done is one command as a state machine saw it.
type done struct {
	index, term uint64
	data        string
}

// answerTo is what the test's state machines answer: the index and the command; for "big:N" N bytes.
func answerTo(c Command) []byte {
	var n int
	if _, err := fmt.Sscanf(string(c.Data), "big:%d", &n); err == nil {
		return bytes.Repeat([]byte{'x'}, n)
	}
	return fmt.Appendf(nil, "%d=%s", c.Index, c.Data)
}

// inMemory is a state machine that remembers what it applied.
type inMemory struct {
	t       testing.TB
	open    *int // how many are open; never more than one
	applied []done
	last    uint64
	fail    func(b *Batch) ([][]byte, error)
}

func (s *inMemory) Apply(b *Batch) ([][]byte, error) {
	if s.fail != nil {
		return s.fail(b)
	}
	if b.Ledger != nil {
		return nil, errors.New("an InMemory machine is asked to store a ledger")
	}
	results := make([][]byte, len(b.Commands))
	for i, c := range b.Commands {
		s.applied = append(s.applied, done{c.Index, c.Term, string(c.Data)})
		results[i] = answerTo(c)
	}
	s.last = b.Last
	return results, nil
}

func (s *inMemory) Close() error {
	if s.open != nil {
		*s.open--
	}
	return nil
}

// factory makes empty ones, each the successor of the last.
func factoryOf(t testing.TB, newest **inMemory, fail func(b *Batch) ([][]byte, error)) Factory {
	open := new(int)
	return func() (StateMachine, error) {
		if *open++; *open > 1 {
			t.Errorf("%d state machines are open", *open)
		}
		*newest = &inMemory{t: t, open: open, fail: fail}
		return *newest, nil
	}
}

// disk is what an onDisk machine has stored after each of its batches.
type disk struct {
	states []diskState
}

type diskState struct {
	last    uint64
	applied []done
	ledger  []LedgerRecord
}

func (d *disk) newest() diskState {
	if len(d.states) == 0 {
		return diskState{}
	}
	return d.states[len(d.states)-1]
}

// onDisk is a state machine that persists itself, as OnDisk demands.
type onDisk struct {
	disk *disk
	fail func(b *Batch) ([][]byte, error)
}

func (s *onDisk) Recover() (uint64, []LedgerRecord, error) {
	state := s.disk.newest()
	return state.last, state.ledger, nil
}

func (s *onDisk) Apply(b *Batch) ([][]byte, error) {
	if s.fail != nil {
		return s.fail(b)
	}
	old := s.disk.newest()
	next := diskState{last: b.Last, applied: append([]done(nil), old.applied...)}
	results := make([][]byte, len(b.Commands))
	for i, c := range b.Commands {
		next.applied = append(next.applied, done{c.Index, c.Term, string(c.Data)})
		results[i] = answerTo(c)
	}
	update := b.Ledger(results)
	next.ledger = old.ledger[:len(old.ledger):len(old.ledger)]
	if len(update.Put.Data) > 0 {
		next.ledger = append(next.ledger, LedgerRecord{Index: update.Put.Index, Data: bytes.Clone(update.Put.Data)})
	}
	next.ledger = slices.DeleteFunc(slices.Clone(next.ledger), func(r LedgerRecord) bool { return r.Index < update.DropBelow })
	s.disk.states = append(s.disk.states, next)
	return results, nil
}

func (s *onDisk) Close() error { return nil }
