package watch

import (
	"testing"

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
		if err := s.create(r); err != nil {
			t.Fatal(err)
		}
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
