package link

import (
	"context"
	"sync"

	"github.com/troupe-raft/troupe/internal/lanes"
	"github.com/troupe-raft/troupe/messages"
)

// lane is one of the two streams of a connection.
type lane = lanes.Lane

const (
	control   = lanes.Control
	bulk      = lanes.Bulk
	laneCount = lanes.Count
)

// sendQueue is a lanes.Queue whose writer, on a goroutine of its own, waits for messages.
type sendQueue struct {
	mu            sync.Mutex
	queue         *lanes.Queue // guarded by mu
	writerWaiting bool         // guarded by mu; the writer waits for a token in wake

	wake chan struct{} // capacity 1; the goroutine that clears writerWaiting sends the token
}

func newSendQueue(limit int) *sendQueue {
	return &sendQueue{queue: lanes.NewQueue(limit), wake: make(chan struct{}, 1)}
}

// enqueue queues a message, or drops it. It returns true if the caller should report that messages
// were dropped (see lanes.Queue.Add).
func (q *sendQueue) enqueue(role messages.Receiver, message messages.PeerMessage, size int) (report bool) {
	q.mu.Lock()
	report = q.queue.Add(lanes.Message{Role: role, Size: size, Message: message})
	wakeWriter := q.writerWaiting && q.queue.Len() > 0
	q.writerWaiting = q.writerWaiting && !wakeWriter
	q.mu.Unlock()
	if wakeWriter {
		q.wake <- struct{}{}
	}
	return report
}

// dequeue waits for messages and appends them to batch: at least one, and further ones until they
// have maxBytes together.
func (q *sendQueue) dequeue(ctx context.Context, batch []lanes.Message, maxBytes int) ([]lanes.Message, error) {
	q.mu.Lock()
	for q.queue.Len() == 0 {
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
	return q.queue.Take(batch, maxBytes), nil
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
	q.queue.Accept()
	q.mu.Unlock()
}

// stopAccepting drops the queued messages, and makes enqueue drop new ones.
func (q *sendQueue) stopAccepting() {
	q.mu.Lock()
	q.queue.Refuse()
	q.mu.Unlock()
}

func (q *sendQueue) stat() (queuedBytes int, dropped uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.queue.Bytes(), q.queue.Dropped()
}
