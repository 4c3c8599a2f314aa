package live

import (
	"testing"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-raft/troupe/messages"
)

// pingPong sends a message back and forth between two actors, so that each waits when it arrives.
func pingPong(b *testing.B, props func(actor.Producer) *actor.Props, system *actor.ActorSystem) {
	done := make(chan struct{})
	var first, second *actor.PID
	message := &messages.Tick{}
	left := b.N
	bouncer := func(other **actor.PID) actor.Producer {
		return func() actor.Actor {
			return actor.ReceiveFunc(func(ctx actor.Context) {
				if _, ok := ctx.Message().(*messages.Tick); !ok {
					return
				}
				if left--; left <= 0 {
					if left == 0 {
						close(done)
					}
					return
				}
				ctx.Send(*other, message)
			})
		}
	}
	first = system.Root.Spawn(props(bouncer(&second)))
	second = system.Root.Spawn(props(bouncer(&first)))
	b.ReportAllocs()
	b.ResetTimer()
	system.Root.Send(first, message)
	<-done
	b.StopTimer()
	system.Root.StopFuture(first).Wait()
	system.Root.StopFuture(second).Wait()
}

func BenchmarkWakeUp(b *testing.B) {
	env := newTestEnv(b, Options{})
	pingPong(b, func(p actor.Producer) *actor.Props { return env.Props(p) }, env.System())
}

func BenchmarkWakeUpProtoActor(b *testing.B) {
	env := newTestEnv(b, Options{})
	pingPong(b, func(p actor.Producer) *actor.Props { return actor.PropsFromProducer(p) }, env.System())
}

func BenchmarkFlood(b *testing.B) {
	env := newTestEnv(b, Options{})
	done := make(chan struct{})
	left := b.N
	pid := env.System().Root.Spawn(env.Props(func() actor.Actor {
		return actor.ReceiveFunc(func(ctx actor.Context) {
			if _, ok := ctx.Message().(*messages.Tick); ok {
				if left--; left == 0 {
					close(done)
				}
			}
		})
	}))
	message := &messages.Tick{}
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		env.System().Root.Send(pid, message)
	}
	<-done
}
