package watch

import (
	"maps"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/troupe-raft/troupe/internal/interleave"
)

const (
	// maxResponseBytes is the size above which events go into a further response. A single revision
	// may be larger.
	maxResponseBytes = 512 << 10
	// progressPollInterval is how long to wait for the hub when it has not reached the revision at
	// which a progress request can be answered.
	progressPollInterval = 2 * time.Millisecond
)

// send is the stream's sending goroutine.
func (s *stream) send(received <-chan error, leaderLost <-chan struct{}) error {
	schedule := s.hub.config.Schedule
	interval := s.progressInterval()
	progressDue := schedule.After(interval)
	var again <-chan time.Time
	for {
		switch why, err := s.awaitWork(again, progressDue, received, leaderLost); {
		case err != nil:
			return err
		case why == progressIsDue:
			progressDue = schedule.After(interval)
			if err := s.sendDueProgress(); err != nil {
				return err
			}
			continue
		}
		pause, err := s.sendPending()
		if err != nil {
			return err
		}
		again = nil
		if pause > 0 {
			again = schedule.After(pause)
		}
	}
}

// workReason is why the sending goroutine goes on.
type workReason int

const (
	somethingToSend workReason = iota
	progressIsDue
)

// awaitWork waits for something to do. An error ends the stream.
func (s *stream) awaitWork(again, progressDue <-chan time.Time, received <-chan error, leaderLost <-chan struct{}) (workReason, error) {
	if s.hub.config.Schedule != nil {
		return s.awaitScheduledWork(again, progressDue, received, leaderLost)
	}
	select {
	case <-s.wake:
		return somethingToSend, nil
	case <-again:
		return somethingToSend, nil
	case <-progressDue:
		return progressIsDue, nil
	case err := <-received:
		return 0, err
	case <-leaderLost:
		return 0, rpctypes.ErrGRPCNoLeader
	case <-s.hub.done:
		return 0, rpctypes.ErrGRPCStopped
	case <-s.hub.config.Consensus.Done():
		return 0, rpctypes.ErrGRPCStopped
	case <-s.grpc.Context().Done():
		return 0, s.grpc.Context().Err()
	}
}

// awaitScheduledWork is awaitWork as a task: the scheduler chooses among what is ready.
func (s *stream) awaitScheduledWork(again, progressDue <-chan time.Time, received <-chan error, leaderLost <-chan struct{}) (workReason, error) {
	stopped, ended := s.hub.config.Consensus.Done(), s.grpc.Context().Done()
	const choices = 8
	switch s.hub.config.Schedule.WaitForOne(choices, func(i int) bool {
		switch i {
		case 0:
			return len(s.wake) > 0
		case 1:
			return len(again) > 0
		case 2:
			return len(progressDue) > 0
		case 3:
			return len(received) > 0
		case 4:
			return interleave.Ready(leaderLost)
		case 5:
			return interleave.Ready(s.hub.done)
		case 6:
			return interleave.Ready(stopped)
		default:
			return interleave.Ready(ended)
		}
	}) {
	case 0:
		<-s.wake
	case 1:
		<-again
	case 2:
		<-progressDue
		return progressIsDue, nil
	case 3:
		return 0, <-received
	case 4:
		return 0, rpctypes.ErrGRPCNoLeader
	case 5, 6:
		return 0, rpctypes.ErrGRPCStopped
	default:
		return 0, s.grpc.Context().Err()
	}
	return somethingToSend, nil
}

