package session

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// proposals are the commands of this handle that wait for their result.
//
// Each command carries the handle's origin, a sequence number, and the lowest sequence still outstanding. The replicated
// state keeps the answers from there on, so that a command which is sent twice, because a leader died with it, takes
// effect once and is answered both times (docs/protocol.md, "Exactly once").
//
// Invariant: queue[i] waits for sequence base+i, or is nil because it needs no answer any more; queue[0] is never nil, and
// there are at most maxPendingSpan.
type proposals struct {
	send     func([]byte) // to the Node of this member
	limits   Limits
	refusals *refusalCounters
	nodeID   uint64
	leader   func() uint64 // 0: none known
	newNonce func() []byte
	now      func() time.Duration

	mu               sync.Mutex
	sessionID        uint64        // 0: not open yet
	nonce            []byte        // of the origin that is being opened, or is open
	registered       chan struct{} // closed when the origin is open
	firstSequence    uint64
	queue            []*pendingCommand
	queuedBytes      uint64 // of the entries in queue
	queuedCommands   int    // commands in queue
	registrationSent time.Duration
	// registrationRefused: the request to open the origin was refused for the moment.
	registrationRefused bool
	closed              error
	// Commands that wait for the origin to be open, and their bytes: they have their place in the limits.
	unregistered      int
	unregisteredBytes uint64
}

// request is a command that wants to be proposed.
type proposalRequest struct {
	encode       func(origin, sequence, lowest uint64) []byte
	size         uint64 // of the command
	unregistered bool   // it waits for the origin
}

// waiting is one command under way. It is reused once it was answered or abandoned: whoever takes it out of the queue,
// under the lock, decides its outcome.
type pendingCommand struct {
	done     chan outcome // holds one
	entry    []byte
	sentAt   time.Duration
	attempts int
	// refused: for the moment, by who leads no more or hands leadership over. There is no answer to be patient for.
	refused bool
}

type outcome struct {
	result Result
	err    error
}

var pendingCommandPool = sync.Pool{New: func() any { return &pendingCommand{done: make(chan outcome, 1)} }}

func newProposals(c Config, refusals *refusalCounters, leader func() uint64) *proposals {
	p := &proposals{nodeID: c.NodeID, limits: c.Limits, refusals: refusals, newNonce: c.NewNonce, now: c.Now, leader: leader, firstSequence: 1}
	p.send = func(entry []byte) { c.Send(&messages.Propose{Data: entry}) }
	p.nonce, p.registered = p.newNonce(), make(chan struct{})
	return p
}

func (p *proposals) propose(ctx context.Context, command []byte) (Result, error) {
	if err := p.checkSize(command); err != nil {
		return Result{}, err
	}
	return p.submit(ctx, newCommandRequest(command))
}

func newCommandRequest(command []byte) proposalRequest {
	return proposalRequest{size: uint64(len(command)), encode: func(origin, sequence, lowest uint64) []byte {
		return raft.EncodeCommand(origin, sequence, lowest, command)
	}}
}

func (p *proposals) checkSize(command []byte) error {
	if uint64(len(command)) > p.limits.MaxRequestBytes {
		return p.refusals.refuse(ErrTooLarge, limitRequestBytes, p.limits.MaxRequestBytes)
	}
	return nil
}

func (p *proposals) barrier(ctx context.Context) (ReadPoint, error) {
	r, err := p.submit(ctx, proposalRequest{encode: raft.EncodeBarrier})
	return ReadPoint{Index: r.Index, Term: r.Term}, err
}

func (p *proposals) submit(ctx context.Context, r proposalRequest) (Result, error) {
	for {
		c, opened, err := p.start(&r)
		switch {
		case err != nil:
			return Result{}, err
		case opened == nil:
			return p.await(ctx, c)
		}
		select {
		case <-opened:
		case <-ctx.Done():
			p.abandonUnregistered(&r)
			return Result{}, p.contextError(ctx.Err(), false)
		}
	}
}

// proposal is a command that has its place. What it waits by may be another's as soon as it has its outcome.
type pendingProposal struct {
	*pendingCommand
	origin, sequence uint64
}

