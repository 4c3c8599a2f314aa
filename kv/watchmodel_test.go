package kv

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/troupe-raft/troupe/kv/mvcc"
)

// The watch machinery against a model, one step at a time and in any order: writes, the hub's dispatching, each stream's
// sending, the beginning and the end of each read of history, watchers that come and go, a store that is opened again.
// Buffers are tiny. What every watcher is told must be exactly the history from its start.

// recordingStream is the gRPC side of a watch stream, which keeps what is sent.
type recordingStream struct {
	pb.Watch_WatchServer
	responses []*pb.WatchResponse
}

func (r *recordingStream) Context() context.Context { return context.Background() }

func (r *recordingStream) Send(response *pb.WatchResponse) error {
	r.responses = append(r.responses, response)
	return nil
}

func (r *recordingStream) SendMsg(m any) error {
	response := &pb.WatchResponse{}
	if err := proto.Unmarshal(m.(*watchFrame).marshal().Materialize(), response); err != nil {
		return err
	}
	return r.Send(response)
}

// modelWatcher is what a watcher should be told, and was.
type modelWatcher struct {
	request        *pb.WatchCreateRequest
	start          int64
	received       []string
	created        bool
	headerRevision int64 // the revision of the last header
	canceled       bool
}

type modelStream struct {
	*watchStream
	out      *recordingStream
	watchers map[int64]*modelWatcher
	canceled []*modelWatcher
	reading  *historyRead // a read of history under way
}

type watchModel struct {
	t        *rapid.T
	solo     *fakeConsensus
	hub      *watchHub
	streams  []*modelStream
	events   []*mvccpb.Event // with PrevKv
	liveKeys map[string]*mvccpb.KeyValue
}

var modelKeys = []string{"a", "b", "b/1", "b/2", "c"}

