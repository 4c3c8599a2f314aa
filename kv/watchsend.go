package kv

import (
	"errors"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/troupe-raft/troupe/kv/mvcc"
)

const (
	// maxResponseBytes is how much is put together in one response; a single revision may be larger.
	maxResponseBytes = 512 << 10
	// historyReadBytes is how much history is read at a time.
	historyReadBytes = 1 << 20
	// liveThresholdRevisions is how many revisions a watcher may lag and still be let into the live feed.
	liveThresholdRevisions = 1000
	// replayPollInterval is how long to wait for a store that is behind what was seen of it before: it is replaying the log.
	replayPollInterval = 20 * time.Millisecond
	// progressPollInterval is how long to wait for the hub, when progress was asked for that it is about to reach.
	progressPollInterval = 2 * time.Millisecond
)

// send is the stream's sending goroutine.
func (s *watchStream) send(received <-chan error) error {
	ticker := s.progressTicker()
	defer ticker.Stop()
	lostLeader := s.service.leaderLoss.lostFor(s.grpc.Context())
	var again <-chan time.Time
	for {
		select {
		case <-s.wake:
		case <-again:
		case <-ticker.C:
			if err := s.sendDueProgress(); err != nil {
				return err
			}
			continue
		case err := <-received:
			return err
		case <-lostLeader:
			return rpctypes.ErrGRPCNoLeader
		case <-s.hub.done:
			return rpctypes.ErrGRPCStopped
		case <-s.service.consensus.Done():
			return rpctypes.ErrGRPCStopped
		case <-s.grpc.Context().Done():
			return s.grpc.Context().Err()
		}
		pause, err := s.sendPending()
		if err != nil {
			return err
		}
		again = nil
		if pause > 0 {
			again = time.After(pause)
		}
	}
}

// sendPending sends what there is to send, and one piece of history. With a pause it wants to be called again after it.
func (s *watchStream) sendPending() (pause time.Duration, err error) {
	for {
		control, frames, progress := s.takePending()
		for _, r := range control {
			if err := s.grpc.Send(r); err != nil {
				return 0, err
			}
		}
		if err := s.sendFrames(frames); err != nil {
			return 0, err
		}
		if progress != nil {
			if err := s.grpc.Send(progress); err != nil {
				return 0, err
			}
		}
		more, pause, err := s.readHistory()
		if err != nil || !more {
			return max(pause, s.progressPollDelay()), err
		}
	}
}

// progressPollDelay is how long to wait before a progress request can be answered; 0 if there is none.
func (s *watchStream) progressPollDelay() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.progressRequested {
		return progressPollInterval
	}
	return 0
}

// take empties the queues. Progress, if it was asked for and can be told, is told as of the same moment: everything up to
// its revision is among what is taken, or was sent before.
func (s *watchStream) takePending() (control []*pb.WatchResponse, frames []*watchFrame, progress *pb.WatchResponse) {
	s.mu.Lock()
	if s.progressRequested {
		// The hub's mutex comes before the stream's. Nobody but this goroutine takes the wish back.
		s.mu.Unlock()
		s.hub.mu.Lock()
		s.mu.Lock()
		if tell, wait := s.progressReady(s.hub.dispatched); tell {
			progress = &pb.WatchResponse{Header: s.service.headers.atRevision(s.hub.dispatched), WatchId: noWatchID}
			s.progressRequested = false
		} else {
			s.progressRequested = wait
		}
		s.hub.mu.Unlock()
	}
	defer s.mu.Unlock()
	control, s.control = s.control, nil
	s.controlSpace.Broadcast()
	for _, w := range s.ready {
		w.ready = false
		if w.lagging || len(w.queue) == 0 {
			continue // demoted or canceled since
		}
		frames = s.appendFrames(frames, w, w.queue, 0)
		s.sendingBytes += w.queueBytes
		w.queue, w.queueBytes = nil, 0
		w.idle = false
	}
	clear(s.ready)
	s.ready = s.ready[:0]
	return control, frames, progress
}

