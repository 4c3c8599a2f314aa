// Package replicator is the Replicator actor: one for each other member, alive while this node leads.
//
// # Owns
// nextIndex, matchIndex and the window of what is in flight to one peer.
//
// # Hears
// Replicate, Fetched (Node), ReadLogResponse (LogReader), AppendResponse (the peer), LinkUp, LinkDown and EnvelopesDropped (the link), Tick.
//
// # Says
// AppendEntries to the peer's Node; Fetch, Resolve, Progress and HigherTerm to its own; ReadLog to the LogReader.
//
// # Persists
// Nothing.
//
// # On a crash
// It is restarted alone and begins as `probing`: all it knew can be asked of the peer again. Refusals that were meant for
// its former life carry another stream number and are ignored (E43).
//
// The behaviours:
//
//	probing    one request outstanding, said again ever less often while no answer comes; nextIndex backs off by the
//	           follower's conflict hint until the logs agree. Nothing is read from disk for a peer that may not be there
//	streaming  pipelined: nextIndex moves when entries are sent, not when they are acknowledged; the window is bounded
//	           in bytes and in messages
//
// A refusal, a loss told by the link, or a silence of `ResponseTimeout` with something in flight leads back to probing.
//
// An accepting answer is true whichever request it answers: in this term, what the peer has on disk and in common with us
// it will have for good. So it always counts, be it late, doubled or of an earlier stream, and a peer whose answers take
// longer than our patience still gets on. A refusal speaks of the moment, so it counts for the present stream only.
package replicator

import (
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// Config is what a Replicator is made with.
type Config struct {
	Incarnation uint64
	PeerID      uint64
	// Term of the leadership it works for.
	Term   uint64
	Reader *actor.PID
	// ProbeInterval is how often a peer that does not answer is probed at first; ResponseTimeout how often in the end, and how long
	// an answer is waited for, while streaming, before what is in flight is taken for lost.
	ProbeInterval   time.Duration
	ResponseTimeout time.Duration
	Limits          Limits
}

// Limits bound what is in flight to one peer.
type Limits struct {
	// MaxInFlight requests and MaxInFlightBytes of entries may be unacknowledged.
	MaxInFlight      int
	MaxInFlightBytes uint64
	// MaxRequestBytes of entries go into one request (at least one entry does); ProbeBytes into a probing one.
	MaxRequestBytes uint64
	ProbeBytes      uint64
}

// Replicator is the actor.
type Replicator struct {
	env      actors.Env
	config   Config
	behavior actor.Behavior
	state    string
	ctx      actor.Context

	progress raft.Progress
	window   *raft.InflightWindow
	// begun: progress was set from what the Node told.
	initialized bool
	// last is the leader's last index, and commit its commit index, as far as they were told.
	lastIndex, commitIndex uint64

	// stream of the present behaviour: a refusal that belongs to an earlier one is stale.
	stream, sequence uint64
	// token of the one Fetch, Resolve or ReadLog under way; 0 for none.
	pendingToken, lastToken uint64
	// readPrevTerm is the term before the entries of the cold read under way.
	readPrevTerm uint64

	timer        actors.Timer
	timerNumber  uint64
	waitingSince time.Duration // when it began to wait for what is under way, or last heard of the peer
	timeout      time.Duration // how long it will wait from then on
	lossLogged   bool          // the peer's loss was told of
	peerDiskLow  bool          // as the peer last said
}

// New makes the producer of a Replicator.
func New(env actors.Env, config Config) actor.Producer {
	return func() actor.Actor {
		return &Replicator{
			env:      env,
			config:   config,
			behavior: actor.NewBehavior(),
			window:   raft.NewInflightWindow(config.Limits.MaxInFlight, config.Limits.MaxInFlightBytes),
			// Random beginnings, so that no answer to a former life, of the actor or of the process, passes for ours.
			stream:    env.Random().Uint64(),
			lastToken: env.Random().Uint64(),
		}
	}
}

// Receive takes lifecycle messages itself; the rest is the behaviour's.
func (r *Replicator) Receive(ctx actor.Context) {
	r.ctx = ctx
	switch m := ctx.Message().(type) {
	case *actor.Started:
		r.becomeProbing()
		r.fetch(0)
		r.armTimer()
	case *actor.Stopping, *actor.Restarting:
		if r.timer != nil { // it may have failed while it started
			r.timer.Stop()
		}
		r.publishState("stopped")
		return
	case *actor.Stopped:
		return
	case proto.Message:
		if r.wrongIncarnation(m) {
			return
		}
		r.receive(m)
	}
	r.publishState(r.state)
}

func (r *Replicator) wrongIncarnation(m proto.Message) bool {
	local, ok := m.(interface{ GetIncarnation() uint64 })
	return ok && local.GetIncarnation() != r.config.Incarnation
}

// receive handles what both behaviours do alike, and leaves the rest to them.
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
		if m.Term < r.config.Term || !m.Accepted && m.Stream != r.stream || m.Index > r.lastIndex {
			return // stale, or of an entry that the peer was never sent
		}
		r.waitingSince = r.env.Now()
	case *messages.Fetched:
		if m.Token != r.pendingToken {
			return
		}
		r.pendingToken = 0
		r.lastIndex, r.commitIndex = max(r.lastIndex, m.LastIndex), max(r.commitIndex, m.Commit)
		if !r.initialized {
			r.initialize(m)
		}
	case *messages.ReadLogResponse:
		if m.Token != r.pendingToken {
			return
		}
		r.pendingToken = 0
	case *messages.Replicate:
		r.lastIndex, r.commitIndex = max(r.lastIndex, m.LastIndex), max(r.commitIndex, m.Commit)
	case *messages.LinkDown, *messages.EnvelopesDropped:
		r.becomeProbing()
		return
	case *messages.LinkUp:
		if r.state == stateProbing {
			r.retryProbe(r.config.ProbeInterval) // what was under way met no link
		}
		return
	case *messages.Tick:
		if m.Timer == r.timerNumber {
			r.tick()
		}
		return
	}
	r.behavior.Receive(r.ctx)
}

