package watch

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/internal/interleave"
	"github.com/troupe-raft/troupe/kv/internal/kvtest"
)

// The hub, its streams, the writer and the clients as they run in production, each goroutine a task
// that a random schedule interrupts at every lock and wait. TestWatchersReceiveHistoryInAnySchedule
// runs larger steps, so it reaches states further away; this one finds what goes wrong between two
// locks.

// tangle is a watchModel whose parts run as tasks.
type tangle struct {
	watchModel
	schedule *interleave.Scheduler
	random   *rand.Rand
	timers   []timer
	now      time.Duration
	clients  []*tangledClient
	writing  bool
}

type timer struct {
	at   time.Duration
	fire func()
}

// tangledClient is the client's side of a stream.
type tangledClient struct {
	recordingStream
	m        *tangle
	model    *modelStream
	requests []*pb.WatchRequest // not received yet
	busy     bool               // makes more requests
	closed   bool
	nextID   int64
}

// Recv implements pb.Watch_WatchServer.
func (c *tangledClient) Recv() (*pb.WatchRequest, error) {
	c.m.schedule.WaitFor(func() bool { return len(c.requests) > 0 || c.closed })
	if len(c.requests) == 0 {
		return nil, io.EOF
	}
	r := c.requests[0]
	c.requests = c.requests[1:]
	return r, nil
}

// Send implements pb.Watch_WatchServer. A client may take its time.
func (c *tangledClient) Send(r *pb.WatchResponse) error {
	c.m.schedule.Yield()
	c.receive(r)
	return nil
}

// SendMsg implements grpc.ServerStream.
func (c *tangledClient) SendMsg(m any) error {
	buffers, err := m.(*Frame).MarshalBuffers()
	if err != nil {
		return err
	}
	response := &pb.WatchResponse{}
	if err := proto.Unmarshal(buffers.Materialize(), response); err != nil {
		return err
	}
	return c.Send(response)
}

func (c *tangledClient) receive(r *pb.WatchResponse) {
	if w := c.model.watchers[r.WatchId]; w != nil && r.Created && w.start == 0 {
		w.start = r.Header.Revision + 1
	}
	c.model.out.responses = append(c.model.out.responses, r)
	c.m.collect(c.model)
}

// run makes the client's requests.
func (c *tangledClient) run() {
	m := c.m
	for range m.random.IntN(12) {
		c.m.schedule.Yield()
		switch m.random.IntN(5) {
		case 0, 1:
			c.create()
		case 2:
			c.cancel()
		case 3:
			c.requests = append(c.requests, &pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{ProgressRequest: &pb.WatchProgressRequest{}}})
		default:
			_ = m.schedule.Sleep(context.Background(), time.Duration(m.random.IntN(10))*time.Millisecond)
		}
	}
	c.busy = false
}

func (c *tangledClient) create() {
	m := c.m
	r := &pb.WatchCreateRequest{
		Key: []byte(modelKeys[m.random.IntN(len(modelKeys))]), PrevKv: m.random.IntN(2) == 0, ProgressNotify: m.random.IntN(2) == 0,
	}
	if m.random.IntN(2) == 0 {
		r.RangeEnd = []byte{0}
	}
	if m.random.IntN(2) == 0 {
		r.StartRevision = 1 + m.random.Int64N(m.hub.config.Store.Revision()+2)
	}
	c.nextID++
	r.WatchId = c.nextID
	c.model.watchers[r.WatchId] = &modelWatcher{request: r, start: r.StartRevision}
	c.requests = append(c.requests, &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: r}})
}

func (c *tangledClient) cancel() {
	if c.nextID > 0 {
		id := 1 + c.m.random.Int64N(c.nextID)
		c.model.watchers[id].cancelAsked = true
		c.requests = append(c.requests, &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CancelRequest{CancelRequest: &pb.WatchCancelRequest{WatchId: id}}})
	}
}

func newTangle(t *testing.T, seed uint64) *tangle {
	random := rand.New(rand.NewPCG(seed, 0))
	m := &tangle{watchModel: watchModel{report: t, liveKeys: map[string]*mvccpb.KeyValue{}}, random: random}
	m.schedule = interleave.New(random.IntN, func(d time.Duration, f func()) { m.timers = append(m.timers, timer{m.now + d, f}) })
	consensus, store := kvtest.OpenScheduled(t, m.schedule)
	m.consensus = consensus
	config := testConfig(consensus, store, []int{1, 300, 5000}[random.IntN(3)], []int{1, 100, 1000}[random.IntN(3)])
	config.Schedule, config.ProgressInterval = m.schedule, 3*time.Millisecond
	m.hub = NewHub(config)
	m.schedule.Go("hub", m.hub.Run)
	for range 2 {
		c := &tangledClient{m: m, busy: true, model: &modelStream{out: &recordingStream{}, watchers: map[int64]*modelWatcher{}}}
		m.clients = append(m.clients, c)
		m.schedule.Go("client", c.run)
		m.schedule.Go("stream", func() { _ = m.hub.Serve(c, nil) })
	}
	m.writing = true
	m.schedule.Go("writer", func() {
		for range random.IntN(12) {
			keys := slices.Clone(modelKeys)
			random.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
			m.write(keys[:1+random.IntN(3)], func() bool { return random.IntN(3) == 0 })
			m.schedule.Yield()
			if random.IntN(12) == 0 {
				m.consensus.Reopen(t, m.schedule.Yield)
			}
			if random.IntN(3) == 0 {
				_ = m.schedule.Sleep(context.Background(), time.Duration(random.IntN(8))*time.Millisecond)
			}
		}
		m.writing = false
	})
	return m
}

// step runs a task, or lets time pass up to the next timer: always if no task can go on, else
// sometimes, if it is near.
func (m *tangle) step() {
	first := m.nextTimer()
	idle := !m.schedule.Runnable()
	if first >= 0 && (idle || m.random.IntN(12) == 0 && m.timers[first].at < m.now+20*time.Millisecond) {
		due := m.timers[first]
		m.timers = slices.Delete(m.timers, first, first+1)
		m.now = max(m.now, due.at)
		due.fire()
		return
	}
	m.schedule.Step()
}

// nextTimer returns the index of the first timer; -1 if there is none.
func (m *tangle) nextTimer() int {
	first := -1
	for i := range m.timers {
		if first < 0 || m.timers[i].at < m.timers[first].at {
			first = i
		}
	}
	return first
}

// complete reports whether every watch has received what it is to receive.
func (m *tangle) complete() bool {
	for _, c := range m.clients {
		if c.busy || len(c.requests) > 0 {
			return false
		}
		for _, w := range c.model.watchers {
			if !w.canceled && (!w.created || len(w.received) < len(m.expectedEvents(w, 1<<60))) {
				return false
			}
		}
	}
	return !m.writing
}

func TestWatchersReceiveHistoryInAnyInterleaving(t *testing.T) {
	const seeds = 1000
	for seed := range uint64(seeds) {
		if !t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { runTangle(t, seed) }) {
			return
		}
	}
}

func runTangle(t *testing.T, seed uint64) {
	const maxSteps = 30_000
	m := newTangle(t, seed)
	for steps := 0; !m.complete(); steps++ {
		if steps == maxSteps {
			break // check says what is missing
		}
		m.step()
	}
	for range 200 {
		m.step() // what comes twice comes now
	}
	for _, c := range m.clients {
		for id, w := range c.model.watchers {
			if !w.created && !w.canceled {
				t.Fatalf("watch %d was never created", id)
			}
			m.check(w)
		}
		c.closed = true
	}
	m.hub.Stop()
	m.schedule.Stop()
}
