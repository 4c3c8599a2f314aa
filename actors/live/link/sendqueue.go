package link

import (
	"context"
	"sync"

	"github.com/troupe-raft/troupe/messages"
)

// sendQueue holds the messages of one lane to one peer until the lane's writer takes them.
//
// It is bounded in bytes. At the bound it drops the oldest messages: a Raft message loses its value
// with age, and the newest often makes the older ones redundant. While the peer is neither
// connected nor being dialed, the queue accepts nothing: a peer that returns would otherwise
// receive old messages first, and its replicator knows better what it needs by then.
//
// On the bulk lane, forwarded proposals go first and are dropped last, because callers wait for
// them; entries may wait, since they are for a follower that lags anyway.
type sendQueue struct {
	limit int // bytes

	mu            sync.Mutex
	accepting     bool   // guarded by mu
	proposals     fifo   // guarded by mu; forwarded proposals
	others        fifo   // guarded by mu
	writerWaiting bool   // guarded by mu; the writer waits for a token in wake
	dropped       uint64 // guarded by mu; messages since the start
	dropReported  bool   // guarded by mu; enqueue has reported a drop since the last dequeue

	wake chan struct{} // capacity 1; the goroutine that clears writerWaiting sends the token
}

// fifo is a queue of messages whose head moves through a slice.
type fifo struct {
	messages []queuedMessage
	head     int
	bytes    int
}

func (f *fifo) len() int { return len(f.messages) - f.head }

func (f *fifo) push(m queuedMessage) {
	if f.head > 64 && f.head > len(f.messages)/2 {
		kept := copy(f.messages, f.messages[f.head:])
		clear(f.messages[kept:])
		f.messages, f.head = f.messages[:kept], 0
	}
	f.messages = append(f.messages, m)
	f.bytes += m.queueCost()
}

func (f *fifo) pop() queuedMessage {
	m := f.messages[f.head]
	f.messages[f.head] = queuedMessage{}
	f.head++
	f.bytes -= m.queueCost()
	if f.head == len(f.messages) {
		f.messages, f.head = f.messages[:0], 0
		if cap(f.messages) > maxReusedCapacity {
			f.messages = nil
		}
	}
	return m
}

// maxReusedCapacity is the capacity above which the slice of an empty queue is not reused.
const maxReusedCapacity = 4096

// queueCost is what a message counts in a queue: its bytes and an estimate of the memory around
// them, so that the bound holds for many small messages too.
func (m queuedMessage) queueCost() int { return m.size + 64 }

func newSendQueue(limit int) *sendQueue {
	return &sendQueue{limit: limit, wake: make(chan struct{}, 1)}
}

// enqueue queues a message, or drops it. It returns true if the caller should report that messages
// were dropped: once until the writer takes messages again.
func (q *sendQueue) enqueue(role messages.Receiver, message messages.PeerMessage, size int) (report bool) {
	m := queuedMessage{role: byte(role), size: size, message: message}
	q.mu.Lock()
	if !q.accepting {
		q.dropped++
		q.mu.Unlock()
		return false // reported when the attempt to connect fails
	}
	if _, proposals := message.(*messages.ForwardedProposals); proposals {
		q.proposals.push(m)
	} else {
		q.others.push(m)
	}
	for q.proposals.bytes+q.others.bytes > q.limit && q.proposals.len()+q.others.len() > 1 {
		if q.others.len() > 0 {
			q.others.pop()
		} else {
			q.proposals.pop()
		}
		q.dropped++
		report = !q.dropReported
		q.dropReported = true
	}
	wakeWriter := q.writerWaiting
	q.writerWaiting = false
	q.mu.Unlock()
	if wakeWriter {
		q.wake <- struct{}{}
	}
	return report
}

// dequeue waits for messages and appends them to batch: at least one, and further ones until they
// have maxBytes together.
func (q *sendQueue) dequeue(ctx context.Context, batch []queuedMessage, maxBytes int) ([]queuedMessage, error) {
	q.mu.Lock()
	for q.proposals.len()+q.others.len() == 0 {
		q.writerWaiting = true
		q.mu.Unlock()
		select {
		case <-q.wake:
		case <-ctx.Done():
			q.cancelWait()
			return batch, context.Cause(ctx)
		}
		q.mu.Lock()
	}
	defer q.mu.Unlock()
	q.dropReported = false
	total := 0
	for _, f := range []*fifo{&q.proposals, &q.others} {
		for total < maxBytes && f.len() > 0 {
			m := f.pop()
			total += m.size
			batch = append(batch, m)
		}
	}
	return batch, nil
}

// cancelWait clears writerWaiting, and takes the token if a sender has sent it already.
func (q *sendQueue) cancelWait() {
	q.mu.Lock()
	waiting := q.writerWaiting
	q.writerWaiting = false
	q.mu.Unlock()
	if !waiting {
		<-q.wake
	}
}

// startAccepting makes enqueue accept messages.
func (q *sendQueue) startAccepting() {
	q.mu.Lock()
	q.accepting = true
	q.mu.Unlock()
}

// stopAccepting drops the queued messages, and makes enqueue drop new ones.
func (q *sendQueue) stopAccepting() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.accepting = false
	q.dropped += uint64(q.proposals.len() + q.others.len())
	q.proposals, q.others = fifo{}, fifo{}
}

func (q *sendQueue) stat() (queuedBytes int, dropped uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.proposals.bytes + q.others.bytes, q.dropped
}
