package sim

import (
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/tests/sim/explain"
	"github.com/troupe-raft/troupe/tests/sim/trace"
)

// chronicle is what a world tells of itself: a hash over everything that happens, always; the last that happened, for
// whoever must understand a failure; and all of it, where somebody records.
//
// A note is a few words of memory and no text is made for it, unless a recorder wants it or the world has failed.
type chronicle struct {
	world    *World
	scenario string
	hash     uint64
	// last is a ring; the note that follows in it is number `notes` of all. before is how the members stood before the
	// oldest note in it.
	last   []note
	notes  int
	before *explain.Cluster
	// shown is what each member was last said to be.
	shown    []trace.State
	recorder trace.Recorder
	begun    bool
	closed   bool
}

// keptNotes is how much of the past a failure can show: what led to it is chosen from there.
const keptNotes = 1000

// note is an event whose words are not made yet.
type note struct {
	step    int
	at      time.Duration
	kind    trace.Kind
	member  uint64
	peer    uint64
	id      uint64
	index   uint64
	until   time.Duration
	actor   string
	name    string
	subject any // the message, an operation that can say what it is, a text; never changed after the note
	state   trace.State
}

func newChronicle(w *World) chronicle {
	return chronicle{world: w, recorder: w.options.Recorder, before: explain.NewCluster(w.size), shown: make([]trace.State, w.size+1)}
}

// add keeps a note, and hands it to the recorder.
func (c *chronicle) add(n note) {
	if c.closed {
		return
	}
	n.step, n.at = c.world.steps, c.world.now
	if len(c.last) < keptNotes {
		c.last = append(c.last, n)
	} else {
		oldest := &c.last[c.notes%keptNotes]
		c.outlive(oldest)
		*oldest = n
	}
	c.notes++
	if c.recorder != nil {
		c.begin()
		c.recorder.Record(n.event())
	}
}

// close ends the chronicle: what follows only tidies up.
func (c *chronicle) close() { c.closed = true }

func (c *chronicle) begin() {
	if c.begun {
		return
	}
	c.begun = true
	c.recorder.Begin(c.header())
}

func (c *chronicle) header() trace.Header {
	o := &c.world.options
	header := trace.Header{Seed: o.Seed, Nodes: c.world.size, Profile: c.world.profile.Name, Scenario: c.scenario, Steps: o.Steps, FaultLimit: o.FaultLimit, Clients: o.Clients}
	for _, f := range o.Without {
		header.Without = append(header.Without, f.String())
	}
	return header
}

// outlive takes what a note has changed into how the members stood before the oldest note.
func (c *chronicle) outlive(n *note) {
	switch n.kind {
	case trace.Became:
		c.before.Members[n.member-1].State = n.state
	case trace.Applied:
		c.before.Members[n.member-1].Applied = n.index
	case trace.Start, trace.Kill, trace.Stop, trace.LogChanged, trace.CutOff, trace.Mended:
		c.before.Apply(n.plain())
	}
}

// The members.

func (c *chronicle) started(m *member) {
	c.shown[m.id] = trace.State{}
	c.mix(1, m.id, uint64(m.life))
	c.add(note{kind: trace.Start, member: m.id, index: uint64(m.life+1) / 2})
}

func (c *chronicle) killed(m *member) {
	c.mix(2, m.id, uint64(m.life))
	c.add(note{kind: trace.Kill, member: m.id})
}

// stopped: a member has given up by itself.
func (c *chronicle) stopped(m *member, why string) {
	c.mix(3, m.id, hashString(why))
	c.add(note{kind: trace.Stop, member: m.id, subject: why})
}

func (c *chronicle) node(m *member, v *actors.NodeView) {
	s := trace.State{Role: v.Role, Term: v.Term, Vote: v.Vote, Leader: v.LeaderID, Commit: v.Commit, Durable: v.DurableIndex}
	if s == c.shown[m.id] {
		return
	}
	c.shown[m.id] = s
	c.mix(4, m.id, hashString(v.Role), v.Term, v.Vote, v.LeaderID, v.Commit, v.DurableIndex, v.LastIndex, v.LastTerm)
	c.add(note{kind: trace.Became, member: m.id, state: s})
}

func (c *chronicle) machine(m *member, v *actors.MachineView) {
	c.mix(5, m.id, v.Applied, v.SessionBytes, uint64(v.Sessions))
	if v.Applied != m.applied {
		c.add(note{kind: trace.Applied, member: m.id, index: v.Applied})
	}
}

func (c *chronicle) replicator(m *member, v *actors.ReplicatorView) {
	c.mix(6, m.id, v.PeerID, v.Match, v.Next, uint64(v.InFlight), v.InFlightBytes, hashString(v.State))
}

func (c *chronicle) synced(m *member, v *actors.LogView) {
	c.mix(7, m.id, v.FirstIndex, v.LastIndex, uint64(v.Segments), uint64(v.DiskBytes))
}

