// Package watch serves the Watch service of the etcd API from the changes that one member's store
// applies.
package watch

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/troupe-raft/troupe"
	"github.com/troupe-raft/troupe/internal/interleave"
	"github.com/troupe-raft/troupe/kv/internal/header"
	"github.com/troupe-raft/troupe/kv/mvcc"
)

// Config configures a Hub. Sizes are in bytes.
type Config struct {
	Store     *mvcc.StoreRef
	Consensus Consensus
	Header    *header.Maker
	Metrics   *Metrics
	// Schedule, if not nil, has the hub and its streams as tasks: the simulator's, and those of
	// tests.
	Schedule *interleave.Scheduler

	QueueBytes           int // events that wait for the hub
	StreamBufferBytes    int // events that wait in one stream
	TotalBufferBytes     int // events that wait in all streams; 0: no limit
	RevisionBytes        int // memory of a revision's events above which a watch is canceled; 0: no limit
	FragmentBytes        int // response size above which a watch that allows it gets fragments
	MaxWatchersPerStream int

	ProgressInterval time.Duration // between progress notifications to an idle watch
	RequestTimeout   time.Duration // for the creation of a watch
}

// Consensus is what the hub needs of the node.
type Consensus interface {
	Read(ctx context.Context, mode troupe.ReadMode) (troupe.ReadPoint, error)
	Done() <-chan struct{}
}

// Hub delivers the changes that the store applies to the watchers of this member.
//
// # The path of an event
//
//	Apply ──▶ observedQueue ──▶ watcher.queue ──▶ client
//	  observe()        dispatchBatch()      stream.send()
//	  applying         hub's                one goroutine
//	  goroutine        goroutine            per stream
//
// The store calls observe on its applying goroutine, so observe only appends to a queue. The hub's
// goroutine finds the watchers of each event in an index and appends the event to their queues.
// An event is encoded once, and all watchers share the bytes (sharedEvent). Each stream has a
// goroutine that sends.
//
// # Slow watchers
//
// Every queue has a limit in bytes, and neither Apply nor the hub waits for space. Where an event
// does not fit, the watcher leaves the live feed, and its stream reads from the store's history
// what the watcher lacks (fallBackToHistory). A watch that starts in the past begins that way, and
// after an overflow of the hub's own queue every watcher goes that way. So a slow client costs a
// bounded buffer and its own reads of history, and no other client waits for it.
//
// # Catching up
//
// A lagging watcher reads history from historyFrom on. Once it is near the present, goLive adds it
// to the live feed as well: what the hub has dispatched by then, up to historyUntil, still comes
// from history; what follows waits in the watcher's queue until that history is sent.
//
//	            history (View.Events)          live (observe)
//	revision  … ──────────┬───────────────┬───────────────────────────▶
//	                 historyFrom     historyUntil │ nextLive
//	                 next to read    last to read │ first not yet queued
//
// Invariants of each watcher, under its stream's mutex:
//   - Every revision below historyFrom was sent while it lags, historyFrom to historyUntil will be
//     read from history, and historyUntil+1 to nextLive-1 is in the queue or was sent. No revision
//     is in two of these ranges: the client sees no gap and no duplicate.
//   - A watcher that is not live has no queue. A live watcher that lags keeps its queue until
//     history is sent up to historyUntil.
//   - All events of a revision are queued together.
//
// # Progress
//
// observedQueue.dispatched is the revision up to which the hub has queued every event. A stream
// that loads it under its own mutex therefore has every event up to it in its queues, or has sent
// it. Events of later revisions may be queued too; then progress waits, since headers never go
// back.
//
// Under load a batch is nearly always being dispatched, so a stream that only polled could wait
// without bound. To answer a progress request it therefore locks Hub.mu first: between two batches
// no queue has an event above dispatched.
//
// Locks are taken in this order: observer.mu, Hub.mu, stream.mu, observedQueue.mu.
type Hub struct {
	config   Config
	queue    observedQueue
	observer observer
	streams  atomic.Int64 // open streams

	mu              interleave.Mutex
	live            watchIndex // guarded by mu; the watchers of the live feed
	matchedWatchers []*watcher // scratch of the hub's goroutine

	done chan struct{}
	once sync.Once
}

// dispatchBatchRevisions is how many revisions the hub dispatches before it unlocks for watchers
// that come and go.
const dispatchBatchRevisions = 256

// NewHub returns a hub whose Run is to be called.
func NewHub(config Config) *Hub {
	h := &Hub{config: config, live: newWatchIndex(liveIndex), done: make(chan struct{})}
	h.queue.limitBytes, h.queue.wake = config.QueueBytes, make(chan struct{}, 1)
	h.observer.queue, h.observer.metrics, h.observer.schedule = &h.queue, config.Metrics, config.Schedule
	for _, mu := range []*interleave.Mutex{&h.mu, &h.queue.mu, &h.observer.mu} {
		mu.Schedule(config.Schedule)
	}
	config.Store.SetOnOpen(h.observer.storeOpened)
	return h
}

// Run dispatches events until Stop.
func (h *Hub) Run() {
	for h.config.Schedule.Select(h.queue.wake, h.done, nil, nil) == 0 {
		for h.dispatchBatch() {
		}
	}
}

// Stop ends Run and every stream. It may be called again.
func (h *Hub) Stop() { h.once.Do(func() { close(h.done) }) }

// QueuedBytes returns the size of the events that wait for the hub.
func (h *Hub) QueuedBytes() int64 { return h.queue.size() }

// revision returns the newest revision that the hub knows of.
func (h *Hub) revision() int64 {
	return max(h.config.Store.Revision(), h.queue.dispatched.Load())
}

// dispatchBatch dispatches the oldest revisions of the queue and reports whether there are more.
func (h *Hub) dispatchBatch() (more bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	revisions, newest, overflowed, more := h.queue.take(dispatchBatchRevisions)
	if overflowed {
		h.live.each(func(w *watcher) { h.matchedWatchers = append(h.matchedWatchers, w) })
		for _, w := range h.matchedWatchers {
			w.stream.mu.Lock()
			h.fallBackToHistory(w)
			w.stream.mu.Unlock()
		}
		h.clearMatched()
	}
	for _, r := range revisions {
		h.dispatch(r)
	}
	h.queue.setDispatched(newest)
	return more
}

// dispatch queues a revision's events at the live watchers that match them. mu is held.
func (h *Hub) dispatch(r revisionEvents) {
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
	h.clearMatched()
}

func (h *Hub) clearMatched() {
	clear(h.matchedWatchers)
	h.matchedWatchers = h.matchedWatchers[:0]
}

// deliver queues the matched events of one revision at the watcher. If they do not fit into its
// stream's buffer, or lack a previous value, the watcher falls back to history. mu is held.
func (h *Hub) deliver(w *watcher, revision int64) {
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
	if s.bufferedBytes+size > h.streamBufferBytes() || w.prevKV && revision < h.observer.prevKVFrom.Load() {
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

// streamBufferBytes returns how much one stream may buffer: the configured limit or, where streams
// are many, an equal share of the total.
func (h *Hub) streamBufferBytes() int {
	limit, total := h.config.StreamBufferBytes, h.config.TotalBufferBytes
	if total == 0 {
		return limit
	}
	return min(limit, max(minStreamBufferBytes, total/max(1, int(h.streams.Load()))))
}
