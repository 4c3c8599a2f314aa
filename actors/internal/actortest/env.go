// Package rehearsal is the environment in which one actor is tested: a clock that stands still, a queue that nothing runs from
// until the test says so, supervision that stops and writes down. A test is then one goroutine and tells its story in
// order: what arrives, what must be said, what must not be said before the disk has it.
//
// What an actor has no business with is not here: a test that gives it less than an environment finds out by a panic. Each
// test package embeds an Env in a stage of its own and adds what its actor does need.
package actortest

import (
	"bytes"
	"log/slog"
	"sort"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/rs/zerolog"
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/persistence/vfs"
)

// Env is the part of an actors.Env that every actor has. Nothing runs but in Run and what calls it.
type Env struct {
	System *actor.ActorSystem
	// Failures are the reasons of actors that failed, but for the crashes of Crash.
	Failures []any
	// Restart is what supervision does about a failure; otherwise the actor is stopped. After Crash it is always restarted.
	RestartFailed bool
	// Timers that were neither fired nor forgotten, stopped ones too.
	Timers []*Timer
	// Logged is what the actor wrote to its log.
	Logged bytes.Buffer

	id      uint64
	log     zerolog.Logger
	queue   []func() // what is to run, once the first `handled` of it are done
	handled int
	now     time.Duration
}

// Timer is a message under way to the future.
type Timer struct {
	Due     time.Duration
	To      *actor.PID
	Message proto.Message
	Stopped bool
}

// Stop keeps the message from being sent.
func (t *Timer) Stop() { t.Stopped = true }

// New is an environment of the node with this id.
func New(id uint64) *Env {
	e := &Env{id: id}
	e.log = zerolog.New(&e.Logged)
	quiet := slog.New(slog.DiscardHandler)
	e.System = actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return quiet }))
	return e
}

// Run handles messages until none is left.
func (e *Env) Run() {
	for len(e.queue) > e.handled {
		e.handled++
		e.queue[e.handled-1]()
	}
	e.queue, e.handled = e.queue[:0], 0
}

// Send puts messages into an actor's mailbox, all of them before it handles the first.
func (e *Env) Send(to *actor.PID, all ...proto.Message) {
	for _, m := range all {
		e.System.Root.Send(to, m)
	}
	e.Run()
}

// Pass lets time pass, and fires what comes due on the way.
func (e *Env) Advance(d time.Duration) {
	until := e.now + d
	for {
		sort.SliceStable(e.Timers, func(i, j int) bool { return e.Timers[i].Due < e.Timers[j].Due })
		if len(e.Timers) == 0 || e.Timers[0].Due > until {
			break
		}
		t := e.Timers[0]
		e.Timers = e.Timers[1:]
		e.now = max(e.now, t.Due)
		if !t.Stopped {
			e.Send(t.To, t.Message)
		}
	}
	e.now = until
}

type crashMessage struct{}

// Crash ends an actor, and all below it, as a panic does; supervision restarts it with its mailbox.
func (e *Env) Crash(pid *actor.PID) {
	e.System.Root.Send(pid, &crashMessage{})
	e.Run()
}

// Props have the actor run in Run alone, under the supervision of this Env.
func (e *Env) Props(producer actor.Producer, options ...actor.PropsOption) *actor.Props {
	options = append(options, actor.WithDispatcher(e), actor.WithSupervisor(e), actor.WithReceiverMiddleware(crashMiddleware))
	return actor.PropsFromProducer(producer, options...)
}

func crashMiddleware(next actor.ReceiverFunc) actor.ReceiverFunc {
	return func(ctx actor.ReceiverContext, m *actor.MessageEnvelope) {
		if _, ok := m.Message.(*crashMessage); ok {
			panic("crash injected by the test")
		}
		next(ctx, m)
	}
}

// Schedule and Throughput make Env the dispatcher of its actors.
func (e *Env) Schedule(fn func()) { e.queue = append(e.queue, fn) }
func (e *Env) Throughput() int    { return 1000 }

// HandleFailure makes Env the supervisor of its actors.
func (e *Env) HandleFailure(_ *actor.ActorSystem, supervisor actor.Supervisor, child *actor.PID, _ *actor.RestartStatistics, reason, message any) {
	_, injected := message.(*crashMessage)
	if !injected {
		e.Failures = append(e.Failures, reason)
	}
	if injected || e.RestartFailed {
		supervisor.RestartChildren(child)
		return
	}
	supervisor.StopChildren(child)
}

// Ear is the PID of a process that is no actor: what it is sent, it hears in the moment of sending.
func (e *Env) Sink(name string, hear func(proto.Message)) *actor.PID {
	if _, known := e.System.ProcessRegistry.GetLocal(name); !known {
		e.System.ProcessRegistry.Add(sink(hear), name)
	}
	return actor.NewPID(e.System.Address(), name)
}

type sink func(proto.Message)

func (hear sink) SendUserMessage(_ *actor.PID, message any) {
	_, m, _ := actor.UnwrapEnvelope(message)
	hear(m.(proto.Message))
}
func (sink) SendSystemMessage(*actor.PID, any) {}
func (sink) Stop(*actor.PID)                   {}

func (e *Env) ID() uint64         { return e.id }
func (e *Env) Now() time.Duration { return e.now }

// After writes the timer down; Pass fires it.
func (e *Env) After(d time.Duration, to *actor.PID, message proto.Message) actors.Timer {
	t := &Timer{Due: e.now + d, To: to, Message: message}
	e.Timers = append(e.Timers, t)
	return t
}

func (e *Env) Log() *zerolog.Logger                     { return &e.log }
func (e *Env) Random() actors.Random                    { panic("this actor needs no randomness") }
func (e *Env) FS() vfs.FS                               { panic("this actor needs no files") }
func (e *Env) PeerPID(uint64, messages.Role) *actor.PID { panic("this actor knows no peers") }
func (e *Env) SetPeers([]*messages.Member)              { panic("this actor decides on no peers") }
func (e *Env) Session() *actor.PID                      { panic("this actor says nothing to the handle") }
func (e *Env) Observer() actors.StateObserver           { return nil }

var _ actors.Env = (*Env)(nil)

// NoObserver looks at nothing. A test embeds it in a probe that looks at its own actor.
type NoObserver struct{}

func (NoObserver) Node(actors.NodeView)             {}
func (NoObserver) Log(actors.LogView)               {}
func (NoObserver) Machine(actors.MachineView)       {}
func (NoObserver) Replicator(actors.ReplicatorView) {}
func (NoObserver) Synced(int, int, time.Duration)   {}
