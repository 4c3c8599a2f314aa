package watch

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"pgregory.net/rapid"

	"github.com/troupe-raft/troupe/kv/internal/kvtest"
	"github.com/troupe-raft/troupe/kv/mvcc"
)

// The hub and its streams against a model, one step at a time and in any order: writes,
// dispatching, sending, the begin and the end of each read of history, watches that are created and
// canceled, a store that is reopened. Buffers are tiny. Each watcher must receive exactly the
// events from its start on.

// modelWatcher is the client's side of a watch.
type modelWatcher struct {
	request        *pb.WatchCreateRequest
	start          int64
	received       []string
	created        bool
	headerRevision int64 // of the last response
	canceled       bool
	cancelAsked    bool // by the client
}

type modelStream struct {
	*stream
	out      *recordingStream
	watchers map[int64]*modelWatcher
	canceled []*modelWatcher
	reading  *historyRead // a read of history under way
}

type watchModel struct {
	t      *rapid.T // nil: the steps are not drawn
	report interface {
		Fatal(values ...any)
		Fatalf(format string, values ...any)
	}
	consensus *kvtest.Consensus
	hub       *Hub
	streams   []*modelStream
	events    []*mvccpb.Event // with PrevKv
	liveKeys  map[string]*mvccpb.KeyValue
}

var modelKeys = []string{"a", "b", "b/1", "b/2", "c"}

func newWatchModel(t *rapid.T, outer *testing.T) *watchModel {
	hub, consensus := newTestHub(outer,
		rapid.SampledFrom([]int{1, 300, 5000}).Draw(t, "hub queue"),
		rapid.SampledFrom([]int{1, 60, 100, 200, 1000}).Draw(t, "stream buffer"))
	m := &watchModel{t: t, report: t, consensus: consensus, hub: hub, liveKeys: map[string]*mvccpb.KeyValue{}}
	for range 2 {
		out := &recordingStream{}
		m.streams = append(m.streams, &modelStream{stream: newStream(hub, out), out: out, watchers: map[int64]*modelWatcher{}})
	}
	return m
}

// drawWrite draws a revision of one or more changes.
func (m *watchModel) drawWrite() {
	keys := rapid.SliceOfNDistinct(rapid.SampledFrom(modelKeys), 1, 3, rapid.ID[string]).Draw(m.t, "keys")
	m.write(keys, func() bool { return rapid.IntRange(0, 2).Draw(m.t, "delete") == 0 })
}

// write makes a revision that puts keys, or deletes those that exist.
func (m *watchModel) write(keys []string, deletes func() bool) {
	var ops []*pb.RequestOp
	var changed []*mvccpb.Event
	revision := int64(2)
	if len(m.events) > 0 {
		revision = m.events[len(m.events)-1].Kv.ModRevision + 1
	}
	for i, k := range keys {
		prev := m.liveKeys[k]
		if prev != nil && deletes() {
			ops = append(ops, kvtest.DeleteOp(k, ""))
			changed = append(changed, &mvccpb.Event{Type: mvccpb.Event_DELETE, PrevKv: prev,
				Kv: &mvccpb.KeyValue{Key: []byte(k), ModRevision: revision}})
			m.liveKeys[k] = nil
			continue
		}
		value := fmt.Sprintf("%d.%d", revision, i)
		ops = append(ops, kvtest.PutOp(k, value))
		kv := &mvccpb.KeyValue{Key: []byte(k), Value: []byte(value), ModRevision: revision}
		changed = append(changed, &mvccpb.Event{Kv: kv, PrevKv: prev})
		m.liveKeys[k] = kv
	}
	command, err := mvcc.EncodeTxn(&pb.TxnRequest{Success: ops})
	if err != nil {
		m.report.Fatal(err)
	}
	result, err := m.consensus.Propose(context.Background(), command)
	if err != nil {
		m.report.Fatal(err)
	}
	if r, err := mvcc.DecodeTxn(result.Value); err != nil || r.Header.Revision != revision {
		m.report.Fatalf("write: %v, %v, want revision %d", r, err, revision)
	}
	m.events = append(m.events, changed...)
}

