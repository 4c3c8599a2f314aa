package raft

// DuplicateFilter recognises copies of messages that a network delivers twice, late, or after newer
// ones. Each incarnation of the sender chooses a stream at random and numbers its messages from 1.
//
// The network may also deliver a message of an incarnation after those of the next. So streams have
// no order and a new one does not end another: the filter has a window for each of the last four.
//
// The zero value has accepted nothing.
type DuplicateFilter struct {
	streams [4]replayWindow // the newest stream first
}

// replayWindow records which of the last 64 numbers of a stream were accepted. Lower ones count as
// accepted.
//
//	number  … 5 6 │ 7  8  9 … 70 = highest
//	bit           │ 63 62 61 … 0
type replayWindow struct {
	stream, highest uint64
	bitmap          uint64 // bit k: highest-k was accepted
}

// Accept reports whether this is the first message with this stream and number, and records it.
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
		s.bitmap <<= number - s.highest // a shift by 64 or more leaves 0
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