// begin gives a command its place and sends it. While the origin is not open it does neither, and returns what is closed
// when that has changed.
func (p *proposals) start(r *proposalRequest) (pendingProposal, <-chan struct{}, error) {
	c, opened, err := p.enqueue(r)
	if err == nil && opened == nil {
		p.send(c.entry)
	}
	return c, opened, err
}

func (p *proposals) await(ctx context.Context, c pendingProposal) (Result, error) {
	select {
	case o := <-c.done:
		p.recycle(c.pendingCommand)
		return o.result, o.err
	case <-ctx.Done():
		return p.abandon(c, ctx.Err())
	}
}

func (p *proposals) enqueue(r *proposalRequest) (pendingProposal, <-chan struct{}, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed != nil {
		p.uncountUnregistered(r)
		return pendingProposal{}, nil, p.closed
	}
	if err := p.checkLimits(r); err != nil {
		return pendingProposal{}, nil, err
	}
	if p.sessionID == 0 {
		p.countUnregistered(r)
		return pendingProposal{}, p.registered, nil
	}
	p.uncountUnregistered(r)
	if len(p.queue) >= maxPendingSpan {
		return pendingProposal{}, nil, p.refusals.refuse(ErrOverloaded, limitPendingSpan, maxPendingSpan)
	}
	sequence := p.firstSequence + uint64(len(p.queue))
	w := pendingCommandPool.Get().(*pendingCommand)
	w.entry = r.encode(p.sessionID, sequence, p.firstSequence)
	w.sentAt, w.attempts, w.refused = p.now(), 1, false
	p.queue = append(p.queue, w)
	p.queuedBytes += uint64(len(w.entry))
	p.queuedCommands++
	return pendingProposal{w, p.sessionID, sequence}, nil, nil
}

// room refuses a command that the limits leave no place for. One that waits for the origin has its place. The caller
// holds mu.
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

// count and uncount keep the number of those that wait for the origin. The caller holds mu.
func (p *proposals) countUnregistered(r *proposalRequest) {
	if !r.unregistered {
		r.unregistered = true
		p.unregistered++
		p.unregisteredBytes += r.size
	}
}

func (p *proposals) uncountUnregistered(r *proposalRequest) {
	if r.unregistered {
		r.unregistered = false
		p.unregistered--
		p.unregisteredBytes -= r.size
	}
}

// leave gives up waiting for the origin.
func (p *proposals) abandonUnregistered(r *proposalRequest) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.uncountUnregistered(r)
}

// waits tells whether somebody waits for the command of this sequence. The caller holds mu.
func (p *proposals) isPending(sequence uint64) bool {
	return sequence >= p.firstSequence && sequence-p.firstSequence < uint64(len(p.queue)) && p.queue[sequence-p.firstSequence] != nil
}

// take removes the command of this sequence from the queue; nil if nobody waits for it. The caller holds mu.
func (p *proposals) remove(sequence uint64) *pendingCommand {
	if !p.isPending(sequence) {
		return nil
	}
	k := sequence - p.firstSequence
	w := p.queue[k]
	p.queue[k] = nil
	p.queuedBytes -= uint64(len(w.entry))
	p.queuedCommands--
	for len(p.queue) > 0 && p.queue[0] == nil {
		p.queue = p.queue[1:]
		p.firstSequence++
	}
	return w
}

func (p *proposals) recycle(w *pendingCommand) {
	w.entry = nil
	pendingCommandPool.Put(w)
}

// abandon gives up waiting. A result that arrived in the same moment still counts.
func (p *proposals) abandon(c pendingProposal, cause error) (Result, error) {
	p.mu.Lock()
	mine := c.origin == p.sessionID && p.remove(c.sequence) == c.pendingCommand
	p.mu.Unlock()
	if !mine {
		o := <-c.done // who took it has answered or is about to
		p.recycle(c.pendingCommand)
		return o.result, o.err
	}
	p.recycle(c.pendingCommand)
	return Result{}, p.contextError(cause, true)
}

func (p *proposals) contextError(cause error, sent bool) error {
	kind, what := ErrTimeout, "the command may still take effect"
	if !sent {
		what = "the command was not sent"
	}
	if p.leader() == 0 {
		kind = ErrNoLeader
		what += "; no leader is known: see that a majority of the members run and reach each other"
	}
	return fmt.Errorf("%w: %s: %w", kind, what, cause)
}

