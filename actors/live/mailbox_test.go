package live

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/rs/zerolog"

	"github.com/troupe-raft/troupe/messages"
)

const testTimeout = time.Minute

// newTestEnv makes an environment without peers.
func newTestEnv(t testing.TB, options Options) *Env {
	t.Helper()
	if options.ID == 0 {
		options.ID = 1
	}
	if options.Address == "" {
		options.Address = fmt.Sprintf("node-%x:2380", options.ID)
	}
	options.Logger = zerolog.Nop()
	env := New(options)
	t.Cleanup(env.Close)
	return env
}

// recordingActor returns an actor that sends each message to the channel: a Tick as its number,
// other messages as the name of their type.
func recordingActor(received chan<- any) actor.Producer {
	return func() actor.Actor {
		return actor.ReceiveFunc(func(ctx actor.Context) {
			switch m := ctx.Message().(type) {
			case *messages.Tick:
				received <- m.Timer
			case func():
				m()
			default:
				received <- fmt.Sprintf("%T", m)
			}
		})
	}
}

func receiveNext(t *testing.T, received <-chan any) any {
	t.Helper()
	select {
	case m := <-received:
		return m
	case <-time.After(testTimeout):
		t.Fatal("no message was received")
		return nil
	}
}

func expect(t *testing.T, received <-chan any, wanted ...any) {
	t.Helper()
	for _, want := range wanted {
		if got := receiveNext(t, received); got != want {
			t.Fatalf("received %v, want %v", got, want)
		}
	}
}

func stopAndWait(t testing.TB, env *Env, pids ...*actor.PID) {
	t.Helper()
	for _, pid := range pids {
		if err := env.System().Root.StopFuture(pid).Wait(); err != nil {
			t.Fatalf("stop %v: %v", pid, err)
		}
	}
	env.AwaitActors()
}

func TestMessageSentDuringSpawnFollowsStarted(t *testing.T) {
	env := newTestEnv(t, Options{})
	for round := range 300 {
		name := fmt.Sprintf("actor-%d", round)
		received := make(chan any, 1024)
		spawned := make(chan struct{})
		var senders sync.WaitGroup
		for range 2 {
			senders.Go(func() {
				for {
					if process, ok := env.System().ProcessRegistry.GetLocal(name); ok {
						process.SendUserMessage(nil, &messages.Tick{Timer: 1})
						return
					}
					select {
					case <-spawned:
						return
					default:
						runtime.Gosched()
					}
				}
			})
		}
		pid, err := env.System().Root.SpawnNamed(env.Props(recordingActor(received)), name)
		if err != nil {
			t.Fatal(err)
		}
		close(spawned)
		senders.Wait()
		expect(t, received, "*actor.Started")
		env.System().Root.Stop(pid)
	}
	env.AwaitActors()
}

func TestEarlyMessagesFollowStartedInOrder(t *testing.T) {
	env := newTestEnv(t, Options{})
	received := make(chan any, 16)
	// OnInit runs when the PID is published and the mailbox has no handlers yet.
	onInit := actor.WithOnInit(func(ctx actor.Context) {
		for n := range uint64(3) {
			env.System().Root.Send(ctx.Self(), &messages.Tick{Timer: n + 1})
		}
	})
	pid := env.System().Root.Spawn(env.Props(recordingActor(received), onInit))
	expect(t, received, "*actor.Started", uint64(1), uint64(2), uint64(3))
	stopAndWait(t, env, pid)
}

func TestMessagesOfOneSenderKeepTheirOrder(t *testing.T) {
	env := newTestEnv(t, Options{})
	const senders, each = 8, 5000
	var last [senders]uint64
	var wrong atomic.Uint64
	done := make(chan struct{})
	total := 0
	pid := env.System().Root.Spawn(env.Props(func() actor.Actor {
		return actor.ReceiveFunc(func(ctx actor.Context) {
			if m, ok := ctx.Message().(*messages.Tick); ok {
				if m.Timer != last[m.Incarnation]+1 {
					wrong.Add(1)
				}
				last[m.Incarnation] = m.Timer
				if total++; total == senders*each {
					close(done)
				}
			}
		})
	}))
	for s := range uint64(senders) {
		go func() {
			for n := range uint64(each) {
				env.System().Root.Send(pid, &messages.Tick{Incarnation: s, Timer: n + 1})
			}
		}()
	}
	select {
	case <-done:
	case <-time.After(testTimeout):
		t.Fatal("messages were lost")
	}
	stopAndWait(t, env, pid)
	if wrong.Load() != 0 {
		t.Fatalf("%d messages are out of order", wrong.Load())
	}
}

// strategyFunc is a supervision strategy.
type strategyFunc func(supervisor actor.Supervisor, child *actor.PID, reason any)

