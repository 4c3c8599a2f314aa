package replicator

import (
	"fmt"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/actors/internal/actortest"
	"github.com/troupe-raft/troupe/internal/defaults"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// stage is everything around one Replicator, which node 1, leader of term 5, keeps for peer 2: a Node that answers from a
// log of the test's making, a LogReader, and a peer that only writes down what it is sent. Nothing runs but in run.
type fixture struct {
	*actortest.Env
	t     testing.TB
	pid   *actor.PID
	r     *Replicator // the newest life
	views []actors.ReplicatorView

	// The leader: its log, how much of it is in memory, from where on its own term's entries are, its commit index.
	terms         []uint64
	firstInMemory uint64
	firstOfTerm   uint64
	commit        uint64
	// deaf: the Node, or the LogReader, does not answer.
	nodeSilent, readerSilent bool

	sent        []*messages.AppendEntries
	progress    []*messages.Progress
	higherTerms []*messages.HigherTerm
	fetches     []*messages.Fetch
	resolves    []*messages.ResolveConflict
	reads       []*messages.ReadLog
}

const (
	term            = 5
	probeInterval   = 100 * time.Millisecond
	responseTimeout = 500 * time.Millisecond
)

// newFixture begins a Replicator of a leader whose log has these terms, all in memory; the last entry is of its own term.
func newFixture(t testing.TB, terms ...uint64) *fixture {
	s := &fixture{Env: actortest.New(1), t: t, terms: terms, firstInMemory: 1}
	s.firstOfTerm = uint64(len(terms))
	return s
}

// start brings the Replicator to life.
func (s *fixture) start() *fixture { return s.startWith(defaultLimits()) }

func (s *fixture) startWith(limits Limits) *fixture {
	reader := s.System.Root.Spawn(s.Props(func() actor.Actor { return actor.ReceiveFunc(s.readerReceive) }))
	config := Config{
		Incarnation: 3, PeerID: 2, Term: term, Reader: reader, ProbeInterval: probeInterval, ResponseTimeout: responseTimeout, Limits: limits,
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
			s.nodeReceive(ctx)
		})
	}))
	s.Run()
	return s
}

func (s *fixture) nodeReceive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *messages.Progress:
		s.progress = append(s.progress, m)
	case *messages.HigherTerm:
		s.higherTerms = append(s.higherTerms, m)
	case *messages.Fetch:
		s.fetches = append(s.fetches, m)
		if !s.nodeSilent {
			from := m.From
			if from == 0 {
				from = s.firstOfTerm
			}
			ctx.Send(s.pid, s.fetchedFrom(from, m.MaxBytes, &messages.Fetched{Token: m.Token}))
		}
	case *messages.ResolveConflict:
		s.resolves = append(s.resolves, m)
		if !s.nodeSilent {
			next := s.index().NextAfterConflict(m.ConflictTerm, m.ConflictIndex)
			ctx.Send(s.pid, s.fetchedFrom(next, m.MaxBytes, &messages.Fetched{Token: m.Token, ConflictNextIndex: next}))
		}
	}
}

func (s *fixture) index() *raft.LogTerms {
	return raft.NewLogTerms(0, 0, uint64(len(s.terms)), runsOf(1, s.terms))
}

// fetched answers as a Node does.
func (s *fixture) fetchedFrom(from, maxBytes uint64, m *messages.Fetched) *messages.Fetched {
	last := uint64(len(s.terms))
	from = min(from, last+1)
	m.Incarnation, m.LastIndex, m.Commit, m.PrevTerm = 3, last, s.commit, s.termOf(from-1)
	switch {
	case from > last:
		m.Entries = &messages.Entries{First: from}
	case from < s.firstInMemory:
		m.Entries, m.OnDiskThrough = &messages.Entries{First: from}, s.firstInMemory-1
	default:
		m.Entries = raft.SliceEntries(s.entries(from, last), from, maxBytes)
	}
	return m
}

func (s *fixture) readerReceive(ctx actor.Context) {
	if m, ok := ctx.Message().(*messages.ReadLog); ok {
		s.reads = append(s.reads, m)
		if !s.readerSilent {
			e := raft.SliceEntries(s.entries(m.From, m.To), m.From, m.MaxBytes)
			ctx.Respond(&messages.ReadLogResponse{Incarnation: 3, Token: m.Token, Entries: e, PrevTerm: s.termOf(m.From - 1)})
		}
	}
}

