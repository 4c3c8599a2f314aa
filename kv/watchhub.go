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
//	                     readFrom        holdUntil │ next
//	                 read next from         last   │ first not yet queued
//	                 history                       │
//
// Invariants, for each watcher, under its stream's mutex:
//   - every revision below readFrom (while it lags) was sent, every one from readFrom to holdUntil will be read from
//     history, every one from holdUntil+1 to next-1 is in the queue or was sent. Nothing is in two of these: no gap, no double;
//   - a watcher that is not live has no queue; a live one that lags keeps its queue until history is sent up to holdUntil;
//   - all events of a revision are queued together.
//
// Order of locks: attaching, mu, a stream's mu, incoming.mu.
type watchHub struct {
	store      *StoreRef
	queueLimit int // bytes of events queued for the hub
	buffers    int // bytes of events that all streams together should not exceed; 0: no bound
	metrics    *metrics

	incoming incomingEvents
	streams  atomic.Int64 // that are open

	mu         sync.Mutex
	live       watchIndex // guarded by mu
	dispatched int64      // guarded by mu; live watchers have been given every revision up to here
	prevFrom   int64      // guarded by mu; observed revisions from here on carry PrevKv
	touched    []*watcher // of the hub's goroutine: scratch

	attaching sync.Mutex
	attached  *mvcc.Store // guarded by attaching; where the observer is, or is to be, set
	observing bool        // guarded by attaching
	watchers  int         // guarded by attaching; all, live or not
	wantPrev  int         // guarded by attaching; those which want PrevKv
	idle      *time.Timer // guarded by attaching; takes the observer away

	done chan struct{}
	once sync.Once
}

// observerLinger is how long the observer stays when the last watcher has gone: those who watch again and again for a
// moment should not make each batch wait for them.
const observerLinger = 10 * time.Second

// dispatchSlice is how many revisions the hub handles before it lets watchers come and go.
const dispatchSlice = 256

func newWatchHub(store *StoreRef, queueLimit int, m *metrics) *watchHub {
	h := &watchHub{
		store: store, queueLimit: queueLimit, metrics: m,
		live: newWatchIndex(inHub), done: make(chan struct{}),
	}
	h.incoming.wake = make(chan struct{}, 1)
	store.watchOpened(h.attach)
	return h
}

func (h *watchHub) stop() { h.once.Do(func() { close(h.done) }) }

// incomingEvents is what the observer leaves for the hub's goroutine.
type incomingEvents struct {
	mu        sync.Mutex
	revisions []revisionEvents // guarded by mu; without holes, the last one is newest
	bytes     int              // guarded by mu
	newest    int64            // guarded by mu; the last revision that was observed
	lost      bool             // guarded by mu; revisions before the queued ones were dropped: everyone reads history
	wake      chan struct{}
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
	q := &h.incoming
	q.mu.Lock()
	if revision <= q.newest {
		q.mu.Unlock()
		return // a reopened store is replaying what was told before
	}
	if revision != q.newest+1 || q.bytes+size > h.queueLimit {
		q.revisions, q.bytes, q.lost = nil, 0, true
	} else {
		q.revisions = append(q.revisions, revisionEvents{revision, events})
		q.bytes += size
	}
	q.newest = revision
	q.mu.Unlock()
	q.signal()
}

func (q *incomingEvents) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q *incomingEvents) size() int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return int64(q.bytes)
}

// take hands over up to n revisions; newest is the last revision that the taker then knows of.
func (q *incomingEvents) take(n int) (revisions []revisionEvents, newest int64, lost, more bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	lost, q.lost = q.lost, false
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
		case <-h.incoming.wake:
			for h.dispatchSome() {
			}
		case <-h.done:
			return
		}
	}
}

