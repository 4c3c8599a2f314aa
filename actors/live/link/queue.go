package link

import (
	"context"
	"sync"

	"google.golang.org/protobuf/proto"

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
type queue struct {
	limit int

	mu     sync.Mutex
	open   bool   // guarded by mu
	first  fifo   // guarded by mu
	rest   fifo   // guarded by mu
	asleep bool   // guarded by mu; the writer waits for a token in wake
	losses uint64 // guarded by mu; letters given up, ever
	told   bool   // guarded by mu; losses were reported since the writer last took something

	wake chan struct{} // holds at most one token: put only by who clears asleep
}

// fifo is a queue of letters whose head moves through a slice.
type fifo struct {
	letters []letter
	head    int
	bytes   int
}

func (f *fifo) len() int { return len(f.letters) - f.head }

func (f *fifo) push(l letter) {
	if f.head > 64 && f.head > len(f.letters)/2 {
		kept := copy(f.letters, f.letters[f.head:])
		clear(f.letters[kept:])
		f.letters, f.head = f.letters[:kept], 0
	}
	f.letters = append(f.letters, l)
	f.bytes += l.weight()
}

func (f *fifo) pop() letter {
	l := f.letters[f.head]
	f.letters[f.head] = letter{}
	f.head++
	f.bytes -= l.weight()
	if f.head == len(f.letters) {
		f.letters, f.head = f.letters[:0], 0
		if cap(f.letters) > maxSpare {
			f.letters = nil
		}
	}
	return l
}

// maxSpare is the number of letters above which an emptied queue gives its memory back.
const maxSpare = 4096

// weight is what a letter counts in a queue: its bytes and something for the memory around them, so that a flood of
// tiny letters is bounded too.
func (l letter) weight() int { return l.size + 64 }

func newQueue(limit int) *queue { return &queue{limit: limit, wake: make(chan struct{}, 1)} }

// put queues a letter, or drops it. It tells whether losses should be reported now: once until the writer gets on.
func (q *queue) put(role messages.Role, message proto.Message, size int) (report bool) {
	l := letter{role: byte(role), size: size, message: message}
	q.mu.Lock()
	if !q.open {
		q.losses++
		q.mu.Unlock()
		return false // reported when the attempt to connect has failed
	}
	if _, proposals := message.(*messages.ForwardedProposals); proposals {
		q.first.push(l)
	} else {
		q.rest.push(l)
	}
	for q.first.bytes+q.rest.bytes > q.limit && q.first.len()+q.rest.len() > 1 {
		if q.rest.len() > 0 {
			q.rest.pop()
		} else {
			q.first.pop()
		}
		q.losses++
		report = !q.told
		q.told = true
	}
	rouse := q.asleep
	q.asleep = false
	q.mu.Unlock()
	if rouse {
		q.wake <- struct{}{}
	}
	return report
}

// take waits for letters and moves those that fit into maxBytes, one at least, into mail.
func (q *queue) take(ctx context.Context, mail []letter, maxBytes int) ([]letter, error) {
	q.mu.Lock()
	for q.first.len()+q.rest.len() == 0 {
		q.asleep = true
		q.mu.Unlock()
		select {
		case <-q.wake:
		case <-ctx.Done():
			q.rise()
			return mail, context.Cause(ctx)
		}
		q.mu.Lock()
	}
	defer q.mu.Unlock()
	q.told = false
	total := 0
	for total < maxBytes && q.first.len() > 0 {
		l := q.first.pop()
		total += l.size
		mail = append(mail, l)
	}
	for total < maxBytes && q.rest.len() > 0 {
		l := q.rest.pop()
		total += l.size
		mail = append(mail, l)
	}
	return mail, nil
}

// rise undoes falling asleep, and takes the token back if a sender was faster.
func (q *queue) rise() {
	q.mu.Lock()
	asleep := q.asleep
	q.asleep = false
	q.mu.Unlock()
	if !asleep {
		<-q.wake
	}
}

// admit begins to take letters in.
func (q *queue) admit() {
	q.mu.Lock()
	q.open = true
	q.mu.Unlock()
}

// shut drops what waits and takes nothing in any more; it tells whether anything was lost since the last time.
func (q *queue) shut() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.open = false
	q.losses += uint64(q.first.len() + q.rest.len())
	q.first, q.rest = fifo{}, fifo{}
}

func (q *queue) stat() (bytes int, losses uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.first.bytes + q.rest.bytes, q.losses
}

func (q *queue) isOpen() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.open
}
