package world

import (
	"errors"
	"slices"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/internal/session"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// sessionName is the name of the session in the actor system of a member.
const sessionName = "session"

// embedder is the program that embeds a member: the clients' calls of the node's session. It sees
// each message of the actors to the session, and passes it on.
type embedder struct {
	member           *Member
	runNumber        int
	*session.Session // nil until the data directory is open
	calls            []*call
	incarnation      uint64
	serving          bool // the replay of this incarnation is done
	maxPending       int  // commands of this run
	// leader is the latest that the node published.
	leader *messages.LeaderChanged
}

// call is a pending operation.
type call struct {
	*session.Call
	number uint64 // of the client's operation
	writes bool
	done   func(session.Outcome)
}

var (
	errProcessEnded  = errors.New("the member stopped")
	errClientTimeout = errors.New("the client gave up")
)

// isRegistration reports whether a message proposes to register a client session.
func isRegistration(message any) bool {
	p, ok := message.(*messages.Propose)
	if !ok {
		return false
	}
	e, err := raft.DecodeEntry(p.Data)
	return err == nil && e.Kind == raft.KindRegisterSession
}

func (p *embedder) leaderChanged(m *messages.LeaderChanged) { p.leader = m }

// SendUserMessage receives the messages of the node's actors.
func (p *embedder) SendUserMessage(pid *actor.PID, message any) {
	if p.runNumber != p.member.RunNumber {
		return
	}
	_, message, _ = actor.UnwrapEnvelope(message)
	p.member.world.Checker.SessionReceived(p.member.id, message)
	for _, ear := range p.member.listeners {
		ear(message.(proto.Message))
	}
	p.member.parts.Session.SendUserMessage(pid, message)
	switch m := message.(type) {
	case *messages.LeaderChanged:
		if m.Incarnation > p.incarnation {
			p.incarnation, p.serving = m.Incarnation, false
		}
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

// propose proposes a command. done is called with the outcome, at once or later.
func (p *embedder) propose(number uint64, data []byte, done func(session.Outcome)) {
	p.await(&call{Call: p.BeginProposal(data), number: number, writes: true, done: done})
}

// read requests a read point.
func (p *embedder) read(number uint64, mode session.ReadMode, done func(session.Outcome)) {
	p.await(&call{Call: p.BeginRead(mode), number: number, done: done})
}

func (p *embedder) await(c *call) {
	if c.Poll() {
		c.done(c.Outcome)
		return
	}
	p.calls = append(p.calls, c)
	p.checkLimit()
}

// checkLimit counts the commands that wait. Of the calls that have ended some may not be completed
// yet.
func (p *embedder) checkLimit() {
	waiting, limit := 0, p.maxPending
	for _, c := range p.calls {
		if c.writes && !c.Poll() {
			waiting++
		}
	}
	if waiting > limit {
		p.member.world.Fail("bounded requests", "at member %d %d commands wait for their result; the limit is %d", p.member.id, waiting, limit)
	}
}

// poll completes the calls that have ended.
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

// Cancel ends a call as an expired context does.
func (p *embedder) Cancel(number uint64) {
	for _, c := range p.calls {
		if c.number == number {
			c.Abandon(errClientTimeout)
		}
	}
	p.poll()
}

// PendingWrites returns the number of pending writes.
func (p *embedder) PendingWrites() (n int) {
	for _, c := range p.calls {
		if c.writes {
			n++
		}
	}
	return n
}

// terminate ends all pending calls, as the end of the process does.
func (p *embedder) terminate() {
	if p.Session != nil {
		p.Close(errProcessEnded)
		p.poll()
	}
}
