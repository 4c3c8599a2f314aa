package watch

import (
	"sync/atomic"
	"time"

	"github.com/troupe-raft/troupe/internal/interleave"
	"github.com/troupe-raft/troupe/kv/mvcc"
)

// observer connects the hub to the store: the store has an observer only while there are watchers,
// and looks up previous values only while a watcher wants them, since both cost the applying
// goroutine time. The node may close the store and open another one.
type observer struct {
	queue    *observedQueue
	metrics  *Metrics
	schedule *interleave.Scheduler

	mu             interleave.Mutex
	store          *mvcc.Store // guarded by mu; the store that is, or is to be, observed
	active         bool        // guarded by mu; store has the observer
	watchers       int         // guarded by mu; live or not
	prevKVWatchers int         // guarded by mu; those which want previous values
	stopIdleTimer  func()      // guarded by mu; ends the timer that calls stop; nil: there are watchers

	// prevKVFrom is the first revision whose events were observed with previous values.
	prevKVFrom atomic.Int64
}

// observerIdleTimeout is how long the observer stays after the last watcher has left: clients that
// watch for a moment again and again should not make each of them wait for the batch being applied.
const observerIdleTimeout = 10 * time.Second

// storeOpened takes over a store before anything is applied to it.
func (o *observer) storeOpened(store *mvcc.Store) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.store = store
	if !o.active {
		return
	}
	store.SetObserver(o.queue.observe)
	o.queue.skipTo(store.Revision()) // newer than what was observed if a snapshot was installed
	if o.prevKVWatchers > 0 {
		o.startPrevKV()
	}
}

// acquire counts a new watcher and makes the store report what it needs. Every revision after the
// store's present one is then observed.
func (o *observer) acquire(prevKV bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.watchers++
	o.metrics.watchers.Inc()
	if o.stopIdleTimer != nil {
		o.stopIdleTimer()
		o.stopIdleTimer = nil
	}
	if !o.active {
		o.active = true
		o.store.SetObserver(o.queue.observe)
		o.queue.start(o.store.Revision())
	}
	if prevKV {
		if o.prevKVWatchers++; o.prevKVWatchers == 1 {
			o.startPrevKV()
		}
	}
}

// startPrevKV makes the store report previous values. Events of earlier revisions that want one are
// read from history. mu is held.
func (o *observer) startPrevKV() {
	o.store.SetWantPrev(true)
	o.prevKVFrom.Store(o.store.Revision() + 1)
}

// release is the reverse of acquire.
func (o *observer) release(prevKV bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.watchers--
	o.metrics.watchers.Dec()
	if prevKV {
		if o.prevKVWatchers--; o.prevKVWatchers == 0 {
			o.store.SetWantPrev(false)
		}
	}
	if o.watchers == 0 {
		o.stopIdleTimer = o.schedule.AfterFunc(observerIdleTimeout, o.stop)
	}
}

// stop removes the observer from the store unless a watcher has come.
func (o *observer) stop() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.watchers == 0 && o.active {
		o.store.SetObserver(nil)
		o.active = false
	}
}
