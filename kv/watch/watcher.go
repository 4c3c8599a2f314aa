package watch

import (
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
)

// noWatchID is the id in responses that concern no watcher, or all of a stream.
const noWatchID = -1

// watcher is one watch of a stream. Hub explains how its revisions relate.
type watcher struct {
	id             int64
	stream         *stream
	span           span
	isRange        bool // else the watcher has the key span.lo alone
	prevKV         bool
	noPut          bool
	noDelete       bool
	fragment       bool
	progressNotify bool  // send the revision at intervals
	startRevision  int64 // as requested; 0: the next one

	indexSlot [indexKinds]int
	matched   []*sharedEvent // scratch of the hub's goroutine
	history   []*sharedEvent // scratch of the stream's goroutine

	// Guarded by stream.mu. live is changed under Hub.mu too.
	live           bool  // in the live feed
	lagging        bool  // reads history
	inHistoryRead  bool  // lagging: the read of history under way covers it
	ready          bool  // in stream.ready
	idle           bool  // nothing was sent since the last progress interval
	nextLive       int64 // live: the first revision that is not in the queue yet
	historyFrom    int64 // lagging: the first revision to read from history
	historyUntil   int64 // lagging and live: the last revision to read from history
	headerRevision int64 // of the last response; never goes back
	queue          []*sharedEvent
	queueBytes     int
	laggingSlot    int // index in stream.lagging
}

// newWatcher makes a watcher of a request. A missing key is the smallest key, as in etcd.
func newWatcher(s *stream, r *pb.WatchCreateRequest) (*watcher, error) {
	key := r.Key
	if len(key) == 0 {
		key = []byte{0}
	}
	w := &watcher{
		stream: s, prevKV: r.PrevKv, fragment: r.Fragment, progressNotify: r.ProgressNotify,
		startRevision: r.StartRevision,
		// Progress is due at the first interval after the creation, as in etcd.
		idle:     true,
		noPut:    slices.Contains(r.Filters, pb.WatchCreateRequest_NOPUT),
		noDelete: slices.Contains(r.Filters, pb.WatchCreateRequest_NODELETE),
	}
	w.span, w.isRange = spanOf(key, r.RangeEnd)
	if w.isRange && !w.span.toEnd && w.span.lo >= w.span.hi {
		return nil, errEmptyWatchRange
	}
	return w, nil
}

func (w *watcher) excludes(e *mvccpb.Event) bool {
	return w.noPut && e.GetType() == mvccpb.Event_PUT || w.noDelete && e.GetType() == mvccpb.Event_DELETE
}

// progressIsDue reports whether progress up to a revision is neither below what was sent to the
// watcher nor below its start. stream.mu is held.
func (w *watcher) progressIsDue(revision int64) bool {
	return w.headerRevision <= revision && w.startRevision <= revision
}

// clearQueue drops what waits to be sent. stream.mu is held.
func (w *watcher) clearQueue() {
	w.stream.bufferedBytes -= w.queueBytes
	w.queue, w.queueBytes = nil, 0
}

// asSpan returns the watcher's keys as a span, also where that is a single key.
func (w *watcher) asSpan() span {
	if w.isRange {
		return w.span
	}
	return span{lo: w.span.lo, hi: w.span.lo + "\x00"}
}
