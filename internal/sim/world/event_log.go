package world

import (
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/internal/sim/explain"
	"github.com/troupe-raft/troupe/internal/sim/fault"
	"github.com/troupe-raft/troupe/internal/sim/hash"
	"github.com/troupe-raft/troupe/internal/sim/history"
	"github.com/troupe-raft/troupe/internal/sim/trace"
	"github.com/troupe-raft/troupe/messages"
)

// eventLog keeps a hash of everything that happens, the last events for a failure, and gives all
// events to a recorder if there is one.
//
// A rawEvent takes a few words of memory. Its text is made only for a recorder or a failure.
type eventLog struct {
	world    *World
	scenario string
	hash     uint64
	// recent is a ring; the next event in it is number `recorded` of all. baseCluster is the state of
	// the members before the oldest event in it.
	recent      []rawEvent
	recorded    int
	baseCluster *explain.Cluster
	// lastStates are the last recorded states, by member.
	lastStates []trace.State
	recorder   trace.Recorder
	begun      bool
	closed     bool
}

// keptEvents is how many events a failure can show; what led to it is chosen from them.
const keptEvents = 1000

// rawEvent is an event without its text.
type rawEvent struct {
	step   int
	at     time.Duration
	kind   trace.Kind
	member uint64
	peer   uint64
	id     uint64
	index  uint64
	until  time.Duration
	actor  string
	name   string
	source any // the message, the operation or the text; never changed after the event
	state  trace.State
}

func newEventLog(w *World) eventLog {
	return eventLog{world: w, recorder: w.Options.Recorder, baseCluster: explain.NewCluster(w.Size), lastStates: make([]trace.State, w.Size+1)}
}

// add keeps an event, and gives it to the recorder.
func (c *eventLog) add(n rawEvent) {
	if c.closed {
		return
	}
	n.step, n.at = c.world.steps, c.world.now
	if len(c.recent) < keptEvents {
		c.recent = append(c.recent, n)
	} else {
		oldest := &c.recent[c.recorded%keptEvents]
		c.retire(oldest)
		*oldest = n
	}
	c.recorded++
	if c.recorder != nil {
		c.begin()
		c.recorder.Record(n.event())
	}
}

// close ends the log: what follows only cleans up.
func (c *eventLog) close() { c.closed = true }

func (c *eventLog) begin() {
	if c.begun {
		return
	}
	c.begun = true
	c.recorder.Begin(c.header())
}

func (c *eventLog) header() trace.Header {
	o := &c.world.Options
	header := trace.Header{Seed: o.Seed, Nodes: c.world.Size, Profile: c.world.Options.Profile.Name, Scenario: c.scenario, Steps: o.Steps, FaultLimit: o.FaultLimit, Clients: o.Clients}
	for _, f := range o.Without {
		header.Without = append(header.Without, f.String())
	}
	return header
}

// retire applies an event to the state of the members before the oldest event.
func (c *eventLog) retire(n *rawEvent) {
	switch n.kind {
	case trace.StateChanged:
		c.baseCluster.Members[n.member-1].State = n.state
	case trace.Applied:
		c.baseCluster.Members[n.member-1].Applied = n.index
	case trace.Start, trace.Kill, trace.Stop, trace.LogChanged, trace.CutOff, trace.Healed:
		c.baseCluster.Apply(n.withoutText())
	}
}

func (c *eventLog) started(m *Member) {
	c.lastStates[m.id] = trace.State{}
	c.mix(1, m.id, uint64(m.RunNumber))
	c.add(rawEvent{kind: trace.Start, member: m.id, index: uint64(m.RunNumber+1) / 2})
}

func (c *eventLog) killed(m *Member) {
	c.mix(2, m.id, uint64(m.RunNumber))
	c.add(rawEvent{kind: trace.Kill, member: m.id})
}

// stopped records that a node has stopped by itself.
func (c *eventLog) stopped(m *Member, why string) {
	c.mix(3, m.id, hash.String(why))
	c.add(rawEvent{kind: trace.Stop, member: m.id, source: why})
}

func (c *eventLog) nodeView(m *Member, v *actors.NodeView) {
	s := trace.State{Role: v.Role, Term: v.Term, Vote: v.Vote, Leader: v.LeaderID, Commit: v.Commit, Durable: v.DurableIndex}
	if s == c.lastStates[m.id] {
		return
	}
	c.lastStates[m.id] = s
	c.mix(4, m.id, hash.String(v.Role), v.Term, v.Vote, v.LeaderID, v.Commit, v.DurableIndex, v.LastIndex, v.LastTerm)
	c.add(rawEvent{kind: trace.StateChanged, member: m.id, state: s})
}

func (c *eventLog) machineView(m *Member, v *actors.MachineView) {
	c.mix(5, m.id, v.Applied, v.SessionBytes, uint64(v.Sessions))
	if v.Applied != m.Applied {
		c.add(rawEvent{kind: trace.Applied, member: m.id, index: v.Applied})
	}
}

func (c *eventLog) replicatorView(m *Member, v *actors.ReplicatorView) {
	c.mix(6, m.id, v.PeerID, v.Match, v.Next, uint64(v.InFlight), v.InFlightBytes, hash.String(v.State))
}

