package watch

import (
	"context"
	"errors"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/troupe-raft/troupe/kv/mvcc"
)

// Reasons why a watch is not created. The first two texts are etcd's; clients get them as the
// cancel reason.
var (
	errEmptyWatchRange  = errors.New("mvcc: watcher range is empty")
	errDuplicateWatchID = errors.New("mvcc: duplicate watch ID provided on the WatchStream")
	errTooManyWatchers  = errors.New("troupe: too many watchers on this stream; use another one")
)

// assignID gives a new watcher the requested id, or the next free one for 0. It is the last check
// of a watch, before anything is done for it. Only the receiving goroutine adds watchers, so the id
// stays free until place.
func (s *stream) assignID(w *watcher, requested int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.watchers) >= s.hub.config.MaxWatchersPerStream {
		s.hub.config.Metrics.refused.Inc()
		return errTooManyWatchers
	}
	if requested != 0 {
		if s.watchers[requested] != nil {
			return errDuplicateWatchID
		}
		w.id = requested
		return nil
	}
	for s.watchers[s.nextID] != nil {
		s.nextID++
	}
	w.id = s.nextID
	s.nextID++
	return nil
}

// attach adds a new watcher to its stream and to the live feed or to those that read history, once
// the store contains everything up to an index. It queues the created response before any event of
// the watcher can be queued.
func (h *Hub) attach(ctx context.Context, w *watcher, index uint64) error {
	store, v, err := h.config.Store.ViewAt(ctx, index)
	if err != nil {
		return err
	}
	v.Release()
	h.observer.acquire(w.prevKV)
	if !h.place(w, store) {
		h.observer.release(w.prevKV)
		return context.Canceled
	}
	return nil
}

// place reports false if the stream is closed.
func (h *Hub) place(w *watcher, store *mvcc.Store) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := w.stream
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.watchers[w.id] = w
	dispatched := h.queue.dispatched.Load()
	w.headerRevision = max(store.Revision(), dispatched)
	start := w.startRevision
	if start == 0 {
		start = w.headerRevision + 1
	}
	s.control = append(s.control, &pb.WatchResponse{
		Header: h.config.Header.At(w.headerRevision), WatchId: w.id, Created: true,
	})
	if start > dispatched {
		w.nextLive, w.live = start, true
		h.live.add(w)
	} else {
		w.historyFrom = start
		s.addLagging(w)
	}
	s.signal()
	return true
}

// detach removes a watcher, which it returns, and drops its queue. It returns nil if there is none.
func (h *Hub) detach(s *stream, id int64) *watcher {
	h.mu.Lock()
	s.mu.Lock()
	w := s.watchers[id]
	if w != nil {
		delete(s.watchers, id)
		if w.live {
			h.live.remove(w)
			w.live = false
		}
		if w.lagging {
			s.removeLagging(w)
		}
		w.clearQueue()
	}
	s.mu.Unlock()
	h.mu.Unlock()
	if w != nil {
		h.observer.release(w.prevKV)
	}
	return w
}

// goLive adds the stream's lagging watchers that are fewer than near revisions behind to the live
// feed.
func (h *Hub) goLive(s *stream, near int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	dispatched := h.queue.dispatched.Load()
	for _, w := range s.lagging {
		if w.live || dispatched-w.historyFrom >= near {
			continue
		}
		w.live, w.historyUntil = true, dispatched
		w.nextLive = max(w.historyFrom, dispatched+1)
		h.live.add(w)
	}
	s.promoteCaughtUp()
}

// fallBackToHistory removes a live watcher from the live feed and drops its queue; its stream reads
// from history on. mu and the stream's mutex are held.
func (h *Hub) fallBackToHistory(w *watcher) {
	s := w.stream
	h.live.remove(w)
	w.live = false
	if !w.lagging {
		// nextLive stays where it is while no event matches, and compaction may pass it meanwhile. All
		// events up to dispatched were queued, so without a queue they were sent.
		w.historyFrom = max(w.nextLive, h.queue.dispatched.Load()+1)
		if len(w.queue) > 0 {
			w.historyFrom = w.queue[0].revision()
		}
		s.addLagging(w)
	}
	w.clearQueue()
	s.signal()
	h.config.Metrics.fallbacks.Inc()
}
