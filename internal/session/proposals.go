package session

import (
	"context"
	"fmt"
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/internal/interleave"
	"github.com/troupe-raft/troupe/raft"
)

// proposals holds the client session and its pending commands. Session explains the protocol.
//
// Invariants: queue[i] is the command with sequence firstSequence + i, or nil if that command has
// ended. queue[0] is never nil, so firstSequence is the lowest pending sequence. The queue has at
// most maxPendingSpan elements. Whoever removes a command from the queue, with mu held, decides its
// outcome.
type proposals struct {
	send     func(proto.Message) // to this member's Node
	limits   Limits
	refusals *refusalCounters
	nodeID   uint64
	leader   func() uint64 // 0: none known
	newNonce func() []byte

	schedule *interleave.Scheduler

	mu             interleave.Mutex
	epoch          epoch
	leaderKnown    bool   // in epoch
	appliedTerm    uint64 // of the last entry that the incarnation of epoch has applied
	resends        resends
	refusedLater   []uint64 // sequences of commands with an endsAt
	registration   registration
	firstSequence  uint64
	queue          []*pendingCommand
	queuedBytes    uint64 // of the entries in queue
	queuedCommands int    // elements of queue that are not nil
	// Commands that wait for the registration, and their size. They count against the limits.
	unregistered      int
	unregisteredBytes uint64
	unregisteredAsync []*Async // those of ProposeAsync among them
	closed            error
}

// proposalRequest is a command, or a barrier, that has no sequence yet.
type proposalRequest struct {
	encode       func(sessionID, sequence, lowest uint64) []byte
	size         uint64 // of the command
	unregistered bool   // it is counted in proposals.unregistered
	refusals     uint64 // registration.refusals when it was counted
	async        *Async // of ProposeAsync
}

// pendingCommand is a command with a sequence, waiting for its result. It is recycled when its
// caller has received the outcome or has abandoned it.
type pendingCommand struct {
	done  chan Outcome // holds one
	async *Async       // receives the outcome instead of done, if it is not nil
	entry []byte
	sendState
}

// pendingProposal is a caller's reference to its command. The pendingCommand may be recycled for
// another command as soon as the outcome was received.
type pendingProposal struct {
	*pendingCommand
	sessionID, sequence uint64
}

var pendingCommandPool = sync.Pool{New: func() any { return &pendingCommand{done: make(chan Outcome, 1)} }}

// newPendingCommand returns a pendingCommand to fill in. That of an Async is not recycled.
func newPendingCommand(async *Async) *pendingCommand {
	if async != nil {
		return &pendingCommand{async: async}
	}
	return pendingCommandPool.Get().(*pendingCommand)
}

// end hands the outcome to the caller. The caller of end has removed the command from the queue,
// and holds mu.
func (c *pendingCommand) end(o Outcome) {
	if c.async != nil {
		c.async.end(o)
		return
	}
	c.done <- o
}

func newProposals(c Config, refusals *refusalCounters, leader func() uint64) *proposals {
	p := &proposals{
		schedule: c.Schedule, send: c.Send, limits: c.Limits, refusals: refusals, nodeID: c.NodeID, leader: leader, newNonce: c.NewNonce,
		registration: newRegistration(c.NewNonce()), firstSequence: 1,
	}
	p.mu.Schedule(c.Schedule)
	return p
}

func (p *proposals) propose(ctx context.Context, command []byte) (Result, error) {
	if err := p.checkSize(command); err != nil {
		return Result{}, err
	}
	return p.submit(ctx, newCommandRequest(command))
}

func (p *proposals) barrier(ctx context.Context) (ReadPoint, error) {
	r, err := p.submit(ctx, proposalRequest{encode: raft.EncodeBarrier})
	return ReadPoint{Index: r.Index, Term: r.AppliedTerm}, err
}

func newCommandRequest(command []byte) proposalRequest {
	return proposalRequest{size: uint64(len(command)), encode: func(sessionID, sequence, lowest uint64) []byte {
		return raft.EncodeCommand(sessionID, sequence, lowest, command)
	}}
}