func (d strategyFunc) HandleFailure(_ *actor.ActorSystem, supervisor actor.Supervisor, child *actor.PID, _ *actor.RestartStatistics, reason, _ any) {
	d(supervisor, child, reason)
}

// spawnParentAndChild spawns a parent with one recording child.
func spawnParentAndChild(t *testing.T, env *Env, received chan any) (parent, child *actor.PID) {
	t.Helper()
	spawned := make(chan *actor.PID, 1)
	parent = env.System().Root.Spawn(env.Props(func() actor.Actor {
		return actor.ReceiveFunc(func(ctx actor.Context) {
			if _, ok := ctx.Message().(*actor.Started); ok {
				pid, err := ctx.SpawnNamed(env.Props(recordingActor(received)), "child")
				if err != nil {
					t.Error(err)
				}
				spawned <- pid
			}
		})
	}))
	return parent, <-spawned
}

func TestRestartLosesOnlyTheFailedMessage(t *testing.T) {
	env := newTestEnv(t, Options{Strategy: strategyFunc(func(s actor.Supervisor, child *actor.PID, _ any) { s.RestartChildren(child) })})
	received := make(chan any, 64)
	parent, child := spawnParentAndChild(t, env, received)
	expect(t, received, "*actor.Started")
	gate := make(chan struct{})
	root := env.System().Root
	root.Send(child, func() { <-gate })
	for n := range uint64(3) {
		root.Send(child, &messages.Tick{Timer: n + 1})
	}
	root.Send(child, func() { panic("on purpose") })
	for n := range uint64(3) {
		root.Send(child, &messages.Tick{Timer: n + 4})
	}
	close(gate)
	expect(t, received, uint64(1), uint64(2), uint64(3), "*actor.Restarting", "*actor.Started", uint64(4), uint64(5), uint64(6))
	stopAndWait(t, env, parent)
}

func TestFailedActorWaitsForItsSupervisor(t *testing.T) {
	type failure struct {
		supervisor actor.Supervisor
		child      *actor.PID
		reason     any
	}
	failures := make(chan failure, 1)
	env := newTestEnv(t, Options{Strategy: strategyFunc(func(s actor.Supervisor, child *actor.PID, reason any) {
		failures <- failure{s, child, reason}
	})})
	received := make(chan any, 64)
	parent, child := spawnParentAndChild(t, env, received)
	expect(t, received, "*actor.Started")
	root := env.System().Root
	// The child watches another actor. A suspended actor does handle Terminated, which is a system
	// message; once it is received, a user message sent before it would have been handled too.
	watched := root.Spawn(env.Props(recordingActor(make(chan any, 8))))
	process, _ := env.System().ProcessRegistry.GetLocal(watched.Id)
	process.SendSystemMessage(watched, &actor.Watch{Watcher: child})
	root.Send(child, func() { panic("on purpose") })
	f := <-failures
	if f.reason != "on purpose" {
		t.Fatalf("the supervisor received %v", f.reason)
	}
	root.Send(child, &messages.Tick{Timer: 1})
	root.Stop(watched)
	expect(t, received, "*actor.Terminated")
	f.supervisor.ResumeChildren(f.child)
	expect(t, received, uint64(1))
	stopAndWait(t, env, parent)
}

func TestActorStopsDespitePanicWhileStopping(t *testing.T) {
	for _, last := range []string{"*actor.Stopping", "*actor.Stopped"} {
		t.Run(last, func(t *testing.T) {
			env := newTestEnv(t, Options{})
			grandchild := make(chan any, 8)
			producer := func() actor.Actor {
				return actor.ReceiveFunc(func(ctx actor.Context) {
					if _, ok := ctx.Message().(*actor.Started); ok {
						ctx.Spawn(env.Props(recordingActor(grandchild)))
					}
					if fmt.Sprintf("%T", ctx.Message()) == last {
						panic("on purpose")
					}
				})
			}
			parent := env.System().Root.Spawn(env.Props(func() actor.Actor {
				return actor.ReceiveFunc(func(ctx actor.Context) {
					if _, ok := ctx.Message().(*actor.Started); ok {
						ctx.Spawn(env.Props(producer))
					}
				})
			}))
			expect(t, grandchild, "*actor.Started")
			stopAndWait(t, env, parent)
			expect(t, grandchild, "*actor.Stopping", "*actor.Stopped")
		})
	}
}

func TestParentReceivesTerminatedAfterLastPanic(t *testing.T) {
	env := newTestEnv(t, Options{Middleware: []actor.ReceiverMiddleware{func(next actor.ReceiverFunc) actor.ReceiverFunc {
		return func(ctx actor.ReceiverContext, envelope *actor.MessageEnvelope) {
			if _, ok := envelope.Message.(*actor.Stopped); ok && strings.HasSuffix(ctx.Self().Id, "/child") {
				panic("injected")
			}
			next(ctx, envelope)
		}
	}}})
	received := make(chan any, 8)
	parent, _ := spawnParentAndChild(t, env, received)
	expect(t, received, "*actor.Started")
	stopAndWait(t, env, parent)
}

