package handle

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
// effect once and is answered both times (DESIGN §4 "Exactly once").
//
// Invariant: queue[i] waits for sequence base+i, or is nil because it needs no answer any more; queue[0] is never nil, and
// there are at most maxSpan.
type proposals struct {
	send     func([]byte) // to the Node of this member
	limits   Limits
	refusals *refusals
	node     uint64
	leader   func() uint64 // 0: none known
	nonces   func() []byte
	now      func() time.Duration

	mu      sync.Mutex
	origin  uint64        // 0: not open yet
	nonce   []byte        // of the origin that is being opened, or is open
	opened  chan struct{} // closed when the origin is open
	base    uint64
	queue   []*waiting
	bytes   uint64 // of the entries in queue
	pending int    // commands in queue
	asked   time.Duration
	// askNow: the request to open the origin was refused for the moment.
	askNow bool
	closed error
	// Commands that wait for the origin to be open, and their bytes: they have their place in the limits.
	early      int
	earlyBytes uint64
}

// request is a command that wants to be proposed.
type request struct {
	encode func(origin, sequence, lowest uint64) []byte
	size   uint64 // of the command
	early  bool   // it waits for the origin
}

// waiting is one command under way. It is reused once it was answered or abandoned: whoever takes it out of the queue,
// under the lock, decides its outcome.
type waiting struct {
	done     chan outcome // holds one
	entry    []byte
	sent     time.Duration
	attempts int
	// refused: for the moment, by who leads no more or hands leadership over. There is no answer to be patient for.
	refused bool
}

type outcome struct {
	result Result
	err    error
}

var waitings = sync.Pool{New: func() any { return &waiting{done: make(chan outcome, 1)} }}

func newProposals(c Config, refusals *refusals, leader func() uint64) *proposals {
	p := &proposals{node: c.Node, limits: c.Limits, refusals: refusals, nonces: c.Nonce, now: c.Now, leader: leader, base: 1}
	p.send = func(entry []byte) { c.Send(&messages.Propose{Data: entry}) }
	p.nonce, p.opened = p.nonces(), make(chan struct{})
	return p
}

func (p *proposals) propose(ctx context.Context, command []byte) (Result, error) {
	if err := p.admits(command); err != nil {
		return Result{}, err
	}
	return p.submit(ctx, requestOf(command))
}

func requestOf(command []byte) request {
	return request{size: uint64(len(command)), encode: func(origin, sequence, lowest uint64) []byte {
		return raft.EncodeCommand(origin, sequence, lowest, command)
	}}
}

func (p *proposals) admits(command []byte) error {
	if uint64(len(command)) > p.limits.MaxRequestBytes {
		return p.refusals.refuse(ErrTooLarge, requestBytes, p.limits.MaxRequestBytes)
	}
	return nil
}

func (p *proposals) barrier(ctx context.Context) (ReadPoint, error) {
	r, err := p.submit(ctx, request{encode: raft.EncodeBarrier})
	return ReadPoint{Index: r.Index, Term: r.Term}, err
}

func (p *proposals) submit(ctx context.Context, r request) (Result, error) {
	for {
		c, opened, err := p.begin(&r)
		switch {
		case err != nil:
			return Result{}, err
		case opened == nil:
			return p.await(ctx, c)
		}
		select {
		case <-opened:
		case <-ctx.Done():
			p.leave(&r)
			return Result{}, p.expired(ctx.Err(), false)
		}
	}
}

// proposal is a command that has its place. What it waits by may be another's as soon as it has its outcome.
type proposal struct {
	*waiting
	origin, sequence uint64
}

// begin gives a command its place and sends it. While the origin is not open it does neither, and returns what is closed
// when that has changed.
func (p *proposals) begin(r *request) (proposal, <-chan struct{}, error) {
	c, opened, err := p.enqueue(r)
	if err == nil && opened == nil {
		p.send(c.entry)
	}
	return c, opened, err
}

func (p *proposals) await(ctx context.Context, c proposal) (Result, error) {
	select {
	case o := <-c.done:
		p.recycle(c.waiting)
		return o.result, o.err
	case <-ctx.Done():
		return p.abandon(c, ctx.Err())
	}
}

func (p *proposals) enqueue(r *request) (proposal, <-chan struct{}, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed != nil {
		p.uncount(r)
		return proposal{}, nil, p.closed
	}
	if err := p.room(r); err != nil {
		return proposal{}, nil, err
	}
	if p.origin == 0 {
		p.count(r)
		return proposal{}, p.opened, nil
	}
	p.uncount(r)
	if len(p.queue) >= maxSpan {
		return proposal{}, nil, p.refusals.refuse(ErrOverloaded, span, maxSpan)
	}
	sequence := p.base + uint64(len(p.queue))
	w := waitings.Get().(*waiting)
	w.entry = r.encode(p.origin, sequence, p.base)
	w.sent, w.attempts, w.refused = p.now(), 1, false
	p.queue = append(p.queue, w)
	p.bytes += uint64(len(w.entry))
	p.pending++
	return proposal{w, p.origin, sequence}, nil, nil
}