// newSteppedWatchService is a watch service whose goroutines do not run: the test takes their steps.
func newSteppedWatchService(t *testing.T, hubQueue, streamBuffer int) (*watchService, *fakeConsensus) {
	consensus, ref := openFakeConsensus(t)
	metrics, err := newMetrics(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	return &watchService{
		hub: newWatchHub(ref, hubQueue, metrics), consensus: consensus, maxWatchers: 100, fragmentBytes: 1 << 20,
		requestTimeout: time.Minute, streamBufferBytes: streamBuffer,
		headers: &headers{clusterID: testClusterID, memberID: testMemberID, consensus: consensus},
	}, consensus
}

func newWatchModel(t *rapid.T, outer *testing.T) *watchModel {
	service, consensus := newSteppedWatchService(outer,
		rapid.SampledFrom([]int{1, 300, 5000}).Draw(t, "hub queue"),
		rapid.SampledFrom([]int{1, 60, 100, 200, 1000}).Draw(t, "stream buffer"))
	m := &watchModel{t: t, solo: consensus, hub: service.hub, liveKeys: map[string]*mvccpb.KeyValue{}}
	for range 2 {
		out := &recordingStream{}
		m.streams = append(m.streams, &modelStream{watchStream: newWatchStream(service, out), out: out, watchers: map[int64]*modelWatcher{}})
	}
	return m
}

// write makes a revision of one or more changes.
func (m *watchModel) write() {
	var ops []*pb.RequestOp
	var changed []*mvccpb.Event
	revision := int64(2)
	if len(m.events) > 0 {
		revision = m.events[len(m.events)-1].Kv.ModRevision + 1
	}
	keys := rapid.SliceOfNDistinct(rapid.SampledFrom(modelKeys), 1, 3, rapid.ID[string]).Draw(m.t, "keys")
	for i, k := range keys {
		former := m.liveKeys[k]
		if former != nil && rapid.IntRange(0, 2).Draw(m.t, "delete") == 0 {
			ops = append(ops, opDelete(k, ""))
			changed = append(changed, &mvccpb.Event{Type: mvccpb.Event_DELETE, PrevKv: former,
				Kv: &mvccpb.KeyValue{Key: []byte(k), ModRevision: revision}})
			m.liveKeys[k] = nil
			continue
		}
		value := fmt.Sprintf("%d.%d", revision, i)
		ops = append(ops, opPut(k, value))
		kv := &mvccpb.KeyValue{Key: []byte(k), Value: []byte(value), ModRevision: revision}
		changed = append(changed, &mvccpb.Event{Kv: kv, PrevKv: former})
		m.liveKeys[k] = kv
	}
	command, err := mvcc.EncodeTxn(&pb.TxnRequest{Success: ops})
	if err != nil {
		m.t.Fatal(err)
	}
	result, err := m.solo.Propose(context.Background(), command)
	if err != nil {
		m.t.Fatal(err)
	}
	if r, err := mvcc.DecodeTxn(result.Value); err != nil || r.Header.Revision != revision {
		m.t.Fatalf("write: %v, %v, want revision %d", r, err, revision)
	}
	m.events = append(m.events, changed...)
}

func (m *watchModel) createWatch(s *modelStream) {
	now := m.hub.store.ifOpen().Revision()
	key := rapid.SampledFrom(modelKeys).Draw(m.t, "key")
	r := &pb.WatchCreateRequest{
		Key:    []byte(key),
		PrevKv: rapid.Bool().Draw(m.t, "prev"),
		// Half of them hear of progress by the interval.
		ProgressNotify: rapid.Bool().Draw(m.t, "progress"),
		StartRevision:  rapid.Int64Range(0, now+3).Draw(m.t, "start"),
	}
	switch rapid.IntRange(0, 3).Draw(m.t, "range") {
	case 0:
		r.RangeEnd = []byte{0}
	case 1:
		r.RangeEnd = []byte("c")
		r.Key = []byte("b")
	}
	if rapid.IntRange(0, 3).Draw(m.t, "filter") == 0 {
		r.Filters = []pb.WatchCreateRequest_FilterType{rapid.SampledFrom([]pb.WatchCreateRequest_FilterType{
			pb.WatchCreateRequest_NOPUT, pb.WatchCreateRequest_NODELETE}).Draw(m.t, "what")}
	}
	before := len(s.control)
	if err := s.create(r); err != nil {
		m.t.Fatal(err)
	}
	w := &modelWatcher{request: r, start: r.StartRevision}
	if w.start == 0 {
		w.start = now + 1
	}
	s.watchers[s.control[before].WatchId] = w
}

func (m *watchModel) cancelWatch(s *modelStream) {
	ids := slices.Sorted(maps.Keys(s.watchers))
	if len(ids) == 0 {
		return
	}
	id := rapid.SampledFrom(ids).Draw(m.t, "who")
	w := s.watchers[id]
	s.cancel(id)
	m.send(s)
	delete(s.watchers, id)
	if !w.canceled {
		m.t.Fatalf("watch %v is not told of its end", w.request)
	}
	s.canceled = append(s.canceled, w)
}

// send is one round of the stream's goroutine without its reading of history.
func (m *watchModel) send(s *modelStream) {
	control, frames, progress := s.takePending()
	for _, r := range control {
		_ = s.out.Send(r)
	}
	if err := s.sendFrames(frames); err != nil {
		m.t.Fatal(err)
	}
	if progress != nil {
		_ = s.out.Send(progress)
	}
	m.collect(s)
}

// requestProgress is what the receiving goroutine makes of a progress request.
func (m *watchModel) requestProgress(s *modelStream) {
	s.progressRequested = len(s.watchers) > 0
}

// progressDue is the progress interval of the stream.
func (m *watchModel) progressDue(s *modelStream) {
	if s.reading != nil {
		return // it has one goroutine for both
	}
	if err := s.sendDueProgress(); err != nil {
		m.t.Fatal(err)
	}
	m.collect(s)
}

func (m *watchModel) beginHistory(s *modelStream) {
	if s.reading != nil || len(s.lagging) == 0 {
		return
	}
	m.hub.goLive(s.watchStream, rapid.Int64Range(1, 20).Draw(m.t, "near"))
	if piece, ok := s.planHistory(); ok {
		s.reading = &piece
	}
}

func (m *watchModel) endHistory(s *modelStream) {
	if s.reading == nil {
		return
	}
	piece := s.reading
	s.reading = nil
	err := s.readPlanned(piece)
	if errors.Is(err, errStoreBehind) {
		return
	}
	if err != nil {
		m.t.Fatal(err)
	}
	if err := s.sendFrames(s.historyResponses(piece)); err != nil {
		m.t.Fatal(err)
	}
	m.collect(s)
}

func (m *watchModel) collect(s *modelStream) {
	for _, r := range s.out.responses {
		concerned := []*modelWatcher{s.watchers[r.WatchId]}
		if r.WatchId == noWatchID {
			concerned = slices.Collect(maps.Values(s.watchers))
		}
		for _, w := range concerned {
			if w != nil {
				m.receive(w, r)
			}
		}
	}
	s.out.responses = nil
}

// tell is the client's side of a response.
func (m *watchModel) receive(w *modelWatcher, r *pb.WatchResponse) {
	progress := !r.Created && !r.Canceled && len(r.Events) == 0
	switch {
	case w.canceled:
		return
	case r.Canceled:
		w.canceled = true
	case r.Created:
		w.created = true
	case !w.created && r.WatchId != noWatchID:
		m.t.Fatalf("watch %v is told %v before it is told that it was created", w.request, r)
	case !w.created:
		return // made after the progress that is told
	}
	if r.Header.Revision < w.headerRevision {
		m.t.Fatalf("watch %v: the header's revision goes back from %d to %d", w.request, w.headerRevision, r.Header.Revision)
	}
	w.headerRevision = r.Header.Revision
	for _, e := range r.Events {
		w.received = append(w.received, describeEvent(e))
	}
	if progress && r.Header.Revision < w.request.StartRevision {
		m.t.Fatalf("watch %v is told of progress up to %d, before its start", w.request, r.Header.Revision)
	}
	if want := m.expectedEvents(w, r.Header.Revision); progress && len(w.received) != len(want) {
		m.t.Fatalf("watch %v is told of progress up to %d with %d of %d events", w.request, r.Header.Revision, len(w.received), len(want))
	}
}

// expected is what a watcher is to be told, up to a revision.
func (m *watchModel) expectedEvents(w *modelWatcher, upTo int64) (want []string) {
	s, isSpan := spanOf(w.request.Key, w.request.RangeEnd)
	for _, e := range m.events {
		concerned := string(e.Kv.Key) == s.lo
		if isSpan {
			concerned = s.contains(e.Kv.Key)
		}
		filter := pb.WatchCreateRequest_NOPUT
		if e.Type == mvccpb.Event_DELETE {
			filter = pb.WatchCreateRequest_NODELETE
		}
		if !concerned || e.Kv.ModRevision < w.start || e.Kv.ModRevision > upTo || slices.Contains(w.request.Filters, filter) {
			continue
		}
		shown := &mvccpb.Event{Type: e.Type, Kv: e.Kv}
		if w.request.PrevKv {
			shown.PrevKv = e.PrevKv
		}
		want = append(want, describeEvent(shown))
	}
	return want
}

// check compares; what a canceled watcher was told must be how its history begins.
func (m *watchModel) check(w *modelWatcher) {
	want := m.expectedEvents(w, math.MaxInt64)
	if w.canceled && len(w.received) < len(want) {
		want = want[:len(w.received)]
	}
	if got, expected := strings.Join(w.received, "\n"), strings.Join(want, "\n"); got != expected {
		m.t.Fatalf("watch %v was told\n%s\nwant\n%s", w.request, got, expected)
	}
}

// settle lets everything that is under way arrive.
func (m *watchModel) drain() {
	for {
		for m.hub.dispatchBatch() {
		}
		busy := false
		for _, s := range m.streams {
			m.endHistory(s)
			m.send(s)
			m.beginHistory(s)
			busy = busy || s.reading != nil || len(s.lagging) > 0 || len(s.ready) > 0
		}
		if !busy {
			return
		}
	}
}

func TestWatchersReceiveHistoryInAnySchedule(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := newWatchModel(rt, t)
		defer m.solo.close(t)
		for range rapid.IntRange(1, 150).Draw(rt, "steps") {
			s := m.streams[rapid.IntRange(0, 1).Draw(rt, "stream")]
			switch rapid.IntRange(0, 14).Draw(rt, "step") {
			case 0, 1, 2, 3:
				m.write()
			case 4, 5:
				m.hub.dispatchBatch()
			case 6, 7:
				m.send(s)
			case 8:
				m.beginHistory(s)
			case 9:
				m.endHistory(s)
			case 10:
				m.createWatch(s)
			case 11:
				m.cancelWatch(s)
			case 12:
				m.requestProgress(s)
			case 13:
				m.progressDue(s)
			case 14:
				if rapid.IntRange(0, 3).Draw(rt, "reopen") == 0 {
					m.solo.reopen(t, func() {})
					if len(m.events) > 0 {
						m.hub.observe(2, nil) // as a replay would
					}
				}
			}
		}
		m.drain()
		for _, s := range m.streams {
			for _, w := range s.watchers {
				m.check(w)
			}
			for _, w := range s.canceled {
				m.check(w)
			}
			if s.bufferedBytes != 0 {
				rt.Fatalf("%d bytes are counted as buffered when nothing is", s.bufferedBytes)
			}
		}
	})
}
