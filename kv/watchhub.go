package kv

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/troupe-raft/troupe/kv/mvcc"
)

// watchHub brings what the store applies to the watchers of this member.
//
// The way of an event: the store's observer (on the applying goroutine, so it only queues) → the hub's goroutine, which
// finds the watchers concerned and puts the event, encoded once for all of them, into their queues → each stream's own
// goroutine, which sends. What cannot go that way is read from history by the stream that lacks it: a watch that starts
// in the past, a watcher whose stream does not keep up, everything after the hub itself was overrun. So a slow client
// costs its own catching up and a bounded buffer, and nobody waits for it.
//
//	                 history (View.Events)                live (observer)
//	revision  … ─────────────┬───────────────┬───────────────────────────────▶
//	                     historyFrom        historyUntil │ next
//	                 read next from         last   │ first not yet queued
//	                 history                       │
//
// Invariants, for each watcher, under its stream's mutex:
//   - every revision below historyFrom (while it lags) was sent, every one from historyFrom to historyUntil will be read from
//     history, every one from historyUntil+1 to next-1 is in the queue or was sent. Nothing is in two of these: no gap, no double;
//   - a watcher that is not live has no queue; a live one that lags keeps its queue until history is sent up to historyUntil;
//   - all events of a revision are queued together.
//
// Order of locks: attaching, mu, a stream's mu, incoming.mu.
type watchHub struct {
	store            *StoreRef
	queueLimitBytes  int // bytes of events queued for the hub
	totalBufferBytes int // bytes of events that all streams together should not exceed; 0: no bound
	metrics          *metrics

	observed observedQueue
	streams  atomic.Int64 // that are open

	mu              sync.Mutex
	live            watchIndex // guarded by mu
	dispatched      int64      // guarded by mu; live watchers have been given every revision up to here
	prevKVFrom      int64      // guarded by mu; observed revisions from here on carry PrevKv
	matchedWatchers []*watcher // of the hub's goroutine: scratch

	observerMu     sync.Mutex
	observedStore  *mvcc.Store // guarded by attaching; where the observer is, or is to be, set
	observing      bool        // guarded by attaching
	watchers       int         // guarded by attaching; all, live or not
	prevKVWatchers int         // guarded by attaching; those which want PrevKv
	idleTimer      *time.Timer // guarded by attaching; takes the observer away

	done chan struct{}
	once sync.Once
}

// observerIdleTimeout is how long the observer stays when the last watcher has gone: those who watch again and again for a
// moment should not make each batch wait for them.
const observerIdleTimeout = 10 * time.Second

// dispatchBatchRevisions is how many revisions the hub handles before it lets watchers come and go.
const dispatchBatchRevisions = 256

func newWatchHub(store *StoreRef, queueLimit int, m *metrics) *watchHub {
	h := &watchHub{
		store: store, queueLimitBytes: queueLimit, metrics: m,
		live: newWatchIndex(liveIndex), done: make(chan struct{}),
	}
	h.observed.wake = make(chan struct{}, 1)
	store.setOnOpen(h.storeOpened)
	return h
}

func (h *watchHub) stop() { h.once.Do(func() { close(h.done) }) }

// observedQueue is what the observer leaves for the hub's goroutine.
type observedQueue struct {
	mu         sync.Mutex
	revisions  []revisionEvents // guarded by mu; without holes, the last one is newest
	bytes      int              // guarded by mu
	newest     int64            // guarded by mu; the last revision that was observed
	overflowed bool             // guarded by mu; revisions before the queued ones were dropped: everyone reads history
	wake       chan struct{}
}

type revisionEvents struct {
	revision int64
	events   []*mvccpb.Event
}

// observe is the store's observer. It runs on the applying goroutine and only queues.
func (h *watchHub) observe(revision int64, events []*mvccpb.Event) {
	size := 0
	for _, e := range events {
		size += eventSize(e)
	}
	q := &h.observed
	q.mu.Lock()
	if revision <= q.newest {
		q.mu.Unlock()
		return // a reopened store is replaying what was told before
	}
	if revision != q.newest+1 || q.bytes+size > h.queueLimitBytes {
		q.revisions, q.bytes, q.overflowed = nil, 0, true
	} else {
		q.revisions = append(q.revisions, revisionEvents{revision, events})
		q.bytes += size
	}
	q.newest = revision
	q.mu.Unlock()
	q.signal()
}

func (q *observedQueue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q *observedQueue) queuedBytes() int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return int64(q.bytes)
}

// take hands over up to n revisions; newest is the last revision that the taker then knows of.
func (q *observedQueue) take(n int) (revisions []revisionEvents, newest int64, lost, more bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	lost, q.overflowed = q.overflowed, false
	revisions = q.revisions
	if len(revisions) > n {
		revisions, q.revisions = revisions[:n:n], revisions[n:]
		for _, r := range revisions {
			for _, e := range r.events {
				q.bytes -= eventSize(e)
			}
		}
		return revisions, revisions[n-1].revision, lost, true
	}
	q.revisions, q.bytes = nil, 0
	return revisions, q.newest, lost, false
}

// eventSize is about what an event occupies, and a bit more than its encoding.
func eventSize(e *mvccpb.Event) int {
	const overhead = 64
	kv, prev := e.GetKv(), e.GetPrevKv()
	return overhead + len(kv.GetKey()) + len(kv.GetValue()) + len(prev.GetKey()) + len(prev.GetValue())
}

