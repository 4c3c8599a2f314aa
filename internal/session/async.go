package session

import "slices"

// Async is a proposal whose outcome goes to a channel. No goroutine waits for it.
type Async struct {
	proposals *proposals
	outcome   chan Outcome // holds one
	// Guarded by proposals.mu
	request proposalRequest
	command pendingProposal // once the request has a sequence
	ended   bool            // the outcome is decided
	onEnd   func() bool
}

// ProposeAsync submits a command as Propose does, and does not wait. Commands that one goroutine
// submits are sent in that order. A retry may change the order, so commands that depend on each
// other must not be pending together.
func (s *Session) ProposeAsync(command []byte) *Async {
	p := s.proposals
	a := &Async{proposals: p, outcome: make(chan Outcome, 1), request: newCommandRequest(command)}
	a.request.async = a
	if err := p.checkSize(command); err != nil {
		a.outcome <- Outcome{Err: err}
		a.ended = true
		return a
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.startAsync(a)
	return a
}

// Outcome returns the channel that receives the outcome, once.
func (a *Async) Outcome() <-chan Outcome { return a.outcome }

// OnEnd sets a function that is called when the outcome is decided, with a lock held. It is called
// at once if that has happened.
func (a *Async) OnEnd(f func() bool) {
	a.proposals.mu.Lock()
	defer a.proposals.mu.Unlock()
	if a.onEnd = f; a.ended {
		f()
	}
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
		mayBeProposed = a.command.copies() > 0
		p.remove(a.command.sequence)
	} else {
		p.unregisteredAsync = slices.DeleteFunc(p.unregisteredAsync, func(other *Async) bool { return other == a })
		p.uncountUnregistered(&a.request)
	}
	a.end(Outcome{Err: p.contextError(cause, mayBeProposed)})
}

// end decides the outcome. The caller holds mu.
func (a *Async) end(o Outcome) {
	a.ended = true
	a.outcome <- o
	if a.onEnd != nil {
		a.onEnd()
	}
}

// startAsync gives a command its sequence and sends it, or keeps it until the session is
// registered. The caller holds mu.
func (p *proposals) startAsync(a *Async) {
	c, registered, err := p.enqueueLocked(&a.request)
	switch {
	case err != nil:
		a.end(Outcome{Err: err})
	case registered != nil:
		p.unregisteredAsync = append(p.unregisteredAsync, a)
	default:
		a.command = c
		p.send(c.entry)
	}
}

// takeUnregisteredAsync returns the commands that wait for the registration, and forgets them. The
// caller holds mu.
func (p *proposals) takeUnregisteredAsync() []*Async {
	all := p.unregisteredAsync
	p.unregisteredAsync = nil
	return all
}
