package logstore

import "github.com/troupe-raft/troupe/messages"

// batch is what will be said once the Appends collected are durable.
type batch struct {
	urgent  bool
	entries int
	// In the order in which they came; nil where one was dropped.
	promises []*messages.Promise
	// The marks that Node wants to hear of. One that a newer one includes is left out, so there is mostly one. A newer one
	// of a lower index includes nothing: a candidate's vote says nothing of the entries that it took as a follower. Marks
	// are never merged: a mark's term says which truncations came after it.
	// Invariant: indexes descend strictly.
	told []*messages.Mark
}

// add takes one Append. What it truncates takes the promises of this batch with it that held through there: they were
// about entries that this very write replaces (E12).
func (b *batch) add(m *messages.Append) {
	if m.TruncateFrom != 0 {
		b.truncate(m.TruncateFrom)
	}
	b.urgent = b.urgent || urgent(m)
	b.entries += len(m.GetEntries().GetData())
	b.promises = append(b.promises, m.Then...)
	if m.Tell {
		b.tell(m.Mark)
	}
}

func (b *batch) truncate(from uint64) {
	for i, p := range b.promises {
		if p != nil && p.HoldsThrough >= from {
			b.promises[i] = nil
		}
	}
	stale := b.told
	b.told = nil
	for _, mark := range stale {
		if mark.Index >= from {
			mark = &messages.Mark{Term: mark.Term, Index: from - 1}
		}
		b.tell(mark)
	}
}

func (b *batch) tell(mark *messages.Mark) {
	n := len(b.told)
	for n > 0 && b.told[n-1].GetIndex() <= mark.GetIndex() {
		n--
	}
	b.told = append(b.told[:n], mark)
}

func (b *batch) reset() {
	clear(b.promises)
	clear(b.told)
	*b = batch{promises: b.promises[:0], told: b.told[:0]}
}
