package replicator

import (
	"fmt"
	"io"
	"log/slog"
	"sort"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/rs/zerolog"
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/persistence/vfs"
	"github.com/troupe-raft/troupe/raft"
)

// stage is everything around one Replicator, which node 1, leader of term 5, keeps for peer 2: a Node that answers from a
// log of the test's making, a LogReader, and a peer that only writes down what it is sent. Nothing runs but in run.
type stage struct {
	t      testing.TB
	system *actor.ActorSystem
	log    zerolog.Logger
	queue  []func()
	now    time.Duration
	timers []*stageTimer

	pid      *actor.PID
	r        *Replicator // the newest life
	failures []any
	views    []actors.ReplicatorView

	// The leader: its log, how much of it is in memory, from where on its own term's entries are, its commit index.
	terms  []uint64
	memory uint64
	first  uint64
	commit uint64
	// deaf: the Node, or the LogReader, does not answer.
	deaf, readerDeaf bool

	sent     []*messages.AppendEntries
	progress []*messages.Progress
	higher   []*messages.HigherTerm
	fetches  []*messages.Fetch
	resolves []*messages.Resolve
	reads    []*messages.ReadLog
}

type stageTimer struct {
	due     time.Duration
	to      *actor.PID
	message proto.Message
	stopped bool
}

func (t *stageTimer) Stop() { t.stopped = true }

const (
	term       = 5
	probeEvery = 100 * time.Millisecond
	retryAfter = 500 * time.Millisecond
)

// newStage begins a Replicator of a leader whose log has these terms, all in memory; the last entry is of its own term.
func newStage(t testing.TB, terms ...uint64) *stage {
	s := &stage{t: t, log: zerolog.New(io.Discard), terms: terms, memory: 1}
	s.first = uint64(len(terms))
	quiet := slog.New(slog.DiscardHandler)
	s.system = actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return quiet }))
	return s
}

// start brings the Replicator to life.
func (s *stage) start() *stage { return s.startWith(DefaultLimits()) }

func (s *stage) startWith(limits Limits) *stage {
	reader := s.system.Root.Spawn(s.Props(func() actor.Actor { return actor.ReceiveFunc(s.readerHears) }))
	config := Config{
		Incarnation: 3, Peer: 2, Term: term, Reader: reader, ProbeEvery: probeEvery, RetryAfter: retryAfter, Limits: limits,
	}
	s.system.Root.Spawn(s.Props(func() actor.Actor {
		return actor.ReceiveFunc(func(ctx actor.Context) {
			if _, ok := ctx.Message().(*actor.Started); ok {
				s.pid = ctx.Spawn(s.Props(func() actor.Actor {
					s.r = New(s, config)().(*Replicator)
					return s.r
				}))
				return
			}
			s.nodeHears(ctx)
		})
	}))
	s.run()
	return s
}

func (s *stage) nodeHears(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *messages.Progress:
		s.progress = append(s.progress, m)
	case *messages.HigherTerm:
		s.higher = append(s.higher, m)
	case *messages.Fetch:
		s.fetches = append(s.fetches, m)
		if !s.deaf {
			from := m.From
			if from == 0 {
				from = s.first
			}
			ctx.Send(s.pid, s.fetched(from, m.MaxBytes, &messages.Fetched{Token: m.Token}))
		}
	case *messages.Resolve:
		s.resolves = append(s.resolves, m)
		if !s.deaf {
			next := s.index().NextAfterConflict(m.ConflictTerm, m.ConflictIndex)
			ctx.Send(s.pid, s.fetched(next, m.MaxBytes, &messages.Fetched{Token: m.Token, Resolved: next}))
		}
	}
}

func (s *stage) index() *raft.LogIndex {
	return raft.NewLogIndex(0, 0, uint64(len(s.terms)), runsOf(1, s.terms))
}

// fetched answers as a Node does.
func (s *stage) fetched(from, maxBytes uint64, m *messages.Fetched) *messages.Fetched {
	last := uint64(len(s.terms))
	from = min(from, last+1)
	m.Incarnation, m.LastIndex, m.Commit, m.PrevTerm = 3, last, s.commit, s.termOf(from-1)
	switch {
	case from > last:
		m.Entries = &messages.Entries{First: from}
	case from < s.memory:
		m.Entries, m.ColdTo = &messages.Entries{First: from}, s.memory-1
	default:
		m.Entries = raft.SliceEntries(s.entries(from, last), from, maxBytes)
	}
	return m
}

