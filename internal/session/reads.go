package session

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/troupe-raft/troupe/messages"
)

// reads hands out read points. Whatever asks while one request of a mode is under way shares the next: however many
// clients read, there is one round at a time, and each read's request leaves after the read was asked (E28).
//
// Invariants: waiting is the number of reads that have neither their answer nor given up, at most limit; parked holds at
// most maxUnappliedReadPoints.
type reads struct {
	sendRequest func(*messages.RequestRead)
	leader      func() uint64
	now         func() time.Duration
	maxWaiting  int
	refusals    *refusalCounters

	mu             sync.Mutex
	waitingReads   int
	incarnation    uint64
	applied        uint64
	term           uint64
	servingChanged chan struct{} // closed while what is applied may be read
	isServing      bool
	lastID         uint64 // begins at random: an answer to an earlier process's request must not pass for ours
	queues         [2]readQueue
	unapplied      []*readBatch // have their point, wait until it is applied
	closed         error
}

// readQueue is the requests of one mode: one under way, and the one that gathers behind it.
type readQueue struct {
	inFlight  *readBatch
	gathering *readBatch
}

// readBatch is the reads that share one read point.
type readBatch struct {
	id      uint64
	mode    messages.ReadMode
	sentAt  time.Duration
	done    chan struct{}
	point   ReadPoint // once it is known
	err     error
	readers int // that wait
}

func newReads(c Config, refusals *refusalCounters, leader func() uint64) *reads {
	return &reads{
		now: c.Now, sendRequest: func(m *messages.RequestRead) { c.Send(m) }, leader: leader, maxWaiting: c.Limits.MaxPendingReads,
		refusals: refusals, lastID: c.FirstReadID, servingChanged: make(chan struct{}),
	}
}

func (r *reads) read(ctx context.Context, mode ReadMode) (ReadPoint, error) {
	if mode == ReadLocal {
		return r.local(ctx)
	}
	b, err := r.begin(mode)
	if err != nil {
		return ReadPoint{}, err
	}
	return r.await(ctx, b)
}

// begin asks for a read point from the leader.
func (r *reads) begin(mode ReadMode) (*readBatch, error) {
	if mode == ReadLeader {
		return r.join(&r.queues[1], messages.ReadMode_READ_MODE_LEADER)
	}
	// No leader has a lease in this version, so that ReadLease is answered as ReadIndex, as its contract allows.
	return r.join(&r.queues[0], messages.ReadMode_READ_MODE_INDEX)
}

// local waits only for the replay after a start.
func (r *reads) local(ctx context.Context) (ReadPoint, error) {
	counted := false
	for {
		point, serving, err := r.tryLocal(&counted)
		if serving == nil {
			return point, err
		}
		select {
		case <-serving:
		case <-ctx.Done():
			return ReadPoint{}, r.abandonLocal(&counted, ctx.Err())
		}
	}
}

// tryLocal is what may be read without anybody's leave. During a replay that is nothing, and what is closed at its end is
// returned; the read is counted then, unless it was before.
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
		return ReadPoint{}, r.servingChanged, nil
	}
	r.uncount(counted)
	if r.closed != nil {
		return ReadPoint{}, nil, r.closed
	}
	return ReadPoint{Index: r.applied, Term: r.term}, nil, nil
}

// abandonLocal gives up waiting for the end of a replay.
func (r *reads) abandonLocal(counted *bool, cause error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.uncount(counted)
	return fmt.Errorf("%w: the log is still being replayed: %w", ErrTimeout, cause)
}

func (r *reads) uncount(counted *bool) {
	if *counted {
		*counted = false
		r.waitingReads--
	}
}

// room refuses a read where as many wait as may. The caller holds mu.
func (r *reads) checkLimit() error {
	if r.waitingReads >= r.maxWaiting {
		return r.refusals.refuse(ErrOverloaded, limitPendingReads, uint64(r.maxWaiting))
	}
	return nil
}

// join adds one read to the batch that gathers, and sends the batch on if none is under way.
func (r *reads) join(line *readQueue, mode messages.ReadMode) (*readBatch, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed != nil {
		return nil, r.closed
	}
	if err := r.checkLimit(); err != nil {
		return nil, err
	}
	b := line.gathering
	if b == nil {
		r.lastID++
		b = &readBatch{id: r.lastID, mode: mode, done: make(chan struct{})}
		line.gathering = b
	}
	b.readers++
	r.waitingReads++
	r.sendNext(line)
	return b, nil
}

// sendNext asks for the gathered batch, unless one is under way or the state machine has enough to catch up with. The
// caller holds mu.
func (r *reads) sendNext(line *readQueue) {
	b := line.gathering
	if b == nil || line.inFlight != nil || len(r.unapplied) >= maxUnappliedReadPoints {
		return
	}
	line.inFlight, line.gathering = b, nil
	b.sentAt = r.now()
	r.sendRequest(&messages.RequestRead{Id: b.id, Mode: b.mode})
}

// finish answers all reads of a batch. The caller holds mu.
func (r *reads) finish(b *readBatch, err error) {
	b.err = err
	close(b.done)
	r.waitingReads -= b.readers
}

func (r *reads) await(ctx context.Context, b *readBatch) (ReadPoint, error) {
	select {
	case <-b.done:
		return b.point, b.err
	case <-ctx.Done():
		return r.abandon(b, ctx.Err())
	}
}

// abandon gives up one read of a batch. An answer that came in the same moment still counts.
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
	switch {
	case b.point.Index > r.applied:
		return ReadPoint{}, fmt.Errorf("%w: the read needs index %d and this member's state machine has applied up to %d: %w",
			ErrTimeout, b.point.Index, r.applied, cause)
	case r.leader() == 0:
		return ReadPoint{}, fmt.Errorf("%w: no read point to be had; see that a majority of the members run and reach each other: %w",
			ErrNoLeader, cause)
	}
	return ReadPoint{}, fmt.Errorf("%w: waiting for a read point: %w", ErrTimeout, cause)
}

// answered takes a read point from the Node.
func (r *reads) deliverReadPoint(m *messages.ReadPoint) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.queues {
		line := &r.queues[i]
		b := line.inFlight
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
			r.finish(b, fmt.Errorf("%w: more read points are asked of the leader than it keeps; ask again, or read in mode local", ErrOverloaded))
		default:
			return // asked again as soon as a leader is known, or after a while
		}
		line.inFlight = nil
		r.sendNext(line)
	}
}

// deliverApplied hears how far the state machine is, and releases who waited for that.
func (r *reads) deliverApplied(incarnation, applied, term uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if incarnation != r.incarnation || applied < r.applied {
		return
	}
	r.applied = applied
	if term != 0 { // Serving does not tell it
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

// incarnated hears of a new life of the node's actors: until its replay is done, nothing is served.
func (r *reads) deliverIncarnation(incarnation uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if incarnation <= r.incarnation {
		return
	}
	r.incarnation, r.applied = incarnation, 0
	if r.isServing {
		r.isServing, r.servingChanged = false, make(chan struct{})
	}
}

func (r *reads) deliverServing(incarnation, applied uint64) {
	r.mu.Lock()
	if incarnation == r.incarnation && !r.isServing {
		r.isServing = true
		close(r.servingChanged)
	}
	r.mu.Unlock()
	r.deliverApplied(incarnation, applied, 0)
}

// again asks once more for everything under way: who led may not any more.
func (r *reads) resend() { r.retry(0) }

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
		close(r.servingChanged)
	}
}
