package raft

import "slices"

// Once tells copies of a message from the message: a network may deliver it twice, late, and after its successors. The
// sender numbers its messages from 1 in a stream of its own.
//
//	numbers  … 5 6 │ 7 8 9 … 70
//	               └ the last 64: mask has a bit for each that was seen; what is below counts as seen
//
// A sender has one stream a life. What is late of an earlier one counts as seen, or it would make forget what was seen of
// the present one; the last few lives are remembered, which bounds this.
//
// The zero value has seen nothing.
type Once struct {
	stream, highest uint64
	mask            uint64    // bit k: highest-k was seen
	ended           [4]uint64 // the streams before this one, the latest first
}

// First tells whether this number of the stream is seen for the first time, and notes it. A new stream begins anew.
func (o *Once) First(stream, number uint64) bool {
	if stream != o.stream {
		if slices.Contains(o.ended[:], stream) {
			return false
		}
		next := Once{stream: stream}
		next.ended[0] = o.stream
		copy(next.ended[1:], o.ended[:])
		*o = next
	}
	if number > o.highest {
		o.mask <<= number - o.highest // a shift by 64 or more leaves nothing
		o.mask |= 1
		o.highest = number
		return true
	}
	back := o.highest - number
	if back >= 64 || o.mask&(1<<back) != 0 {
		return false
	}
	o.mask |= 1 << back
	return true
}