// room refuses a command that the limits leave no place for. One that waits for the origin has its place. The caller
// holds mu.
func (p *proposals) room(r *request) error {
	switch {
	case r.early:
	case p.pending+p.early >= p.limits.MaxPendingRequests:
		return p.refusals.refuse(ErrOverloaded, pendingRequests, uint64(p.limits.MaxPendingRequests))
	case p.bytes+p.earlyBytes >= p.limits.MaxPendingBytes:
		return p.refusals.refuse(ErrOverloaded, pendingBytes, p.limits.MaxPendingBytes)
	}
	return nil
}

// count and uncount keep the number of those that wait for the origin. The caller holds mu.
func (p *proposals) count(r *request) {
	if !r.early {
		r.early = true
		p.early++
		p.earlyBytes += r.size
	}
}

func (p *proposals) uncount(r *request) {
	if r.early {
		r.early = false
		p.early--
		p.earlyBytes -= r.size
	}
}

// leave gives up waiting for the origin.
func (p *proposals) leave(r *request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.uncount(r)
}

// waits tells whether somebody waits for the command of this sequence. The caller holds mu.
func (p *proposals) waits(sequence uint64) bool {
	return sequence >= p.base && sequence-p.base < uint64(len(p.queue)) && p.queue[sequence-p.base] != nil
}

// take removes the command of this sequence from the queue; nil if nobody waits for it. The caller holds mu.
func (p *proposals) take(sequence uint64) *waiting {
	if !p.waits(sequence) {
		return nil
	}
	k := sequence - p.base
	w := p.queue[k]
	p.queue[k] = nil
	p.bytes -= uint64(len(w.entry))
	p.pending--
	for len(p.queue) > 0 && p.queue[0] == nil {
		p.queue = p.queue[1:]
		p.base++
	}
	return w
}

func (p *proposals) recycle(w *waiting) {
	w.entry = nil
	waitings.Put(w)
}

// abandon gives up waiting. A result that arrived in the same moment still counts.
func (p *proposals) abandon(c proposal, cause error) (Result, error) {
	p.mu.Lock()
	mine := c.origin == p.origin && p.take(c.sequence) == c.waiting
	p.mu.Unlock()
	if !mine {
		o := <-c.done // who took it has answered or is about to
		p.recycle(c.waiting)
		return o.result, o.err
	}
	p.recycle(c.waiting)
	return Result{}, p.expired(cause, true)
}

func (p *proposals) expired(cause error, sent bool) error {
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
func (p *proposals) results(m *messages.Results) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if m.Origin != p.origin {
		return
	}
	for i, sequence := range m.Sequences {
		if !p.waits(sequence) {
			continue
		}
		if m.Outcomes[i] == messages.Outcome_OUTCOME_UNKNOWN {
			p.reopen(fmt.Errorf("%w: the cluster no longer knew this member's earlier requests", ErrOutcomeUnknown))
			return
		}
		p.take(sequence).done <- outcome{result: Result{Index: m.Indexes[i], Term: m.Term, Value: m.Values[i]}}
	}
}

// reopen fails everything outstanding and opens another origin. The caller holds mu.
func (p *proposals) reopen(err error) {
	p.failAll(err)
	p.origin, p.nonce, p.opened = 0, p.nonces(), make(chan struct{})
	p.base = 1
	p.askOrigin()
}

func (p *proposals) failAll(err error) {
	for _, w := range p.queue {
		if w != nil {
			w.done <- outcome{err: err}
		}
	}
	p.queue, p.bytes, p.pending = nil, 0, 0
}

func (p *proposals) askOrigin() {
	p.asked, p.askNow = p.now(), false
	p.send(raft.EncodeOpenOrigin(p.nonce, p.node))
}

func (p *proposals) originOpened(m *messages.OriginOpened) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed == nil && p.origin == 0 && string(m.Nonce) == string(p.nonce) {
		p.origin = m.Origin
		close(p.opened)
	}
}

// refused hears that entries were not taken. Where that is final, and this was the only attempt, the caller is told;
// else a copy may be in the log already, and the command stays outstanding until it is answered. Where it is for the moment,
// the next retry says it again: nobody tells when a leadership that was to be handed over is kept.
func (p *proposals) refused(m *messages.ProposalsRefused) {
	final := m.Reason == messages.Refusal_REFUSAL_OVERLOADED || m.Reason == messages.Refusal_REFUSAL_DISK_FULL
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, sequence := range m.Sequences {
		if sequence == 0 && p.origin == 0 && !final {
			p.askNow = true // an entry that opens an origin has no sequence
		}
		if m.Origins[i] != p.origin || sequence < p.base || sequence-p.base >= uint64(len(p.queue)) {
			continue
		}
		switch w := p.queue[sequence-p.base]; {
		case w == nil:
		case !final:
			w.refused = true
		case w.attempts == 1:
			p.take(sequence).done <- outcome{err: p.refusedByLeader(m)}
		}
	}
}

func (p *proposals) refusedByLeader(m *messages.ProposalsRefused) error {
	if m.Reason == messages.Refusal_REFUSAL_OVERLOADED {
		return p.refusals.refuse(ErrOverloaded, leaderUncommitted, m.Limit)
	}
	p.refusals[leaderDisk].Add(1)
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
	if p.origin == 0 {
		if p.askNow || now-p.asked >= patience {
			p.askOrigin()
		}
		return
	}
	for _, w := range p.queue {
		if w != nil && (w.refused || now-w.sent >= patience) {
			w.sent, w.refused = now, false
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
	if p.origin == 0 {
		close(p.opened)
	}
}
