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

// newTestEnv is an environment without peers.
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

// hear returns an actor that puts what it is told into the channel, lifecycle messages by their type's name.
func recordingActor(heard chan<- any) actor.Producer {
	return func() actor.Actor {
		return actor.ReceiveFunc(func(ctx actor.Context) {
			switch m := ctx.Message().(type) {
			case *messages.Tick:
				heard <- m.Timer
			case func():
				m()
			default:
				heard <- fmt.Sprintf("%T", m)
			}
		})
	}
}

func receiveNext(t *testing.T, heard <-chan any) any {
	t.Helper()
	select {
	case m := <-heard:
		return m
	case <-time.After(testTimeout):
		t.Fatal("nothing was heard")
		return nil
	}
}

func expect(t *testing.T, heard <-chan any, wanted ...any) {
	t.Helper()
	for _, want := range wanted {
		if got := receiveNext(t, heard); got != want {
			t.Fatalf("heard %v, want %v", got, want)
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

func TestAMessageSentWhileAnActorIsSpawnedWaitsForStarted(t *testing.T) {
	env := newTestEnv(t, Options{})
	for round := range 300 {
		name := fmt.Sprintf("raced-%d", round)
		heard := make(chan any, 1024)
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
		pid, err := env.System().Root.SpawnNamed(env.Props(recordingActor(heard)), name)
		if err != nil {
			t.Fatal(err)
		}
		close(spawned)
		senders.Wait()
		expect(t, heard, "*actor.Started")
		env.System().Root.Stop(pid)
	}
	env.AwaitActors()
}

func TestMessagesPostedBeforeTheMailboxHasHandlersAreHandledAfterStartedInOrder(t *testing.T) {
	env := newTestEnv(t, Options{})
	heard := make(chan any, 16)
	// A spawn like the library's, stopped at its weakest moment: the PID is known and the mailbox is not yet connected.
	early := actor.WithOnInit(func(ctx actor.Context) {
		for n := range uint64(3) {
			env.System().Root.Send(ctx.Self(), &messages.Tick{Timer: n + 1})
		}
	})
	pid := env.System().Root.Spawn(env.Props(recordingActor(heard), early))
	expect(t, heard, "*actor.Started", uint64(1), uint64(2), uint64(3))
	stopAndWait(t, env, pid)
}

func TestMessagesOfOneSenderAreHandledInTheirOrder(t *testing.T) {
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
		t.Fatalf("%d messages came out of order", wrong.Load())
	}
}

// decide is a supervision strategy that a test makes up.
type strategyFunc func(supervisor actor.Supervisor, child *actor.PID, reason any)

func (d strategyFunc) HandleFailure(_ *actor.ActorSystem, supervisor actor.Supervisor, child *actor.PID, _ *actor.RestartStatistics, reason, _ any) {
	d(supervisor, child, reason)
}

// family spawns a parent with one child that hears.
func spawnParentAndChild(t *testing.T, env *Env, heard chan any) (parent, child *actor.PID) {
	t.Helper()
	born := make(chan *actor.PID, 1)
	parent = env.System().Root.Spawn(env.Props(func() actor.Actor {
		return actor.ReceiveFunc(func(ctx actor.Context) {
			if _, ok := ctx.Message().(*actor.Started); ok {
				pid, err := ctx.SpawnNamed(env.Props(recordingActor(heard)), "child")
				if err != nil {
					t.Error(err)
				}
				born <- pid
			}
		})
	}))
	return parent, <-born
}

func TestARestartLosesTheMessageInHandAndKeepsTheRestInOrder(t *testing.T) {
	env := newTestEnv(t, Options{Strategy: strategyFunc(func(s actor.Supervisor, child *actor.PID, _ any) { s.RestartChildren(child) })})
	heard := make(chan any, 64)
	parent, child := spawnParentAndChild(t, env, heard)
	expect(t, heard, "*actor.Started")
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
	expect(t, heard, uint64(1), uint64(2), uint64(3), "*actor.Restarting", "*actor.Started", uint64(4), uint64(5), uint64(6))
	stopAndWait(t, env, parent)
}

func TestAFailedActorHandlesNothingUntilSupervisionHasDecided(t *testing.T) {
	type failure struct {
		supervisor actor.Supervisor
		child      *actor.PID
		reason     any
	}
	failures := make(chan failure, 1)
	env := newTestEnv(t, Options{Strategy: strategyFunc(func(s actor.Supervisor, child *actor.PID, reason any) {
		failures <- failure{s, child, reason}
	})})
	heard := make(chan any, 64)
	parent, child := spawnParentAndChild(t, env, heard)
	expect(t, heard, "*actor.Started")
	root := env.System().Root
	// A stranger whose end the child will hear of: the news is a system message, which a suspended actor does handle. So
	// when the news is heard, a user message sent before it had its chance.
	stranger := root.Spawn(env.Props(recordingActor(make(chan any, 8))))
	process, _ := env.System().ProcessRegistry.GetLocal(stranger.Id)
	process.SendSystemMessage(stranger, &actor.Watch{Watcher: child})
	root.Send(child, func() { panic("on purpose") })
	f := <-failures
	if f.reason != "on purpose" {
		t.Fatalf("supervision was told %v", f.reason)
	}
	root.Send(child, &messages.Tick{Timer: 1})
	root.Stop(stranger)
	expect(t, heard, "*actor.Terminated")
	f.supervisor.ResumeChildren(f.child)
	expect(t, heard, uint64(1))
	stopAndWait(t, env, parent)
}

func TestAnActorStopsAlthoughItPanicsWhileStopping(t *testing.T) {
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

func TestAParentHearsOfAChildWhoseLastMessageIsMadeToPanicByMiddleware(t *testing.T) {
	env := newTestEnv(t, Options{Middleware: []actor.ReceiverMiddleware{func(next actor.ReceiverFunc) actor.ReceiverFunc {
		return func(ctx actor.ReceiverContext, envelope *actor.MessageEnvelope) {
			if _, ok := envelope.Message.(*actor.Stopped); ok && strings.HasSuffix(ctx.Self().Id, "/child") {
				panic("injected")
			}
			next(ctx, envelope)
		}
	}}})
	heard := make(chan any, 8)
	parent, _ := spawnParentAndChild(t, env, heard)
	expect(t, heard, "*actor.Started")
	stopAndWait(t, env, parent)
}

func TestNoGoroutineIsLeftOnceTheActorsHaveStopped(t *testing.T) {
	env := newTestEnv(t, Options{})
	before := runtime.NumGoroutine()
	var pids []*actor.PID
	heard := make(chan any, 1024)
	for range 100 {
		pids = append(pids, env.System().Root.Spawn(env.Props(recordingActor(heard))))
	}
	during := runtime.NumGoroutine()
	if n := len(env.ActorStats()); n > 100 {
		t.Fatalf("%d actors are told of", n)
	}
	stopAndWait(t, env, pids...)
	// What earlier tests left behind may end meanwhile, so there are no exact numbers: no more are left than there were, and
	// 100 have gone, since an actor has its own.
	for deadline := time.Now().Add(testTimeout); runtime.NumGoroutine() > min(before, during-100); runtime.Gosched() {
		if time.Now().After(deadline) {
			stacks := make([]byte, 1<<20)
			t.Fatalf("%d goroutines before, %d with 100 actors, %d after:\n%s", before, during, runtime.NumGoroutine(), stacks[:runtime.Stack(stacks, true)])
		}
	}
	if left := env.ActorStats(); len(left) != 0 {
		t.Fatalf("actors that have stopped are still told of: %v", left)
	}
}

func TestDepthAndSaturationAreToldWhileAnActorWorks(t *testing.T) {
	env := newTestEnv(t, Options{})
	entered, gate := make(chan struct{}), make(chan struct{})
	heard := make(chan any, 16)
	pid, err := env.System().Root.SpawnNamed(env.Props(recordingActor(heard)), "busy")
	if err != nil {
		t.Fatal(err)
	}
	expect(t, heard, "*actor.Started")
	env.System().Root.Send(pid, func() { close(entered); <-gate })
	<-entered
	for n := range uint64(5) {
		env.System().Root.Send(pid, &messages.Tick{Timer: n})
	}
	first := env.ActorStats()[0]
	if first.Name != "busy" || first.MailboxDepth != 6 {
		t.Fatalf("an actor that works on one message with 5 behind it is told as %+v", first)
	}
	for start := time.Now(); time.Since(start) < 2*time.Millisecond; {
		runtime.Gosched()
	}
	if grown := env.ActorStats()[0].BusyTime - first.BusyTime; grown < 2*time.Millisecond {
		t.Fatalf("an actor that worked for 2 ms and more was busy for %v", grown)
	}
	close(gate)
	for n := range uint64(5) {
		expect(t, heard, n)
	}
	for deadline := time.Now().Add(testTimeout); env.ActorStats()[0].MailboxDepth != 0; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("depth of an idle actor: %+v", env.ActorStats()[0])
		}
	}
	stopAndWait(t, env, pid)
}

func TestAWatchOfAnActorThatHasStoppedIsAnswered(t *testing.T) {
	env := newTestEnv(t, Options{})
	root := env.System().Root
	heard := make(chan any, 8)
	pid := root.Spawn(env.Props(recordingActor(heard)))
	process, _ := env.System().ProcessRegistry.GetLocal(pid.Id)
	stopAndWait(t, env, pid)
	told := make(chan any, 8)
	watcher := root.Spawn(env.Props(func() actor.Actor {
		return actor.ReceiveFunc(func(ctx actor.Context) {
			switch m := ctx.Message().(type) {
			case *actor.Started:
				// As a sender does that had resolved the PID before the actor left the registry.
				process.SendSystemMessage(pid, &actor.Watch{Watcher: ctx.Self()})
			case *actor.Terminated:
				told <- m.Who.Id
			}
		})
	}))
	expect(t, told, pid.Id)
	stopAndWait(t, env, watcher)
}

func TestATimerSendsOnceAndNotAfterItWasStopped(t *testing.T) {
	env := newTestEnv(t, Options{})
	heard := make(chan any, 8)
	pid := env.System().Root.Spawn(env.Props(recordingActor(heard)))
	expect(t, heard, "*actor.Started")
	stopped := env.After(time.Hour, pid, &messages.Tick{Timer: 1})
	stopped.Stop()
	start := env.Now()
	env.After(time.Millisecond, pid, &messages.Tick{Timer: 2})
	expect(t, heard, uint64(2))
	if waited := env.Now() - start; waited < time.Millisecond {
		t.Fatalf("a timer of 1 ms fired after %v", waited)
	}
	stopAndWait(t, env, pid)
	fired := make(chan struct{})
	env.After(0, pid, &messages.Tick{Timer: 3}) // for an actor that is gone: no dead letter, no panic
	time.AfterFunc(time.Millisecond, func() { close(fired) })
	<-fired
}
