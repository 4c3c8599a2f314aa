package live

import "sync"

// pinned is the dispatcher of the live environment. A mailbox schedules exactly one function on it, which is the actor's
// whole life: one goroutine an actor, woken instead of made anew. MessageInTransit a message to a sleeping actor costs 0.3 µs this
// way and 2 µs with a goroutine per wake-up (BenchmarkWakeUp), and a stack that has grown stays grown.
type pinnedDispatcher struct {
	running sync.WaitGroup
}

func (d *pinnedDispatcher) Schedule(life func()) {
	d.running.Go(life)
}

// Throughput is asked by the library's own mailboxes only; ours never yields in the middle of a batch.
func (d *pinnedDispatcher) Throughput() int { return 1 << 30 }

// wait returns when the goroutines of all actors have ended.
func (d *pinnedDispatcher) wait() { d.running.Wait() }
