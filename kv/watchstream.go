package kv

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/troupe-raft/troupe"
)

// watchService is etcd's Watch service.
type watchService struct {
	pb.UnimplementedWatchServer

	hub               *watchHub
	headers           *headers
	consensus         Consensus
	leaderLoss        *leaderLossDetector
	streamBufferBytes int
	fragmentBytes     int
	maxWatchers       int
	progressInterval  time.Duration
	requestTimeout    time.Duration
}

// watchStream is one client's stream of watches. Two goroutines serve it: one receives what the client asks for, one sends
// (and reads history, so that a client which does not read holds up only that).
type watchStream struct {
	service *watchService
	hub     *watchHub
	grpc    pb.Watch_WatchServer

	bufferLimitBytes int
	wake             chan struct{} // one token: there is something to send

	mu                sync.Mutex
	controlSpace      sync.Cond           // of mu: control has room again, or the stream is closed
	closed            bool                // guarded by mu
	watchers          map[int64]*watcher  // guarded by mu
	nextID            int64               // guarded by mu
	control           []*pb.WatchResponse // guarded by mu; sent before any event that was queued after them
	ready             []*watcher          // guarded by mu; have a queue and do not lag
	lagging           []*watcher          // guarded by mu
	history           watchIndex          // guarded by mu; the lagging ones
	bufferedBytes     int                 // guarded by mu; bytes in the queues of all watchers, and in hand
	sendingBytes      int                 // guarded by mu; bytes of them that were taken to be sent
	progressRequested bool                // guarded by mu; a progress request is to be answered
}

// maxControlResponses bounds the responses that wait for a client which asks without reading the answers.
const maxControlResponses = 256

func newWatchStream(ws *watchService, stream pb.Watch_WatchServer) *watchStream {
	s := &watchStream{
		service: ws, hub: ws.hub, grpc: stream, bufferLimitBytes: ws.streamBufferBytes,
		wake: make(chan struct{}, 1), watchers: map[int64]*watcher{}, history: newWatchIndex(historyIndex),
	}
	s.controlSpace.L = &s.mu
	return s
}

func (ws *watchService) Watch(stream pb.Watch_WatchServer) error {
	s := newWatchStream(ws, stream)
	ws.hub.metrics.watchStreams.Inc()
	ws.hub.streams.Add(1)
	defer ws.hub.metrics.watchStreams.Dec()
	defer ws.hub.streams.Add(-1)
	defer s.close()
	received := make(chan error, 1)
	go func() {
		if err := s.receive(); err != io.EOF {
			received <- err
		}
	}()
	err := s.send(received)
	if stream.Context().Err() != nil || errors.Is(err, context.Canceled) {
		return rpctypes.ErrGRPCWatchCanceled
	}
	return toStatus(err)
}

// close takes all watchers of the stream away.
func (s *watchStream) close() {
	s.mu.Lock()
	s.closed = true
	watchers := s.watchers
	s.watchers = nil
	s.controlSpace.Broadcast()
	s.mu.Unlock()
	for _, w := range watchers {
		s.hub.removeWatcher(w)
	}
}

// receive handles the client's requests until its stream ends.
func (s *watchStream) receive() error {
	for {
		request, err := s.grpc.Recv()
		if err != nil {
			return err
		}
		switch r := request.GetRequestUnion().(type) {
		case *pb.WatchRequest_CreateRequest:
			if r.CreateRequest != nil {
				err = s.create(r.CreateRequest)
			}
		case *pb.WatchRequest_CancelRequest:
			s.cancel(r.CancelRequest.GetWatchId())
		case *pb.WatchRequest_ProgressRequest:
			s.mu.Lock()
			s.progressRequested = len(s.watchers) > 0
			s.mu.Unlock()
			s.signal()
		}
		if err == nil {
			err = s.awaitControlSpace()
		}
		if err != nil {
			return err
		}
	}
}

// awaitControlSpace holds back a client that asks faster than it reads.
func (s *watchStream) awaitControlSpace() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.control) >= maxControlResponses && !s.closed {
		s.controlSpace.Wait()
	}
	if s.closed {
		return context.Canceled
	}
	return nil
}