// progressReady says whether progress up to a revision, to which the hub has come, can be told for all watches, and if not,
// whether that is worth waiting for: where a watch starts in the future it is not, as in etcd. The stream's mutex is held.
func (s *watchStream) progressReady(revision int64) (tell, wait bool) {
	tell = len(s.lagging) == 0
	for _, w := range s.watchers {
		if w.startRevision > max(revision, w.headerRevision) {
			return false, false
		}
		tell = tell && w.progressIsDue(revision)
	}
	return tell, !tell
}

// appendFrames makes responses of a watcher's events, split only between revisions, or where the client allows fragments.
// Their header has the given revision, or if it is 0 that of their last event, but never goes back.
func (s *watchStream) appendFrames(frames []*watchFrame, w *watcher, events []*sharedEvent, revision int64) []*watchFrame {
	for len(events) > 0 {
		n, size := 0, 0
		for n < len(events) {
			size += events[n].encode(w.prevKV)
			if n > 0 && size > maxResponseBytes && events[n].revision() != events[n-1].revision() {
				break
			}
			n++
		}
		frame := &watchFrame{
			headers: s.service.headers, watchID: w.id, prev: w.prevKV, revision: revision, events: events[:n:n],
		}
		if revision == 0 {
			frame.revision = events[n-1].revision()
		}
		frame.revision = max(frame.revision, w.headerRevision)
		w.headerRevision = frame.revision
		events = events[n:]
		if w.fragment {
			frames = frame.appendFragments(frames, s.service.fragmentBytes)
		} else {
			frames = append(frames, frame)
		}
	}
	return frames
}

// appendFragments splits a response that is above limit; all but the last piece say that more follows.
func (f *watchFrame) appendFragments(frames []*watchFrame, limit int) []*watchFrame {
	events := f.events
	for {
		n, size := 0, 0
		for n < len(events) {
			size += len(events[n].bytes(f.prev))
			if n > 0 && size >= limit {
				break
			}
			n++
		}
		piece := *f
		piece.events, events = events[:n:n], events[n:]
		piece.fragment = len(events) > 0
		frames = append(frames, &piece)
		if !piece.fragment {
			return frames
		}
	}
}

