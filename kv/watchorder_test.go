package kv

import (
	"context"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/troupe-raft/troupe/kv/mvcc"
)

func (s *fakeConsensus) mustPut(t *testing.T, key, value string) {
	t.Helper()
	command, err := mvcc.EncodePut(&pb.PutRequest{Key: []byte(key), Value: []byte(value)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Propose(context.Background(), command); err != nil {
		t.Fatal(err)
	}
}

// A watch is told that it was created before anything else, even if it comes while the stream is about to read history for
// another one: clientv3 cancels a watch that it hears of before that.
func TestCreatedResponsePrecedesHistory(t *testing.T) {
	service, solo := newSteppedWatchService(t, 1<<20, 1<<20)
	defer solo.close(t)
	solo.mustPut(t, "k", "1")
	solo.mustPut(t, "k", "2")
	out := &recordingStream{}
	s := newWatchStream(service, out)
	create := func(from int64) {
		if err := s.create(&pb.WatchCreateRequest{Key: []byte("k"), StartRevision: from}); err != nil {
			t.Fatal(err)
		}
	}
	create(1)
	if control, _, _ := s.takePending(); len(control) != 1 {
		t.Fatalf("%d responses wait, want the first watch's creation", len(control))
	}
	create(1) // after the stream's goroutine took what waited, before it reads history
	if _, _, err := s.readHistory(); err != nil {
		t.Fatal(err)
	}
	for _, r := range out.responses {
		if r.WatchId == 1 {
			t.Errorf("the second watch is told %v before its creation", r)
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
			t.Errorf("watch %d is told %d events, want 2", id, events)
		}
	}
}

// The same of a watch whose start is compacted: it is created, and then canceled.
func TestCreatedResponsePrecedesCancellation(t *testing.T) {
	service, solo := newSteppedWatchService(t, 1<<20, 1<<20)
	defer solo.close(t)
	for range 4 {
		solo.mustPut(t, "k", "v")
	}
	out := &recordingStream{}
	s := newWatchStream(service, out)
	create := func(from int64) {
		if err := s.create(&pb.WatchCreateRequest{Key: []byte("k"), StartRevision: from}); err != nil {
			t.Fatal(err)
		}
	}
	create(1)
	s.takePending()
	s.hub.goLive(s, liveThresholdRevisions)
	piece, ok := s.planHistory()
	if !ok {
		t.Fatal("nothing is planned")
	}
	create(1)
	if err := s.cancelCompacted(piece.from, 4); err != nil {
		t.Fatal(err)
	}
	if len(out.responses) != 1 || out.responses[0].WatchId != 0 || !out.responses[0].Canceled {
		t.Errorf("told %v, want the end of the first watch alone", out.responses)
	}
}

// etcd does not tell of progress that has not reached what a watch waits for: a client would take it for where to go on.
func TestProgressIsNotSentBelowTheStartRevision(t *testing.T) {
	service, solo := newSteppedWatchService(t, 1<<20, 1<<20)
	defer solo.close(t)
	solo.mustPut(t, "k", "1")
	out := &recordingStream{}
	s := newWatchStream(service, out)
	if err := s.create(&pb.WatchCreateRequest{Key: []byte("k"), StartRevision: 4, ProgressNotify: true}); err != nil {
		t.Fatal(err)
	}
	ask := func() (told []int64) {
		t.Helper()
		s.progressRequested, out.responses = true, nil
		if err := s.sendDueProgress(); err != nil { // of the interval, and what was asked for
			t.Fatal(err)
		}
		for _, r := range out.responses {
			if !r.Created && len(r.Events) == 0 {
				told = append(told, r.Header.Revision)
			}
		}
		return told
	}
	if told := ask(); len(told) != 0 {
		t.Errorf("progress is told at %v, the watch starts at 4", told)
	}
	solo.mustPut(t, "other", "v")
	solo.mustPut(t, "other", "v")
	service.hub.dispatchBatch()
	if told := ask(); len(told) != 2 || told[0] != 4 || told[1] != 4 {
		t.Errorf("progress is told at %v, want it at 4, as asked for and by the interval", told)
	}
}

// What a returning watcher has queued must wait for the history before it, even where the stream was about to send what
// the watcher had queued before it was sent back.
func TestHistoryPrecedesTheQueueAfterFallback(t *testing.T) {
	service, solo := newSteppedWatchService(t, 1<<20, 40) // room for two events
	defer solo.close(t)
	out := &recordingStream{}
	s := newWatchStream(service, out)
	if err := s.create(&pb.WatchCreateRequest{Key: []byte("k")}); err != nil {
		t.Fatal(err)
	}
	put := func(value string) {
		command, err := mvcc.EncodePut(&pb.PutRequest{Key: []byte("k"), Value: []byte(value)})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := solo.Propose(context.Background(), command); err != nil {
			t.Fatal(err)
		}
		service.hub.dispatchBatch()
	}
	step := func(what string, frames []*watchFrame, want string) {
		t.Helper()
		out.responses = nil
		if err := s.sendFrames(frames); err != nil {
			t.Fatal(err)
		}
		var told []string
		for _, r := range out.responses {
			for _, e := range r.Events {
				told = append(told, describeEvent(e))
			}
		}
		if got := strings.Join(told, ", "); got != want {
			t.Errorf("%s: told %q, want %q", what, got, want)
		}
	}
	s.takePending() // that it was created
	for _, value := range []string{"1", "2", "3"} {
		put(value) // the third does not fit
	}
	service.hub.goLive(s, liveThresholdRevisions)
	piece, ok := s.planHistory()
	if !ok || piece.from != 2 {
		t.Fatalf("history is planned from %d", piece.from)
	}
	put("4")
	_, frames, _ := s.takePending()
	step("before its history", frames, "")
	if err := s.readPlanned(&piece); err != nil {
		t.Fatal(err)
	}
	step("its history", s.historyResponses(&piece), "put k=1@2, put k=2@3, put k=3@4")
	_, frames, _ = s.takePending()
	step("its queue", frames, "put k=4@5")
}
