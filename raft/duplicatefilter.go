package raft

// DuplicateFilter tells copies of a message from the message: a network may deliver it twice, late, and after its successors. The
// sender numbers its messages from 1 in a stream of its own, another one in each of its lives.
//
// A network may also deliver the first message of a life after those of the next. So streams have no order here, and none
// ends another: the last few that were new are remembered, each for itself.
//
// The zero value has seen nothing.
type DuplicateFilter struct {
	streams [4]replayWindow // the newest first
}

// seen is what is known of the numbers of a stream.
//
//	numbers  … 5 6 │ 7 8 9 … 70
//	               └ the last 64: mask has a bit for each that was seen; what is below counts as seen
type replayWindow struct {
	stream, highest uint64
	bitmap          uint64 // bit k: highest-k was seen
}

// First tells whether this number of the stream is seen for the first time, and notes it.
func (o *DuplicateFilter) Accept(stream, number uint64) bool {
	for i := range o.streams {
		if o.streams[i].stream == stream {
			return o.streams[i].accept(number)
		}
	}
	copy(o.streams[1:], o.streams[:])
	o.streams[0] = replayWindow{stream: stream}
	return o.streams[0].accept(number)
}

func (s *replayWindow) accept(number uint64) bool {
	if number > s.highest {
		s.bitmap <<= number - s.highest // a shift by 64 or more leaves nothing
		s.bitmap |= 1
		s.highest = number
		return true
	}
	back := s.highest - number
	if back >= 64 || s.bitmap&(1<<back) != 0 {
		return false
	}
	s.bitmap |= 1 << back
	return true
}
