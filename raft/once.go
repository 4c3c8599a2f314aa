package raft

// Once tells copies of a message from the message: a network may deliver it twice, late, and after its successors. The
// sender numbers its messages from 1 in a stream of its own.
//
//	numbers  … 5 6 │ 7 8 9 … 70
//	               └ the last 64: mask has a bit for each that was seen; what is below counts as seen
//
// The zero value has seen nothing.
type Once struct {
	stream, highest uint64
	mask            uint64 // bit k: highest-k was seen
}

// First tells whether this number of the stream is seen for the first time, and notes it. Another stream begins anew.
func (o *Once) First(stream, number uint64) bool {
	if stream != o.stream {
		*o = Once{stream: stream}
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
