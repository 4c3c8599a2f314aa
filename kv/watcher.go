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
	id       int64
	stream   *watchStream
	span     span
	isSpan   bool // else the key span.lo alone
	prevKV   bool
	noPut    bool
	noDelete bool
	fragment bool
	progress bool  // tell the revision now and then
	start    int64 // the revision that was asked for, 0: from now on

	slot    [indexPlaces]int
	matched []*sharedEvent // scratch of the hub's goroutine
	history []*sharedEvent // scratch of the stream's goroutine

	// Guarded by stream.mu; live changes under the hub's mutex too.
	joined      bool // the hub knows it
	live        bool
	lagging     bool
	planned     bool  // lagging: was there when the present piece of history was planned
	ready       bool  // stands in stream.ready
	quiet       bool  // nothing was sent since the last progress interval
	next        int64 // live: the first revision that is not in the queue yet
	readFrom    int64 // lagging: the first revision to read from history
	holdUntil   int64 // lagging and live: the last revision to read from history
	told        int64 // the revision of the last header, which never goes back
	queue       []*sharedEvent
	queueBytes  int
	laggingSlot int
}

// newWatcher reads a request. A missing key is the smallest one, as in etcd.
func newWatcher(s *watchStream, r *pb.WatchCreateRequest) (*watcher, error) {
	key := r.Key
	if len(key) == 0 {
		key = []byte{0}
	}
	w := &watcher{
		stream: s, prevKV: r.PrevKv, fragment: r.Fragment, progress: r.ProgressNotify, start: r.StartRevision,
		// Progress is due at the first interval after the creation, as in etcd.
		quiet:    true,
		noPut:    slices.Contains(r.Filters, pb.WatchCreateRequest_NOPUT),
		noDelete: slices.Contains(r.Filters, pb.WatchCreateRequest_NODELETE),
	}
	w.span, w.isSpan = spanOf(key, r.RangeEnd)
	if w.isSpan && !w.span.toEnd && w.span.lo >= w.span.hi {
		return nil, errEmptyWatchRange
	}
	return w, nil
}

func (w *watcher) filters(e *mvccpb.Event) bool {
	return (w.noPut && e.GetType() == mvccpb.Event_PUT) || (w.noDelete && e.GetType() == mvccpb.Event_DELETE)
}

// isPast tells that progress up to a revision, which the hub has come to, says nothing that the watcher was not told
// before, and nothing of a time before its start. The stream's mutex is held.
func (w *watcher) isPast(revision int64) bool { return w.told <= revision && w.start <= revision }

// dropQueue forgets what waits to be sent. The stream's mutex is held.
func (w *watcher) dropQueue() {
	w.stream.buffered -= w.queueBytes
	w.queue, w.queueBytes = nil, 0
}
