package supervisor

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/messages"
)

// CrashInjector crashes actors on request. Its middleware sees every message and costs one
// allocation for each, so a node has one only if it was configured.
type CrashInjector struct {
	armed   atomic.Int32 // the length of crashes, so that the middleware needs no lock if it is 0
	mu      sync.Mutex
	crashes []*CrashPoint
}

// Arm makes the actor crash at its next message of the type. The error is that of c.Validate.
func (i *CrashInjector) Arm(c CrashPoint) error {
	if err := c.Validate(); err != nil {
		return err
	}
	i.arm(c)
	return nil
}

func (i *CrashInjector) arm(c CrashPoint) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if c.Times == 0 {
		c.Times = 1
	}
	i.crashes = append(i.crashes, &c)
	i.armed.Add(1)
}

// CrashNow makes the actor crash at its next message of any type, and sends it a Tick that has no
// other effect. The error says that the actor does not exist, or does not run.
func (i *CrashInjector) CrashNow(root *actor.RootContext, address, path string) error {
	if err := (CrashPoint{Actor: path}).Validate(); err != nil {
		return err
	}
	if _, runs := root.ActorSystem().ProcessRegistry.GetLocal(actorID(path)); !runs {
		return fmt.Errorf("the actor %q does not run", path)
	}
	i.arm(CrashPoint{Actor: path})
	root.Send(actor.NewPID(address, actorID(path)), &messages.Tick{})
	return nil
}

func actorID(path string) string {
	if path == "" {
		return actors.NodePath
	}
	return actors.NodePath + "/" + path
}

// Middleware is the middleware that crashes actors; every actor's Props need it.
func (i *CrashInjector) Middleware() actor.ReceiverMiddleware {
	return func(next actor.ReceiverFunc) actor.ReceiverFunc {
		return func(ctx actor.ReceiverContext, envelope *actor.MessageEnvelope) {
			m, ok := envelope.Message.(proto.Message)
			if !ok || i.armed.Load() == 0 || !isTroupeMessage(m) {
				next(ctx, envelope)
				return
			}
			kind := string(m.ProtoReflect().Descriptor().Name())
			crash, hit := i.match(ctx.Self().Id, kind)
			if !hit || crash.After {
				next(ctx, envelope)
			}
			if hit {
				panic(&actors.InjectedCrash{Description: ctx.Self().Id + " at " + kind})
			}
		}
	}
}

// isTroupeMessage excludes the library's lifecycle messages: the actor does not fail in those.
func isTroupeMessage(m proto.Message) bool {
	return m.ProtoReflect().Descriptor().ParentFile().Package() == "troupe.v1"
}

// match finds the crash that is due at a message.
func (i *CrashInjector) match(id, kind string) (CrashPoint, bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for k, c := range i.crashes {
		if actorID(c.Actor) != id || c.Message != "" && c.Message != kind {
			continue
		}
		c.Times--
		if c.Times == 0 {
			i.crashes = slices.Delete(i.crashes, k, k+1)
			i.armed.Add(-1)
		}
		return *c, true
	}
	return CrashPoint{}, false
}
