package watch

import (
	"errors"
	"fmt"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/troupe-raft/troupe/kv/mvcc"
)

const (
	// historyReadBytes is how much history is read at a time. A single revision may be larger.
	historyReadBytes = 1 << 20
	// liveThresholdRevisions is how many revisions a watcher may lag to be added to the live feed.
	liveThresholdRevisions = 1000
	// replayPollInterval is how long to wait for a reopened store that replays the log.
	replayPollInterval = 20 * time.Millisecond
)

// errStoreBehind: the store was reopened and has not replayed the revisions that watchers have
// seen.
var errStoreBehind = errors.New("the store is behind its watchers")

// historyRead is one read of history for all lagging watchers of a stream: what to read, and what
// was found.
type historyRead struct {
	from          int64
	key, rangeEnd []byte
	prevKV        bool
	watchers      int

	events          []*mvcc.Event // all events of from to to
	to              int64
	storeRevision   int64 // the newest revision when it was read
	compactRevision int64
}

// readHistory reads history from the revision at which the watcher furthest behind is, and sends
// what it finds. more says that there is more to do; pause, how long to wait before that.
func (s *stream) readHistory() (more bool, pause time.Duration, err error) {
	s.mu.Lock()
	lag := len(s.lagging) > 0
	s.mu.Unlock()
	if !lag {
		return false, 0, nil
	}
	s.hub.goLive(s, liveThresholdRevisions)
	read, ok := s.planHistory()
	if !ok {
		return true, 0, nil // a watcher may have become ready
	}
	err = s.readPlanned(&read)
	switch {
	case errors.Is(err, errStoreBehind), errors.Is(err, mvcc.ErrClosed):
		return false, replayPollInterval, nil
	case errors.Is(err, mvcc.ErrEventsTooLarge):
		return true, 0, s.refuseLargeRevision(&read)
	case errors.Is(err, mvcc.ErrCompacted):
		return true, 0, s.cancelCompacted(read.from, read.compactRevision)
	case err != nil:
		return false, 0, err
	}
	return true, 0, s.sendFrames(s.historyResponses(&read))
}

// planHistory plans to read the smallest range that contains the keys of all lagging watchers. It
// is not ok while control has a response: the created response of a watch is sent before its
// history.
func (s *stream) planHistory() (read historyRead, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.lagging) == 0 || len(s.control) > 0 {
		return read, false
	}
	planned := s.planWatchers()
	read.watchers = len(planned)
	hull := planned[0].asSpan()
	read.from = planned[0].historyFrom
	for _, w := range planned {
		w.inHistoryRead = true
		read.from = min(read.from, w.historyFrom)
		read.prevKV = read.prevKV || w.prevKV
		own := w.asSpan()
		hull.lo = min(hull.lo, own.lo)
		if hull.endsBefore(own) {
			hull.hi, hull.toEnd = own.hi, own.toEnd
		}
	}
	read.key, read.rangeEnd = []byte(hull.lo), []byte(hull.hi)
	if hull.toEnd {
		read.rangeEnd = []byte{0}
	}
	return read, true
}

// planWatchers returns the watchers to read history for: all that lag, or the one that is furthest
// behind. mu is held.
func (s *stream) planWatchers() []*watcher {
	last := s.lagging[0]
	for _, w := range s.lagging {
		w.inHistoryRead = false
		if w.historyFrom < last.historyFrom {
			last = w
		}
	}
	if s.readOne {
		s.readOne = false
		return []*watcher{last}
	}
	return s.lagging
}

// readPlanned reads what was planned. It releases the view before anything is sent: a client that
// does not read must not keep old data alive.
func (s *stream) readPlanned(read *historyRead) error {
	ctx := s.grpc.Context()
	store, err := s.hub.config.Store.Get(ctx)
	if err != nil {
		return err
	}
	v := store.View()
	defer v.Release()
	read.storeRevision, read.compactRevision = v.Revision(), v.CompactRevision()
	if read.from > read.storeRevision {
		return errStoreBehind
	}
	events, next, err := v.Events(ctx, read.from, read.storeRevision, read.key, read.rangeEnd, read.prevKV, historyReadBytes, s.hub.config.RevisionBytes)
	read.events, read.to = events, min(next-1, read.storeRevision)
	return err
}

// historyResponses distributes the events to the lagging watchers that lack them.
func (s *stream) historyResponses(read *historyRead) (frames []*Frame) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range read.events {
		var shared *sharedEvent
		revision := e.GetKv().GetModRevision()
		s.history.match(e, func(w *watcher) {
			if !w.inHistoryRead || revision < w.historyFrom || w.live && revision > w.historyUntil {
				return
			}
			if shared == nil {
				shared = newSharedEvent(e)
			}
			w.history = append(w.history, shared)
		})
	}
	for _, w := range s.lagging {
		if !w.inHistoryRead {
			continue // lags since the plan, perhaps outside of what was read
		}
		end := read.to
		if w.live {
			end = min(end, w.historyUntil)
		}
		w.historyFrom = max(w.historyFrom, end+1)
		if len(w.history) > 0 {
			frames = s.appendFrames(frames, w, w.history, read.storeRevision)
			w.history, w.idle = nil, false
		}
	}
	s.promoteCaughtUp()
	return frames
}

// promoteCaughtUp ends the lag of live watchers whose history was sent up to historyUntil. mu is
// held.
func (s *stream) promoteCaughtUp() {
	for i := 0; i < len(s.lagging); {
		w := s.lagging[i]
		if !w.live || w.historyFrom <= w.historyUntil {
			i++
			continue
		}
		s.removeLagging(w) // moves another watcher to i
		if len(w.queue) > 0 {
			s.markReady(w)
		}
	}
}

// refuseLargeRevision handles a read of one revision that is too large to be sent as a whole. Of
// several watchers, the one that is furthest behind is then read alone: its own part may be small.
// One alone is canceled.
func (s *stream) refuseLargeRevision(read *historyRead) error {
	s.mu.Lock()
	if read.watchers > 1 {
		s.readOne = true
		s.mu.Unlock()
		return nil
	}
	var ids []int64
	for _, w := range s.lagging {
		if w.inHistoryRead {
			ids = append(ids, w.id)
		}
	}
	s.mu.Unlock()
	for _, id := range ids {
		if s.hub.detach(s, id) == nil {
			continue
		}
		r := &pb.WatchResponse{
			Header: s.hub.config.Header.At(read.storeRevision), WatchId: id, Canceled: true,
			CancelReason: fmt.Sprintf("%v: revision %d has more than %d bytes; list the keys and watch from the next revision",
				mvcc.ErrEventsTooLarge, read.to+1, s.hub.config.RevisionBytes),
		}
		if err := s.grpc.Send(r); err != nil {
			return err
		}
	}
	return nil
}

// cancelCompacted cancels the watches that need compacted revisions. Their response has no revision
// in its header, as in etcd.
func (s *stream) cancelCompacted(from, compacted int64) error {
	s.mu.Lock()
	var ids []int64
	for _, w := range s.lagging {
		if w.inHistoryRead && (w.historyFrom < compacted || w.historyFrom == from) {
			ids = append(ids, w.id)
		}
	}
	s.mu.Unlock()
	for _, id := range ids {
		if s.hub.detach(s, id) == nil {
			continue
		}
		r := &pb.WatchResponse{Header: s.hub.config.Header.At(0), WatchId: id, Canceled: true, CompactRevision: compacted}
		if err := s.grpc.Send(r); err != nil {
			return err
		}
	}
	return nil
}
