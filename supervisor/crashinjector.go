package supervisor

import (
	"sync"
	"sync/atomic"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/messages"
)

// CrashPoint asks that an actor fail.
type CrashPoint struct {
	// Actor is its path below the node: "" for the Node itself, "log", "log/reader", "machine", "peer-3".
	Actor string
	// Message is the kind at which it fails, as in "AppendEntries"; "" for whatever comes next.
	Message string
	// After lets the message be handled first: what the actor said and changed by it has happened when it fails.
	After bool
	// Times is how often it fails; 0 means once.
	Times int
}

// CrashInjector crashes actors on demand. It sees every message as a middleware, which costs an allocation each, so that a
// node only has one when it was configured for it.
type CrashInjector struct {
	armed    atomic.Int32 // how many crashes are armed: the quick way out
	mu       sync.Mutex
	crashes  []*CrashPoint
	injected int
}

// Arm sets a crash up for the actor's next message of the kind.
func (i *CrashInjector) Arm(c CrashPoint) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if c.Times == 0 {
		c.Times = 1
	}
	i.crashes = append(i.crashes, &c)
	i.armed.Add(1)
}

// Now crashes the actor at once: with the next message, and if none is waiting with a tick that means nothing to it.
func (i *CrashInjector) CrashNow(root *actor.RootContext, address, path string) {
	i.Arm(CrashPoint{Actor: path})
	root.Send(actor.NewPID(address, actorID(path)), &messages.Tick{})
}

// Injected is how many crashes have happened.
func (i *CrashInjector) count() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.injected
}

// Disarm takes back what has not happened yet.
func (i *CrashInjector) disarm() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.armed.Add(-int32(len(i.crashes)))
	i.crashes = nil
}

func actorID(path string) string {
	if path == "" {
		return actors.NodePath
	}
	return actors.NodePath + "/" + path
}

// Middleware makes the crashes happen.
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

// ours leaves out the library's lifecycle messages: what fails in them is not the actor.
func isTroupeMessage(m proto.Message) bool {
	return m.ProtoReflect().Descriptor().ParentFile().Package() == "troupe.v1"
}

func (i *CrashInjector) match(id, kind string) (CrashPoint, bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for k, c := range i.crashes {
		if actorID(c.Actor) != id || c.Message != "" && c.Message != kind {
			continue
		}
		c.Times--
		if c.Times == 0 {
			i.crashes = append(i.crashes[:k], i.crashes[k+1:]...)
			i.armed.Add(-1)
		}
		i.injected++
		return *c, true
	}
	return CrashPoint{}, false
}