func (p *proposals) checkSize(command []byte) error {
	if uint64(len(command)) > p.limits.MaxRequestBytes {
		return p.refusals.refuse(ErrTooLarge, limitRequestBytes, p.limits.MaxRequestBytes)
	}
	return nil
}

// submit waits for the registration if necessary, sends the command and waits for its outcome.
func (p *proposals) submit(ctx context.Context, r proposalRequest) (Result, error) {
	if err := ctx.Err(); err != nil {
		return Result{}, p.contextError(err, false)
	}
	for {
		c, registered, err := p.start(&r)
		switch {
		case err != nil:
			return Result{}, err
		case registered == nil:
			return p.await(ctx, c)
		}
		if p.schedule.Select(registered, ctx.Done(), nil, nil) == 1 {
			p.abandonUnregistered(&r)
			return Result{}, p.contextError(ctx.Err(), false)
		}
	}
}

// start gives a command its sequence and sends it. While the session is not registered, it returns
// a channel instead that is closed when start should be called again.
func (p *proposals) start(r *proposalRequest) (pendingProposal, <-chan struct{}, error) {
	c, message, registered, err := p.enqueue(r)
	if message != nil {
		p.send(message)
	}
	return c, registered, err
}

func (p *proposals) await(ctx context.Context, c pendingProposal) (Result, error) {
	o, decided := interleave.Receive(p.schedule, c.done, ctx.Done())
	if !decided {
		return p.abandon(c, ctx.Err())
	}
	p.recycle(c.pendingCommand)
	return o.Result, o.Err
}

// enqueue gives a command its sequence. It returns the message to send, nil if none can be sent
// until a leader is known.
func (p *proposals) enqueue(r *proposalRequest) (pendingProposal, proto.Message, <-chan struct{}, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.enqueueLocked(r)
}

// enqueueLocked is enqueue for a caller that holds mu.
func (p *proposals) enqueueLocked(r *proposalRequest) (pendingProposal, proto.Message, <-chan struct{}, error) {
	if p.closed != nil {
		p.uncountUnregistered(r)
		return pendingProposal{}, nil, nil, p.closed
	}
	if err := p.checkLimits(r); err != nil {
		return pendingProposal{}, nil, nil, err
	}
	if p.registration.sessionID == 0 {
		if r.unregistered && p.registration.refusals > r.refusals {
			p.uncountUnregistered(r)
			return pendingProposal{}, nil, nil, p.registration.refusal
		}
		p.countUnregistered(r)
		return pendingProposal{}, nil, p.registration.done, nil
	}
	p.uncountUnregistered(r)
	if len(p.queue) >= maxPendingSpan {
		return pendingProposal{}, nil, nil, p.refusals.refuse(ErrOverloaded, limitPendingSpan, maxPendingSpan)
	}
	sessionID, sequence := p.registration.sessionID, p.firstSequence+uint64(len(p.queue))
	c := newPendingCommand(r.async)
	c.entry, c.sendState = r.encode(sessionID, sequence, p.firstSequence), sendState{}
	p.queue = append(p.queue, c)
	p.queuedBytes += uint64(len(c.entry))
	p.queuedCommands++
	proposal := pendingProposal{c, sessionID, sequence}
	if !p.leaderKnown {
		return proposal, nil, nil, nil
	}
	c.recordSent(p.epoch)
	return proposal, p.newPropose(c.entry), nil, nil
}

// checkLimits refuses a command if too many are pending. One that already waits for the
// registration is counted, so it passes. The caller holds mu.
func (p *proposals) checkLimits(r *proposalRequest) error {
	switch {
	case r.unregistered:
	case p.queuedCommands+p.unregistered >= p.limits.MaxPendingRequests:
		return p.refusals.refuse(ErrOverloaded, limitPendingRequests, uint64(p.limits.MaxPendingRequests))
	case p.queuedBytes+p.unregisteredBytes >= p.limits.MaxPendingBytes:
		return p.refusals.refuse(ErrOverloaded, limitPendingBytes, p.limits.MaxPendingBytes)
	}
	return nil
}