func (s *watchStream) create(r *pb.WatchCreateRequest) error {
	if r.StartRevision < 0 {
		s.sendRefusal(rpctypes.ErrCompacted)
		return nil
	}
	w, err := newWatcher(s, r)
	if err != nil {
		s.sendRefusal(err)
		return nil
	}
	ctx, cancel := context.WithTimeout(s.grpc.Context(), s.service.requestTimeout)
	defer cancel()
	// A member that is still replaying its log would tell revisions for new that the client has seen long ago.
	if _, err := s.service.consensus.Read(ctx, troupe.ReadLocal); err != nil {
		return err
	}
	if err := s.register(w, r.WatchId); err != nil {
		s.sendRefusal(err)
		return nil
	}
	return s.hub.addWatcher(ctx, w, r.StartRevision, func(now int64) {
		w.headerRevision = now
		s.control = append(s.control, &pb.WatchResponse{Header: s.service.headers.atRevision(now), WatchId: w.id, Created: true})
	})
}

// admit gives a watcher its id: the client's choice, or the next one that is free.
func (s *watchStream) register(w *watcher, wanted int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return context.Canceled
	case len(s.watchers) >= s.service.maxWatchers:
		s.hub.metrics.refused[limitWatchers].Inc()
		return errTooManyWatchers
	case wanted != 0:
		if s.watchers[wanted] != nil {
			return errDuplicateWatchID
		}
		w.id = wanted
	default:
		for s.watchers[s.nextID] != nil {
			s.nextID++
		}
		w.id = s.nextID
		s.nextID++
	}
	s.watchers[w.id] = w
	return nil
}

func (s *watchStream) sendRefusal(reason error) {
	now := int64(0)
	if store := s.hub.store.ifOpen(); store != nil {
		now = store.Revision()
	}
	s.enqueueControl(&pb.WatchResponse{
		Header: s.service.headers.atRevision(now), WatchId: noWatchID,
		Created: true, Canceled: true, CancelReason: reason.Error(),
	})
}

// cancel ends a watch; one that does not exist is passed over in silence, as in etcd.
func (s *watchStream) cancel(id int64) {
	if now, existed := s.unregister(id); existed {
		s.enqueueControl(&pb.WatchResponse{Header: s.service.headers.atRevision(now), WatchId: id, Canceled: true})
	}
}

func (s *watchStream) unregister(id int64) (now int64, existed bool) {
	s.mu.Lock()
	w := s.watchers[id]
	delete(s.watchers, id)
	s.mu.Unlock()
	if w == nil {
		return 0, false
	}
	s.hub.removeWatcher(w)
	if store := s.hub.store.ifOpen(); store != nil {
		now = store.Revision()
	}
	return now, true
}

func (s *watchStream) enqueueControl(r *pb.WatchResponse) {
	s.mu.Lock()
	s.control = append(s.control, r)
	s.mu.Unlock()
	s.signal()
}

func (s *watchStream) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// markReady notes that w has something to send. mu is held.
func (s *watchStream) markReady(w *watcher) {
	if w.ready || w.lagging {
		return
	}
	w.ready = true
	s.ready = append(s.ready, w)
	s.signal()
}

// addLagging and removeLagging keep the list and the index of those who read history. mu is held.
func (s *watchStream) addLagging(w *watcher) {
	w.lagging, w.inHistoryRead, w.laggingSlot = true, false, len(s.lagging)
	s.lagging = append(s.lagging, w)
	s.history.add(w)
	s.hub.metrics.slowWatchers.Inc()
}

func (s *watchStream) removeLagging(w *watcher) {
	last := s.lagging[len(s.lagging)-1]
	s.lagging[w.laggingSlot], last.laggingSlot = last, w.laggingSlot
	s.lagging = s.lagging[:len(s.lagging)-1]
	s.history.remove(w)
	w.lagging = false
	s.hub.metrics.slowWatchers.Dec()
}

// promoteCaughtUp lets those go on live who have read history as far as they had to. mu is held.
func (s *watchStream) promoteCaughtUp() {
	for i := 0; i < len(s.lagging); {
		w := s.lagging[i]
		if !w.live || w.historyFrom <= w.historyUntil {
			i++
			continue
		}
		s.removeLagging(w) // another one takes its place
		if len(w.queue) > 0 {
			s.markReady(w)
		}
	}
}

// progressTicker fires at the progress interval, a little off so that not all streams tell at the same moment.
func (s *watchStream) progressTicker() *time.Ticker {
	interval := s.service.progressInterval
	return time.NewTicker(interval + rand.N(interval/10+1))
}
