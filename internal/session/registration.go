package session

import (
	"fmt"
	"time"

	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// registration is the registration of the client session with the cluster (P60). proposals.mu
// guards it.
type registration struct {
	sessionID uint64        // 0 until registered
	nonce     []byte        // a repeated registration with it gets the same session id
	done      chan struct{} // closed when registered
	sentAt    time.Duration
	refused   bool // temporarily: the next retry sends it at once
}

func newRegistration(nonce []byte) registration {
	return registration{nonce: nonce, done: make(chan struct{})}
}

// sendRegistration asks the cluster to register the session. The caller holds mu.
func (p *proposals) sendRegistration() {
	p.registration.sentAt, p.registration.refused = p.now(), false
	p.send(raft.EncodeRegisterSession(p.registration.nonce, p.nodeID))
}

// deliverRegistered handles the registration of a session of this member.
func (p *proposals) deliverRegistered(m *messages.SessionRegistered) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := &p.registration
	if p.closed == nil && r.sessionID == 0 && string(m.Nonce) == string(r.nonce) {
		r.sessionID = m.SessionId
		close(r.done)
		for _, a := range p.takeUnregisteredAsync() {
			p.startAsync(a)
		}
	}
}

func (p *proposals) registered() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.registration.sessionID != 0
}

// registerAgain fails all pending commands and registers another session (P64). The caller holds
// mu.
func (p *proposals) registerAgain(err error) {
	p.failAll(err)
	p.registration, p.firstSequence = newRegistration(p.newNonce()), 1
	p.sendRegistration()
}

// deliverResults handles the outcomes of one batch of the Machine. The outcome of a command that is
// not pending is ignored. In particular, a copy of a command whose reply was too large to cache may
// come back as unknown after the first copy has delivered the reply; the session is not expired
// then.
func (p *proposals) deliverResults(m *messages.CommandResults) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if m.SessionId != p.registration.sessionID {
		return
	}
	for i, sequence := range m.Sequences {
		if p.find(sequence) == nil {
			continue
		}
		if m.Outcomes[i] == messages.Outcome_OUTCOME_UNKNOWN {
			p.registerAgain(fmt.Errorf("%w: the cluster has expired this member's client session; "+
				"check in the data whether the command took effect", ErrOutcomeUnknown))
			return
		}
		p.remove(sequence).end(Outcome{Result: Result{Index: m.Indexes[i], AppliedTerm: m.Term, Value: m.Values[i]}})
	}
}

// deliverRefused handles commands that the leader, or this member's Node, did not append. A refusal
// for overload or a full disk is final if no other copy of the command may be in a log (P65). While
// another one may be, the command stays pending. Every other refusal is
// temporary (P66).
func (p *proposals) deliverRefused(m *messages.ProposalsRefused) {
	final := m.Reason == messages.Refusal_REFUSAL_OVERLOADED || m.Reason == messages.Refusal_REFUSAL_DISK_FULL
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, sequence := range m.Sequences {
		if sequence == 0 && p.registration.sessionID == 0 && !final {
			p.registration.refused = true // a registration has no sequence
		}
		if m.SessionIds[i] != p.registration.sessionID {
			continue
		}
		switch c := p.find(sequence); {
		case c == nil:
		case final && c.copies() == 1:
			p.remove(sequence).end(Outcome{Err: p.leaderRefusal(m)})
		default:
			if m.From == p.nodeID {
				c.ownRefusals++
			}
			c.refused = c.refused || !final
		}
	}
}

func (p *proposals) leaderRefusal(m *messages.ProposalsRefused) error {
	if m.Reason == messages.Refusal_REFUSAL_OVERLOADED {
		return p.refusals.refuse(ErrOverloaded, limitLeaderUncommitted, m.Limit)
	}
	p.refusals[limitLeaderDisk].Add(1)
	return fmt.Errorf("%w: the leader's disk has less free space than DiskLowWater; free some, and writes succeed again", ErrDiskFull)
}

// resend sends everything pending again, because a new leader may not have it.
func (p *proposals) resend() { p.retry(0) }

// retry sends again what was sent at least patience ago, or was refused temporarily.
func (p *proposals) retry(patience time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed != nil || p.leader() == 0 {
		return
	}
	now := p.now()
	if r := p.registration; r.sessionID == 0 {
		if r.refused || now-r.sentAt >= patience {
			p.sendRegistration()
		}
		return
	}
	for _, c := range p.queue {
		if c != nil && (c.refused || now-c.sentAt >= patience) {
			c.sentAt, c.refused = now, false
			c.attempts++
			p.send(c.entry)
		}
	}
}
