package handle

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/troupe-raft/troupe/messages"
)

// reads hands out read points. Whatever asks while one request of a mode is under way shares the next: however many
// clients read, there is one round at a time, and each read's request leaves after the read was asked (E28).
type reads struct {
	ask    func(*messages.AskRead)
	leader func() uint64
	now    func() time.Duration

	mu          sync.Mutex
	incarnation uint64
	applied     uint64
	term        uint64
	serving     chan struct{} // closed while what is applied may be read
	isServing   bool
	lastID      uint64 // begins at random: an answer to an earlier process's request must not pass for ours
	modes       [2]readLine
	parked      []*readBatch // have their point, wait until it is applied
	closed      error
}

// readLine is the requests of one mode: one under way, and the one that gathers behind it.
type readLine struct {
	underWay *readBatch
	next     *readBatch
}

// readBatch is the reads that share one read point.
type readBatch struct {
	id    uint64
	mode  messages.ReadMode
	asked time.Duration
	done  chan struct{}
	point ReadPoint
	err   error
}

func newReads(firstID uint64, now func() time.Duration, ask func(*messages.AskRead), leader func() uint64) *reads {
	return &reads{now: now, ask: ask, leader: leader, lastID: firstID, serving: make(chan struct{})}
}

func (r *reads) read(ctx context.Context, mode ReadMode) (ReadPoint, error) {
	if mode == ReadLocal {
		return r.local(ctx)
	}
	return r.await(ctx, r.begin(mode))
}

// begin asks for a read point from the leader.
func (r *reads) begin(mode ReadMode) *readBatch {
	if mode == ReadLeader {
		return r.join(&r.modes[1], messages.ReadMode_READ_MODE_LEADER)
	}
	// No leader has a lease in this version, so that ReadLease is answered as ReadIndex, as its contract allows.
	return r.join(&r.modes[0], messages.ReadMode_READ_MODE_INDEX)
}

// local waits only for the replay after a start.
func (r *reads) local(ctx context.Context) (ReadPoint, error) {
	for {
		point, serving, err := r.localNow()
		if serving == nil {
			return point, err
		}
		select {
		case <-serving:
		case <-ctx.Done():
			return ReadPoint{}, fmt.Errorf("%w: the log is still being replayed: %w", ErrTimeout, ctx.Err())
		}
	}
}

// localNow is what may be read without anybody's leave. During a replay that is nothing, and what is closed at its end is
// returned.
func (r *reads) localNow() (ReadPoint, <-chan struct{}, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.closed != nil:
		return ReadPoint{}, nil, r.closed
	case !r.isServing:
		return ReadPoint{}, r.serving, nil
	}
	return ReadPoint{Index: r.applied, Term: r.term}, nil, nil
}

// join adds one read to the batch that gathers, and sends the batch on if none is under way.
func (r *reads) join(line *readLine, mode messages.ReadMode) *readBatch {
	r.mu.Lock()
	defer r.mu.Unlock()
	b := line.next
	if b == nil {
		r.lastID++
		b = &readBatch{id: r.lastID, mode: mode, done: make(chan struct{})}
		line.next = b
	}
	if r.closed != nil {
		b.finish(r.closed)
		line.next = nil
	} else if line.underWay == nil {
		r.sendNext(line)
	}
	return b
}

// sendNext asks for the gathered batch. The caller holds mu.
func (r *reads) sendNext(line *readLine) {
	line.underWay, line.next = line.next, nil
	if b := line.underWay; b != nil {
		b.asked = r.now()
		r.ask(&messages.AskRead{Id: b.id, Mode: b.mode})
	}
}

func (b *readBatch) finish(err error) {
	b.err = err
	close(b.done)
}

func (r *reads) await(ctx context.Context, b *readBatch) (ReadPoint, error) {
	select {
	case <-b.done:
		return b.point, b.err
	case <-ctx.Done():
		return ReadPoint{}, r.expired(ctx.Err())
	}
}

func (r *reads) expired(cause error) error {
	if r.leader() == 0 {
		return fmt.Errorf("%w: no read point to be had; see that a majority of the members run and reach each other: %w", ErrNoLeader, cause)
	}
	return fmt.Errorf("%w: waiting for a read point: %w", ErrTimeout, cause)
}

// answered takes a read point from the Node.
func (r *reads) answered(m *messages.ReadPoint) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.modes {
		line := &r.modes[i]
		b := line.underWay
		if b == nil || b.id != m.Id {
			continue
		}
		switch m.Refused {
		case messages.Refusal_REFUSAL_UNSPECIFIED:
			b.point = ReadPoint{Index: m.Index, Term: m.Term}
			if m.Index <= r.applied {
				b.finish(nil)
			} else {
				r.parked = append(r.parked, b)
			}
		case messages.Refusal_REFUSAL_OVERLOADED:
			b.finish(fmt.Errorf("%w: more read points are asked of the leader than it keeps; ask again, or read in mode local", ErrOverloaded))
		default:
			return // asked again as soon as a leader is known, or after a while
		}
		r.sendNext(line)
	}
}

// newApplied hears how far the state machine is, and releases who waited for that.
func (r *reads) newApplied(incarnation, applied, term uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if incarnation != r.incarnation || applied < r.applied {
		return
	}
	r.applied, r.term = applied, term
	kept := r.parked[:0]
	for _, b := range r.parked {
		if b.point.Index <= applied {
			b.finish(nil)
		} else {
			kept = append(kept, b)
		}
	}
	clear(r.parked[len(kept):])
	r.parked = kept
}

// incarnated hears of a new life of the node's actors: until its replay is done, nothing is served.
func (r *reads) incarnated(incarnation uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if incarnation <= r.incarnation {
		return
	}
	r.incarnation, r.applied = incarnation, 0
	if r.isServing {
		r.isServing, r.serving = false, make(chan struct{})
	}
}

func (r *reads) nowServing(incarnation, applied uint64) {
	r.mu.Lock()
	if incarnation == r.incarnation && !r.isServing {
		r.isServing = true
		close(r.serving)
	}
	r.mu.Unlock()
	r.newApplied(incarnation, applied, 0)
}

// again asks once more for everything under way: who led may not any more.
func (r *reads) again() { r.retry(0) }

func (r *reads) retry(patience time.Duration) {
	now := r.now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.leader() == 0 {
		return
	}
	for i := range r.modes {
		if b := r.modes[i].underWay; b != nil && now-b.asked >= patience {
			b.asked = now
			r.ask(&messages.AskRead{Id: b.id, Mode: b.mode})
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
	for i := range r.modes {
		for _, b := range []*readBatch{r.modes[i].underWay, r.modes[i].next} {
			if b != nil {
				b.finish(err)
			}
		}
		r.modes[i] = readLine{}
	}
	for _, b := range r.parked {
		b.finish(err)
	}
	r.parked = nil
	if !r.isServing {
		r.isServing = true
		close(r.serving)
	}
}