// posted sees the log of a Node change: by what it tells its LogStore, and by what that has recovered.
func (c *chronicle) posted(b *mailbox, message any) {
	switch m := message.(type) {
	case *messages.Append:
		if a := b.member; m.Incarnation == c.world.ghost.members[a.id].incarnation && (m.TruncateFrom != 0 || len(m.GetEntries().GetData()) > 0) {
			c.add(note{kind: trace.LogChanged, member: a.id, subject: m})
		}
	case *messages.Recovered:
		c.add(note{kind: trace.LogChanged, member: b.member.id, subject: m})
	}
}

// The actors.

func (c *chronicle) handled(b *mailbox, message any) {
	kind, size := uint64(0), uint64(0)
	if p, ok := message.(proto.Message); ok {
		kind, size = hashString(string(p.ProtoReflect().Descriptor().Name())), uint64(proto.Size(p))
	}
	c.mix(8, b.member.id, uint64(c.world.now), hashString(b.name), kind, size)
	c.add(note{kind: trace.Handled, member: b.member.id, actor: b.name, subject: message})
}

func (c *chronicle) panicked(b *mailbox, message any) {
	c.mix(9, b.member.id, hashString(b.name))
	c.add(note{kind: trace.Panicked, member: b.member.id, actor: b.name, subject: message})
}

// The network. A message's number is its place among all that were sent.

func (c *chronicle) sent(from, to *member, id uint64, m proto.Message) {
	c.add(note{kind: trace.Sent, member: from.id, peer: to.id, id: id, subject: m})
}

// marshalled sees a message as it goes over the network: this is what ties the hash to every byte that was said.
func (c *chronicle) marshalled(id uint64, bytes []byte) { c.mix(10, id, hashBytes(bytes)) }

func (c *chronicle) arrived(from, to *member, id uint64, m proto.Message) {
	c.mix(11, id, uint64(c.world.now))
	c.add(note{kind: trace.Arrived, member: from.id, peer: to.id, id: id, subject: m})
}

func (c *chronicle) lost(from, to *member, id uint64, m proto.Message, why string) {
	c.mix(12, id, uint64(c.world.now))
	c.add(note{kind: trace.Lost, member: from.id, peer: to.id, id: id, subject: m, name: why})
}

func (c *chronicle) doubled(from, to *member, id uint64, m proto.Message) {
	c.mix(13, id)
	c.add(note{kind: trace.Doubled, member: from.id, peer: to.id, id: id, subject: m})
}

// Faults.

// struck: a fault happens to a member (nil: to all), or between it and a peer (nil: none), until a moment (0: unknown).
func (c *chronicle) struck(f Fault, m, peer *member, until time.Duration) {
	n := note{kind: trace.Struck, name: f.String(), until: until}
	if m != nil {
		n.member = m.id
	}
	if peer != nil {
		n.peer = peer.id
	}
	c.mix(14, uint64(f), n.member, n.peer, uint64(until))
	c.add(n)
}

func (c *chronicle) cut(from, to *member, cut bool) {
	kind := trace.Mended
	if cut {
		kind = trace.CutOff
	}
	c.mix(15, from.id, to.id, uint64(len(kind)))
	c.add(note{kind: kind, member: from.id, peer: to.id})
}

// Clients.

// called: a client begins an operation at a member.
func (c *chronicle) called(m *member, o *operation) {
	c.mix(16, m.id, o.number, uint64(o.kind), uint64(o.key), hashString(o.value))
	c.add(note{kind: trace.Called, member: m.id, id: o.number, subject: o})
}

func (c *chronicle) returned(o *operation) {
	c.mix(17, o.member, o.number, uint64(o.outcome), o.index, hashString(o.saw.before))
	c.add(note{kind: trace.Returned, member: o.member, id: o.number, subject: o})
}

// noted: a script says what it does.
func (c *chronicle) noted(text string) { c.add(note{kind: trace.Noted, subject: text}) }

func (c *chronicle) violated(f *Failure) {
	c.mix(18, hashString(f.Invariant))
	c.add(note{kind: trace.Violated, name: f.Invariant, subject: f.Text})
}

// sum is the hash over all, and over what is drawn next: whatever took a number at random has left its mark on that.
func (c *chronicle) sum() uint64 {
	c.mix(uint64(c.world.steps), uint64(c.world.now), c.world.planned, c.world.random.Uint64())
	return c.hash
}

// String is what led to the failure, or all of the last that happened, as a space-time listing.
func (c *chronicle) String() string {
	events := make([]*trace.Event, 0, len(c.last))
	for i := range c.last {
		events = append(events, c.last[(c.notes+i)%len(c.last)].event())
	}
	return explain.Listing(c.header(), c.before, events, c.world.options.AllSteps)
}
