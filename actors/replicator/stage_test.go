package replicator

import (
	"fmt"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/actors/internal/rehearsal"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// stage is everything around one Replicator, which node 1, leader of term 5, keeps for peer 2: a Node that answers from a
// log of the test's making, a LogReader, and a peer that only writes down what it is sent. Nothing runs but in run.
type stage struct {
	*rehearsal.Env
	t     testing.TB
	pid   *actor.PID
	r     *Replicator // the newest life
	views []actors.ReplicatorView

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

const (
	term       = 5
	probeEvery = 100 * time.Millisecond
	retryAfter = 500 * time.Millisecond
)

// newStage begins a Replicator of a leader whose log has these terms, all in memory; the last entry is of its own term.
func newStage(t testing.TB, terms ...uint64) *stage {
	s := &stage{Env: rehearsal.New(1), t: t, terms: terms, memory: 1}
	s.first = uint64(len(terms))
	return s
}

// start brings the Replicator to life.
func (s *stage) start() *stage { return s.startWith(DefaultLimits()) }

func (s *stage) startWith(limits Limits) *stage {
	reader := s.System.Root.Spawn(s.Props(func() actor.Actor { return actor.ReceiveFunc(s.readerHears) }))
	config := Config{
		Incarnation: 3, Peer: 2, Term: term, Reader: reader, ProbeEvery: probeEvery, RetryAfter: retryAfter, Limits: limits,
	}
	s.System.Root.Spawn(s.Props(func() actor.Actor {
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
	s.Run()
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

func (s *stage) hears(all ...proto.Message) { s.Send(s.pid, all...) }

// last is the newest request that was sent.
func (s *stage) last() *messages.AppendEntries {
	s.t.Helper()
	if len(s.Failures) > 0 {
		s.t.Fatalf("the replicator failed: %v", s.Failures)
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
	if len(s.Failures) > 0 {
		s.t.Fatalf("the replicator failed: %v", s.Failures)
	}
	if s.r.state != state {
		s.t.Fatalf("the replicator is %s, want %s", s.r.state, state)
	}
}

func (s *stage) forget() {
	s.sent, s.progress, s.higher, s.fetches, s.resolves, s.reads = nil, nil, nil, nil, nil, nil
}

// The environment.

func (s *stage) crash() { s.Crash(s.pid) }

type stageRandom struct{ next uint64 }

func (r *stageRandom) Int64N(int64) int64 { return 0 }
func (r *stageRandom) Uint64() uint64     { r.next += 1 << 32; return r.next }

var beginnings stageRandom

func (s *stage) Random() actors.Random { return &beginnings }
func (s *stage) Probe() actors.Probe   { return stageProbe{s: s} }

func (s *stage) Peer(id uint64, role messages.Role) *actor.PID {
	return s.Ear(fmt.Sprintf("%v of %d", role, id), func(m proto.Message) {
		if a, ok := m.(*messages.AppendEntries); ok && id == 2 && role == messages.Role_ROLE_NODE {
			s.sent = append(s.sent, a)
		}
	})
}

type stageProbe struct {
	rehearsal.NoProbe
	s *stage
}

func (p stageProbe) Replicator(v actors.ReplicatorView) {
	p.s.views = append(p.s.views, v)
	if v.Next <= v.Match && v.State != "stopped" && v.Next != 0 {
		p.s.t.Errorf("nextIndex %d is not above matchIndex %d", v.Next, v.Match)
	}
}
