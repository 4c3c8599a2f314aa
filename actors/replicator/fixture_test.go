package replicator

import (
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

// fixture runs one Replicator of node 1, the leader of term 5, for peer 2. It is the Node, which
// serves entries from a log made by the test, the LogReader, and the peer, which only records
// requests.
type fixture struct {
	*actortest.Env
	t   testing.TB
	pid *actor.PID
	r   *Replicator // of the newest start

	// The leader: the terms of its log, the first index in memory, the first of its own term.
	terms         []uint64
	firstInMemory uint64
	firstOfTerm   uint64
	commit        uint64
	// nodeSilent, readerSilent: the Node, the LogReader does not respond.
	nodeSilent, readerSilent bool
	replaced                 bool // Config.Replaced

	sent        []*messages.AppendEntries
	progress    []*messages.ReplicationProgress
	higherTerms []*messages.HigherTerm
	fetches     []*messages.Fetch
	resolves    []*messages.ResolveConflict
	reads       []*messages.ReadLog
}

const (
	incarnation     = 3
	term            = 5
	probeInterval   = 100 * time.Millisecond
	responseTimeout = 500 * time.Millisecond
)

// newFixture makes a leader with these terms in its log, all in memory; the last entry is of its
// own term.
func newFixture(t testing.TB, terms ...uint64) *fixture {
	f := &fixture{Env: actortest.New(1), t: t, terms: terms, firstInMemory: 1}
	f.firstOfTerm = uint64(len(terms))
	f.Rand = &random
	f.ToPeer = func(id uint64, role messages.Receiver, m proto.Message) {
		if id != 2 || role != messages.Receiver_RECEIVER_NODE {
			t.Errorf("sent %v to %v of %d", m, role, id)
		}
		f.sent = append(f.sent, m.(*messages.AppendEntries))
	}
	t.Cleanup(func() {
		for _, v := range f.Views.Replicators {
			if v.Next <= v.Match && v.State != "stopped" && v.Next != 0 {
				t.Errorf("nextIndex %d is not above matchIndex %d", v.Next, v.Match)
			}
		}
	})
	return f
}

// start spawns the Replicator.
func (f *fixture) start() *fixture { return f.startWith(defaultLimits()) }

func (f *fixture) startWith(limits Limits) *fixture {
	config := Config{
		Incarnation: incarnation, PeerID: 2, Term: term, Reader: f.Sink("reader", f.readerReceive),
		ProbeInterval: probeInterval, ResponseTimeout: responseTimeout, Limits: limits, Replaced: f.replaced,
	}
	producer := func() actor.Actor {
		f.r = New(f, config)().(*Replicator)
		return f.r
	}
	_, f.pid = f.SpawnBelow(actors.ReplicatorName(2), producer, f.nodeReceive)
	f.Run()
	return f
}

// respond puts a message of the Node or the LogReader into the Replicator's mailbox.
func (f *fixture) respond(m proto.Message) { f.System.Root.Send(f.pid, m) }

func (f *fixture) nodeReceive(m proto.Message) {
	switch m := m.(type) {
	case *messages.ReplicationProgress:
		f.progress = append(f.progress, m)
	case *messages.HigherTerm:
		f.higherTerms = append(f.higherTerms, m)
	case *messages.Fetch:
		f.fetches = append(f.fetches, m)
		from := m.From
		if from == 0 {
			from = f.firstOfTerm
		}
		f.respondFetched(from, m.MaxBytes, &messages.Fetched{Token: m.Token})
	case *messages.ResolveConflict:
		f.resolves = append(f.resolves, m)
		next := f.index().NextAfterConflict(m.ConflictTerm, m.ConflictIndex)
		f.respondFetched(next, m.MaxBytes, &messages.Fetched{Token: m.Token, ConflictNextIndex: next})
	}
}

func (f *fixture) index() *raft.LogTerms {
	return raft.NewLogTerms(0, 0, uint64(len(f.terms)), runsOf(1, f.terms))
}

// respondFetched responds as the Node does.
func (f *fixture) respondFetched(from, maxBytes uint64, m *messages.Fetched) {
	if f.nodeSilent {
		return
	}
	last := uint64(len(f.terms))
	from = min(from, last+1)
	m.Incarnation, m.LastIndex, m.Commit, m.PrevTerm = incarnation, last, f.commit, f.termOf(from-1)
	switch {
	case from > last:
		m.Entries = &messages.Entries{First: from}
	case from < f.firstInMemory:
		m.Entries, m.OnDiskThrough = &messages.Entries{First: from}, f.firstInMemory-1
	default:
		m.Entries = raft.SliceEntries(f.entries(from, last), from, maxBytes)
	}
	f.respond(m)
}

func (f *fixture) readerReceive(m proto.Message) {
	read := m.(*messages.ReadLog)
	f.reads = append(f.reads, read)
	if !f.readerSilent {
		e := raft.SliceEntries(f.entries(read.From, read.To), read.From, read.MaxBytes)
		f.respond(&messages.ReadLogResponse{Incarnation: incarnation, Token: read.Token, Entries: e, PrevTerm: f.termOf(read.From - 1)})
	}
}

func (f *fixture) termOf(index uint64) uint64 {
	if index == 0 {
		return 0
	}
	return f.terms[index-1]
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

// entries are a part of the leader's log; each has entryBytes.
func (f *fixture) entries(from, to uint64) *messages.Entries {
	e := &messages.Entries{First: from, Runs: runsOf(from, f.terms[from-1:to])}
	for i := from; i <= to; i++ {
		frame := raft.EncodeCommand(9, 1, 0, nil)
		e.Data = append(e.Data, append(frame, make([]byte, entryBytes-len(frame))...))
		e.Bytes += entryBytes
	}
	return e
}

// appendEntries adds n entries of the leader's term, and sends them to the Replicator as the Node
// does.
func (f *fixture) appendEntries(n int) {
	first := uint64(len(f.terms)) + 1
	for range n {
		f.terms = append(f.terms, term)
	}
	f.deliver(&messages.Replicate{
		Incarnation: incarnation, PrevTerm: f.termOf(first - 1), Entries: f.entries(first, uint64(len(f.terms))),
		LastIndex: uint64(len(f.terms)), Commit: f.commit,
	})
}

func (f *fixture) deliver(all ...proto.Message) { f.Send(f.pid, all...) }

// lastSent is the newest request.
func (f *fixture) lastSent() *messages.AppendEntries {
	f.t.Helper()
	if len(f.Failures) > 0 {
		f.t.Fatalf("the replicator failed: %v", f.Failures)
	}
	if len(f.sent) == 0 {
		f.t.Fatal("nothing was sent")
	}
	return f.sent[len(f.sent)-1]
}

// acceptResponse is the response of a follower that has everything in the request on disk.
func acceptResponse(m *messages.AppendEntries) *messages.AppendResponse {
	return &messages.AppendResponse{
		Term: term, From: 2, Accepted: true, Index: m.PrevIndex + uint64(len(m.Entries.GetData())), Stream: m.Stream, Sequence: m.Sequence,
	}
}

// rejectResponse is the response of a follower whose log lacks the entry before the request.
func rejectResponse(m *messages.AppendEntries, conflictTerm, conflictIndex uint64) *messages.AppendResponse {
	return &messages.AppendResponse{
		Term: term, From: 2, Index: m.PrevIndex, Stream: m.Stream, Sequence: m.Sequence,
		ConflictTerm: conflictTerm, ConflictIndex: conflictIndex,
	}
}

// startStreaming accepts the first request, so that the Replicator streams.
func (f *fixture) startStreaming() *fixture {
	f.deliver(acceptResponse(f.lastSent()))
	f.requireState(stateStreaming)
	f.clearRecorded()
	return f
}

func (f *fixture) requireState(state string) {
	f.t.Helper()
	if len(f.Failures) > 0 {
		f.t.Fatalf("the replicator failed: %v", f.Failures)
	}
	if f.r.state != state {
		f.t.Fatalf("the replicator is %s, want %s", f.r.state, state)
	}
}

func (f *fixture) clearRecorded() {
	f.sent, f.progress, f.higherTerms, f.fetches, f.resolves, f.reads = nil, nil, nil, nil, nil, nil
}

// countingRandom never returns the same number twice.
type countingRandom struct{ next uint64 }

func (r *countingRandom) Int64N(int64) int64 { return 0 }
func (r *countingRandom) Uint64() uint64     { r.next += 1 << 32; return r.next }

var random countingRandom

func defaultLimits() Limits {
	return Limits{
		MaxInFlight: defaults.MaxInFlight, MaxInFlightBytes: defaults.MaxInFlightBytes,
		MaxRequestBytes: defaults.MaxBatchBytes, ProbeBytes: defaults.ProbeBytes,
	}
}
