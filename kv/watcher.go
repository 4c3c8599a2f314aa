package kv

import (
	"errors"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
)

// Why a watch is not created; etcd's texts, which clients get as the cancel reason.
var (
	errEmptyWatchRange  = errors.New("mvcc: watcher range is empty")
	errDuplicateWatchID = errors.New("mvcc: duplicate watch ID provided on the WatchStream")
	errTooManyWatchers  = errors.New("troupe: too many watchers on this stream; use another one")
)

// noWatchID stands in responses that concern no watcher, or all of a stream.
const noWatchID = -1

// watcher is one watch of a stream. See watchHub for how its revisions hang together.
type watcher struct {
	id             int64
	stream         *watchStream
	span           span
	isRange        bool // else the key span.lo alone
	prevKV         bool
	noPut          bool
	noDelete       bool
	fragment       bool
	progressNotify bool  // tell the revision now and then
	startRevision  int64 // the revision that was asked for, 0: from now on

	indexSlot [indexKinds]int
	matched   []*sharedEvent // scratch of the hub's goroutine
	history   []*sharedEvent // scratch of the stream's goroutine

	// Guarded by stream.mu; live changes under the hub's mutex too.
	registered     bool // the hub knows it
	live           bool
	lagging        bool
	inHistoryRead  bool  // lagging: was there when the present piece of history was planned
	ready          bool  // stands in stream.ready
	idle           bool  // nothing was sent since the last progress interval
	nextLive       int64 // live: the first revision that is not in the queue yet
	historyFrom    int64 // lagging: the first revision to read from history
	historyUntil   int64 // lagging and live: the last revision to read from history
	headerRevision int64 // the revision of the last header, which never goes back
	queue          []*sharedEvent
	queueBytes     int
	laggingSlot    int
}

// newWatcher reads a request. A missing key is the smallest one, as in etcd.
func newWatcher(s *watchStream, r *pb.WatchCreateRequest) (*watcher, error) {
	key := r.Key
	if len(key) == 0 {
		key = []byte{0}
	}
	w := &watcher{
		stream: s, prevKV: r.PrevKv, fragment: r.Fragment, progressNotify: r.ProgressNotify, startRevision: r.StartRevision,
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
	return (w.noPut && e.GetType() == mvccpb.Event_PUT) || (w.noDelete && e.GetType() == mvccpb.Event_DELETE)
}

// progressIsDue tells that progress up to a revision, which the hub has come to, says nothing that the watcher was not told
// before, and nothing of a time before its start. The stream's mutex is held.
func (w *watcher) progressIsDue(revision int64) bool {
	return w.headerRevision <= revision && w.startRevision <= revision
}

// clearQueue forgets what waits to be sent. The stream's mutex is held.
func (w *watcher) clearQueue() {
	w.stream.bufferedBytes -= w.queueBytes
	w.queue, w.queueBytes = nil, 0
}
