package live

import (
	"log/slog"
	"runtime/debug"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/rs/zerolog"
)

// NewSystem makes the actor system of a node. Its address is the node's peer address and must not change once an actor was
// spawned, since every PID carries it.
//
// The library says at level info what is no event to an operator (a system started, a letter to an actor that has
// stopped); only its warnings and errors reach the log, unless the log is at debug.
func NewSystem(address string, logger zerolog.Logger) *actor.ActorSystem {
	if level := logger.GetLevel(); level > zerolog.DebugLevel && level < zerolog.WarnLevel {
		logger = logger.Level(zerolog.WarnLevel)
	}
	system := actor.NewActorSystem(
		actor.WithDeadLetterRequestLogging(false),
		actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger {
			return slog.New(zerolog.NewSlogHandler(logger))
		}))
	if address != "" {
		system.ProcessRegistry.Address = address
	}
	return system
}

// guarded is an actor whose last words cannot fail. A panic in Stopping or Stopped would leave the library's bookkeeping
// half done: children never stopped, a parent that waits for ever. The actor is going away in any case, so the panic is
// written down and its end takes its course.
type guarded struct {
	actor.Actor
	log *zerolog.Logger
}

func (g *guarded) Receive(ctx actor.Context) {
	switch ctx.Message().(type) {
	case *actor.Stopping, *actor.Stopped:
		defer func() {
			if reason := recover(); reason != nil {
				g.log.Error().Str("actor", ctx.Self().Id).Interface("panic", reason).Bytes("stack", debug.Stack()).
					Msg("actor failed while it was stopping; it stops all the same")
			}
		}()
	}
	g.Actor.Receive(ctx)
}

// guardedStrategist is a guarded actor that decides itself on its children's failures: the library asks the actor for
// that by its type.
type guardedStrategist struct {
	guarded
	actor.SupervisorStrategy
}

func guard(inner actor.Actor, log *zerolog.Logger) actor.Actor {
	if strategy, ok := inner.(actor.SupervisorStrategy); ok {
		return &guardedStrategist{guarded{inner, log}, strategy}
	}
	return &guarded{inner, log}
}
