package session

import (
	"context"
	"fmt"
	"time"

	"github.com/troupe-raft/troupe/internal/interleave"
	"github.com/troupe-raft/troupe/messages"
)

// reads holds the pending reads, except those with ReadLog.
//
// Reads share requests to the leader. For each mode one request is in flight, and one gathers
// behind it: reads join the gathering one, which is sent when the one in flight has a response. So
// however many callers read, there is one read round at a time, and the request of each read is
// sent after the read was asked for (P56, E28).
//
// A read passes through these states; a local read starts in the last one before its end:
//
//	gathering ──▶ in flight ──▶ unapplied: the read point is known ──▶ end: it is applied
//	                  ▲  │
//	                  └──┘ sent again when a leader becomes known, and after a while (P59)
//
// Invariants: waitingReads is the number of reads that have neither ended nor been abandoned, at
// most maxWaiting. unapplied has at most maxUnappliedReadPoints elements when a request is sent.
type reads struct {
	sendRequest func(*messages.RequestRead)
	leader      func() uint64 // 0: none known
	now         func() time.Duration
	maxWaiting  int
	refusals    *refusalCounters

	schedule *interleave.Scheduler

	mu           interleave.Mutex
	waitingReads int
	incarnation  uint64        // of the actors that applied and term are about
	applied      uint64        // index
	term         uint64        // of the last applied batch
	isServing    bool          // the replay after the start is complete (P58)
	replayed     chan struct{} // closed while isServing
	lastID       uint64
	queues       [2]readQueue // of ReadIndex and of ReadLeader
	unapplied    []*readBatch // their read points are known and not applied
	closed       error
}

// readQueue holds the requests of one mode that have no response. Each may be nil.
type readQueue struct {
	inFlight  *readBatch
	gathering *readBatch
}

// readBatch is a set of reads that share one request and one read point.
type readBatch struct {
	id      uint64
	mode    messages.ReadMode
	sentAt  time.Duration
	done    chan struct{} // closed when point or err is final
	point   ReadPoint
	err     error
	readers int // that have not been abandoned
}

func newReads(c Config, refusals *refusalCounters, leader func() uint64) *reads {
	r := &reads{
		schedule: c.Schedule, sendRequest: func(m *messages.RequestRead) { c.Send(m) }, leader: leader, now: c.Now,
		maxWaiting: c.Limits.MaxPendingReads, refusals: refusals, lastID: c.FirstReadID, replayed: make(chan struct{}),
	}
	r.mu.Schedule(c.Schedule)
	return r
}

func (r *reads) read(ctx context.Context, mode ReadMode) (ReadPoint, error) {
	if err := ctx.Err(); err != nil {
		return ReadPoint{}, fmt.Errorf("%w: nothing was sent: %w", ContextErrorKind(err), err)
	}
	if mode == ReadLocal {
		return r.local(ctx)
	}
	b, err := r.begin(mode)
	if err != nil {
		return ReadPoint{}, err
	}
	return r.await(ctx, b)
}

// begin adds a read to the requests of its mode.
func (r *reads) begin(mode ReadMode) (*readBatch, error) {
	if mode == ReadLeader {
		return r.join(&r.queues[1], messages.ReadMode_READ_MODE_LEADER)
	}
	// No leader has a lease in this version, so ReadLease is a ReadIndex.
	return r.join(&r.queues[0], messages.ReadMode_READ_MODE_INDEX)
}

// local waits for the replay after a start only.
func (r *reads) local(ctx context.Context) (ReadPoint, error) {
	counted := false
	for {
		point, replayed, err := r.tryLocal(&counted)
		if replayed == nil {
			return point, err
		}
		if r.schedule.Select(replayed, ctx.Done(), nil, nil) == 1 {
			return ReadPoint{}, r.abandonLocal(&counted, ctx.Err())
		}
	}
}

// tryLocal returns the applied index. During a replay it returns a channel instead that is closed
// at the end of the replay, and counts the read as waiting, unless it is counted.
func (r *reads) tryLocal(counted *bool) (ReadPoint, <-chan struct{}, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed == nil && !r.isServing {
		if !*counted {
			if err := r.checkLimit(); err != nil {
				return ReadPoint{}, nil, err
			}
			*counted = true
			r.waitingReads++
		}
		return ReadPoint{}, r.replayed, nil
	}
	r.uncount(counted)
	if r.closed != nil {
		return ReadPoint{}, nil, r.closed
	}
	return ReadPoint{Index: r.applied, Term: r.term}, nil, nil
}

// abandonLocal gives up a local read that waits for the end of a replay.
func (r *reads) abandonLocal(counted *bool, cause error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.uncount(counted)
	return fmt.Errorf("%w: the log is still being replayed: %w", ContextErrorKind(cause), cause)
}

func (r *reads) uncount(counted *bool) {
	if *counted {
		*counted = false
		r.waitingReads--
	}
}

// checkLimit refuses a read if too many wait. The caller holds mu.
func (r *reads) checkLimit() error {
	if r.waitingReads >= r.maxWaiting {
		return r.refusals.refuse(ErrOverloaded, limitPendingReads, uint64(r.maxWaiting))
	}
	return nil
}

// join adds a read to the gathering batch, and sends the batch if it can be sent.
func (r *reads) join(queue *readQueue, mode messages.ReadMode) (*readBatch, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed != nil {
		return nil, r.closed
	}
	if err := r.checkLimit(); err != nil {
		return nil, err
	}
	b := queue.gathering
	if b == nil {
		r.lastID++
		b = &readBatch{id: r.lastID, mode: mode, done: make(chan struct{})}
		queue.gathering = b
	}
	b.readers++
	r.waitingReads++
	r.sendNext(queue)
	return b, nil
}

