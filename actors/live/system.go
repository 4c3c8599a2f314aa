package live

import (
	"log/slog"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/rs/zerolog"
)

// NewActorSystem makes the actor system of a node. Its address is the node's peer address and must not change once an actor was
// spawned, since every PID carries it.
//
// The library says at level info what is no event to an operator (a system started, a letter to an actor that has
// stopped); only its warnings and errors reach the log, unless the log is at debug.
func NewActorSystem(address string, logger zerolog.Logger) *actor.ActorSystem {
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