func (s *stage) readerHears(ctx actor.Context) {
	if m, ok := ctx.Message().(*messages.ReadLog); ok {
		s.reads = append(s.reads, m)
		if !s.readerDeaf {
			e := raft.SliceEntries(s.entries(m.From, m.To), m.From, m.MaxBytes)
			ctx.Respond(&messages.LogPiece{Incarnation: 3, Token: m.Token, Entries: e, PrevTerm: s.termOf(m.From - 1)})
		}
	}
}

func (s *stage) termOf(index uint64) uint64 {
	if index == 0 {
		return 0
	}
	return s.terms[index-1]
}

func runsOf(first uint64, terms []uint64) (runs []*messages.TermRun) {
	for i, t := range terms {
		if i == 0 || terms[i-1] != t {
			runs = append(runs, &messages.TermRun{FirstIndex: first + uint64(i), Term: t})
		}
	}
	return runs
}

const entryBytes = 100

// entries are those of the leader's log, each of entryBytes.
func (s *stage) entries(from, to uint64) *messages.Entries {
	e := &messages.Entries{First: from, Runs: runsOf(from, s.terms[from-1:to])}
	for i := from; i <= to; i++ {
		frame := raft.EncodeCommand(9, 1, 0, nil)
		e.Data = append(e.Data, append(frame, make([]byte, entryBytes-len(frame))...))
		e.Bytes += entryBytes
	}
	return e
}

// appends adds n entries of the leader's term and says them to the Replicator, as the Node does.
func (s *stage) appends(n int) {
	first := uint64(len(s.terms)) + 1
	for range n {
		s.terms = append(s.terms, term)
	}
	s.hears(&messages.Replicate{
		Incarnation: 3, PrevTerm: s.termOf(first - 1), Entries: s.entries(first, uint64(len(s.terms))),
		LastIndex: uint64(len(s.terms)), Commit: s.commit,
	})
}

func (s *stage) hears(all ...proto.Message) {
	for _, m := range all {
		s.system.Root.Send(s.pid, m)
	}
	s.run()
}

func (s *stage) run() {
	for len(s.queue) > 0 {
		next := s.queue[0]
		s.queue = s.queue[1:]
		next()
	}
}

func (s *stage) pass(d time.Duration) {
	until := s.now + d
	for {
		sort.SliceStable(s.timers, func(i, j int) bool { return s.timers[i].due < s.timers[j].due })
		if len(s.timers) == 0 || s.timers[0].due > until {
			break
		}
		t := s.timers[0]
		s.timers = s.timers[1:]
		s.now = max(s.now, t.due)
		if !t.stopped {
			s.hears(t.message)
		}
	}
	s.now = until
}

// last is the newest request that was sent.
func (s *stage) last() *messages.AppendEntries {
	s.t.Helper()
	if len(s.failures) > 0 {
		s.t.Fatalf("the replicator failed: %v", s.failures)
	}
	if len(s.sent) == 0 {
		s.t.Fatal("nothing was sent")
	}
	return s.sent[len(s.sent)-1]
}

// accepts answers a request as a follower does that has everything in it on disk.
func accepts(m *messages.AppendEntries) *messages.AppendAnswer {
	return &messages.AppendAnswer{
		Term: term, From: 2, Accepted: true, Index: m.PrevIndex + uint64(len(m.Entries.GetData())), Stream: m.Stream, Sequence: m.Sequence,
	}
}

// refuses answers a request as a follower does that has no such entry before it.
func refuses(m *messages.AppendEntries, conflictTerm, conflictIndex uint64) *messages.AppendAnswer {
	return &messages.AppendAnswer{
		Term: term, From: 2, Index: m.PrevIndex, Stream: m.Stream, Sequence: m.Sequence,
		ConflictTerm: conflictTerm, ConflictIndex: conflictIndex,
	}
}

// streams answers the first request, so that the Replicator streams.
func (s *stage) streams() *stage {
	s.hears(accepts(s.last()))
	s.in(stateStreaming)
	s.forget()
	return s
}