func (c *eventLog) logView(m *Member, v *actors.LogStoreView) {
	c.mix(7, m.id, v.FirstIndex, v.LastIndex, uint64(v.Segments), uint64(v.DiskBytes))
}

// posted records changes of the log of a Node, from the appends to its LogStore and from what was
// recovered.
func (c *eventLog) posted(b *mailbox, message any) {
	switch m := message.(type) {
	case *messages.Append:
		if a := b.member; m.Incarnation == c.world.Checker.LogIncarnation(a.id) && (m.TruncateFrom != 0 || len(m.GetEntries().GetData()) > 0) {
			c.add(rawEvent{kind: trace.LogChanged, member: a.id, source: m})
		}
	case *messages.Recovered:
		c.add(rawEvent{kind: trace.LogChanged, member: b.member.id, source: m})
	}
}

func (c *eventLog) handled(b *mailbox, message any) {
	kind, size := uint64(0), uint64(0)
	if p, ok := message.(proto.Message); ok {
		kind, size = hash.String(string(p.ProtoReflect().Descriptor().Name())), uint64(proto.Size(p))
	}
	c.mix(8, b.member.id, uint64(c.world.now), hash.String(b.path), kind, size)
	c.add(rawEvent{kind: trace.Handled, member: b.member.id, actor: b.path, source: message})
}

func (c *eventLog) panicked(b *mailbox, message any) {
	c.mix(9, b.member.id, hash.String(b.path))
	c.add(rawEvent{kind: trace.Panicked, member: b.member.id, actor: b.path, source: message})
}

// A message's number is its position among all that were sent.

func (c *eventLog) sent(from, to *Member, id uint64, m proto.Message) {
	c.add(rawEvent{kind: trace.Sent, member: from.id, peer: to.id, id: id, source: m})
}

// marshalled adds the bytes of a message to the hash.
func (c *eventLog) marshalled(id uint64, bytes []byte) { c.mix(10, id, hash.Bytes(bytes)) }

func (c *eventLog) arrived(from, to *Member, id uint64, m proto.Message) {
	c.mix(11, id, uint64(c.world.now))
	c.add(rawEvent{kind: trace.Arrived, member: from.id, peer: to.id, id: id, source: m})
}

func (c *eventLog) dropped(from, to *Member, id uint64, m proto.Message, why string) {
	c.mix(12, id, uint64(c.world.now))
	c.add(rawEvent{kind: trace.Lost, member: from.id, peer: to.id, id: id, source: m, name: why})
}

func (c *eventLog) duplicated(from, to *Member, id uint64, m proto.Message) {
	c.mix(13, id)
	c.add(rawEvent{kind: trace.Duplicated, member: from.id, peer: to.id, id: id, source: m})
}

// faultInjected records a fault of a member (nil: of all), or between it and a peer (nil: none),
// with its end (0: unknown).
func (c *eventLog) faultInjected(f fault.Kind, m, peer *Member, until time.Duration) {
	n := rawEvent{kind: trace.FaultInjected, name: f.String(), until: until}
	if m != nil {
		n.member = m.id
	}
	if peer != nil {
		n.peer = peer.id
	}
	c.mix(14, uint64(f), n.member, n.peer, uint64(until))
	c.add(n)
}

func (c *eventLog) cutChanged(from, to *Member, cut bool) {
	kind := trace.Healed
	if cut {
		kind = trace.CutOff
	}
	c.mix(15, from.id, to.id, uint64(len(kind)))
	c.add(rawEvent{kind: kind, member: from.id, peer: to.id})
}

// called records that a client begins an operation.
func (c *eventLog) called(o *history.Operation) {
	c.mix(16, o.MemberID, o.Number, uint64(o.Kind), uint64(o.Key), hash.String(o.Value))
	c.add(rawEvent{kind: trace.Called, member: o.MemberID, id: o.Number, source: o})
}

func (c *eventLog) returned(o *history.Operation) {
	c.mix(17, o.MemberID, o.Number, uint64(o.Outcome), o.Index, hash.String(o.Reply.Before))
	c.add(rawEvent{kind: trace.Returned, member: o.MemberID, id: o.Number, source: o})
}

// note records what a script does.
func (c *eventLog) note(text string) { c.add(rawEvent{kind: trace.Note, source: text}) }

func (c *eventLog) violated(f *Failure) {
	c.mix(18, hash.String(f.Invariant))
	c.add(rawEvent{kind: trace.Violated, name: f.Invariant, source: f.Text})
}

// mix adds numbers to the hash.
func (c *eventLog) mix(all ...uint64) {
	for _, v := range all {
		c.hash = hash.Fold(c.hash, v)
	}
}

// sum returns the hash. It includes the next random number, and so every draw.
func (c *eventLog) sum() uint64 {
	c.mix(uint64(c.world.steps), uint64(c.world.now), c.world.planned, c.world.Random.Uint64())
	return c.hash
}

// String lists what led to the failure, or all of the last events, as a space-time diagram.
func (c *eventLog) String() string {
	events := make([]*trace.Event, 0, len(c.recent))
	for i := range c.recent {
		events = append(events, c.recent[(c.recorded+i)%len(c.recent)].event())
	}
	return explain.Listing(c.header(), c.baseCluster, events, c.world.Options.AllSteps)
}
