package world

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/internal/session"
	"github.com/troupe-raft/troupe/messages"
)

// program is what embeds a member: the handle of production, in virtual time, and the clients'
// calls of it. It is the process that the member's actors know as their handle.
type embedder struct {
	member    *Member
	runNumber int
	*session.Session
	calls       []*call
	incarnation uint64
	serving     bool // the replay of this incarnation is done
	nonce       []byte
	Registered  bool // the handle has an origin
}

// call is an operation under way.
type call struct {
	*session.Call
	number uint64 // of the client's operation
	writes bool
	done   func(session.Outcome)
}

var (
	// errProcessEnded: the process ended before it knew.
	errProcessEnded = errors.New("the member died")
	// errClientTimeout: a client waits no longer.
	errClientTimeout = errors.New("the client gave up")
)

func newEmbedder(m *Member) *embedder {
	w := m.world
	p := &embedder{member: m, runNumber: m.RunNumber}
	p.Session = session.New(session.Config{
		NodeID: m.id, Limits: w.sessionLimits, FirstReadID: w.Random.Uint64(),
		NewNonce: func() []byte {
			p.nonce, p.Registered = binary.LittleEndian.AppendUint64(nil, w.Random.Uint64()), false
			return p.nonce
		},
		Now:  func() time.Duration { return w.now },
		Send: func(said proto.Message) { m.Post(actors.NodePath, said) },
	})
	return p
}

func (p *embedder) start() { p.member.after(HeartbeatInterval, p.tick) }

// tick is the ticker of troupe.Node.
func (p *embedder) tick() {
	p.Retry(ElectionTimeout)
	p.poll()
	p.member.after(HeartbeatInterval, p.tick)
}

// SendUserMessage hears the actors of its node.
func (p *embedder) SendUserMessage(_ *actor.PID, message any) {
	if p.runNumber != p.member.RunNumber {
		return
	}
	_, message, _ = actor.UnwrapEnvelope(message)
	p.member.world.Checker.SessionReceived(p.member.id, message)
	for _, ear := range p.member.listeners {
		ear(message.(proto.Message))
	}
	p.Deliver(message)
	switch m := message.(type) {
	case *messages.LeaderChanged:
		if m.Incarnation > p.incarnation {
			p.incarnation, p.serving = m.Incarnation, false
		}
	case *messages.SessionRegistered:
		p.Registered = p.Registered || bytes.Equal(m.Nonce, p.nonce)
	case *messages.ReplayComplete:
		p.serving = p.serving || m.Incarnation == p.incarnation
	}
	p.poll()
}

// SendSystemMessage and Stop complete actor.Process.
func (p *embedder) SendSystemMessage(*actor.PID, any) {}

// Stop does nothing.
func (p *embedder) Stop(*actor.PID) {}

// Propose implements history.Member.
func (m *Member) Propose(number uint64, data []byte, done func(session.Outcome)) {
	m.Embedder.propose(number, data, done)
}

// Read implements history.Member.
func (m *Member) Read(number uint64, mode session.ReadMode, done func(session.Outcome)) {
	m.Embedder.read(number, mode, done)
}

// propose has a command applied; done hears of its outcome, at once or later.
func (p *embedder) propose(number uint64, data []byte, done func(session.Outcome)) {
	p.await(&call{Call: p.BeginProposal(data), number: number, writes: true, done: done})
}

// read asks for a read point.
func (p *embedder) read(number uint64, mode session.ReadMode, done func(session.Outcome)) {
	p.await(&call{Call: p.BeginRead(mode), number: number, done: done})
}

func (p *embedder) await(c *call) {
	if c.Poll() {
		c.done(c.Outcome)
		return
	}
	p.calls = append(p.calls, c)
}

// settle passes on what has ended.
func (p *embedder) poll() {
	for i := 0; i < len(p.calls); {
		c := p.calls[i]
		if !c.Poll() {
			i++
			continue
		}
		p.calls = slices.Delete(p.calls, i, i+1)
		c.done(c.Outcome) // which may begin other calls: they come last
	}
}

// cancel ends a call as an expired context does.
func (p *embedder) Cancel(number uint64) {
	for _, c := range p.calls {
		if c.number == number {
			c.Abandon(errClientTimeout)
		}
	}
	p.poll()
}

// writing is how many writes wait.
func (p *embedder) PendingWrites() (n int) {
	for _, c := range p.calls {
		if c.writes {
			n++
		}
	}
	return n
}

// die ends what waits, as the process ends.
func (p *embedder) terminate() {
	p.Close(errProcessEnded)
	p.poll()
}