// sendFrames sends, and counts what was taken from queues as buffered until it is sent: a client that does not read must
// not have as much in hand as it may have queued.
func (s *watchStream) sendFrames(frames []*watchFrame) error {
	for _, f := range frames {
		if err := s.grpc.SendMsg(f); err != nil {
			return err
		}
		s.hub.metrics.watchEvents.Add(float64(len(f.events)))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bufferedBytes -= s.sendingBytes
	s.sendingBytes = 0
	return nil
}

// sendDueProgress tells the revision to watchers that asked for it and heard nothing for an interval.
func (s *watchStream) sendDueProgress() error {
	if _, err := s.sendPending(); err != nil {
		return err
	}
	s.hub.mu.Lock()
	dispatched := s.hub.dispatched
	s.mu.Lock()
	s.hub.mu.Unlock()
	due := s.control // first: a watch that came just now is told that it was created
	s.control = nil
	s.controlSpace.Broadcast()
	for _, w := range s.watchers {
		if !w.progressNotify {
			continue
		}
		if w.idle && w.live && !w.lagging && len(w.queue) == 0 && w.progressIsDue(dispatched) {
			due = append(due, &pb.WatchResponse{Header: s.service.headers.atRevision(dispatched), WatchId: w.id})
		}
		w.idle = true
	}
	s.mu.Unlock()
	for _, r := range due {
		if err := s.grpc.Send(r); err != nil {
			return err
		}
	}
	return nil
}

// readHistory reads a piece of history for all lagging watchers at once, from where the last of them stands, and sends it.
// more says that there is more to do now, pause that there will be later.
func (s *watchStream) readHistory() (more bool, pause time.Duration, err error) {
	s.mu.Lock()
	lag := len(s.lagging) > 0
	s.mu.Unlock()
	if !lag {
		return false, 0, nil
	}
	s.hub.goLive(s, liveThresholdRevisions)
	piece, ok := s.planHistory()
	if !ok {
		return true, 0, nil // somebody may have become ready
	}
	err = s.readPlanned(&piece)
	switch {
	case errors.Is(err, errStoreBehind), errors.Is(err, mvcc.ErrClosed):
		return false, replayPollInterval, nil
	case errors.Is(err, mvcc.ErrCompacted):
		return true, 0, s.cancelCompacted(piece.from, piece.compactRevision)
	case err != nil:
		return false, 0, err
	}
	return true, 0, s.sendFrames(s.historyResponses(&piece))
}

// errStoreBehind: the store was opened again and has not replayed yet what watchers were told of.
var errStoreBehind = errors.New("the store is behind its watchers")

// readPlanned reads what was planned. The view is given back before anything is sent: a client that does not read shall
// not keep old data alive.
func (s *watchStream) readPlanned(p *historyRead) error {
	ctx := s.grpc.Context()
	store, err := s.hub.store.get(ctx)
	if err != nil {
		return err
	}
	v := store.View()
	defer v.Release()
	p.storeRevision, p.compactRevision = v.Revision(), v.CompactRevision()
	if p.from > p.storeRevision {
		return errStoreBehind
	}
	events, next, err := v.Events(ctx, p.from, p.storeRevision, p.key, p.rangeEnd, p.prevKV, historyReadBytes)
	p.events, p.to = events, min(next-1, p.storeRevision)
	return err
}

// historyRead is what to read next.
type historyRead struct {
	from          int64
	key, rangeEnd []byte
	prevKV        bool

	// What was found: all events up to to, when the store's newest revision was newest.
	events            []*mvcc.Event
	to, storeRevision int64
	compactRevision   int64
}

// planHistory finds where the watcher furthest behind stands, and the smallest range that holds all lagging ones.
func (s *watchStream) planHistory() (p historyRead, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.lagging) == 0 || len(s.control) > 0 {
		return p, false // what waits in control goes first: of a watch that was just made it tells the creation
	}
	hull := s.lagging[0].asSpan()
	p.from = s.lagging[0].historyFrom
	for _, w := range s.lagging {
		w.inHistoryRead = true
		p.from = min(p.from, w.historyFrom)
		p.prevKV = p.prevKV || w.prevKV
		own := w.asSpan()
		hull.lo = min(hull.lo, own.lo)
		if hull.endsBefore(own) {
			hull.hi, hull.toEnd = own.hi, own.toEnd
		}
	}
	p.key, p.rangeEnd = []byte(hull.lo), []byte(hull.hi)
	if hull.toEnd {
		p.rangeEnd = []byte{0}
	}
	return p, true
}

// hull is the watcher's range, also where it is a single key.
func (w *watcher) asSpan() span {
	if w.isRange {
		return w.span
	}
	return span{lo: w.span.lo, hi: w.span.lo + "\x00"}
}

// historyResponses gives what was found to the lagging watchers that miss it.
func (s *watchStream) historyResponses(p *historyRead) (frames []*watchFrame) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range p.events {
		var shared *sharedEvent
		revision := e.GetKv().GetModRevision()
		s.history.match(e, func(w *watcher) {
			if !w.inHistoryRead || revision < w.historyFrom || (w.live && revision > w.historyUntil) {
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
			continue // came to lag since, perhaps outside of what was read
		}
		end := p.to
		if w.live {
			end = min(end, w.historyUntil)
		}
		w.historyFrom = max(w.historyFrom, end+1)
		if len(w.history) > 0 {
			frames = s.appendFrames(frames, w, w.history, p.storeRevision)
			w.history, w.idle = nil, false
		}
	}
	s.promoteCaughtUp()
	return frames
}

// cancelCompacted ends the watches that would need revisions which are gone.
func (s *watchStream) cancelCompacted(from, compacted int64) error {
	s.mu.Lock()
	var gone []int64
	for _, w := range s.lagging {
		if w.inHistoryRead && (w.historyFrom < compacted || w.historyFrom == from) {
			gone = append(gone, w.id)
		}
	}
	s.mu.Unlock()
	for _, id := range gone {
		if _, existed := s.unregister(id); !existed {
			continue
		}
		// No revision in this header: etcd has none there either.
		r := &pb.WatchResponse{Header: s.service.headers.atRevision(0), WatchId: id, Canceled: true, CompactRevision: compacted}
		if err := s.grpc.Send(r); err != nil {
			return err
		}
	}
	return nil
}
