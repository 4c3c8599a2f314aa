package link

import (
	"context"
	"sync"

	"github.com/troupe-raft/troupe/messages"
)

// queue holds the letters of one lane to one peer until its writer takes them.
//
// It is bounded in bytes. At the limit the oldest go: a Raft message loses its worth with age, and the newest one often
// says all that the older ones did. While there is no connection, nor an attempt at one, nothing is taken in: what a peer
// missed while it was away is not poured over it when it comes back; the replicator knows better what it needs by then.
//
// On the bulk lane forwarded proposals go first, since callers wait for them, while entries are wanted by a peer that
// lags: `first` overtakes `rest`, and is dropped last.
type sendQueue struct {
	limit int

	mu            sync.Mutex
	accepting     bool   // guarded by mu
	proposals     fifo   // guarded by mu
	others        fifo   // guarded by mu
	writerWaiting bool   // guarded by mu; the writer waits for a token in wake
	dropped       uint64 // guarded by mu; letters given up, ever
	dropReported  bool   // guarded by mu; losses were reported since the writer last took something

	wake chan struct{} // holds at most one token: put only by who clears asleep
}

// fifo is a queue of letters whose head moves through a slice.
type fifo struct {
	messages []queuedMessage
	head     int
	bytes    int
}

func (f *fifo) len() int { return len(f.messages) - f.head }

func (f *fifo) push(l queuedMessage) {
	if f.head > 64 && f.head > len(f.messages)/2 {
		kept := copy(f.messages, f.messages[f.head:])
		clear(f.messages[kept:])
		f.messages, f.head = f.messages[:kept], 0
	}
	f.messages = append(f.messages, l)
	f.bytes += l.queueCost()
}

func (f *fifo) pop() queuedMessage {
	l := f.messages[f.head]
	f.messages[f.head] = queuedMessage{}
	f.head++
	f.bytes -= l.queueCost()
	if f.head == len(f.messages) {
		f.messages, f.head = f.messages[:0], 0
		if cap(f.messages) > maxReusedCapacity {
			f.messages = nil
		}
	}
	return l
}

// maxReusedCapacity is the number of letters above which an emptied queue gives its memory back.
const maxReusedCapacity = 4096

// weight is what a letter counts in a queue: its bytes and something for the memory around them, so that a flood of
// tiny letters is bounded too.
func (l queuedMessage) queueCost() int { return l.size + 64 }

func newSendQueue(limit int) *sendQueue {
	return &sendQueue{limit: limit, wake: make(chan struct{}, 1)}
}

// put queues a letter, or drops it. It tells whether losses should be reported now: once until the writer gets on.
func (q *sendQueue) enqueue(role messages.Role, message messages.PeerMessage, size int) (report bool) {
	l := queuedMessage{role: byte(role), size: size, message: message}
	q.mu.Lock()
	if !q.accepting {
		q.dropped++
		q.mu.Unlock()
		return false // reported when the attempt to connect has failed
	}
	if _, proposals := message.(*messages.ForwardedProposals); proposals {
		q.proposals.push(l)
	} else {
		q.others.push(l)
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
	rouse := q.writerWaiting
	q.writerWaiting = false
	q.mu.Unlock()
	if rouse {
		q.wake <- struct{}{}
	}
	return report
}

// take waits for letters and moves those that fit into maxBytes, one at least, into mail.
func (q *sendQueue) dequeue(ctx context.Context, mail []queuedMessage, maxBytes int) ([]queuedMessage, error) {
	q.mu.Lock()
	for q.proposals.len()+q.others.len() == 0 {
		q.writerWaiting = true
		q.mu.Unlock()
		select {
		case <-q.wake:
		case <-ctx.Done():
			q.cancelWait()
			return mail, context.Cause(ctx)
		}
		q.mu.Lock()
	}
	defer q.mu.Unlock()
	q.dropReported = false
	total := 0
	for total < maxBytes && q.proposals.len() > 0 {
		l := q.proposals.pop()
		total += l.size
		mail = append(mail, l)
	}
	for total < maxBytes && q.others.len() > 0 {
		l := q.others.pop()
		total += l.size
		mail = append(mail, l)
	}
	return mail, nil
}

// rise undoes falling asleep, and takes the token back if a sender was faster.
func (q *sendQueue) cancelWait() {
	q.mu.Lock()
	asleep := q.writerWaiting
	q.writerWaiting = false
	q.mu.Unlock()
	if !asleep {
		<-q.wake
	}
}

// admit begins to take letters in.
func (q *sendQueue) startAccepting() {
	q.mu.Lock()
	q.accepting = true
	q.mu.Unlock()
}

// shut drops what waits and takes nothing in any more; it tells whether anything was lost since the last time.
func (q *sendQueue) stopAccepting() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.accepting = false
	q.dropped += uint64(q.proposals.len() + q.others.len())
	q.proposals, q.others = fifo{}, fifo{}
}

func (q *sendQueue) stat() (bytes int, losses uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.proposals.bytes + q.others.bytes, q.dropped
}

func (q *sendQueue) isAccepting() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.accepting
}