func TestStoppedActorsLeaveNoGoroutine(t *testing.T) {
	env := newTestEnv(t, Options{})
	before := runtime.NumGoroutine()
	var pids []*actor.PID
	received := make(chan any, 1024)
	for range 100 {
		pids = append(pids, env.System().Root.Spawn(env.Props(recordingActor(received))))
	}
	during := runtime.NumGoroutine()
	if n := len(env.ActorStats()); n > 100 {
		t.Fatalf("%d actors are listed", n)
	}
	stopAndWait(t, env, pids...)
	// Goroutines of earlier tests may end meanwhile, so the test checks bounds: not more than before,
	// and at least 100 fewer than during the test, since each actor has one.
	for deadline := time.Now().Add(testTimeout); runtime.NumGoroutine() > min(before, during-100); runtime.Gosched() {
		if time.Now().After(deadline) {
			stacks := make([]byte, 1<<20)
			t.Fatalf("%d goroutines before, %d with 100 actors, %d after:\n%s", before, during, runtime.NumGoroutine(), stacks[:runtime.Stack(stacks, true)])
		}
	}
	if left := env.ActorStats(); len(left) != 0 {
		t.Fatalf("stopped actors are listed: %v", left)
	}
}

func TestActorStatsOfABusyActor(t *testing.T) {
	env := newTestEnv(t, Options{})
	entered, gate := make(chan struct{}), make(chan struct{})
	received := make(chan any, 16)
	pid, err := env.System().Root.SpawnNamed(env.Props(recordingActor(received)), "busy")
	if err != nil {
		t.Fatal(err)
	}
	expect(t, received, "*actor.Started")
	env.System().Root.Send(pid, func() { close(entered); <-gate })
	<-entered
	for n := range uint64(5) {
		env.System().Root.Send(pid, &messages.Tick{Timer: n})
	}
	first := env.ActorStats()[0]
	if first.Name != "busy" || first.MailboxDepth != 6 {
		t.Fatalf("stats of an actor that handles one message while 5 wait: %+v", first)
	}
	for start := time.Now(); time.Since(start) < 2*time.Millisecond; {
		runtime.Gosched()
	}
	if grown := env.ActorStats()[0].BusyTime - first.BusyTime; grown < 2*time.Millisecond {
		t.Fatalf("an actor that worked for 2 ms was busy for %v", grown)
	}
	close(gate)
	for n := range uint64(5) {
		expect(t, received, n)
	}
	for deadline := time.Now().Add(testTimeout); env.ActorStats()[0].MailboxDepth != 0; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("depth of an idle actor: %+v", env.ActorStats()[0])
		}
	}
	stopAndWait(t, env, pid)
}

func TestWatchOfStoppedActorGetsTerminated(t *testing.T) {
	env := newTestEnv(t, Options{})
	root := env.System().Root
	received := make(chan any, 8)
	pid := root.Spawn(env.Props(recordingActor(received)))
	process, _ := env.System().ProcessRegistry.GetLocal(pid.Id)
	stopAndWait(t, env, pid)
	terminated := make(chan any, 8)
	watcher := root.Spawn(env.Props(func() actor.Actor {
		return actor.ReceiveFunc(func(ctx actor.Context) {
			switch m := ctx.Message().(type) {
			case *actor.Started:
				// As from a sender that resolved the PID before the actor left the registry.
				process.SendSystemMessage(pid, &actor.Watch{Watcher: ctx.Self()})
			case *actor.Terminated:
				terminated <- m.Who.Id
			}
		})
	}))
	expect(t, terminated, pid.Id)
	stopAndWait(t, env, watcher)
}

func TestTimerSendsOnceAndNotAfterStop(t *testing.T) {
	env := newTestEnv(t, Options{})
	received := make(chan any, 8)
	pid := env.System().Root.Spawn(env.Props(recordingActor(received)))
	expect(t, received, "*actor.Started")
	stopped := env.After(time.Hour, pid, &messages.Tick{Timer: 1})
	stopped.Stop()
	start := env.Now()
	env.After(time.Millisecond, pid, &messages.Tick{Timer: 2})
	expect(t, received, uint64(2))
	if waited := env.Now() - start; waited < time.Millisecond {
		t.Fatalf("a timer of 1 ms fired after %v", waited)
	}
	stopAndWait(t, env, pid)
	fired := make(chan struct{})
	env.After(0, pid, &messages.Tick{Timer: 3}) // to a stopped actor: no dead letter, no panic
	time.AfterFunc(time.Millisecond, func() { close(fired) })
	<-fired
}
