package live

import (
	"sync/atomic"
	"time"
)

// busyMeter measures how long an actor works. It reads the clock only when the actor begins to wait
// for messages and when it ends to wait.
type busyMeter struct {
	busy      atomic.Int64 // nanoseconds, up to the last stop
	startedAt atomic.Int64 // when the actor woke; 0 while it waits
	reported  atomic.Int64 // the highest result of total, so that it never decreases
}

func (b *busyMeter) start() { b.startedAt.Store(nanosSinceStart()) }

func (b *busyMeter) stop() {
	startedAt := b.startedAt.Load()
	b.startedAt.Store(0)
	b.busy.Add(nanosSinceStart() - startedAt)
}

// total returns how long the actor has worked, including the interval that has not ended. It may
// miss an interval that ends at this moment; the next call then includes it.
func (b *busyMeter) total() time.Duration {
	busy, startedAt := b.busy.Load(), b.startedAt.Load()
	if startedAt != 0 && b.busy.Load() == busy {
		busy += nanosSinceStart() - startedAt
	}
	for {
		reported := b.reported.Load()
		if busy <= reported {
			return time.Duration(reported)
		}
		if b.reported.CompareAndSwap(reported, busy) {
			return time.Duration(busy)
		}
	}
}