// run is the hub's goroutine.
func (h *watchHub) run() {
	for {
		select {
		case <-h.observed.wake:
			for h.dispatchBatch() {
			}
		case <-h.done:
			return
		}
	}
}

func (h *watchHub) dispatchBatch() (more bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	revisions, newest, lost, more := h.observed.take(dispatchBatchRevisions)
	if lost {
		h.live.each(func(w *watcher) { h.matchedWatchers = append(h.matchedWatchers, w) })
		for _, w := range h.matchedWatchers {
			w.stream.mu.Lock()
			h.fallBackToHistory(w)
			w.stream.mu.Unlock()
		}
		clear(h.matchedWatchers)
		h.matchedWatchers = h.matchedWatchers[:0]
	}
	for _, r := range revisions {
		h.dispatch(r)
	}
	h.dispatched = max(h.dispatched, newest)
	return more
}

// dispatch gives a revision's events to the live watchers they concern. h.mu is held.
func (h *watchHub) dispatch(r revisionEvents) {
	for _, e := range r.events {
		var shared *sharedEvent
		h.live.match(e, func(w *watcher) {
			if shared == nil {
				shared = newSharedEvent(e)
			}
			if len(w.matched) == 0 {
				h.matchedWatchers = append(h.matchedWatchers, w)
			}
			w.matched = append(w.matched, shared)
		})
	}
	for _, w := range h.matchedWatchers {
		h.deliver(w, r.revision)
		clear(w.matched)
		w.matched = w.matched[:0]
	}
	clear(h.matchedWatchers)
	h.matchedWatchers = h.matchedWatchers[:0]
}

// deliver queues the matched events of one revision at the watcher, or sends it to history if its stream is full.
func (h *watchHub) deliver(w *watcher, revision int64) {
	s := w.stream
	s.mu.Lock()
	defer s.mu.Unlock()
	if revision < w.nextLive {
		return // before its start
	}
	size := 0
	for _, e := range w.matched {
		size += e.encode(w.prevKV)
	}
	if s.bufferedBytes+size > h.streamBufferLimit(s.bufferLimitBytes) || (w.prevKV && revision < h.prevKVFrom) {
		h.fallBackToHistory(w)
		return
	}
	w.queue = append(w.queue, w.matched...)
	w.queueBytes += size
	s.bufferedBytes += size
	w.nextLive = revision + 1
	s.markReady(w)
}

// minStreamBufferBytes is what a stream may always buffer.
const minStreamBufferBytes = 64 << 10

// allowance is how much a stream may buffer: its limit, or its share of what all may where they are many. A stream whose
// client does not read thus holds no more than its share, and one that is read has its own.
func (h *watchHub) streamBufferLimit(limit int) int {
	if h.totalBufferBytes == 0 {
		return limit
	}
	return min(limit, max(minStreamBufferBytes, h.totalBufferBytes/max(1, int(h.streams.Load()))))
}

// demote takes a live watcher out of the live feed: it goes on from history. h.mu and its stream's mutex are held.
func (h *watchHub) fallBackToHistory(w *watcher) {
	s := w.stream
	h.live.remove(w)
	w.live = false
	if !w.lagging {
		w.historyFrom = w.nextLive
		if len(w.queue) > 0 {
			w.historyFrom = w.queue[0].revision()
		}
		s.addLagging(w)
	}
	w.clearQueue()
	s.signal()
	h.metrics.watchFallbacks.Inc()
}

// join registers a watcher that starts at revision start, 0 for now, and returns the store's revision at that moment.
// announce is called with it, before any event of the watcher can be sent.
func (h *watchHub) addWatcher(ctx context.Context, w *watcher, start int64, announce func(now int64)) error {
	store, err := h.store.get(ctx)
	if err != nil {
		return err
	}
	h.acquireObserver(w)
	if !h.placeWatcher(w, start, store, announce) {
		h.releaseObserver(w)
		return context.Canceled
	}
	return nil
}

// admit is false if the watcher's stream was closed meanwhile.
func (h *watchHub) placeWatcher(w *watcher, start int64, store *mvcc.Store, announce func(now int64)) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := w.stream
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	w.registered = true
	now := max(store.Revision(), h.dispatched)
	if start == 0 {
		start = now + 1
	}
	announce(now)
	if start > h.dispatched {
		w.nextLive, w.live = start, true
		h.live.add(w)
	} else {
		w.historyFrom = start
		s.addLagging(w)
	}
	s.signal()
	return true
}

// goLive lets the stream's lagging watchers that are near the present into the live feed. What the hub has dispatched
// already they still read from history; what comes from now on waits in their queues until then.
func (h *watchHub) goLive(s *watchStream, near int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.lagging {
		if w.live || h.dispatched-w.historyFrom >= near {
			continue
		}
		w.live, w.historyUntil = true, h.dispatched
		w.nextLive = max(w.historyFrom, h.dispatched+1)
		h.live.add(w)
	}
	s.promoteCaughtUp()
}

// leave forgets a watcher. It is told of nothing after that.
func (h *watchHub) removeWatcher(w *watcher) {
	h.mu.Lock()
	w.stream.mu.Lock()
	joined := w.registered
	w.registered = false
	if w.live {
		h.live.remove(w)
		w.live = false
	}
	if w.lagging {
		w.stream.removeLagging(w)
	}
	w.clearQueue()
	w.stream.mu.Unlock()
	h.mu.Unlock()
	if joined {
		h.releaseObserver(w)
	}
}
