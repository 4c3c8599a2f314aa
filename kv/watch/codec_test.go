package watch

import (
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"
)

func TestWatchFrameEncodesAWatchResponse(t *testing.T) {
	events := []*mvccpb.Event{
		putEvent("a", "small", 4),
		putEvent("b", strings.Repeat("large", 1000), 4),
		{Type: mvccpb.Event_DELETE, Kv: &mvccpb.KeyValue{Key: []byte("c"), ModRevision: 5}, PrevKv: putEvent("c", "was", 3).Kv},
		putEvent("d", strings.Repeat("larger", 2000), 5),
		putEvent("e", "", 6),
	}
	for _, prev := range []bool{false, true} {
		for _, fragment := range []bool{false, true} {
			f := &Frame{header: testHeader, watchID: 9, revision: 6, prevKV: prev, fragment: fragment}
			want := &pb.WatchResponse{Header: testHeader.At(6), WatchId: 9, Fragment: fragment}
			for _, e := range events {
				shared := newSharedEvent(e)
				if size := shared.encode(prev); size != len(shared.bytes(prev)) {
					t.Errorf("size %d of %d bytes", size, len(shared.bytes(prev)))
				}
				f.events = append(f.events, shared)
				expected := proto.Clone(e).(*mvccpb.Event)
				if !prev {
					expected.PrevKv = nil
				}
				want.Events = append(want.Events, expected)
			}
			buffers, err := f.MarshalBuffers()
			mustSucceed(t, err)
			got := &pb.WatchResponse{}
			mustSucceed(t, proto.Unmarshal(buffers.Materialize(), got))
			if !proto.Equal(got, want) {
				t.Errorf("prev %v fragment %v: got\n%v\nwant\n%v", prev, fragment, got, want)
			}
		}
	}
}

func TestEventIsEncodedOnce(t *testing.T) {
	e := newSharedEvent(putEvent("k", strings.Repeat("v", 4096), 2))
	e.encode(false)
	first, second := e.bytes(false), []byte(nil)
	e.encode(true) // a new key has no previous value: both forms are the same
	second = e.bytes(true)
	if &first[0] != &second[0] {
		t.Error("the event was encoded twice")
	}
}

func TestFragmentsKeepEventsInOrder(t *testing.T) {
	f := &Frame{watchID: 1}
	for i := range 10 {
		e := newSharedEvent(putEvent(string(rune('a'+i)), strings.Repeat("v", 100), 2))
		e.encode(false)
		f.events = append(f.events, e)
	}
	fragments := f.appendFragments(nil, 300)
	var keys strings.Builder
	for i, p := range fragments {
		if p.fragment != (i < len(fragments)-1) {
			t.Errorf("fragment %d of %d has fragment=%v", i, len(fragments), p.fragment)
		}
		for _, e := range p.events {
			keys.Write(e.event.Kv.Key)
		}
	}
	if len(fragments) < 4 || keys.String() != "abcdefghij" {
		t.Errorf("%d fragments with keys %q", len(fragments), keys.String())
	}
}