func (s *fixture) termOf(index uint64) uint64 {
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
func (s *fixture) entries(from, to uint64) *messages.Entries {
	e := &messages.Entries{First: from, Runs: runsOf(from, s.terms[from-1:to])}
	for i := from; i <= to; i++ {
		frame := raft.EncodeCommand(9, 1, 0, nil)
		e.Data = append(e.Data, append(frame, make([]byte, entryBytes-len(frame))...))
		e.Bytes += entryBytes
	}
	return e
}

// appends adds n entries of the leader's term and says them to the Replicator, as the Node does.
func (s *fixture) appendEntries(n int) {
	first := uint64(len(s.terms)) + 1
	for range n {
		s.terms = append(s.terms, term)
	}
	s.deliver(&messages.Replicate{
		Incarnation: 3, PrevTerm: s.termOf(first - 1), Entries: s.entries(first, uint64(len(s.terms))),
		LastIndex: uint64(len(s.terms)), Commit: s.commit,
	})
}

func (s *fixture) deliver(all ...proto.Message) { s.Send(s.pid, all...) }

// last is the newest request that was sent.
func (s *fixture) lastSent() *messages.AppendEntries {
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
func acceptResponse(m *messages.AppendEntries) *messages.AppendResponse {
	return &messages.AppendResponse{
		Term: term, From: 2, Accepted: true, Index: m.PrevIndex + uint64(len(m.Entries.GetData())), Stream: m.Stream, Sequence: m.Sequence,
	}
}

// refuses answers a request as a follower does that has no such entry before it.
func rejectResponse(m *messages.AppendEntries, conflictTerm, conflictIndex uint64) *messages.AppendResponse {
	return &messages.AppendResponse{
		Term: term, From: 2, Index: m.PrevIndex, Stream: m.Stream, Sequence: m.Sequence,
		ConflictTerm: conflictTerm, ConflictIndex: conflictIndex,
	}
}

// streams answers the first request, so that the Replicator streams.
func (s *fixture) startStreaming() *fixture {
	s.deliver(acceptResponse(s.lastSent()))
	s.requireState(stateStreaming)
	s.clearRecorded()
	return s
}

func (s *fixture) requireState(state string) {
	s.t.Helper()
	if len(s.Failures) > 0 {
		s.t.Fatalf("the replicator failed: %v", s.Failures)
	}
	if s.r.state != state {
		s.t.Fatalf("the replicator is %s, want %s", s.r.state, state)
	}
}

func (s *fixture) clearRecorded() {
	s.sent, s.progress, s.higherTerms, s.fetches, s.resolves, s.reads = nil, nil, nil, nil, nil, nil
}

// The environment.

func (s *fixture) crash() { s.Crash(s.pid) }

type countingRandom struct{ next uint64 }

func (r *countingRandom) Int64N(int64) int64 { return 0 }
func (r *countingRandom) Uint64() uint64     { r.next += 1 << 32; return r.next }

var random countingRandom

func (s *fixture) Random() actors.Random          { return &random }
func (s *fixture) Observer() actors.StateObserver { return fixtureObserver{fixture: s} }

func (s *fixture) PeerPID(id uint64, role messages.Role) *actor.PID {
	return s.Sink(fmt.Sprintf("%v of %d", role, id), func(m proto.Message) {
		if a, ok := m.(*messages.AppendEntries); ok && id == 2 && role == messages.Role_ROLE_NODE {
			s.sent = append(s.sent, a)
		}
	})
}

type fixtureObserver struct {
	actortest.NoObserver
	fixture *fixture
}

func (p fixtureObserver) Replicator(v actors.ReplicatorView) {
	p.fixture.views = append(p.fixture.views, v)
	if v.Next <= v.Match && v.State != "stopped" && v.Next != 0 {
		p.fixture.t.Errorf("nextIndex %d is not above matchIndex %d", v.Next, v.Match)
	}
}

func defaultLimits() Limits {
	return Limits{
		MaxInFlight: defaults.MaxInFlight, MaxInFlightBytes: defaults.MaxInFlightBytes,
		MaxRequestBytes: defaults.MaxBatchBytes, ProbeBytes: defaults.ProbeBytes,
	}
}
