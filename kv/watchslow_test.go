package kv

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// orderChecker checks that a watcher receives each revision once, in order.
type orderChecker struct {
	next    int64
	failure string
}

func (h *orderChecker) add(r *pb.WatchResponse) {
	for _, e := range r.Events {
		if e.Kv.ModRevision != h.next && h.failure == "" {
			h.failure = fmt.Sprintf("revision %d came when %d was due", e.Kv.ModRevision, h.next)
		}
		h.next = e.Kv.ModRevision + 1
	}
}

// revisionBarrier lets readers wait until writers have reached a revision.
type revisionBarrier struct {
	mu      sync.Mutex
	cond    *sync.Cond
	reached int64
}

func newRevisionBarrier() *revisionBarrier {
	m := &revisionBarrier{}
	m.cond = sync.NewCond(&m.mu)
	return m
}

func (m *revisionBarrier) advance(revision int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reached = max(m.reached, revision)
	m.cond.Broadcast()
}

func (m *revisionBarrier) wait(revision int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for m.reached < revision {
		m.cond.Wait()
	}
}

// Watchers start in the past while writers write, some read slowly, and buffers are so small that
// each watcher changes between history and the live feed many times.
func TestSlowReadersSeeNoGapAndNoDuplicate(t *testing.T) {
	ts := startServer(t, func(c *ServerConfig) {
		c.WatchStreamBufferBytes = 16 << 10
		c.WatchQueueBytes = 32 << 10
	})
	const writers, each, watchers = 4, 500, 12
	value := strings.Repeat("v", 1000)
	var writing, reading, opened sync.WaitGroup
	opened.Add(watchers)
	written := newRevisionBarrier()
	for i := range writers {
		writing.Go(func() {
			for n := range each {
				if n == each/2 {
					opened.Wait() // all watches see the second half
				}
				written.advance(ts.put(t, fmt.Sprintf("k%d-%d", i, n%7), value))
			}
		})
	}
	last := int64(1 + writers*each)
	for i := range watchers {
		reading.Go(func() {
			open := sync.OnceFunc(opened.Done)
			defer open() // also if it fails
			w := ts.openWatch(t)
			// Two watches share a stream, one with previous values and one without.
			now := w.create(&pb.WatchCreateRequest{Key: []byte("k"), RangeEnd: []byte("l"), PrevKv: i%2 == 0}).Header.Revision
			start := max(1, now-int64(i*50))
			w.sendCreate(&pb.WatchCreateRequest{Key: []byte("k"), RangeEnd: []byte("l"), StartRevision: start, PrevKv: i%2 == 1, WatchId: 7})
			open()
			if i%4 == 1 {
				written.wait(last) // reads nothing until then: more than the connection buffers
			}
			received := map[int64]*orderChecker{0: {next: now + 1}, 7: {next: max(2, start)}}
			for received[0].next <= last || received[7].next <= last {
				r := w.receive()
				received[r.WatchId].add(r)
				if i%3 == 0 {
					written.wait(min(last, received[r.WatchId].next+200)) // reads slowly
				}
			}
			for id, h := range received {
				if h.failure != "" {
					t.Errorf("reader %d, watch %d: %s", i, id, h.failure)
				}
			}
		})
	}
	writing.Wait()
	reading.Wait()
	// At least those that read nothing for long; usually some hundred.
	if n := ts.metric(t, "troupe_watch_fallbacks_total"); n < watchers/4 {
		t.Errorf("only %v watchers fell back to history: the test shows nothing", n)
	}
}

func TestHubOverflowSendsWatchersToHistory(t *testing.T) {
	ts := startServer(t, func(c *ServerConfig) { c.WatchQueueBytes = 1 }) // no event fits
	w := ts.openWatch(t)
	id := w.create(&pb.WatchCreateRequest{Key: []byte("k"), PrevKv: true}).WatchId
	for i := range 5 {
		revision := ts.put(t, "k", fmt.Sprint(i))
		want := fmt.Sprintf("put k=%d@%d", i, revision)
		if i > 0 {
			want += fmt.Sprintf("<%d", i-1)
		}
		w.expectEvents(id, want)
	}
	if n := ts.metric(t, "troupe_watch_fallbacks_total"); n != 5 {
		t.Errorf("%v fallbacks, want 5", n)
	}
}

func TestSlowWatcherDoesNotDelayOthers(t *testing.T) {
	const limit = 256 << 10
	ts := startServer(t, func(c *ServerConfig) { c.WatchStreamBufferBytes = limit })
	slow, fast := ts.openWatch(t), ts.openWatch(t)
	slowID := slow.create(&pb.WatchCreateRequest{Key: []byte("k")}).WatchId
	fastID := fast.create(&pb.WatchCreateRequest{Key: []byte("k")}).WatchId
	value := strings.Repeat("v", 32<<10)
	const n = 100 // 3 MiB, more than the connection and the stream buffer
	for i := range n {
		ts.put(t, "k", fmt.Sprint(i, value))
		if r := fast.receive(); r.WatchId != fastID || r.Events[0].Kv.ModRevision != int64(i+2) {
			t.Fatalf("the fast watcher got %v", r.Header)
		}
	}
	// The slow one may have caught up while its connection had room, and have fallen back again.
	fallbacks, reading := ts.metric(t, "troupe_watch_fallbacks_total"), ts.metric(t, "etcd_debugging_mvcc_slow_watcher_total")
	if fallbacks < 1 || reading > 1 {
		t.Errorf("%v fallbacks to history and %v watchers that read it, want the slow one alone", fallbacks, reading)
	}
	received := orderChecker{next: 2}
	for received.next < n+2 {
		r := slow.receive()
		if r.WatchId != slowID {
			t.Fatalf("got %v", r)
		}
		received.add(r)
	}
	if received.failure != "" {
		t.Error(received.failure)
	}
}
