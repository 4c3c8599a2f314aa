package watch

import (
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

func TestStoreWithoutWatchersIsNotObserved(t *testing.T) {
	hub, consensus := newTestHub(t, 1<<20, 1<<20)
	defer consensus.Close(t)
	o := &hub.observer
	expect := func(watchers, prevKVWatchers int, active bool) {
		t.Helper()
		if o.watchers != watchers || o.prevKVWatchers != prevKVWatchers || o.active != active {
			t.Errorf("%d watchers, %d with previous values, active %v; want %d, %d, %v",
				o.watchers, o.prevKVWatchers, o.active, watchers, prevKVWatchers, active)
		}
	}
	var streams []*stream
	for _, r := range []*pb.WatchCreateRequest{{Key: []byte("k"), PrevKv: true}, {Key: []byte("k")}} {
		s := newStream(hub, &recordingStream{})
		mustSucceed(t, s.create(r))
		streams = append(streams, s)
	}
	expect(2, 1, true)
	o.stop() // does nothing while there are watchers
	for _, s := range streams {
		s.close()
	}
	expect(0, 0, true)
	o.stop() // the timer would
	expect(0, 0, false)
}

// A watch that its stream refuses is not observed for, and the refusal does not wait for the store:
// a client cannot cost Apply time by requests that fail.
func TestRefusedWatchHasNoEffect(t *testing.T) {
	for name, c := range map[string]struct {
		maxWatchers int
		existing    []*pb.WatchCreateRequest
		want        error
	}{
		"too many watchers": {0, nil, errTooManyWatchers},
		"duplicate id":      {2, []*pb.WatchCreateRequest{{Key: []byte("k"), WatchId: 7}}, errDuplicateWatchID},
	} {
		t.Run(name, func(t *testing.T) {
			hub, consensus := newTestHub(t, 1<<20, 1<<20)
			defer consensus.Close(t)
			hub.config.MaxWatchersPerStream, hub.config.RequestTimeout = c.maxWatchers, 10*time.Millisecond
			s := newStream(hub, &recordingStream{})
			for _, r := range c.existing {
				mustSucceed(t, s.create(r))
			}
			s.takePending()
			refuse := func() {
				t.Helper()
				if err := s.create(&pb.WatchCreateRequest{Key: []byte("k"), WatchId: 7, PrevKv: true}); err != nil {
					t.Errorf("the stream ends: %v", err)
				}
				if control, _, _ := s.takePending(); len(control) != 1 || control[0].CancelReason != c.want.Error() {
					t.Errorf("received %v, want the refusal alone", control)
				}
			}
			refuse()
			consensus.Reopen(t, refuse)
			o, watchers := &hub.observer, len(c.existing)
			if o.active != (watchers > 0) || o.watchers != watchers || o.stopIdleTimer != nil || o.prevKVFrom.Load() != 0 {
				t.Errorf("observed: %v for %d watchers, with previous values from %d; want %d watchers, without",
					o.active, o.watchers, o.prevKVFrom.Load(), watchers)
			}
		})
	}
}
