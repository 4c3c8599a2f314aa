// Package replicator holds the Replicator, the actor that replicates the leader's log to one peer.
package replicator

import (
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// Config configures a Replicator.
type Config struct {
	Incarnation uint64
	PeerID      uint64
	// Term of the leadership that it works for.
	Term uint64
	// Reader is the LogReader.
	Reader *actor.PID
	// StorageID is the peer's data directory in the configuration in effect; it is returned in
	// reports.
	StorageID []byte
	// Replaced: the data directory replaced another one within the term. Responses of the former one
	// may still arrive, so only those to requests of this actor count.
	Replaced bool
	// ProbeInterval is the first time between two probes of a peer that does not respond; it doubles
	// up to ResponseTimeout. That is also how long a streaming Replicator waits for a response before
	// it takes all that is in flight for lost.
	ProbeInterval   time.Duration
	ResponseTimeout time.Duration
	Limits          Limits
}

// Limits bound what is in flight to one peer.
type Limits struct {
	// MaxInFlight requests and MaxInFlightBytes of entries may be unacknowledged.
	MaxInFlight      int
	MaxInFlightBytes uint64
	// MaxRequestBytes of entries are in one request, ProbeBytes in a probe; one entry always fits.
	MaxRequestBytes uint64
	ProbeBytes      uint64
}

// Replicator replicates the log of a leader to one peer.
//
//	owns        nextIndex, matchIndex, and the window of requests in flight to the peer
//	receives    Replicate and Fetched from the Node; ReadLogResponse from the LogReader;
//	            AppendResponse from the peer; LinkUp, LinkDown and EnvelopesDropped from the link;
//	            Tick from itself
//	sends       AppendEntries to the Node of the peer; Fetch, ResolveConflict,
//	            ReplicationProgress and HigherTerm to its own Node; ReadLog to the LogReader
//	persists    nothing
//	on restart  alone; it begins as probing, because the peer can be asked for all that it knew
//
// It exists while its node leads, and has two behaviours (docs/protocol.md P29 to P32):
//
//	on the peer's disk │ in flight   │ not sent
//	        … 41 42 43 │ 44 45 46 47 │ 48 49 50
//	                 │                 │      │
//	               Match              Next  lastIndex
//
// Probing looks for the last index at which the two logs agree. One request is in flight at a time.
// A refusal lowers Next by the follower's conflict hint, which skips a whole term at a time; the
// Node computes where to, because it has the terms of the log. A probe that gets no response is
// repeated, each time after twice the time. A probe never reads the disk: the peer may be down for
// days, so it must respond before entries are read for it.
//
// Streaming begins when an accepted probe brings Match to Next-1. Requests are sent without waiting
// for responses, and Next moves with each one sent. The window bounds what is in flight in messages
// and in bytes; when it is full, or when the entries to send are not in memory, the Replicator
// fetches them later, from the Node or from the LogReader. A refusal, a broken link, dropped
// envelopes, or ResponseTimeout without a response while something is in flight: each means that
// something was lost. Then all in flight counts as lost, and probing begins again at Match+1.
//
// The two kinds of response differ in what they are worth:
//
//   - An acceptance states what the peer has on disk in common with this leader. That stays true
//     for the whole term, so it counts whichever request it answers: a late one, a repeated one,
//     one of an earlier stream or of this actor before a restart. A peer whose responses take
//     longer than the timeout still makes progress.
//   - A refusal states what the peer lacked at one moment. It counts only if it answers a request
//     of the present stream; every change of behaviour begins a new stream (E43).
type Replicator struct {
	env      actors.Env
	config   Config
	ctx      actor.Context // of the current message
	behavior actor.Behavior
	state    string // the name of the behaviour

	progress    raft.Progress
	initialized bool // progress was initialized by the first Fetched
	// lastIndex and commitIndex are the leader's, as last received.
	lastIndex, commitIndex uint64

	stream      stream
	source      sourceRequest
	wait        responseTimer
	lostEntries bool // the peer lacks entries that it had acknowledged
	peerDiskLow bool // as of the last response
}

// stream is a series of requests to the peer whose refusals belong together.
type stream struct {
	id       uint64
	first    uint64 // the id of the actor's first stream; the ids are consecutive
	sequence uint64 // of the newest request
	window   *raft.InflightWindow
}

// sourceRequest is the one request for entries that may be pending at the Node or the LogReader.
type sourceRequest struct {
	token    uint64 // 0: none is pending
	last     uint64 // the token given last
	prevTerm uint64 // the term before the entries that the LogReader was asked for
}

// responseTimer detects responses that do not come, of the peer and of the source. One timer runs
// all the time.
type responseTimer struct {
	timer   actors.Timer
	number  uint64        // of the timer, so that a stopped one is recognized
	since   time.Duration // when waiting began, or the last response of the peer
	timeout time.Duration
}

// New makes the producer of a Replicator.
func New(env actors.Env, config Config) actor.Producer {
	return func() actor.Actor {
		first := env.Random().Uint64()
		return &Replicator{
			env:      env,
			config:   config,
			behavior: actor.NewBehavior(),
			// Numbers begin at random, so that they differ from those before a restart of the actor or the
			// process.
			stream: stream{id: first, first: first, window: raft.NewInflightWindow(config.Limits.MaxInFlight, config.Limits.MaxInFlightBytes)},
			source: sourceRequest{last: env.Random().Uint64()},
		}
	}
}

// Receive handles one message.
func (r *Replicator) Receive(ctx actor.Context) {
	r.ctx = ctx
	switch m := ctx.Message().(type) {
	case *actor.Started:
		r.becomeProbing()
		r.fetch(0)
		r.armTimer()
	case *actor.Stopping, *actor.Restarting:
		if r.wait.timer != nil { // nil if it failed while it started
			r.wait.timer.Stop()
		}
		r.publishState("stopped")
		return
	case *actor.Stopped:
		return
	case proto.Message:
		if actors.IsStale(m, r.config.Incarnation) {
			return
		}
		r.receive(m)
	}
	r.publishState(r.state)
}

// receive does what both behaviours have in common, then calls the behaviour.
func (r *Replicator) receive(m proto.Message) {
	switch m := m.(type) {
	case *messages.AppendResponse:
		if m.From != r.config.PeerID {
			return
		}
		if m.Term > r.config.Term {
			r.send(r.ctx.Parent(), &messages.HigherTerm{Incarnation: r.config.Incarnation, Term: m.Term, From: m.From})
			return
		}
		if m.Term < r.config.Term || !m.Accepted && m.Stream != r.stream.id || m.Index > r.lastIndex {
			return // old, or about an entry that this leader never had
		}
		if r.config.Replaced && m.Stream-r.stream.first > r.stream.id-r.stream.first {
			return // of the former data directory
		}
		r.wait.since = r.env.Now()
	case *messages.Fetched:
		if m.Token != r.source.token {
			return
		}
		r.source.token = 0
		r.lastIndex, r.commitIndex = max(r.lastIndex, m.LastIndex), max(r.commitIndex, m.Commit)
		if !r.initialized {
			r.initialize(m)
		}
	case *messages.ReadLogResponse:
		if m.Token != r.source.token {
			return
		}
		r.source.token = 0
	case *messages.Replicate:
		r.lastIndex, r.commitIndex = max(r.lastIndex, m.LastIndex), max(r.commitIndex, m.Commit)
	case *messages.LinkDown, *messages.EnvelopesDropped:
		r.becomeProbing()
		return
	case *messages.LinkUp:
		if r.state == stateProbing {
			r.retryProbe(r.config.ProbeInterval) // what was sent before was lost
		}
		return
	case *messages.Tick:
		if m.Timer == r.wait.number {
			r.tick()
		}
		return
	}
	r.behavior.Receive(r.ctx)
}

// initialize begins at the first entry of this leadership: every follower lacks at least that.
func (r *Replicator) initialize(m *messages.Fetched) {
	r.initialized = true
	r.progress = raft.NewProgress(m.Entries.GetFirst() - 1)
}

// become changes the behaviour and begins a new stream with an empty window (E43).
func (r *Replicator) become(state string, behavior actor.ReceiveFunc) {
	r.state = state
	r.behavior.Become(behavior)
	r.stream.id++
	r.stream.sequence = 0
	r.cancelPending()
}

// cancelPending takes everything in flight and pending for lost.
func (r *Replicator) cancelPending() {
	r.stream.window.Reset()
	r.source.token = 0
	r.wait.since = r.env.Now()
}

func (r *Replicator) send(to *actor.PID, m proto.Message) { r.ctx.Send(to, m) }

func (r *Replicator) awaitingResponse() bool { return r.stream.window.Len() > 0 || r.source.token != 0 }

// startWaiting notes the time of a request, unless another one is pending already.
func (r *Replicator) startWaiting() {
	if !r.awaitingResponse() {
		r.wait.since = r.env.Now()
	}
}

func (r *Replicator) nextToken() uint64 {
	r.startWaiting()
	r.source.last++
	r.source.token = r.source.last
	return r.source.token
}

// fetch asks the Node for the entries from index `from` on; 0: from the first one of this
// leadership.
func (r *Replicator) fetch(from uint64) {
	r.send(r.ctx.Parent(), &messages.Fetch{
		Incarnation: r.config.Incarnation, Peer: r.config.PeerID, From: from, MaxBytes: r.requestBytes(), Token: r.nextToken(),
	})
}

func (r *Replicator) requestBytes() uint64 {
	if r.state == stateProbing {
		return r.config.Limits.ProbeBytes
	}
	return r.config.Limits.MaxRequestBytes
}

// readCold asks the LogReader for entries that the Node has no longer in memory.
func (r *Replicator) readCold(m *messages.Fetched) {
	r.source.prevTerm = m.PrevTerm
	r.ctx.Request(r.config.Reader, &messages.ReadLog{
		Incarnation: r.config.Incarnation, From: m.Entries.GetFirst(), To: m.OnDiskThrough,
		MaxBytes: r.requestBytes(), Token: r.nextToken(),
	})
}

// sendAppend sends one AppendEntries. Without entries, e.First still names the index after
// prevIndex.
func (r *Replicator) sendAppend(e *messages.Entries, prevTerm uint64) {
	r.stream.sequence++
	m := &messages.AppendEntries{
		Term: r.config.Term, Leader: r.env.ID(), PrevIndex: e.First - 1, PrevTerm: prevTerm,
		Commit: r.commitIndex, Stream: r.stream.id, Sequence: r.stream.sequence,
	}
	through := e.First - 1 + uint64(len(e.Data))
	if len(e.Data) > 0 {
		m.Entries = e
	}
	r.startWaiting()
	r.stream.window.Add(through, e.Bytes)
	r.send(r.env.PeerPID(r.config.PeerID, messages.Receiver_RECEIVER_NODE), m)
}

func (r *Replicator) reportProgress() {
	r.send(r.ctx.Parent(), &messages.ReplicationProgress{
		Incarnation: r.config.Incarnation, Peer: r.config.PeerID, MatchIndex: r.progress.Match, State: r.state,
		DiskLow: r.peerDiskLow, Term: r.config.Term, StorageId: r.config.StorageID, LostEntries: r.lostEntries,
	})
}

// resolveConflict asks the Node for the next index to probe after a refusal.
func (r *Replicator) resolveConflict(m *messages.AppendResponse) {
	r.send(r.ctx.Parent(), &messages.ResolveConflict{
		Incarnation: r.config.Incarnation, Peer: r.config.PeerID, Token: r.nextToken(),
		ConflictTerm: m.ConflictTerm, ConflictIndex: m.ConflictIndex, MaxBytes: r.config.Limits.ProbeBytes,
	})
}

func (r *Replicator) armTimer() {
	r.wait.number++
	r.wait.timer = r.env.After(r.config.ProbeInterval, r.ctx.Self(), &messages.Tick{
		Incarnation: r.config.Incarnation, Timer: r.wait.number,
	})
}

// tick takes an overdue response for lost, or a request to a LogReader that restarted. If nothing
// is pending, it makes sure that something is if there are entries to send.
func (r *Replicator) tick() {
	overdue := r.awaitingResponse() && r.env.Now()-r.wait.since >= r.wait.timeout
	switch {
	case overdue && r.state == stateProbing:
		r.retryProbe(min(2*r.wait.timeout, max(r.config.ResponseTimeout, r.config.ProbeInterval)))
	case overdue:
		r.becomeProbing()
		r.probe()
	case r.awaitingResponse():
	case r.state == stateProbing:
		r.probe()
	default:
		r.fetchNext()
	}
	r.armTimer()
}

func (r *Replicator) publishState(state string) {
	if observer := r.env.Observer(); observer != nil {
		observer.Replicator(actors.ReplicatorView{
			Incarnation: r.config.Incarnation, PeerID: r.config.PeerID, State: state,
			Match: r.progress.Match, Next: r.progress.Next, InFlight: r.stream.window.Len(), InFlightBytes: r.stream.window.Bytes(),
			LostEntries: r.lostEntries,
		})
	}
}
