package lanes

import "github.com/troupe-raft/troupe/messages"

// Message is a message that waits to be sent.
type Message struct {
	Role    messages.Receiver
	Size    int // the encoded size of Message
	Message messages.PeerMessage
}

// Queue holds the messages of one lane to one peer until the lane's writer takes them.
//
// It is bounded in bytes. At the bound it drops the oldest messages: a Raft message loses its value
// with age, and the newest often makes the older ones redundant. While the peer is neither
// connected nor being dialed, the queue accepts nothing: a peer that returns would otherwise
// receive old messages first, and its replicator knows better what it needs by then.
//
// On the bulk lane, forwarded proposals go first and are dropped last, because callers wait for
// them; entries may wait, since they are for a follower that lags anyway.
//
// A Queue is not safe for concurrent use.
type Queue struct {
	limit        int // bytes
	accepting    bool
	proposals    fifo // forwarded proposals
	others       fifo
	dropped      uint64 // messages since the start
	dropReported bool   // Add has reported a drop since the last Take
	onDrop       func(Message)
}

// NewQueue makes a queue that accepts nothing yet.
func NewQueue(limitBytes int) *Queue { return &Queue{limit: limitBytes} }

// Add queues a message, or drops it. It returns true if the caller should report that messages were
// dropped: once until Take is called again. The newest message is kept even if it alone exceeds the
// limit.
func (q *Queue) Add(m Message) (report bool) {
	if !q.accepting {
		q.dropped++
		return false // reported when the attempt to connect fails
	}
	if _, proposals := m.Message.(*messages.ForwardedProposals); proposals {
		q.proposals.push(m)
	} else {
		q.others.push(m)
	}
	for q.Bytes() > q.limit && q.Len() > 1 {
		oldest := &q.others
		if oldest.len() == 0 {
			oldest = &q.proposals
		}
		m := oldest.pop()
		if q.onDrop != nil {
			q.onDrop(m)
		}
		q.dropped++
		report = report || !q.dropReported
		q.dropReported = true
	}
	return report
}

// Take appends messages to batch until they have maxBytes together: at least one, if there is one.
func (q *Queue) Take(batch []Message, maxBytes int) []Message {
	q.dropReported = false
	total := 0
	for _, f := range []*fifo{&q.proposals, &q.others} {
		for total < maxBytes && f.len() > 0 {
			m := f.pop()
			total += m.Size
			batch = append(batch, m)
		}
	}
	return batch
}

// OnDrop makes Add call f for each message that it displaces.
func (q *Queue) OnDrop(f func(Message)) { q.onDrop = f }

// Accept makes Add accept messages.
func (q *Queue) Accept() { q.accepting = true }

// Refuse drops the queued messages, and makes Add drop new ones.
func (q *Queue) Refuse() {
	q.accepting = false
	q.dropped += uint64(q.Len())
	q.proposals, q.others = fifo{}, fifo{}
}

// Accepting reports whether Add accepts messages.
func (q *Queue) Accepting() bool { return q.accepting }

// Len returns the number of messages.
func (q *Queue) Len() int { return q.proposals.len() + q.others.len() }

// Bytes returns what the messages count towards the limit.
func (q *Queue) Bytes() int { return q.proposals.bytes + q.others.bytes }

// Dropped returns how many messages were dropped since the start.
func (q *Queue) Dropped() uint64 { return q.dropped }

// fifo is a queue of messages whose head moves through a slice.
type fifo struct {
	messages []Message
	head     int
	bytes    int
}

func (f *fifo) len() int { return len(f.messages) - f.head }

func (f *fifo) push(m Message) {
	if f.head > 64 && f.head > len(f.messages)/2 {
		kept := copy(f.messages, f.messages[f.head:])
		clear(f.messages[kept:])
		f.messages, f.head = f.messages[:kept], 0
	}
	f.messages = append(f.messages, m)
	f.bytes += m.queueCost()
}

func (f *fifo) pop() Message {
	m := f.messages[f.head]
	f.messages[f.head] = Message{}
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
func (m Message) queueCost() int { return m.Size + 64 }