// sendNext sends the gathering batch, unless one is in flight or the state machine is too far
// behind. The caller holds mu.
func (r *reads) sendNext(queue *readQueue) {
	b := queue.gathering
	if b == nil || queue.inFlight != nil || len(r.unapplied) >= maxUnappliedReadPoints {
		return
	}
	queue.inFlight, queue.gathering = b, nil
	b.sentAt = r.now()
	r.sendRequest(&messages.RequestRead{Id: b.id, Mode: b.mode})
}

// finish ends all reads of a batch. The caller holds mu.
func (r *reads) finish(b *readBatch, err error) {
	b.err = err
	close(b.done)
	r.waitingReads -= b.readers
}

func (r *reads) await(ctx context.Context, b *readBatch) (ReadPoint, error) {
	if r.schedule.Select(b.done, ctx.Done(), nil, nil) == 1 {
		return r.abandon(b, ctx.Err())
	}
	return b.point, b.err
}

// abandon gives up one read of a batch. If the batch has ended, abandon returns its outcome.
func (r *reads) abandon(b *readBatch, cause error) (ReadPoint, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case <-b.done:
		return b.point, b.err
	default:
	}
	b.readers--
	r.waitingReads--
	kind := ContextErrorKind(cause)
	switch {
	case b.point.Index > r.applied:
		return ReadPoint{}, fmt.Errorf("%w: the read needs index %d and this member's state machine has applied up to %d: %w",
			kind, b.point.Index, r.applied, cause)
	case r.leader() == 0 && kind == ErrTimeout:
		return ReadPoint{}, fmt.Errorf("%w: cannot obtain a read index; check that a majority of the members run and reach each other: %w",
			ErrNoLeader, cause)
	}
	return ReadPoint{}, fmt.Errorf("%w: waiting for a read index: %w", kind, cause)
}

// deliverReadPoint handles a response to a request. A response to a request that is not in flight
// is ignored.
func (r *reads) deliverReadPoint(m *messages.ReadPoint) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.queues {
		queue := &r.queues[i]
		b := queue.inFlight
		if b == nil || b.id != m.Id {
			continue
		}
		switch m.Refusal {
		case messages.Refusal_REFUSAL_UNSPECIFIED:
			b.point = ReadPoint{Index: m.Index, Term: m.Term}
			if m.Index <= r.applied {
				r.finish(b, nil)
			} else {
				r.unapplied = append(r.unapplied, b)
			}
		case messages.Refusal_REFUSAL_OVERLOADED:
			r.refusals[limitLeaderReads].Add(uint64(b.readers))
			r.finish(b, fmt.Errorf("%w: the leader has too many pending reads; retry later, or read with ReadLocal", ErrOverloaded))
		default:
			return // the request is sent again when a leader is known, or by retry
		}
		queue.inFlight = nil
		r.sendNext(queue)
	}
}

// deliverApplied handles a new applied index. A term of 0 is unknown.
func (r *reads) deliverApplied(incarnation, applied, term uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if incarnation != r.incarnation || applied < r.applied {
		return
	}
	r.applied = applied
	if term != 0 {
		r.term = term
	}
	kept := r.unapplied[:0]
	for _, b := range r.unapplied {
		if b.point.Index <= applied {
			r.finish(b, nil)
		} else if b.readers > 0 {
			kept = append(kept, b)
		}
	}
	clear(r.unapplied[len(kept):])
	r.unapplied = kept
	for i := range r.queues {
		r.sendNext(&r.queues[i])
	}
}

// deliverIncarnation handles the start of a new incarnation of the actors. Its state machine may be
// behind that of the one before, so reads wait until it has replayed the log (P57, P58).
func (r *reads) deliverIncarnation(incarnation uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if incarnation <= r.incarnation {
		return
	}
	r.incarnation, r.applied = incarnation, 0
	if r.isServing {
		r.isServing, r.replayed = false, make(chan struct{})
	}
}

// deliverReplayComplete handles the end of the replay of an incarnation.
func (r *reads) deliverReplayComplete(incarnation, applied uint64) {
	r.mu.Lock()
	if incarnation == r.incarnation && !r.isServing {
		r.isServing = true
		close(r.replayed)
	}
	r.mu.Unlock()
	r.deliverApplied(incarnation, applied, 0)
}

// resend sends everything in flight again, because the leader has changed.
func (r *reads) resend() { r.retry(0) }

// retry sends again what was sent at least patience ago.
func (r *reads) retry(patience time.Duration) {
	now := r.now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.leader() == 0 {
		return
	}
	for i := range r.queues {
		if b := r.queues[i].inFlight; b != nil && now-b.sentAt >= patience {
			b.sentAt = now
			r.sendRequest(&messages.RequestRead{Id: b.id, Mode: b.mode})
		}
	}
}

func (r *reads) close(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed != nil {
		return
	}
	r.closed = err
	for i := range r.queues {
		for _, b := range []*readBatch{r.queues[i].inFlight, r.queues[i].gathering} {
			if b != nil {
				r.finish(b, err)
			}
		}
		r.queues[i] = readQueue{}
	}
	for _, b := range r.unapplied {
		r.finish(b, err)
	}
	r.unapplied = nil
	if !r.isServing {
		r.isServing = true
		close(r.replayed)
	}
}

// pending returns the number of reads that wait, and of read points that are not applied.
func (r *reads) pending() (waiting, unapplied int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.waitingReads, len(r.unapplied)
}