// sendPending sends what is queued and reads history until there is none to read. If pause is not 0
// it is to be called again after that time.
func (s *stream) sendPending() (pause time.Duration, err error) {
	for {
		control, frames, progress := s.takePending()
		if err := s.sendControl(control, s.hub.config.Metrics.sendControl); err != nil {
			return 0, err
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

// progressPollDelay is how long to wait before a progress request can be answered; 0 if there is
// none.
func (s *stream) progressPollDelay() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.progressRequested {
		return progressPollInterval
	}
	return 0
}

// takePending empties the queues. progress, if not nil, is to be sent after the frames: every event
// up to its revision is in them, or was sent before.
func (s *stream) takePending() (control []*pb.WatchResponse, frames []*Frame, progress *pb.WatchResponse) {
	s.lockForProgress()
	defer s.mu.Unlock()
	control = s.takeControl()
	for _, w := range s.ready {
		w.ready = false
		if w.lagging || len(w.queue) == 0 {
			continue // fell back to history, or was canceled
		}
		frames = s.appendFrames(frames, w, w.queue, 0)
		s.sendingBytes += w.queueBytes
		w.queue, w.queueBytes = nil, 0
		w.idle = false
	}
	clear(s.ready)
	s.ready = s.ready[:0]
	return control, frames, s.takeProgress()
}

// lockForProgress locks mu. If a progress request waits, it does so between two batches of the hub.
func (s *stream) lockForProgress() {
	s.mu.Lock()
	if !s.progressRequested {
		return
	}
	s.mu.Unlock() // Hub.mu comes first
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	s.mu.Lock()
}

// takeControl empties control. mu is held.
func (s *stream) takeControl() []*pb.WatchResponse {
	control := s.control
	s.control = nil
	s.controlSpace.Broadcast()
	return control
}

// takeProgress returns the response to a progress request, nil if there is none or it has to wait.
// The request is dropped if a watch starts in the future or none is left, as in etcd. mu is held
// (lockForProgress), and the queues of the watchers that do not lag are empty.
func (s *stream) takeProgress() *pb.WatchResponse {
	if !s.progressRequested {
		return nil
	}
	if len(s.watchers) == 0 {
		s.progressRequested = false // all were canceled since
		return nil
	}
	dispatched := s.hub.queue.dispatched.Load()
	due := len(s.lagging) == 0
	for _, w := range s.watchers {
		if w.startRevision > max(dispatched, w.headerRevision) {
			s.progressRequested = false
			return nil
		}
		due = due && w.progressIsDue(dispatched)
	}
	if !due {
		return nil
	}
	s.progressRequested = false
	return &pb.WatchResponse{Header: s.hub.config.Header.At(dispatched), WatchId: noWatchID}
}

// appendFrames appends responses with the watcher's events, split between revisions, or into
// fragments where the client allows them. Their header has the given revision, or for 0 that of
// their last event. mu is held.
func (s *stream) appendFrames(frames []*Frame, w *watcher, events []*sharedEvent, revision int64) []*Frame {
	for len(events) > 0 {
		n, size := 0, 0
		for n < len(events) {
			size += events[n].encode(w.prevKV)
			if n > 0 && size > maxResponseBytes && events[n].revision() != events[n-1].revision() {
				break
			}
			n++
		}
		frame := &Frame{
			header: s.hub.config.Header, watchID: w.id, prevKV: w.prevKV, revision: revision, events: events[:n:n],
		}
		if revision == 0 {
			frame.revision = events[n-1].revision()
		}
		frame.revision = max(frame.revision, w.headerRevision)
		w.headerRevision = frame.revision
		events = events[n:]
		if w.fragment {
			frames = frame.appendFragments(frames, s.hub.config.FragmentBytes)
		} else {
			frames = append(frames, frame)
		}
	}
	return frames
}

func (s *stream) sendControl(control []*pb.WatchResponse, duration prometheus.Observer) error {
	if len(control) == 0 {
		return nil
	}
	began := time.Now()
	defer func() { duration.Observe(time.Since(began).Seconds()) }()
	for _, r := range control {
		if err := s.grpc.Send(r); err != nil {
			return err
		}
	}
	return nil
}

// sendFrames sends the frames. Their events count as buffered until all are sent, so that a client
// that does not read occupies no more than its buffer.
func (s *stream) sendFrames(frames []*Frame) error {
	if len(frames) > 0 {
		if err := s.sendAndMeasure(frames); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bufferedBytes -= s.sendingBytes
	s.sendingBytes = 0
	return nil
}

func (s *stream) sendAndMeasure(frames []*Frame) error {
	m, began, events := s.hub.config.Metrics, time.Now(), 0
	for _, f := range frames {
		if err := s.grpc.SendMsg(f); err != nil {
			return err
		}
		events += len(f.events)
		m.events.Add(float64(len(f.events)))
	}
	took := time.Since(began).Seconds()
	m.sendEvents.Observe(took)
	m.sendEachEvent.Observe(took / float64(max(events, 1)))
	return nil
}

// sendDueProgress sends progress to the watchers that asked for it and were idle for an interval.
func (s *stream) sendDueProgress() error {
	if _, err := s.sendPending(); err != nil {
		return err
	}
	s.mu.Lock()
	due := s.takeControl() // before the progress of the watches that they create
	dispatched := s.hub.queue.dispatched.Load()
	for _, id := range slices.Sorted(maps.Keys(s.watchers)) {
		w := s.watchers[id]
		if !w.progressNotify {
			continue
		}
		if w.idle && w.live && !w.lagging && len(w.queue) == 0 && w.progressIsDue(dispatched) {
			due = append(due, &pb.WatchResponse{Header: s.hub.config.Header.At(dispatched), WatchId: w.id})
		}
		w.idle = true
	}
	s.mu.Unlock()
	return s.sendControl(due, s.hub.config.Metrics.sendProgress)
}
