package live

import (
	crypto "crypto/rand"
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/actors"
)

var processStart = time.Now()

// nanosSinceStart is the monotonic clock of the process, in nanoseconds; never 0.
func nanosSinceStart() int64 { return int64(time.Since(processStart)) + 1 }

// timer is a message under way to the future.
type timer struct{ *time.Timer }

func (t timer) Stop() { t.Timer.Stop() }

// after sends message to a local actor once d has passed. What is meant for an actor that has stopped meanwhile is dropped
// here: a tick of a node that is gone is no dead letter worth a word.
func (e *Env) after(d time.Duration, to *actor.PID, message proto.Message) actors.Timer {
	return timer{time.AfterFunc(d, func() {
		if process, ok := e.system.ProcessRegistry.GetLocal(to.Id); ok {
			process.SendUserMessage(to, message)
		}
	})}
}

// random is one generator for all actors of a node, seeded by the operating system.
type lockedRandom struct {
	mu        sync.Mutex
	generator *rand.Rand
}

func newLockedRandom() *lockedRandom {
	var seed [16]byte
	crypto.Read(seed[:]) // never fails: the process ends if the system has no randomness
	return &lockedRandom{generator: rand.New(rand.NewPCG(binary.LittleEndian.Uint64(seed[:8]), binary.LittleEndian.Uint64(seed[8:])))}
}

func (r *lockedRandom) Int64N(n int64) int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.generator.Int64N(n)
}

func (r *lockedRandom) Uint64() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.generator.Uint64()
}

// load measures the share of time an actor works. The clock is read only when the actor falls asleep and when it wakes.
type busyMeter struct {
	busy      atomic.Int64 // nanoseconds, up to the last time it fell asleep
	startedAt atomic.Int64 // when it woke; 0 while asleep
	reported  atomic.Int64 // the most that total has told, so that it never goes back
}

func (l *busyMeter) start() { l.startedAt.Store(nanosSinceStart()) }

func (l *busyMeter) stop() {
	since := l.startedAt.Load()
	l.startedAt.Store(0)
	l.busy.Add(nanosSinceStart() - since)
}

// total is how long the actor has worked, the present stretch included. It may miss a stretch that ends this moment.
func (l *busyMeter) total() time.Duration {
	busy, since := l.busy.Load(), l.startedAt.Load()
	if since != 0 && l.busy.Load() == busy {
		busy += nanosSinceStart() - since
	}
	for {
		shown := l.reported.Load()
		if busy <= shown {
			return time.Duration(shown)
		}
		if l.reported.CompareAndSwap(shown, busy) {
			return time.Duration(busy)
		}
	}
}

// Now is the clock that every environment of this process shares.
func Now() time.Duration { return time.Since(processStart) }
