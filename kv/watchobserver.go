package kv

import (
	"time"

	"github.com/troupe-raft/troupe/kv/mvcc"
)

// How the hub comes by its events: the store has an observer only while somebody watches, and looks up previous values
// only while somebody wants them, since both cost the applying goroutine time. And the store may be closed and opened again.

// attach is told of every store that is opened, before anything is applied to it.
func (h *watchHub) storeOpened(store *mvcc.Store) {
	h.observerMu.Lock()
	defer h.observerMu.Unlock()
	h.observedStore = store
	if !h.observing {
		return
	}
	store.SetObserver(h.observe)
	q := &h.observed
	q.mu.Lock()
	if revision := store.Revision(); revision > q.newest {
		// Revisions came to be that were not observed (the state was installed whole).
		q.revisions, q.bytes, q.overflowed, q.newest = nil, 0, true, revision
	}
	q.mu.Unlock()
	q.signal()
	if h.prevKVWatchers > 0 {
		h.startPrevKV()
	}
}

// acquireObserver counts a new watcher and has the store tell what it needs.
func (h *watchHub) acquireObserver(w *watcher) {
	h.observerMu.Lock()
	defer h.observerMu.Unlock()
	h.watchers++
	h.metrics.watchers.Inc()
	if h.idleTimer != nil {
		h.idleTimer.Stop()
		h.idleTimer = nil
	}
	if !h.observing {
		h.startObserving()
	}
	if w.prevKV {
		if h.prevKVWatchers++; h.prevKVWatchers == 1 {
			h.startPrevKV()
		}
	}
}

// startObserving sets the observer; every revision after the store's present one will be told. attaching is held.
func (h *watchHub) startObserving() {
	h.observing = true
	h.observedStore.SetObserver(h.observe)
	h.mu.Lock()
	defer h.mu.Unlock()
	q := &h.observed
	q.mu.Lock()
	defer q.mu.Unlock()
	q.revisions, q.bytes, q.overflowed = nil, 0, false
	q.newest = max(q.newest, h.observedStore.Revision())
	h.dispatched = q.newest
}

// startPrevKV has events carry the former value; those of revisions before that are read from history. attaching is held.
func (h *watchHub) startPrevKV() {
	h.observedStore.SetWantPrev(true)
	from := h.observedStore.Revision() + 1
	h.mu.Lock()
	h.prevKVFrom = from
	h.mu.Unlock()
}

func (h *watchHub) releaseObserver(w *watcher) {
	h.observerMu.Lock()
	defer h.observerMu.Unlock()
	h.watchers--
	h.metrics.watchers.Dec()
	if w.prevKV {
		if h.prevKVWatchers--; h.prevKVWatchers == 0 {
			h.observedStore.SetWantPrev(false)
		}
	}
	if h.watchers == 0 {
		h.idleTimer = time.AfterFunc(observerIdleTimeout, h.stopObserving)
	}
}

func (h *watchHub) stopObserving() {
	h.observerMu.Lock()
	defer h.observerMu.Unlock()
	if h.watchers == 0 && h.observing {
		h.observedStore.SetObserver(nil)
		h.observing = false
	}
}
