package simulation

import (
	"context"
	"fmt"
	"slices"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/internal/interleave"
	"github.com/troupe-raft/troupe/kv/watch"
)

// watchClient has some watches on one stream. When the stream ends it opens another one, at any
// member, where each watch goes on after what it has received, as clientv3 does: a watch sees each
// event once, whatever happens to members.
type watchClient struct {
	app     *application
	watches []*watched
	stream  *watchStream // nil: there is none
	// What a script decides: the member; whether the client reads.
	at      *member // nil: any member, and the client stalls and cancels at random
	stalled bool
}

// watchStream is one stream of a client.
type watchStream struct {
	pb.Watch_WatchServer // what the services do not use
	client               *watchClient
	member               *member
	schedule             *interleave.Scheduler
	ctx                  context.Context
	cancel               context.CancelFunc
	requests             []*pb.WatchRequest // not received by the server
	stalledUntil         time.Duration      // the client does not read
}

// watched is one watch.
type watched struct {
	request  *pb.WatchCreateRequest
	next     int64 // the first revision that it has not received; 0: it has not begun
	position int   // of the next event in the model
	created  bool  // on the present stream
	header   int64 // revision of the last header of the present stream
	lastRev  int64 // revision of the last event
	received int   // events
	canceled int   // how often
}

func newWatchClient(a *application) *watchClient {
	s := &watchClient{app: a}
	for id := range 1 + a.random.IntN(3) {
		r := &pb.WatchCreateRequest{WatchId: int64(id + 1), Key: []byte{'a' + byte(a.random.IntN(6))}, PrevKv: a.random.IntN(2) == 0, ProgressNotify: a.random.IntN(2) == 0}
		if a.random.IntN(2) == 0 {
			r.Key, r.RangeEnd = []byte{0}, []byte{0}
		}
		s.watches = append(s.watches, &watched{request: r})
	}
	return s
}

// connect opens a stream at a member that is up.
func (c *watchClient) connect() {
	a := c.app
	m := c.at
	switch {
	case m == nil:
		m = a.upMember()
	case m.schedule == nil || !m.Up():
		m = nil
	}
	if m == nil {
		a.world.After(a.world.RandomDuration(time.Millisecond, 300*time.Millisecond), c.connect)
		return
	}
	a.counts.streams++
	s := &watchStream{client: c, member: m, schedule: m.schedule}
	s.ctx, s.cancel = incoming("")
	c.stream = s
	for _, w := range c.watches {
		s.create(w)
	}
	m.streams = append(m.streams, s)
	m.schedule.Go("watch stream", func() {
		_ = m.services.Watch.Watch(s) // whyever it ends, the client opens another one
		m.streams = slices.DeleteFunc(m.streams, func(other *watchStream) bool { return other == s })
		s.disconnected()
	})
	if c.at == nil {
		s.act()
	}
}

// act plans what the client does next on its stream.
func (s *watchStream) act() {
	w := s.client.app.world
	s.member.AfterInRun(w.RandomDuration(50*time.Millisecond, time.Second), func() {
		if s.client.stream != s || w.Healing {
			return
		}
		switch s.client.app.random.IntN(5) {
		case 0:
			stall := w.RandomDuration(50*time.Millisecond, 2*time.Second)
			s.stalledUntil = w.Now() + stall
			s.member.AfterInRun(stall, func() {}) // so that its end is noticed
		case 1:
			s.requests = append(s.requests, &pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{ProgressRequest: &pb.WatchProgressRequest{}}})
		case 2:
			s.cancel()
		}
		s.act()
	})
}

func (s *watchStream) create(w *watched) {
	r := proto.Clone(w.request).(*pb.WatchCreateRequest)
	r.StartRevision = w.next
	w.created, w.header = false, 0
	s.requests = append(s.requests, &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: r}})
}

// disconnected plans the client's next stream.
func (s *watchStream) disconnected() {
	s.cancel()
	s.client.stream = nil
	w := s.client.app.world
	w.After(w.RandomDuration(time.Millisecond, 300*time.Millisecond), s.client.connect)
}

// Context implements pb.Watch_WatchServer.
func (s *watchStream) Context() context.Context { return s.ctx }

// Recv implements pb.Watch_WatchServer.
func (s *watchStream) Recv() (*pb.WatchRequest, error) {
	s.schedule.WaitFor(func() bool { return s.ctx.Err() != nil || len(s.requests) > 0 })
	if s.ctx.Err() != nil {
		return nil, s.ctx.Err()
	}
	r := s.requests[0]
	s.requests = s.requests[1:]
	return r, nil
}