// results takes the outcomes of a batch from the Machine. A copy of a command that was answered already may come back as
// unknown, because its answer was too large to be kept: that is nobody's loss, and no sign that the origin is gone.
func (p *proposals) deliverResults(m *messages.CommandResults) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if m.SessionId != p.sessionID {
		return
	}
	for i, sequence := range m.Sequences {
		if !p.isPending(sequence) {
			continue
		}
		if m.Outcomes[i] == messages.Outcome_OUTCOME_UNKNOWN {
			p.registerAgain(fmt.Errorf("%w: the cluster no longer knew this member's earlier requests", ErrOutcomeUnknown))
			return
		}
		p.remove(sequence).done <- outcome{result: Result{Index: m.Indexes[i], Term: m.Term, Value: m.Values[i]}}
	}
}

// reopen fails everything outstanding and opens another origin. The caller holds mu.
func (p *proposals) registerAgain(err error) {
	p.failAll(err)
	p.sessionID, p.nonce, p.registered = 0, p.newNonce(), make(chan struct{})
	p.firstSequence = 1
	p.sendRegistration()
}

func (p *proposals) failAll(err error) {
	for _, w := range p.queue {
		if w != nil {
			w.done <- outcome{err: err}
		}
	}
	p.queue, p.queuedBytes, p.queuedCommands = nil, 0, 0
}

func (p *proposals) sendRegistration() {
	p.registrationSent, p.registrationRefused = p.now(), false
	p.send(raft.EncodeRegisterSession(p.nonce, p.nodeID))
}

func (p *proposals) deliverRegistered(m *messages.SessionRegistered) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed == nil && p.sessionID == 0 && string(m.Nonce) == string(p.nonce) {
		p.sessionID = m.SessionId
		close(p.registered)
	}
}

// refused hears that entries were not taken. Where that is final, and this was the only attempt, the caller is told;
// else a copy may be in the log already, and the command stays outstanding until it is answered. Where it is for the moment,
// the next retry says it again: nobody tells when a leadership that was to be handed over is kept.
func (p *proposals) deliverRefused(m *messages.ProposalsRefused) {
	final := m.Reason == messages.Refusal_REFUSAL_OVERLOADED || m.Reason == messages.Refusal_REFUSAL_DISK_FULL
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, sequence := range m.Sequences {
		if sequence == 0 && p.sessionID == 0 && !final {
			p.registrationRefused = true // an entry that opens an origin has no sequence
		}
		if m.SessionIds[i] != p.sessionID || sequence < p.firstSequence || sequence-p.firstSequence >= uint64(len(p.queue)) {
			continue
		}
		switch w := p.queue[sequence-p.firstSequence]; {
		case w == nil:
		case !final:
			w.refused = true
		case w.attempts == 1:
			p.remove(sequence).done <- outcome{err: p.leaderRefusal(m)}
		}
	}
}

func (p *proposals) leaderRefusal(m *messages.ProposalsRefused) error {
	if m.Reason == messages.Refusal_REFUSAL_OVERLOADED {
		return p.refusals.refuse(ErrOverloaded, limitLeaderUncommitted, m.Limit)
	}
	p.refusals[limitLeaderDisk].Add(1)
	return fmt.Errorf("%w: the leader's disk is below its low-water mark; free space on it, writes resume by themselves", ErrDiskFull)
}

// resend says everything outstanding again: a new leader may not have it.
func (p *proposals) resend() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.resendOlder(0)
}

// retry says again what has waited for longer than patience, and what was refused for the moment.
func (p *proposals) retry(patience time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.resendOlder(patience)
}

func (p *proposals) resendOlder(patience time.Duration) {
	now := p.now()
	if p.closed != nil || p.leader() == 0 {
		return
	}
	if p.sessionID == 0 {
		if p.registrationRefused || now-p.registrationSent >= patience {
			p.sendRegistration()
		}
		return
	}
	for _, w := range p.queue {
		if w != nil && (w.refused || now-w.sentAt >= patience) {
			w.sentAt, w.refused = now, false
			w.attempts++
			p.send(w.entry)
		}
	}
}

func (p *proposals) close(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed != nil {
		return
	}
	p.closed = err
	p.failAll(err)
	if p.sessionID == 0 {
		close(p.registered)
	}
}