func (s *stage) in(state string) {
	s.t.Helper()
	if len(s.failures) > 0 {
		s.t.Fatalf("the replicator failed: %v", s.failures)
	}
	if s.r.state != state {
		s.t.Fatalf("the replicator is %s, want %s", s.r.state, state)
	}
}

func (s *stage) forget() {
	s.sent, s.progress, s.higher, s.fetches, s.resolves, s.reads = nil, nil, nil, nil, nil, nil
}

// The environment.

func (s *stage) Schedule(fn func()) { s.queue = append(s.queue, fn) }
func (s *stage) Throughput() int    { return 1000 }
func (s *stage) ID() uint64         { return 1 }

type crashNow struct{}

func (s *stage) Props(producer actor.Producer, options ...actor.PropsOption) *actor.Props {
	options = append(options, actor.WithDispatcher(s), actor.WithSupervisor(s),
		actor.WithReceiverMiddleware(func(next actor.ReceiverFunc) actor.ReceiverFunc {
			return func(ctx actor.ReceiverContext, e *actor.MessageEnvelope) {
				if _, ok := e.Message.(*crashNow); ok {
					panic("crash injected by the test")
				}
				next(ctx, e)
			}
		}))
	return actor.PropsFromProducer(producer, options...)
}

func (s *stage) HandleFailure(_ *actor.ActorSystem, supervisor actor.Supervisor, child *actor.PID, _ *actor.RestartStatistics, reason, message any) {
	if _, ours := message.(*crashNow); ours {
		supervisor.RestartChildren(child)
		return
	}
	s.failures = append(s.failures, reason)
	supervisor.StopChildren(child)
}

func (s *stage) crash() {
	s.system.Root.Send(s.pid, &crashNow{})
	s.run()
}

func (s *stage) Now() time.Duration { return s.now }
func (s *stage) After(d time.Duration, to *actor.PID, message proto.Message) actors.Timer {
	timer := &stageTimer{due: s.now + d, to: to, message: message}
	s.timers = append(s.timers, timer)
	return timer
}

type stageRandom struct{ next uint64 }

func (r *stageRandom) Int64N(int64) int64 { return 0 }
func (r *stageRandom) Uint64() uint64     { r.next += 1 << 32; return r.next }

var beginnings stageRandom

func (s *stage) Random() actors.Random       { return &beginnings }
func (s *stage) FS() vfs.FS                  { panic("a Replicator needs no files") }
func (s *stage) SetPeers([]*messages.Member) { panic("a Replicator decides on no peers") }
func (s *stage) Handle() *actor.PID          { panic("a Replicator says nothing to the handle") }
func (s *stage) Log() *zerolog.Logger        { return &s.log }
func (s *stage) Probe() actors.Probe         { return (*stageProbe)(s) }

type ear struct{ hear func(proto.Message) }

func (e *ear) SendUserMessage(_ *actor.PID, message any) {
	_, m, _ := actor.UnwrapEnvelope(message)
	e.hear(m.(proto.Message))
}
func (e *ear) SendSystemMessage(*actor.PID, any) {}
func (e *ear) Stop(*actor.PID)                   {}

func (s *stage) Peer(id uint64, role messages.Role) *actor.PID {
	name := fmt.Sprintf("%v of %d", role, id)
	if _, known := s.system.ProcessRegistry.GetLocal(name); !known {
		s.system.ProcessRegistry.Add(&ear{func(m proto.Message) {
			if a, ok := m.(*messages.AppendEntries); ok && id == 2 && role == messages.Role_ROLE_NODE {
				s.sent = append(s.sent, a)
			}
		}}, name)
	}
	return actor.NewPID(s.system.Address(), name)
}

type stageProbe stage

func (p *stageProbe) Replicator(v actors.ReplicatorView) {
	p.views = append(p.views, v)
	if v.Next <= v.Match && v.State != "stopped" && v.Next != 0 {
		p.t.Errorf("nextIndex %d is not above matchIndex %d", v.Next, v.Match)
	}
}
func (p *stageProbe) Node(actors.NodeView)           {}
func (p *stageProbe) Log(actors.LogView)             {}
func (p *stageProbe) Machine(actors.MachineView)     {}
func (p *stageProbe) Synced(int, int, time.Duration) {}
