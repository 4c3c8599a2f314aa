package raft

import "fmt"

// Progress is what a leader knows of one peer's log.
//
//	Match  the peer's log agrees with ours up to here, and that is on its disk
//	Next   the next entry to send
//
// Invariant: Next > Match, whatever answers arrive in whatever order (E42).
type Progress struct {
	Match, Next uint64
}

// NewProgress is where a new leader begins: nothing known, and the hope that the peer lacks nothing (Raft, Figure 2).
func NewProgress(lastIndex uint64) Progress { return Progress{Match: 0, Next: lastIndex + 1} }

// Sent notes that everything up to `through` is on its way: the next request begins after it, in the hope that this one
// arrives.
func (p *Progress) RecordSent(through uint64) { p.Next = max(p.Next, through+1) }

// Accepted notes that the peer's disk has everything up to index, and tells whether that is new. Old and repeated answers
// change nothing.
func (p *Progress) RecordAccepted(index uint64) (advanced bool) {
	if index <= p.Match {
		return false
	}
	p.Match = index
	p.Next = max(p.Next, index+1)
	return true
}

// Refused takes back nextIndex while probing, when one request is under way at a time: refusedPrev is the prevIndex that
// was refused, hintNext where the conflict hint leads (LogTerms.NextAfterConflict). A refusal of anything but the request
// under way is old and changes nothing, and so does one that denies what the peer acknowledged before. A refusal that
// counts always moves Next down, whatever the hint says, so that probing ends.
func (p *Progress) RecordRefused(refusedPrev, hintNext uint64) (moved bool) {
	if refusedPrev != p.Next-1 || refusedPrev <= p.Match {
		return false
	}
	p.Next = max(min(hintNext, refusedPrev), p.Match+1)
	return true
}

// Rewind takes back what was sent in hope: sending goes on at `next`, but never before what is acknowledged and never
// further than it was.
func (p *Progress) Rewind(next uint64) { p.Next = max(min(next, p.Next), p.Match+1) }

// InflightWindow is what a replicator has sent and not heard of, bounded in messages and in bytes. The bytes' bound is reached when
// it is met or passed, so that one message larger than it can still be sent.
//
// Invariant: bytes is the sum over the ring; last indexes do not descend along it.
type InflightWindow struct {
	ring        []inflightMessage
	head, count int
	bytes       uint64
	maxBytes    uint64
}

type inflightMessage struct{ lastIndex, bytes uint64 }

// NewInflightWindow makes an empty window; all its memory is taken here.
func NewInflightWindow(maxMessages int, maxBytes uint64) *InflightWindow {
	if maxMessages < 1 {
		panic(fmt.Sprintf("window of %d messages", maxMessages))
	}
	return &InflightWindow{ring: make([]inflightMessage, maxMessages), maxBytes: maxBytes}
}

// Full tells whether nothing may be sent until something is acknowledged.
func (w *InflightWindow) Full() bool {
	return w.count == len(w.ring) || w.count > 0 && w.bytes >= w.maxBytes
}

// Add notes a message that ends with lastIndex.
func (w *InflightWindow) Add(lastIndex, bytes uint64) {
	if w.count == len(w.ring) || w.count > 0 && w.at(w.count-1).lastIndex > lastIndex {
		panic(fmt.Sprintf("message through %d added to a window of %d messages", lastIndex, w.count))
	}
	w.count++
	*w.at(w.count - 1) = inflightMessage{lastIndex, bytes}
	w.bytes += bytes
}

// FreeThrough forgets the messages that end at or before index: they were acknowledged, one by one or by a later one.
func (w *InflightWindow) FreeThrough(index uint64) {
	for w.count > 0 && w.at(0).lastIndex <= index {
		w.bytes -= w.at(0).bytes
		w.head = (w.head + 1) % len(w.ring)
		w.count--
	}
}

// Reset forgets all: with every change of behaviour what was under way does not count any more (E43).
func (w *InflightWindow) Reset() { w.head, w.count, w.bytes = 0, 0, 0 }

// Len is how many messages are under way, Bytes their size.
func (w *InflightWindow) Len() int      { return w.count }
func (w *InflightWindow) Bytes() uint64 { return w.bytes }

func (w *InflightWindow) at(i int) *inflightMessage { return &w.ring[(w.head+i)%len(w.ring)] }
