package kv

import (
	"time"

	"github.com/troupe-raft/troupe/kv/mvcc"
)

// How the hub comes by its events: the store has an observer only while somebody watches, and looks up previous values
// only while somebody wants them, since both cost the applying goroutine time. And the store may be closed and opened again.

// attach is told of every store that is opened, before anything is applied to it.
func (h *watchHub) attach(store *mvcc.Store) {
	h.attaching.Lock()
	defer h.attaching.Unlock()
	h.attached = store
	if !h.observing {
		return
	}
	store.SetObserver(h.observe)
	q := &h.incoming
	q.mu.Lock()
	if revision := store.Revision(); revision > q.newest {
		// Revisions came to be that were not observed (the state was installed whole).
		q.revisions, q.bytes, q.lost, q.newest = nil, 0, true, revision
	}
	q.mu.Unlock()
	q.signal()
	if h.wantPrev > 0 {
		h.startPrev()
	}
}

// observeFor counts a new watcher and has the store tell what it needs.
func (h *watchHub) observeFor(w *watcher) {
	h.attaching.Lock()
	defer h.attaching.Unlock()
	h.watchers++
	h.metrics.watchers.Inc()
	if h.idle != nil {
		h.idle.Stop()
		h.idle = nil
	}
	if !h.observing {
		h.startObserving()
	}
	if w.prevKV {
		if h.wantPrev++; h.wantPrev == 1 {
			h.startPrev()
		}
	}
}

// startObserving sets the observer; every revision after the store's present one will be told. attaching is held.
func (h *watchHub) startObserving() {
	h.observing = true
	h.attached.SetObserver(h.observe)
	h.mu.Lock()
	defer h.mu.Unlock()
	q := &h.incoming
	q.mu.Lock()
	defer q.mu.Unlock()
	q.revisions, q.bytes, q.lost = nil, 0, false
	q.newest = max(q.newest, h.attached.Revision())
	h.dispatched = q.newest
}

// startPrev has events carry the former value; those of revisions before that are read from history. attaching is held.
func (h *watchHub) startPrev() {
	h.attached.SetWantPrev(true)
	from := h.attached.Revision() + 1
	h.mu.Lock()
	h.prevFrom = from
	h.mu.Unlock()
}

func (h *watchHub) unobserveFor(w *watcher) {
	h.attaching.Lock()
	defer h.attaching.Unlock()
	h.watchers--
	h.metrics.watchers.Dec()
	if w.prevKV {
		if h.wantPrev--; h.wantPrev == 0 {
			h.attached.SetWantPrev(false)
		}
	}
	if h.watchers == 0 {
		h.idle = time.AfterFunc(observerLinger, h.stopObserving)
	}
}

func (h *watchHub) stopObserving() {
	h.attaching.Lock()
	defer h.attaching.Unlock()
	if h.watchers == 0 && h.observing {
		h.attached.SetObserver(nil)
		h.observing = false
	}
}
