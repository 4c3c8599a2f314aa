package session

import (
	"fmt"

	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// registration is the registration of the client session with the cluster (P60). proposals.mu
// guards it.
type registration struct {
	sessionID uint64        // 0 until registered
	nonce     []byte        // a repeated registration with it gets the same session id
	done      chan struct{} // closed when registered, or refused
	// refusals counts the final refusals; refusal is the error of the last one. A command that waits
	// for the registration ends with the first refusal after its begin: it was never sent, so it has
	// no effect (P65).
	refusals uint64
	refusal  error
	sendState
}

func newRegistration(nonce []byte) registration {
	return registration{nonce: nonce, done: make(chan struct{})}
}

// sendRegistration asks the cluster to register the session, unless it has asked in this epoch. The
// caller holds mu.
func (p *proposals) sendRegistration() {
	if p.leaderKnown && p.registration.mustSend(p.epoch) {
		p.registration.recordSent(p.epoch)
		p.send(p.newPropose(raft.EncodeRegisterSession(p.registration.nonce, p.nodeID)))
	}
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

// refuseUnregistered ends the commands that wait for the registration. The next retry sends the
// registration again. The caller holds mu.
func (p *proposals) refuseUnregistered(err error) {
	r := &p.registration
	r.refusals, r.refusal = r.refusals+1, err
	close(r.done)
	r.done = make(chan struct{})
	for _, a := range p.takeUnregisteredAsync() {
		p.startAsync(a) // ends it
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
	if m.SessionId == p.registration.sessionID && !p.deliverOutcomes(m) {
		return
	}
	if m.Incarnation == p.epoch.incarnation && !m.More {
		p.appliedTerm = max(p.appliedTerm, m.Term)
		p.endRefused()
	}
}

// deliverOutcomes ends the commands of one message. It reports false if the session has expired.
// The caller holds mu.
func (p *proposals) deliverOutcomes(m *messages.CommandResults) bool {
	for i, sequence := range m.Sequences {
		if p.find(sequence) == nil {
			continue
		}
		if m.Outcomes[i] == messages.Outcome_OUTCOME_UNKNOWN {
			p.registerAgain(fmt.Errorf("%w: the cluster has expired this member's client session; "+
				"check in the data whether the command took effect", ErrOutcomeUnknown))
			return false
		}
		p.remove(sequence).end(Outcome{Result: Result{Index: m.Indexes[i], AppliedTerm: m.Term, Value: m.Values[i]}})
	}
	return true
}