func (m *watchModel) createWatch(s *modelStream) {
	now := m.hub.config.Store.Revision()
	key := rapid.SampledFrom(modelKeys).Draw(m.t, "key")
	r := &pb.WatchCreateRequest{
		Key:            []byte(key),
		PrevKv:         rapid.Bool().Draw(m.t, "prev"),
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
	id := rapid.SampledFrom(ids).Draw(m.t, "id")
	w := s.watchers[id]
	s.cancel(id)
	m.send(s)
	delete(s.watchers, id)
	if !w.canceled {
		m.t.Fatalf("watch %v did not receive its cancellation", w.request)
	}
	s.canceled = append(s.canceled, w)
}

// send is one round of the stream's goroutine without the read of history.
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

// progressDue is the end of the stream's progress interval.
func (m *watchModel) progressDue(s *modelStream) {
	if s.reading != nil {
		return // one goroutine does both
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
	m.hub.goLive(s.stream, rapid.Int64Range(1, 20).Draw(m.t, "near"))
	if read, ok := s.planHistory(); ok {
		s.reading = &read
	}
}

func (m *watchModel) endHistory(s *modelStream) {
	if s.reading == nil {
		return
	}
	read := s.reading
	s.reading = nil
	err := s.readPlanned(read)
	if errors.Is(err, errStoreBehind) {
		return
	}
	if err != nil {
		m.t.Fatal(err)
	}
	if err := s.sendFrames(s.historyResponses(read)); err != nil {
		m.t.Fatal(err)
	}
	m.collect(s)
}

func (m *watchModel) collect(s *modelStream) {
	for _, r := range s.out.responses {
		matching := []*modelWatcher{s.watchers[r.WatchId]}
		if r.WatchId == noWatchID {
			matching = slices.Collect(maps.Values(s.watchers))
		}
		for _, w := range matching {
			if w != nil {
				m.receive(w, r)
			}
		}
	}
	s.out.responses = nil
}

// receive checks a response to the client.
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
		m.report.Fatalf("watch %v receives %v before its created response", w.request, r)
	case !w.created, w.cancelAsked && r.WatchId == noWatchID:
		return // created after this progress response, or removed before it
	}
	if r.Header.Revision < w.headerRevision {
		m.report.Fatalf("watch %v: the header's revision goes back from %d to %d", w.request, w.headerRevision, r.Header.Revision)
	}
	w.headerRevision = r.Header.Revision
	for _, e := range r.Events {
		w.received = append(w.received, kvtest.DescribeEvent(e))
	}
	if progress && r.Header.Revision < w.request.StartRevision {
		m.report.Fatalf("watch %v receives progress up to %d, below its start", w.request, r.Header.Revision)
	}
	if want := m.expectedEvents(w, r.Header.Revision); progress && len(w.received) != len(want) {
		m.report.Fatalf("watch %v receives progress up to %d with %d of %d events", w.request, r.Header.Revision, len(w.received), len(want))
	}
}

// expectedEvents returns what a watcher is to receive up to a revision.
func (m *watchModel) expectedEvents(w *modelWatcher, upTo int64) (want []string) {
	s, isSpan := spanOf(w.request.Key, w.request.RangeEnd)
	for _, e := range m.events {
		matching := string(e.Kv.Key) == s.lo
		if isSpan {
			matching = s.contains(e.Kv.Key)
		}
		filter := pb.WatchCreateRequest_NOPUT
		if e.Type == mvccpb.Event_DELETE {
			filter = pb.WatchCreateRequest_NODELETE
		}
		if !matching || e.Kv.ModRevision < w.start || e.Kv.ModRevision > upTo || slices.Contains(w.request.Filters, filter) {
			continue
		}
		shown := &mvccpb.Event{Type: e.Type, Kv: e.Kv}
		if w.request.PrevKv {
			shown.PrevKv = e.PrevKv
		}
		want = append(want, kvtest.DescribeEvent(shown))
	}
	return want
}

// check compares what a watcher received. A canceled one must have received the first of its
// events.
func (m *watchModel) check(w *modelWatcher) {
	want := m.expectedEvents(w, math.MaxInt64)
	if w.canceled && len(w.received) < len(want) {
		want = want[:len(w.received)]
	}
	if got, expected := strings.Join(w.received, "\n"), strings.Join(want, "\n"); got != expected {
		m.report.Fatalf("watch %v received\n%s\nwant\n%s", w.request, got, expected)
	}
}

// drain runs the hub and the streams until there is nothing to do.
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
		defer m.consensus.Close(t)
		for range rapid.IntRange(1, 150).Draw(rt, "steps") {
			s := m.streams[rapid.IntRange(0, 1).Draw(rt, "stream")]
			switch rapid.IntRange(0, 14).Draw(rt, "step") {
			case 0, 1, 2, 3:
				m.drawWrite()
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
				s.requestProgress()
			case 13:
				m.progressDue(s)
			case 14:
				if rapid.IntRange(0, 3).Draw(rt, "reopen") == 0 {
					m.consensus.Reopen(t, func() {})
					if len(m.events) > 0 {
						m.hub.queue.observe(2, nil) // as a replay would
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
