// Package actortest is an environment for the test of one actor. Its clock stands still until the
// test advances it, and nothing runs but in Run and what calls it. A test is thus one goroutine: it
// sends messages, and checks what the actor has sent, stored and logged by then.
//
// A failed actor is stopped and the reason recorded. A part of the environment that the test did
// not provide panics when the actor uses it, so a test also shows what its actor does not need.
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

// Env implements actors.Env for one actor, its parent and its children.
type Env struct {
	System *actor.ActorSystem

	// Disk, Rand, ToPeer and ToSession are what the actor may use; it panics where they are nil.
	// ToPeer and ToSession are called with each message at the moment in which it is sent.
	Disk      vfs.FS
	Rand      actors.Random
	ToPeer    func(id uint64, role messages.Receiver, message proto.Message)
	ToSession func(message proto.Message)

	// RestartFailed makes supervision restart a failed actor instead of stopping it.
	RestartFailed bool
	// Failures are the reasons of the failures, except those of Crash.
	Failures []any
	// Timers are those that have not fired, including stopped ones.
	Timers []*Timer
	// Logged is what the actor logged.
	Logged bytes.Buffer
	// Views are the states that the actor published.
	Views Views

	id      uint64
	log     zerolog.Logger
	queue   []func() // what is to run, from position handled on
	handled int
	now     time.Duration
}

// Timer is a message that will be sent when the clock reaches Due.
type Timer struct {
	Due     time.Duration
	To      *actor.PID
	Message proto.Message
	Stopped bool
}

// Stop keeps the message from being sent.
func (t *Timer) Stop() { t.Stopped = true }

// New makes an environment of the node with this id.
func New(id uint64) *Env {
	e := &Env{id: id}
	e.log = zerolog.New(&e.Logged)
	discard := slog.New(slog.DiscardHandler)
	e.System = actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return discard }))
	return e
}

// SpawnBelow spawns an actor below a parent that passes its messages to receive. Run starts both.
func (e *Env) SpawnBelow(name string, producer actor.Producer, receive func(proto.Message)) (parent, child *actor.PID) {
	parent = e.System.Root.Spawn(e.Props(func() actor.Actor {
		return actor.ReceiveFunc(func(ctx actor.Context) {
			switch m := ctx.Message().(type) {
			case *actor.Started:
				if _, err := ctx.SpawnNamed(e.Props(producer), name); err != nil {
					panic(err)
				}
			case *actor.Terminated:
			case proto.Message:
				receive(m)
			}
		})
	}))
	return parent, actor.NewPID(parent.Address, parent.Id+"/"+name)
}

// Run handles messages until there are none.
func (e *Env) Run() {
	for len(e.queue) > e.handled {
		e.handled++
		e.queue[e.handled-1]()
	}
	e.queue, e.handled = e.queue[:0], 0
}

// Send puts all messages into an actor's mailbox, then runs.
func (e *Env) Send(to *actor.PID, all ...proto.Message) {
	for _, m := range all {
		e.System.Root.Send(to, m)
	}
	e.Run()
}

// Advance moves the clock, and fires the timers that are due on the way.
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

// Crash makes an actor panic. It is restarted and keeps its mailbox.
func (e *Env) Crash(pid *actor.PID) {
	e.System.Root.Send(pid, &crashMessage{})
	e.Run()
}

// Props make Env the dispatcher and the supervision of an actor.
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

// Schedule implements actor.Dispatcher.
func (e *Env) Schedule(fn func()) { e.queue = append(e.queue, fn) }

// Throughput implements actor.Dispatcher.
func (e *Env) Throughput() int { return 1000 }

// HandleFailure implements actor.SupervisorStrategy.
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

// Sink is a PID that passes each message to receive at the moment in which it is sent.
func (e *Env) Sink(name string, receive func(proto.Message)) *actor.PID {
	if _, known := e.System.ProcessRegistry.GetLocal(name); !known {
		e.System.ProcessRegistry.Add(sink(receive), name)
	}
	return actor.NewPID(e.System.Address(), name)
}

type sink func(proto.Message)

func (receive sink) SendUserMessage(_ *actor.PID, message any) {
	_, m, _ := actor.UnwrapEnvelope(message)
	receive(m.(proto.Message))
}
func (sink) SendSystemMessage(*actor.PID, any) {}
func (sink) Stop(*actor.PID)                   {}