// countUnregistered counts a command that waits for the registration, once. The caller holds mu.
func (p *proposals) countUnregistered(r *proposalRequest) {
	if !r.unregistered {
		r.unregistered, r.refusals = true, p.registration.refusals
		p.unregistered++
		p.unregisteredBytes += r.size
	}
}

// uncountUnregistered is the opposite of countUnregistered. The caller holds mu.
func (p *proposals) uncountUnregistered(r *proposalRequest) {
	if r.unregistered {
		r.unregistered = false
		p.unregistered--
		p.unregisteredBytes -= r.size
	}
}

// abandonUnregistered gives up a command that waits for the registration.
func (p *proposals) abandonUnregistered(r *proposalRequest) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.uncountUnregistered(r)
}

// find returns the pending command with this sequence, nil if there is none. The caller holds mu.
func (p *proposals) find(sequence uint64) *pendingCommand {
	if sequence < p.firstSequence || sequence-p.firstSequence >= uint64(len(p.queue)) {
		return nil
	}
	return p.queue[sequence-p.firstSequence]
}

// remove removes the command with this sequence from the queue and returns it, nil if it is not
// pending. The caller holds mu.
func (p *proposals) remove(sequence uint64) *pendingCommand {
	c := p.find(sequence)
	if c == nil {
		return nil
	}
	p.queue[sequence-p.firstSequence] = nil
	p.queuedBytes -= uint64(len(c.entry))
	p.queuedCommands--
	for len(p.queue) > 0 && p.queue[0] == nil {
		p.queue = p.queue[1:]
		p.firstSequence++
	}
	return c
}

func (p *proposals) recycle(c *pendingCommand) {
	c.entry = nil
	pendingCommandPool.Put(c)
}

// abandon gives up a command whose context has ended. If its outcome has been decided, abandon
// returns that outcome.
func (p *proposals) abandon(c pendingProposal, cause error) (Result, error) {
	p.mu.Lock()
	removed := c.sessionID == p.registration.sessionID && p.remove(c.sequence) == c.pendingCommand
	mayBeProposed := removed && c.mayBeProposed()
	p.mu.Unlock()
	if !removed {
		o, _ := interleave.Receive(p.schedule, c.done, nil) // sent by whoever removed it, or about to be
		p.recycle(c.pendingCommand)
		return o.Result, o.Err
	}
	p.recycle(c.pendingCommand)
	return Result{}, p.contextError(cause, mayBeProposed)
}

// contextError is the error of a command whose context has ended.
func (p *proposals) contextError(cause error, mayBeProposed bool) error {
	kind := ContextErrorKind(cause)
	err := fmt.Errorf("%w: %w", kind, cause)
	if p.leader() == 0 && kind == ErrTimeout {
		err = fmt.Errorf("%w is known; check that a majority of the members run and reach each other: %w", ErrNoLeader, cause)
	}
	if mayBeProposed {
		return fmt.Errorf("the command may still take effect: %w", err)
	}
	return fmt.Errorf("%w: %w", ErrNotProposed, err)
}

// pending returns the number of commands that wait for their result, and their size.
func (p *proposals) pending() (commands int, bytes uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.queuedCommands + p.unregistered, p.queuedBytes + p.unregisteredBytes
}

// failAll ends all pending commands with err. The caller holds mu.
func (p *proposals) failAll(err error) {
	for _, c := range p.queue {
		if c != nil {
			c.end(Outcome{Err: err})
		}
	}
	p.queue, p.queuedBytes, p.queuedCommands, p.refusedLater = nil, 0, 0, nil
}

func (p *proposals) close(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed != nil {
		return
	}
	p.closed = err
	p.failAll(err)
	for _, a := range p.takeUnregisteredAsync() {
		a.end(Outcome{Err: err})
	}
	if p.registration.sessionID == 0 {
		close(p.registration.done)
	}
}
