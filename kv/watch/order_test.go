package watch

import (
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/troupe-raft/troupe/kv/internal/kvtest"
)

// The created response precedes all others, even if the watch is created while the stream is about
// to read history for another one: clientv3 cancels a watch whose events come first.
func TestCreatedResponsePrecedesHistory(t *testing.T) {
	hub, consensus := newTestHub(t, 1<<20, 1<<20)
	defer consensus.Close(t)
	consensus.Put(t, "k", "1")
	consensus.Put(t, "k", "2")
	out := &recordingStream{}
	s := newStream(hub, out)
	create := func(from int64) {
		mustSucceed(t, s.create(&pb.WatchCreateRequest{Key: []byte("k"), StartRevision: from}))
	}
	create(1)
	if control, _, _ := s.takePending(); len(control) != 1 {
		t.Fatalf("%d responses wait, want the created response of the first watch", len(control))
	}
	create(1) // after the stream's goroutine has emptied control, before it reads history
	if _, _, err := s.readHistory(); err != nil {
		t.Fatal(err)
	}
	for _, r := range out.responses {
		if r.WatchId == 1 {
			t.Errorf("the second watch receives %v before its created response", r)
		}
	}
	out.responses = nil
	if _, err := s.sendPending(); err != nil {
		t.Fatal(err)
	}
	for id := range int64(2) {
		events := 0
		for _, r := range out.responses {
			if r.WatchId == id {
				events += len(r.Events)
			}
		}
		if events != 2 {
			t.Errorf("watch %d receives %d events, want 2", id, events)
		}
	}
}

// A watch whose start is compacted gets the created response and then the cancellation.
func TestCreatedResponsePrecedesCancellation(t *testing.T) {
	hub, consensus := newTestHub(t, 1<<20, 1<<20)
	defer consensus.Close(t)
	for range 4 {
		consensus.Put(t, "k", "v")
	}
	out := &recordingStream{}
	s := newStream(hub, out)
	create := func(from int64) {
		mustSucceed(t, s.create(&pb.WatchCreateRequest{Key: []byte("k"), StartRevision: from}))
	}
	create(1)
	s.takePending()
	s.hub.goLive(s, liveThresholdRevisions)
	read, ok := s.planHistory()
	if !ok {
		t.Fatal("nothing is planned")
	}
	create(1)
	mustSucceed(t, s.cancelCompacted(read.from, 4))
	if len(out.responses) != 1 || out.responses[0].WatchId != 0 || !out.responses[0].Canceled {
		t.Errorf("received %v, want the cancellation of the first watch alone", out.responses)
	}
}

// As in etcd, no progress below a watch's start: a client would resume the watch from there.
func TestProgressIsNotSentBelowTheStartRevision(t *testing.T) {
	hub, consensus := newTestHub(t, 1<<20, 1<<20)
	defer consensus.Close(t)
	consensus.Put(t, "k", "1")
	out := &recordingStream{}
	s := newStream(hub, out)
	mustSucceed(t, s.create(&pb.WatchCreateRequest{Key: []byte("k"), StartRevision: 4, ProgressNotify: true}))
	progress := func() (revisions []int64) {
		t.Helper()
		s.progressRequested, out.responses = true, nil
		if err := s.sendDueProgress(); err != nil { // of the interval, and as requested
			t.Fatal(err)
		}
		for _, r := range out.responses {
			if !r.Created && len(r.Events) == 0 {
				revisions = append(revisions, r.Header.Revision)
			}
		}
		return revisions
	}
	if sent := progress(); len(sent) != 0 {
		t.Errorf("progress at %v, the watch starts at 4", sent)
	}
	consensus.Put(t, "other", "v")
	consensus.Put(t, "other", "v")
	hub.dispatchBatch()
	if sent := progress(); len(sent) != 2 || sent[0] != 4 || sent[1] != 4 {
		t.Errorf("progress at %v, want it at 4, as requested and by the interval", sent)
	}
}

