package live

import (
	"log/slog"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/rs/zerolog"
)

// NewActorSystem makes the actor system of a node. Its address is the node's peer address. It must
// not change after the first spawn, since every PID contains it.
//
// Proto.Actor logs at info level what an operator does not need (a system started, a message to a
// stopped actor). Only its warnings and errors reach the log, unless the log is at debug level.
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