// Send implements pb.Watch_WatchServer. It waits for a client that does not read.
func (s *watchStream) Send(r *pb.WatchResponse) error {
	w := s.client.app.world
	s.schedule.Yield()
	reads := func() bool { return !s.client.stalled && w.Now() >= s.stalledUntil }
	if !reads() {
		s.schedule.WaitFor(func() bool { return s.ctx.Err() != nil || reads() })
	}
	if s.ctx.Err() != nil {
		return s.ctx.Err()
	}
	s.receive(r)
	return nil
}

// SendMsg implements grpc.ServerStream.
func (s *watchStream) SendMsg(m any) error {
	buffers, err := m.(*watch.Frame).MarshalBuffers()
	if err != nil {
		return err
	}
	response := &pb.WatchResponse{}
	if err := proto.Unmarshal(buffers.Materialize(), response); err != nil {
		return err
	}
	return s.Send(response)
}

// receive checks a response.
func (s *watchStream) receive(r *pb.WatchResponse) {
	if r.WatchId == -1 {
		for _, w := range s.client.watches {
			if w.created {
				s.progress(w, r)
			}
		}
		return
	}
	w := s.client.watches[r.WatchId-1]
	switch rev := r.Header.GetRevision(); {
	case r.Canceled:
		s.canceled(w, r)
		return
	case r.Created && w.created, !r.Created && !w.created:
		s.fail(w, "received %v; created before: %v", r, w.created)
	case rev < w.header:
		s.fail(w, "the header's revision goes back from %d to %d", w.header, rev)
	case r.Created:
		w.created = true
		if w.next == 0 {
			w.next = rev + 1
		}
	case len(r.Events) == 0:
		s.progress(w, r)
	default:
		for _, e := range r.Events {
			s.event(w, e, r)
		}
		w.lastRev = r.Events[len(r.Events)-1].Kv.ModRevision
		w.next = w.lastRev + 1
	}
	w.header = max(w.header, r.Header.GetRevision())
	s.client.app.acknowledge(r.Header.GetRevision())
}

func (s *watchStream) fail(w *watched, format string, values ...any) {
	s.client.app.world.Fail("watches are complete", "member %d, watch of %v from %d: %s", s.member.ID(), w.request, w.next, fmt.Sprintf(format, values...))
}

// expected returns the next event that a watch must receive; nil if there is none yet.
func (s *watchStream) expected(w *watched) *mvccpb.Event {
	for ; w.next > 0 && w.position < len(s.client.app.model.events); w.position++ {
		e := s.client.app.model.events[w.position]
		if e.Kv.ModRevision >= w.next && inRange(e.Kv.Key, w.request.Key, w.request.RangeEnd) {
			return e
		}
	}
	return nil
}

// event checks an event: it must be the next one.
func (s *watchStream) event(w *watched, e *mvccpb.Event, r *pb.WatchResponse) {
	s.client.app.counts.events++
	want := s.expected(w)
	if want == nil || e.Type != want.Type || !proto.Equal(e.Kv, want.Kv) {
		s.fail(w, "received %v in %v; the next event is %v", e, r, want)
		return
	}
	switch {
	case !w.request.PrevKv && e.PrevKv != nil:
		s.fail(w, "received %v with a previous value", e)
	case w.request.PrevKv && e.PrevKv == nil && e.Kv.ModRevision-1 < s.client.app.model.compacted: // it was compacted
	case w.request.PrevKv && !proto.Equal(e.PrevKv, want.PrevKv):
		s.fail(w, "received %v with another previous value than %v", e, want.PrevKv)
	}
	w.position++
	w.received++
}

// progress checks a response without events: all events up to its revision were received.
func (s *watchStream) progress(w *watched, r *pb.WatchResponse) {
	rev := r.Header.GetRevision()
	if want := s.expected(w); want != nil && want.Kv.ModRevision <= rev {
		s.fail(w, "received progress up to %d, and has not received %v", rev, want)
	}
	if rev > s.client.app.model.rev || rev < w.header {
		s.fail(w, "received progress up to %d; the newest revision is %d, the last header had %d", rev, s.client.app.model.rev, w.header)
	}
	w.header, w.next = rev, max(w.next, rev+1)
	s.client.app.acknowledge(rev)
}

// canceled checks that a canceled watch needed a compacted revision. It goes on there.
func (s *watchStream) canceled(w *watched, r *pb.WatchResponse) {
	if r.CompactRevision == 0 || r.CompactRevision > s.client.app.model.compacted || w.next >= r.CompactRevision {
		s.fail(w, "received %v; the compacted revision is %d", r, s.client.app.model.compacted)
		return
	}
	w.next = r.CompactRevision
	w.canceled++
	s.create(w)
}

// complete reports whether every watch has received everything.
func (c *watchClient) complete() bool {
	for _, w := range c.watches {
		if c.stream == nil || !w.created || c.stream.expected(w) != nil {
			return false
		}
	}
	return true
}