// The queue of a watcher that fell back and is live again waits for the history before it, even if
// the stream was about to send what was queued before the fallback.
func TestHistoryPrecedesTheQueueAfterFallback(t *testing.T) {
	hub, consensus := newTestHub(t, 1<<20, 40) // two events fit
	defer consensus.Close(t)
	out := &recordingStream{}
	s := newStream(hub, out)
	mustSucceed(t, s.create(&pb.WatchCreateRequest{Key: []byte("k")}))
	put := func(value string) {
		consensus.Put(t, "k", value)
		hub.dispatchBatch()
	}
	step := func(what string, frames []*Frame, want string) {
		t.Helper()
		out.responses = nil
		mustSucceed(t, s.sendFrames(frames))
		var received []string
		for _, r := range out.responses {
			for _, e := range r.Events {
				received = append(received, kvtest.DescribeEvent(e))
			}
		}
		if got := strings.Join(received, ", "); got != want {
			t.Errorf("%s: received %q, want %q", what, got, want)
		}
	}
	s.takePending() // the created response
	for _, value := range []string{"1", "2", "3"} {
		put(value) // the third does not fit
	}
	hub.goLive(s, liveThresholdRevisions)
	read, ok := s.planHistory()
	if !ok || read.from != 2 {
		t.Fatalf("history is planned from %d", read.from)
	}
	put("4")
	_, frames, _ := s.takePending()
	step("before its history", frames, "")
	mustSucceed(t, s.readPlanned(&read))
	step("its history", s.historyResponses(&read), "put k=1@2, put k=2@3, put k=3@4")
	_, frames, _ = s.takePending()
	step("its queue", frames, "put k=4@5")
}

// While the hub is in the midst of a batch, a stream may have events above the dispatched revision:
// progress then waits, since it would go back behind them.
func TestProgressWaitsForTheBatchBeingDispatched(t *testing.T) {
	hub, consensus := newTestHub(t, 1<<20, 1<<20)
	defer consensus.Close(t)
	s := newStream(hub, &recordingStream{})
	mustSucceed(t, s.create(&pb.WatchCreateRequest{Key: []byte("k")}))
	s.requestProgress()
	hub.mu.Lock()
	hub.dispatch(revisionEvents{2, []*mvccpb.Event{putEvent("k", "1", 2)}})
	hub.mu.Unlock()
	if _, frames, progress := s.takePending(); len(frames) != 1 || progress != nil {
		t.Fatalf("%d frames, progress %v; want the event alone", len(frames), progress)
	}
	hub.queue.setDispatched(2)
	if _, _, progress := s.takePending(); progress == nil || progress.Header.Revision != 2 {
		t.Errorf("progress %v, want it at 2", progress)
	}
}

// A progress request is answered at the next boundary of two batches, even while the hub dispatches
// one batch after the other.
func TestProgressIsSentUnderSustainedLoad(t *testing.T) {
	hub, consensus := newTestHub(t, 1<<30, 1<<30)
	defer consensus.Close(t)
	s := newStream(hub, &recordingStream{})
	mustSucceed(t, s.create(&pb.WatchCreateRequest{Key: []byte("k")}))
	s.takePending() // the created response
	<-s.wake
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for revision := int64(2); ; {
			for range dispatchBatchRevisions {
				hub.queue.observe(revision, []*mvccpb.Event{putEvent("k", "v", revision)})
				revision++
			}
			hub.dispatchBatch()
			select {
			case <-stop:
				return
			default:
			}
		}
	}()
	defer func() { <-stopped }()
	defer close(stop)
	<-s.wake // the load is on
	sent := int64(1)
	for range 20 {
		s.requestProgress()
		_, frames, progress := s.takePending()
		for _, f := range frames {
			for _, e := range f.events {
				if sent++; e.revision() != sent {
					t.Fatalf("an event of revision %d, want %d", e.revision(), sent)
				}
			}
		}
		if progress == nil || progress.Header.Revision != sent {
			t.Fatalf("progress %v, want it at %d, the last revision sent", progress, sent)
		}
	}
	if sent == 1 {
		t.Fatal("no event was sent")
	}
}
