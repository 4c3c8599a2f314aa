package supervisor

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/messages"
)

// CrashPoint is a request that an actor fail.
type CrashPoint struct {
	// Actor is its path below the Node: "" for the Node itself, "log", "log/reader", "machine",
	// "peer-3".
	Actor string
	// Message is the type of message at which it fails, as in "AppendEntries"; "" for any.
	Message string
	// After lets the actor handle the message before it fails, so that what it sends and stores is not
	// lost.
	After bool
	// Times is the number of failures; 0 means one.
	Times int
}

// CrashInjector crashes actors on request. Its middleware sees every message and costs one
// allocation for each, so a node has one only if it was configured.
type CrashInjector struct {
	armed   atomic.Int32 // the length of crashes, so that the middleware needs no lock if it is 0
	mu      sync.Mutex
	crashes []*CrashPoint
}

// Arm makes the actor crash at its next message of the type.
func (i *CrashInjector) Arm(c CrashPoint) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if c.Times == 0 {
		c.Times = 1
	}
	i.crashes = append(i.crashes, &c)
	i.armed.Add(1)
}

// CrashNow makes the actor crash at its next message of any type, and sends it a Tick that has no
// other effect.
func (i *CrashInjector) CrashNow(root *actor.RootContext, address, path string) {
	i.Arm(CrashPoint{Actor: path})
	root.Send(actor.NewPID(address, actorID(path)), &messages.Tick{})
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
