package actors

import (
	"runtime/debug"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/rs/zerolog"
)

// guarded is an actor made safe against three ways in which the library leads it astray.
//
// Its last words cannot fail: a panic in Stopping or Stopped would leave the library's bookkeeping half done (children
// never stopped, a parent that waits for ever). The actor is going away in any case, so the panic is written down and its
// end takes its course.
//
// And it resurrects nobody: once it was told to stop or to restart, it has told its children to stop; a failure of a child
// that arrives after that must not restart it, because the library lets a Restart override a Stop, and then waits for an
// end that does not come. Such a child is told to stop once more. But what it failed with is the strategy's affair where it
// stops the node: a log whose sync failed while the Node above it restarts must not be opened again (E5).
//
// And it hears nothing of the world while it waits for its children to stop: it has given up its files and timers by then,
// but the library still hands it what stands in its mailbox. That is lost, as it would be a moment later.
type lifecycleGuard struct {
	actor.Actor
	strategy actor.SupervisorStrategy
	log      *zerolog.Logger
	stopping bool
}

// GuardLifecycle wraps an actor so. strategy decides on failures of its children while it lives on; an environment's Props do this
// for every actor.
func GuardLifecycle(inner actor.Actor, strategy actor.SupervisorStrategy, log *zerolog.Logger) actor.Actor {
	if own, ok := inner.(actor.SupervisorStrategy); ok {
		strategy = own
	}
	if strategy == nil {
		strategy = actor.DefaultSupervisorStrategy()
	}
	return &lifecycleGuard{Actor: inner, strategy: strategy, log: log}
}

// Receive passes everything on.
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
			Msg("actor failed while it was stopping; it stops all the same")
	}
}

// HandleFailure implements actor.SupervisorStrategy: the library asks the parent's actor for it.
func (g *lifecycleGuard) HandleFailure(system *actor.ActorSystem, parent actor.Supervisor, child *actor.PID, rs *actor.RestartStatistics, reason, message any) {
	if g.stopping {
		parent.StopChildren(child)
		if StopsNode(reason) && child.Id != NodePath { // this actor's end may be a restart, which must not be the node's way out
			g.strategy.HandleFailure(system, parent, child, rs, reason, message)
		}
		return
	}
	g.strategy.HandleFailure(system, parent, child, rs, reason, message)
}
