package actors

import (
	"runtime/debug"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/rs/zerolog"
)

// lifecycleGuard wraps an actor and keeps three weaknesses of Proto.Actor's lifecycle from doing
// harm. All three concern an actor that is stopping or restarting, which is a state of several
// steps: the actor handles Stopping or Restarting, its children are stopped, and only when they
// have ended does it handle Stopped or start again.
//
//   - A panic while it handles Stopping or Stopped would leave that sequence half done: children
//     that are never stopped, and a parent that waits without end. Since the actor is going away in
//     any case, the guard logs the panic and goes on.
//   - Between the steps the library still delivers messages from the mailbox, though the actor has
//     released its files and timers. The guard drops them; they would be lost a moment later.
//   - A child may fail between the steps. The strategy would restart it, the library lets that
//     override the stop, and the parent would wait for an end that does not come. The guard stops
//     the child again. If the child's failure stops the node, the strategy sees it as well: a log
//     whose sync failed must not be opened again because the Node above it was restarting (E5).
type lifecycleGuard struct {
	actor.Actor
	strategy actor.SupervisorStrategy
	log      *zerolog.Logger
	stopping bool
}

// GuardLifecycle wraps an actor in a lifecycleGuard. The strategy decides about failures of its
// children while it runs, unless the actor brings its own; nil is the library's default. The Props
// of every Env do this for each actor.
func GuardLifecycle(inner actor.Actor, strategy actor.SupervisorStrategy, log *zerolog.Logger) actor.Actor {
	if own, ok := inner.(actor.SupervisorStrategy); ok {
		strategy = own
	}
	if strategy == nil {
		strategy = actor.DefaultSupervisorStrategy()
	}
	return &lifecycleGuard{Actor: inner, strategy: strategy, log: log}
}

// Receive passes messages to the actor, except those that arrive while it stops.
func (g *lifecycleGuard) Receive(ctx actor.Context) {
	switch ctx.Message().(type) {
	case *actor.Restarting:
		g.stopping = true
	case *actor.Stopping:
		g.stopping = true
		defer g.recoverWhileStopping(ctx)
	case *actor.Stopped:
		defer g.recoverWhileStopping(ctx)
	case *actor.Started, *actor.Terminated:
	default:
		if g.stopping {
			return
		}
	}
	g.Actor.Receive(ctx)
}

func (g *lifecycleGuard) recoverWhileStopping(ctx actor.Context) {
	if reason := recover(); reason != nil {
		g.log.Error().Str("actor", ctx.Self().Id).Interface("panic", reason).Bytes("stack", debug.Stack()).
			Msg("actor panicked while it was stopping")
	}
}

// HandleFailure implements actor.SupervisorStrategy: the library calls it on the parent of the
// actor that failed.
func (g *lifecycleGuard) HandleFailure(system *actor.ActorSystem, parent actor.Supervisor, child *actor.PID, rs *actor.RestartStatistics, reason, message any) {
	if g.stopping {
		parent.StopChildren(child)
		// If the child is the Node, this parent is the supervisor, and the whole node is stopping
		// already.
		if !StopsNode(reason) || child.Id == NodePath {
			return
		}
	}
	g.strategy.HandleFailure(system, parent, child, rs, reason, message)
}
