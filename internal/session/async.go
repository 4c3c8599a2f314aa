package session

import (
	"bytes"
	"slices"
)

// Async is a proposal whose outcome goes to a function. No goroutine waits for it.
type Async struct {
	proposals *proposals
	deliver   func(Outcome)
	// Guarded by proposals.mu
	request proposalRequest
	command pendingProposal // once the request has a sequence
	ended   bool            // the outcome was delivered
}

// ProposeAsync submits a command as Propose does, and does not wait. deliver receives the outcome,
// once. It is called with a lock held, so it must neither wait nor call the Session. Commands that
// one goroutine submits are sent in that order; a retry may change the order.
func (s *Session) ProposeAsync(command []byte, deliver func(Outcome)) *Async {
	p := s.proposals
	a := &Async{proposals: p, deliver: deliver, request: newCommandRequest(command)}
	a.request.async = a
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.checkSize(command); err != nil {
		a.end(Outcome{Err: err})
		return a
	}
	if p.startAsync(a); a.request.unregistered {
		a.request.encode = newCommandRequest(bytes.Clone(command)).encode // the caller may use its memory again
	}
	return a
}

// Abandon ends the proposal as a context that ends with cause would.
func (a *Async) Abandon(cause error) {
	p := a.proposals
	p.mu.Lock()
	defer p.mu.Unlock()
	if a.ended {
		return
	}
	mayBeProposed := false
	if a.command.pendingCommand != nil {
		mayBeProposed = a.command.mayBeProposed()
		p.remove(a.command.sequence)
	} else {
		p.unregisteredAsync = slices.DeleteFunc(p.unregisteredAsync, func(other *Async) bool { return other == a })
		p.uncountUnregistered(&a.request)
	}
	a.end(Outcome{Err: p.contextError(cause, mayBeProposed)})
}

// end delivers the outcome. The caller holds mu.
func (a *Async) end(o Outcome) {
	a.ended = true
	a.deliver(o)
}

// startAsync gives a command its sequence and sends it, or keeps it until the session is
// registered. The caller holds mu.
func (p *proposals) startAsync(a *Async) {
	c, message, registered, err := p.enqueueLocked(&a.request)
	switch {
	case err != nil:
		a.end(Outcome{Err: err})
	case registered != nil:
		p.unregisteredAsync = append(p.unregisteredAsync, a)
	default:
		a.command = c
		if message != nil {
			p.send(message)
		}
	}
}

// takeUnregisteredAsync returns the commands that wait for the registration, and forgets them. The
// caller holds mu.
func (p *proposals) takeUnregisteredAsync() []*Async {
	all := p.unregisteredAsync
	p.unregisteredAsync = nil
	return all
}
