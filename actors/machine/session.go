package machine

// clientSession is one client session. See sessionTable.
type clientSession struct {
	id                uint64
	node              uint64 // that registered it
	nonce             []byte
	lastUsed          uint64 // the index of the last command or barrier of the session; id: it was not used
	lowestOutstanding uint64
	cachedFrom        uint64
	replies           []cachedReply
	array             []cachedReply // of which replies is a part
	valueBytes        int           // of all cached values
	evictFrom         uint64        // no reply below this sequence has a value of any bytes
}

type replyState byte

const (
	inBatch replyState = iota // applied in the present batch
	cached
	evicted // applied, but without the value
)

// cachedReply is the result of an applied command.
type cachedReply struct {
	sequence      uint64
	index         uint64 // of the entry that was applied
	value         []byte
	batchPosition int // of the command, while pending
	state         replyState
}

// acknowledgeBelow removes the replies that the client has received.
func (s *clientSession) acknowledgeBelow(sequence uint64) {
	if sequence <= s.lowestOutstanding {
		return
	}
	s.lowestOutstanding = sequence
	s.cachedFrom = max(s.cachedFrom, sequence)
	n := 0
	for n < len(s.replies) && s.replies[n].sequence < sequence {
		n++
	}
	s.removeLowest(n)
}

// search finds the position of a sequence, or the one where it belongs. Most sequences belong at
// the end.
func (s *clientSession) search(sequence uint64) (at int, found bool) {
	low, high := 0, len(s.replies)
	if high > 0 && s.replies[high-1].sequence < sequence {
		return high, false
	}
	for low < high {
		middle := int(uint(low+high) >> 1)
		if s.replies[middle].sequence < sequence {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return low, low < len(s.replies) && s.replies[low].sequence == sequence
}

// insert adds a reply. replies slides through its array:
//
//	array   [ - - - 14 15 16 17 ]    - was removed at the front
//
// When it reaches the end it is copied back to the front, so that a session with a steady number of
// outstanding commands allocates nothing.
func (s *clientSession) insert(at int, reply cachedReply) {
	if n := len(s.replies); n == cap(s.replies) {
		if full, waste := 2*n >= len(s.array), len(s.array) > 1024 && 16*n < len(s.array); full || waste {
			s.array = make([]cachedReply, max(4*n, 16))
		}
		copy(s.array, s.replies)
		clear(s.array[n:])
		s.replies = s.array[:n]
	}
	s.replies = s.replies[:len(s.replies)+1]
	copy(s.replies[at+1:], s.replies[at:])
	s.replies[at] = reply
}

// setBatchPosition notes the position in the batch of the command that a pending reply belongs to.
func (s *clientSession) setBatchPosition(sequence uint64, position int) {
	if at, found := s.search(sequence); found {
		s.replies[at].batchPosition = position
	}
}

// dropValue marks a reply as evicted whose value is too large to cache.
func (s *clientSession) dropValue(sequence uint64) {
	if at, found := s.search(sequence); found {
		s.replies[at].state = evicted
	}
}

// setValue sets the value of the reply at a position.
func (s *clientSession) setValue(at int, value []byte) {
	reply := &s.replies[at]
	reply.state, reply.value = cached, value
	s.valueBytes += len(value)
	s.evictFrom = min(s.evictFrom, reply.sequence)
}

// evictLowestValue evicts the value of the lowest reply that has one of any bytes. There must be
// one.
func (s *clientSession) evictLowestValue() {
	at, _ := s.search(s.evictFrom)
	for len(s.replies[at].value) == 0 {
		at++
	}
	reply := &s.replies[at]
	s.valueBytes -= len(reply.value)
	s.evictFrom = reply.sequence + 1
	reply.state, reply.value = evicted, nil
}

// removeLowest removes the n lowest replies.
func (s *clientSession) removeLowest(n int) {
	for i := range s.replies[:n] {
		s.valueBytes -= len(s.replies[i].value)
		s.replies[i].value = nil
	}
	s.replies = s.replies[n:]
}
