package watch

import (
	"sync/atomic"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/troupe-raft/troupe/internal/interleave"
)

// observedQueue holds the observed revisions that the hub has not dispatched.
//
// The queued revisions are consecutive and end with newest. When a revision does not fit, or is not
// the next one, the queue drops everything and sets overflowed: live watchers then read history.
type observedQueue struct {
	limitBytes int
	wake       chan struct{} // capacity 1; a token says that take has something to return

	mu         interleave.Mutex
	revisions  []revisionEvents // guarded by mu
	bytes      int              // guarded by mu; of revisions
	newest     int64            // guarded by mu; the last revision observed
	overflowed bool             // guarded by mu; revisions before the queued ones were dropped

	// dispatched is the revision up to which every event is in the queue of each live watcher that
	// matches it. Written under mu.
	dispatched atomic.Int64
}

type revisionEvents struct {
	revision int64
	events   []*mvccpb.Event
}

// observe is the store's observer. It runs on the applying goroutine.
func (q *observedQueue) observe(revision int64, events []*mvccpb.Event) {
	size := 0
	for _, e := range events {
		size += eventSize(e)
	}
	q.mu.Lock()
	if revision <= q.newest {
		q.mu.Unlock()
		return // a reopened store replays what was observed before
	}
	// Events that are missing were too many.
	if revision != q.newest+1 || len(events) == 0 || q.bytes+size > q.limitBytes {
		q.overflow(revision)
	} else {
		q.revisions = append(q.revisions, revisionEvents{revision, events})
		q.bytes += size
		q.newest = revision
	}
	q.mu.Unlock()
	q.signal()
}

// overflow drops the queue; newest is the last revision dropped. mu is held.
func (q *observedQueue) overflow(newest int64) {
	q.revisions, q.bytes, q.overflowed, q.newest = nil, 0, true, newest
}

// skipTo drops the queue if the store has come to a revision that was never observed.
func (q *observedQueue) skipTo(revision int64) {
	q.mu.Lock()
	if revision > q.newest {
		q.overflow(revision)
	}
	q.mu.Unlock()
	q.signal()
}

// start empties the queue when observation begins: the hub has no live watchers, so everything up
// to the store's revision counts as dispatched.
func (q *observedQueue) start(revision int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.revisions, q.bytes, q.overflowed = nil, 0, false
	q.newest = max(q.newest, revision)
	q.dispatched.Store(q.newest)
}

func (q *observedQueue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q *observedQueue) size() int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return int64(q.bytes)
}

// take removes the first n revisions. The revisions up to newest are then dispatched, once the
// taken ones are, and all live watchers have fallen back to history if the queue had overflowed.
func (q *observedQueue) take(n int) (taken []revisionEvents, newest int64, overflowed, more bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	overflowed, q.overflowed = q.overflowed, false
	taken = q.revisions
	if len(taken) > n {
		taken, q.revisions = taken[:n:n], taken[n:]
		for _, r := range taken {
			for _, e := range r.events {
				q.bytes -= eventSize(e)
			}
		}
		return taken, taken[n-1].revision, overflowed, true
	}
	q.revisions, q.bytes = nil, 0
	return taken, q.newest, overflowed, false
}

func (q *observedQueue) setDispatched(revision int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.dispatched.Store(max(q.dispatched.Load(), revision))
}

// eventSize is about the memory that an event takes; a little more than its encoding.
func eventSize(e *mvccpb.Event) int {
	const overhead = 64
	kv, prev := e.GetKv(), e.GetPrevKv()
	return overhead + len(kv.GetKey()) + len(kv.GetValue()) + len(prev.GetKey()) + len(prev.GetValue())
}
