package sim

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

// program is what embeds a member: the handle of production, in virtual time, and the clients' calls of it. It is the
// process that the member's actors know as their handle.
type program struct {
	member *member
	life   int
	*session.Session
	calls       []*call
	incarnation uint64
	serving     bool // the replay of this incarnation is done
	nonce       []byte
	opened      bool // the handle has an origin
}

// call is an operation under way.
type call struct {
	*session.Call
	number uint64 // of the client's operation
	writes bool
	done   func(session.Outcome)
}

var (
	// errDied: the process ended before it knew.
	errDied = errors.New("the member died")
	// errImpatient: a client waits no longer.
	errImpatient = errors.New("the client gave up")
)

func newProgram(m *member) *program {
	w := m.world
	p := &program{member: m, life: m.life}
	p.Session = session.New(session.Config{
		NodeID: m.id, Limits: w.handleLimits, FirstReadID: w.random.Uint64(),
		NewNonce: func() []byte {
			p.nonce, p.opened = binary.LittleEndian.AppendUint64(nil, w.random.Uint64()), false
			return p.nonce
		},
		Now:  func() time.Duration { return w.now },
		Send: func(said proto.Message) { m.post(actors.NodePath, said) },
	})
	return p
}

func (p *program) live() { p.member.after(heartbeat, p.tick) }

// tick is the ticker of troupe.Node.
func (p *program) tick() {
	p.Retry(election)
	p.settle()
	p.member.after(heartbeat, p.tick)
}

// SendUserMessage hears the actors of its node.
func (p *program) SendUserMessage(_ *actor.PID, message any) {
	if p.life != p.member.life {
		return
	}
	_, message, _ = actor.UnwrapEnvelope(message)
	p.member.world.ghost.overheard(p.member, message)
	for _, ear := range p.member.ears {
		ear(message.(proto.Message))
	}
	p.Deliver(message)
	switch m := message.(type) {
	case *messages.LeaderChanged:
		if m.Incarnation > p.incarnation {
			p.incarnation, p.serving = m.Incarnation, false
		}
	case *messages.SessionRegistered:
		p.opened = p.opened || bytes.Equal(m.Nonce, p.nonce)
	case *messages.ReplayComplete:
		p.serving = p.serving || m.Incarnation == p.incarnation
	}
	p.settle()
}

// SendSystemMessage and Stop complete actor.Process.
func (p *program) SendSystemMessage(*actor.PID, any) {}

// Stop does nothing.
func (p *program) Stop(*actor.PID) {}

// propose has a command applied; done hears of its outcome, at once or later.
func (p *program) propose(number uint64, data []byte, done func(session.Outcome)) {
	p.await(&call{Call: p.BeginProposal(data), number: number, writes: true, done: done})
}

// read asks for a read point.
func (p *program) read(number uint64, mode session.ReadMode, done func(session.Outcome)) {
	p.await(&call{Call: p.BeginRead(mode), number: number, done: done})
}

func (p *program) await(c *call) {
	if c.Poll() {
		c.done(c.Outcome)
		return
	}
	p.calls = append(p.calls, c)
}

// settle passes on what has ended.
func (p *program) settle() {
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

// giveUp ends a call as an expired context does.
func (p *program) giveUp(number uint64) {
	for _, c := range p.calls {
		if c.number == number {
			c.Abandon(errImpatient)
		}
	}
	p.settle()
}

// writing is how many writes wait.
func (p *program) writing() (n int) {
	for _, c := range p.calls {
		if c.writes {
			n++
		}
	}
	return n
}

// die ends what waits, as the process ends.
func (p *program) die() {
	p.Close(errDied)
	p.settle()
}