func (h *watchHub) dispatchSome() (more bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	revisions, newest, lost, more := h.incoming.take(dispatchSlice)
	if lost {
		h.live.each(func(w *watcher) { h.touched = append(h.touched, w) })
		for _, w := range h.touched {
			w.stream.mu.Lock()
			h.demote(w)
			w.stream.mu.Unlock()
		}
		clear(h.touched)
		h.touched = h.touched[:0]
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
				h.touched = append(h.touched, w)
			}
			w.matched = append(w.matched, shared)
		})
	}
	for _, w := range h.touched {
		h.deliver(w, r.revision)
		clear(w.matched)
		w.matched = w.matched[:0]
	}
	clear(h.touched)
	h.touched = h.touched[:0]
}

// deliver queues the matched events of one revision at the watcher, or sends it to history if its stream is full.
func (h *watchHub) deliver(w *watcher, revision int64) {
	s := w.stream
	s.mu.Lock()
	defer s.mu.Unlock()
	if revision < w.next {
		return // before its start
	}
	size := 0
	for _, e := range w.matched {
		size += e.encode(w.prevKV)
	}
	if s.buffered+size > h.allowance(s.bufferLimit) || (w.prevKV && revision < h.prevFrom) {
		h.demote(w)
		return
	}
	w.queue = append(w.queue, w.matched...)
	w.queueBytes += size
	s.buffered += size
	w.next = revision + 1
	s.markReady(w)
}

// leastAllowance is what a stream may always buffer.
const leastAllowance = 64 << 10

// allowance is how much a stream may buffer: its limit, or its share of what all may where they are many. A stream whose
// client does not read thus holds no more than its share, and one that is read has its own.
func (h *watchHub) allowance(limit int) int {
	if h.buffers == 0 {
		return limit
	}
	return min(limit, max(leastAllowance, h.buffers/max(1, int(h.streams.Load()))))
}

// demote takes a live watcher out of the live feed: it goes on from history. h.mu and its stream's mutex are held.
func (h *watchHub) demote(w *watcher) {
	s := w.stream
	h.live.remove(w)
	w.live = false
	if !w.lagging {
		w.readFrom = w.next
		if len(w.queue) > 0 {
			w.readFrom = w.queue[0].revision()
		}
		s.addLagging(w)
	}
	w.dropQueue()
	s.signal()
	h.metrics.watchFallbacks.Inc()
}

// join registers a watcher that starts at revision start, 0 for now, and returns the store's revision at that moment.
// announce is called with it, before any event of the watcher can be sent.
func (h *watchHub) join(ctx context.Context, w *watcher, start int64, announce func(now int64)) error {
	store, err := h.store.get(ctx)
	if err != nil {
		return err
	}
	h.observeFor(w)
	if !h.admit(w, start, store, announce) {
		h.unobserveFor(w)
		return context.Canceled
	}
	return nil
}

// admit is false if the watcher's stream was closed meanwhile.
func (h *watchHub) admit(w *watcher, start int64, store *mvcc.Store, announce func(now int64)) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := w.stream
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	w.joined = true
	now := max(store.Revision(), h.dispatched)
	if start == 0 {
		start = now + 1
	}
	announce(now)
	if start > h.dispatched {
		w.next, w.live = start, true
		h.live.add(w)
	} else {
		w.readFrom = start
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
		if w.live || h.dispatched-w.readFrom >= near {
			continue
		}
		w.live, w.holdUntil = true, h.dispatched
		w.next = max(w.readFrom, h.dispatched+1)
		h.live.add(w)
	}
	s.releaseCaughtUp()
}

// leave forgets a watcher. It is told of nothing after that.
func (h *watchHub) leave(w *watcher) {
	h.mu.Lock()
	w.stream.mu.Lock()
	joined := w.joined
	w.joined = false
	if w.live {
		h.live.remove(w)
		w.live = false
	}
	if w.lagging {
		w.stream.removeLagging(w)
	}
	w.dropQueue()
	w.stream.mu.Unlock()
	h.mu.Unlock()
	if joined {
		h.unobserveFor(w)
	}
}
