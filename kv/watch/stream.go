package watch

import (
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/troupe-raft/troupe"
	"github.com/troupe-raft/troupe/internal/interleave"
)

// stream is one client's stream of watches. One goroutine receives the client's requests; another
// one sends, and reads history, so that a client which does not read delays only its own history.
type stream struct {
	hub  *Hub
	grpc pb.Watch_WatchServer
	wake chan struct{} // capacity 1; a token says that there is something to send

	mu                interleave.Mutex
	controlSpace      interleave.Cond     // of mu; control has space, or the stream is closed
	closed            bool                // guarded by mu
	watchers          map[int64]*watcher  // guarded by mu; by id
	nextID            int64               // guarded by mu
	control           []*pb.WatchResponse // guarded by mu; sent before events queued after them
	ready             []*watcher          // guarded by mu; have a queue and do not lag
	lagging           []*watcher          // guarded by mu
	history           watchIndex          // guarded by mu; of lagging
	readOne           bool                // guarded by mu; history is read for one watcher next
	bufferedBytes     int                 // guarded by mu; in all queues, plus sendingBytes
	sendingBytes      int                 // guarded by mu; taken from the queues and not sent yet
	progressRequested bool                // guarded by mu; a progress request waits for its response
}

// maxControlResponses bounds the responses that wait for a client which requests and does not read.
const maxControlResponses = 256

func newStream(h *Hub, grpc pb.Watch_WatchServer) *stream {
	s := &stream{
		hub: h, grpc: grpc, wake: make(chan struct{}, 1),
		watchers: map[int64]*watcher{}, history: newWatchIndex(historyIndex),
	}
	s.mu.Schedule(h.config.Schedule)
	s.controlSpace.Init(&s.mu)
	return s
}

// Serve serves one client's stream until the client ends it, or leaderLost is closed, or the hub or
// the node stops.
func (h *Hub) Serve(grpc pb.Watch_WatchServer, leaderLost <-chan struct{}) error {
	s := newStream(h, grpc)
	h.config.Metrics.streams.Inc()
	h.streams.Add(1)
	defer h.config.Metrics.streams.Dec()
	defer h.streams.Add(-1)
	defer s.close()
	received := make(chan error, 1)
	h.config.Schedule.Go("watch stream, receiving", func() {
		if err := s.receive(); err != io.EOF {
			received <- err
		}
	})
	err := s.send(received, leaderLost)
	if grpc.Context().Err() != nil || errors.Is(err, context.Canceled) {
		return rpctypes.ErrGRPCWatchCanceled
	}
	return err
}

// close removes all watchers of the stream and refuses new ones.
func (s *stream) close() {
	s.mu.Lock()
	s.closed = true
	s.controlSpace.Broadcast()
	ids := slices.Sorted(maps.Keys(s.watchers))
	s.mu.Unlock()
	for _, id := range ids {
		s.hub.detach(s, id)
	}
}

// receive handles the client's requests until its side of the stream ends.
func (s *stream) receive() error {
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
			s.requestProgress()
		}
		if err == nil {
			err = s.awaitControlSpace()
		}
		if err != nil {
			return err
		}
	}
}

// awaitControlSpace delays a client that requests faster than it reads.
func (s *stream) awaitControlSpace() error {
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

func (s *stream) create(r *pb.WatchCreateRequest) error {
	if r.StartRevision < 0 {
		s.sendRefusal(rpctypes.ErrCompacted)
		return nil
	}
	w, err := newWatcher(s, r)
	if err != nil {
		s.sendRefusal(err)
		return nil
	}
	ctx, cancel := s.hub.config.Schedule.WithTimeout(s.grpc.Context(), s.hub.config.RequestTimeout)
	defer cancel()
	// A member that still replays its log would send revisions that the client saw long ago as new.
	point, err := s.hub.config.Consensus.Read(ctx, troupe.ReadLocal)
	if err != nil {
		return err
	}
	if err := s.assignID(w, r.WatchId); err != nil {
		s.sendRefusal(err)
		return nil
	}
	return s.hub.attach(ctx, w, point.Index)
}

func (s *stream) sendRefusal(reason error) {
	s.enqueueControl(&pb.WatchResponse{
		Header: s.hub.config.Header.At(s.hub.revision()), WatchId: noWatchID,
		Created: true, Canceled: true, CancelReason: reason.Error(),
	})
}

// cancel ends a watch. As in etcd, an unknown id gets no response.
func (s *stream) cancel(id int64) {
	if w := s.hub.detach(s, id); w != nil {
		// No store may be open, or one that still replays the log; headers never go back.
		header := s.hub.config.Header.At(max(s.hub.revision(), w.headerRevision))
		s.enqueueControl(&pb.WatchResponse{Header: header, WatchId: id, Canceled: true})
	}
}

// requestProgress asks the sending goroutine for a progress response. As in etcd, a stream without
// watches sends none.
func (s *stream) requestProgress() {
	s.mu.Lock()
	s.progressRequested = len(s.watchers) > 0
	s.mu.Unlock()
	s.signal()
}

func (s *stream) enqueueControl(r *pb.WatchResponse) {
	s.mu.Lock()
	s.control = append(s.control, r)
	s.mu.Unlock()
	s.signal()
}

func (s *stream) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// markReady notes that w has something to send. mu is held.
func (s *stream) markReady(w *watcher) {
	if w.ready || w.lagging {
		return
	}
	w.ready = true
	s.ready = append(s.ready, w)
	s.signal()
}

// addLagging adds w to the watchers that read history. mu is held.
func (s *stream) addLagging(w *watcher) {
	w.lagging, w.inHistoryRead, w.laggingSlot = true, false, len(s.lagging)
	s.lagging = append(s.lagging, w)
	s.history.add(w)
	s.hub.config.Metrics.slowWatchers.Inc()
}

// removeLagging is the reverse of addLagging. mu is held.
func (s *stream) removeLagging(w *watcher) {
	last := s.lagging[len(s.lagging)-1]
	s.lagging[w.laggingSlot], last.laggingSlot = last, w.laggingSlot
	s.lagging = s.lagging[:len(s.lagging)-1]
	s.history.remove(w)
	w.lagging = false
	s.hub.config.Metrics.slowWatchers.Dec()
}

// progressInterval is the configured one, up to a tenth longer so that streams differ.
func (s *stream) progressInterval() time.Duration {
	interval := s.hub.config.ProgressInterval
	return interval + s.hub.config.Schedule.Random(interval/10+1)
}
