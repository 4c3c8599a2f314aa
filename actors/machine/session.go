package machine

// origin is what is known of one handle's life. See ledger.
type session struct {
	id                uint64
	node              uint64
	nonce             []byte
	lastUsed          uint64 // the index of the last entry that concerned it
	lowestOutstanding uint64
	cachedFrom        uint64
	replies           []cachedReply
	valueBytes        int           // of the kept values
	array             []cachedReply // the array that answers is a part of
	evictFrom         uint64        // no answer below this sequence has bytes; where to look for one that can give way
}

type replyState byte

const (
	pending replyState = iota // applied in the batch in hand
	cached
	evicted // applied, but the value is gone
)

// answer tells that a sequence was applied, and what came of it.
type cachedReply struct {
	sequence      uint64
	index         uint64 // of the entry that took effect
	value         []byte
	batchPosition int // place in the batch while pending
	state         replyState
}

// raise moves the watermark up: the answers below it are not waited for.
func (o *session) acknowledgeBelow(watermark uint64) {
	if watermark <= o.lowestOutstanding {
		return
	}
	o.lowestOutstanding = watermark
	o.cachedFrom = max(o.cachedFrom, watermark)
	n := 0
	for n < len(o.replies) && o.replies[n].sequence < watermark {
		n++
	}
	o.removeLowest(n)
}

// search finds a sequence, or the place where it belongs. Sequences come nearly in order, so it is sought from the end.
func (o *session) search(sequence uint64) (at int, found bool) {
	low, high := 0, len(o.replies)
	if high > 0 && o.replies[high-1].sequence < sequence {
		return high, false
	}
	for low < high {
		middle := int(uint(low+high) >> 1)
		if o.replies[middle].sequence < sequence {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return low, low < len(o.replies) && o.replies[low].sequence == sequence
}

// insert lists an answer. answers slides through its array: what is dropped at the front leaves room that is taken back
// when the end is reached, so that an origin in the steady state allocates nothing.
func (o *session) insert(at int, a cachedReply) {
	if n := len(o.replies); n == cap(o.replies) {
		if full, waste := 2*n >= len(o.array), len(o.array) > 1024 && 16*n < len(o.array); full || waste {
			o.array = make([]cachedReply, max(4*n, 16))
		}
		copy(o.array, o.replies)
		clear(o.array[n:])
		o.replies = o.array[:n]
	}
	o.replies = o.replies[:len(o.replies)+1]
	copy(o.replies[at+1:], o.replies[at:])
	o.replies[at] = a
}

// keep gives the answer at a place its value.
func (o *session) setValue(at int, value []byte) {
	a := &o.replies[at]
	a.state, a.value = cached, value
	o.valueBytes += len(value)
	o.evictFrom = min(o.evictFrom, a.sequence)
}

// evictLowestValue takes the value from the lowest answer that has any bytes. There must be one.
func (o *session) evictLowestValue() {
	at, _ := o.search(o.evictFrom)
	for len(o.replies[at].value) == 0 {
		at++
	}
	a := &o.replies[at]
	o.valueBytes -= len(a.value)
	o.evictFrom = a.sequence + 1
	a.state, a.value = evicted, nil
}

// drop forgets the n lowest answers.
func (o *session) removeLowest(n int) {
	for i := range o.replies[:n] {
		o.valueBytes -= len(o.replies[i].value)
		o.replies[i].value = nil
	}
	o.replies = o.replies[n:]
}
