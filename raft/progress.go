package raft

import "fmt"

// Progress is a leader's state of a peer's log.
//
//	Match  matchIndex: the peer's log agrees with the leader's up to here, on the peer's disk
//	Next   nextIndex: the next entry to send
//
// Invariant: Next > Match, whatever responses arrive in whatever order (E42).
type Progress struct {
	Match, Next uint64
}

// NewProgress returns the Progress of a new leader (Raft, Figure 2).
func NewProgress(lastIndex uint64) Progress { return Progress{Match: 0, Next: lastIndex + 1} }

// RecordSent records that entries up to `through` were sent. Next is optimistic: it assumes that
// they arrive.
func (p *Progress) RecordSent(through uint64) { p.Next = max(p.Next, through+1) }

// RecordAccepted records that the peer acknowledged everything up to index, and reports whether
// Match rose. Old and repeated responses change nothing.
func (p *Progress) RecordAccepted(index uint64) (advanced bool) {
	if index <= p.Match {
		return false
	}
	p.Match = index
	p.Next = max(p.Next, index+1)
	return true
}

// RecordRefused lowers Next while probing, when one request at a time is in flight. refusedPrev is
// the prevIndex that was refused, and hintNext the result of LogTerms.NextAfterConflict. A refusal
// of another request is old and changes nothing, nor does one of what the peer acknowledged before.
// Otherwise Next always falls, whatever the hint, so that probing ends.
func (p *Progress) RecordRefused(refusedPrev, hintNext uint64) (moved bool) {
	if refusedPrev != p.Next-1 || refusedPrev <= p.Match {
		return false
	}
	p.Next = max(min(hintNext, refusedPrev), p.Match+1)
	return true
}

// Rewind lowers Next to `next`, but not to what is acknowledged.
func (p *Progress) Rewind(next uint64) { p.Next = max(min(next, p.Next), p.Match+1) }

// InflightWindow has the requests that were sent and not acknowledged, bounded in messages and
// bytes. It is full when the bytes reach or exceed the bound, so a message that is larger can still
// be sent.
//
// Invariant: bytes is the sum over the ring; last indexes do not descend along it.
type InflightWindow struct {
	ring        []inflightMessage
	head, count int
	bytes       uint64
	maxBytes    uint64
}

type inflightMessage struct{ lastIndex, bytes uint64 }

// NewInflightWindow returns an empty window. No other method allocates.
func NewInflightWindow(maxMessages int, maxBytes uint64) *InflightWindow {
	if maxMessages < 1 {
		panic(fmt.Sprintf("window of %d messages", maxMessages))
	}
	return &InflightWindow{ring: make([]inflightMessage, maxMessages), maxBytes: maxBytes}
}

// Full reports whether nothing may be sent until a request is acknowledged.
func (w *InflightWindow) Full() bool {
	return w.count == len(w.ring) || w.count > 0 && w.bytes >= w.maxBytes
}

// Add adds a message whose last entry is lastIndex.
func (w *InflightWindow) Add(lastIndex, bytes uint64) {
	if w.count == len(w.ring) || w.count > 0 && w.at(w.count-1).lastIndex > lastIndex {
		panic(fmt.Sprintf("message through %d added to a window of %d messages", lastIndex, w.count))
	}
	w.count++
	*w.at(w.count - 1) = inflightMessage{lastIndex, bytes}
	w.bytes += bytes
}

// FreeThrough removes the messages whose last entry is at or below index.
func (w *InflightWindow) FreeThrough(index uint64) {
	for w.count > 0 && w.at(0).lastIndex <= index {
		w.bytes -= w.at(0).bytes
		w.head = (w.head + 1) % len(w.ring)
		w.count--
	}
}

// Reset removes all messages. Each change of behaviour of a Replicator begins with it (E43).
func (w *InflightWindow) Reset() { w.head, w.count, w.bytes = 0, 0, 0 }

// Len returns the number of messages in flight, Bytes their size.
func (w *InflightWindow) Len() int      { return w.count }
func (w *InflightWindow) Bytes() uint64 { return w.bytes }

func (w *InflightWindow) at(i int) *inflightMessage { return &w.ring[(w.head+i)%len(w.ring)] }