// begin takes from the Node where this leadership's part of the log begins: what every follower lacks at least.
func (r *Replicator) initialize(m *messages.Fetched) {
	r.initialized = true
	r.progress = raft.NewProgress(m.Entries.GetFirst() - 1)
}

func (r *Replicator) become(state string, behavior actor.ReceiveFunc) {
	r.state = state
	r.behavior.Become(behavior)
	// A new behaviour is a new stream, with an empty window (E43).
	r.stream++
	r.sequence = 0
	r.cancelPending()
}

// forget gives up waiting for what is under way.
func (r *Replicator) cancelPending() {
	r.window.Reset()
	r.pendingToken = 0
	r.waitingSince = r.env.Now()
}

func (r *Replicator) send(to *actor.PID, m proto.Message) { r.ctx.Send(to, m) }

func (r *Replicator) awaitingResponse() bool { return r.window.Len() > 0 || r.pendingToken != 0 }

func (r *Replicator) nextToken() uint64 {
	if !r.awaitingResponse() {
		r.waitingSince = r.env.Now()
	}
	r.lastToken++
	r.pendingToken = r.lastToken
	return r.pendingToken
}

// fetch asks the Node for entries from `from` on; 0 asks where to begin.
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

// readCold asks the LogReader for what the Node no longer has in memory.
func (r *Replicator) readCold(m *messages.Fetched) {
	r.readPrevTerm = m.PrevTerm
	r.ctx.Request(r.config.Reader, &messages.ReadLog{
		Incarnation: r.config.Incarnation, From: m.Entries.GetFirst(), To: m.OnDiskThrough,
		MaxBytes: r.requestBytes(), Token: r.nextToken(),
	})
}

// transmit sends one AppendEntries. e may hold no entries; e.First is right all the same.
func (r *Replicator) sendAppend(e *messages.Entries, prevTerm uint64) {
	r.sequence++
	m := &messages.AppendEntries{
		Term: r.config.Term, Leader: r.env.ID(), PrevIndex: e.First - 1, PrevTerm: prevTerm,
		Commit: r.commitIndex, Stream: r.stream, Sequence: r.sequence,
	}
	through := e.First - 1 + uint64(len(e.Data))
	if len(e.Data) > 0 {
		m.Entries = e
	}
	if !r.awaitingResponse() {
		r.waitingSince = r.env.Now()
	}
	r.window.Add(through, e.Bytes)
	r.send(r.env.PeerPID(r.config.PeerID, messages.Role_ROLE_NODE), m)
}

func (r *Replicator) reportProgress() {
	r.send(r.ctx.Parent(), &messages.Progress{
		Incarnation: r.config.Incarnation, Peer: r.config.PeerID, MatchIndex: r.progress.Match, State: r.state,
		DiskLow: r.peerDiskLow, Term: r.config.Term,
	})
}

// resolve asks the Node where to go on after a refusal.
func (r *Replicator) resolveConflict(m *messages.AppendResponse) {
	r.send(r.ctx.Parent(), &messages.ResolveConflict{
		Incarnation: r.config.Incarnation, Peer: r.config.PeerID, Token: r.nextToken(),
		ConflictTerm: m.ConflictTerm, ConflictIndex: m.ConflictIndex, MaxBytes: r.config.Limits.ProbeBytes,
	})
}

func (r *Replicator) armTimer() {
	r.timerNumber++
	r.timer = r.env.After(r.config.ProbeInterval, r.ctx.Self(), &messages.Tick{
		Incarnation: r.config.Incarnation, Timer: r.timerNumber,
	})
}

// tick: an answer that is overdue is taken for lost, and so is a fetch from a reader that restarted meanwhile.
func (r *Replicator) tick() {
	overdue := r.awaitingResponse() && r.env.Now()-r.waitingSince >= r.timeout
	switch {
	case overdue && r.state == stateProbing:
		r.retryProbe(min(2*r.timeout, max(r.config.ResponseTimeout, r.config.ProbeInterval)))
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
	if probe := r.env.Observer(); probe != nil {
		probe.Replicator(actors.ReplicatorView{
			Incarnation: r.config.Incarnation, PeerID: r.config.PeerID, State: state,
			Match: r.progress.Match, Next: r.progress.Next, InFlight: r.window.Len(), InFlightBytes: r.window.Bytes(),
		})
	}
}
