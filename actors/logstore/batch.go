package logstore

import "github.com/troupe-raft/troupe/messages"

// batch is what will be said once the Appends collected are durable.
type batch struct {
	needsSync bool
	entries   int
	// In the order in which they came; nil where one was dropped.
	deferred []*messages.DeferredMessage
	// The marks that Node wants to hear of. One that a newer one includes is left out, so there is mostly one. A newer one
	// of a lower index includes nothing: a candidate's vote says nothing of the entries that it took as a follower. Marks
	// are never merged: a mark's term says which truncations came after it.
	// Invariant: indexes descend strictly.
	marks []*messages.AppendMark
}

// add takes one Append. What it truncates takes the promises of this batch with it that held through there: they were
// about entries that this very write replaces (E12).
func (b *batch) add(m *messages.Append) {
	if m.TruncateFrom != 0 {
		b.truncate(m.TruncateFrom)
	}
	b.needsSync = b.needsSync || needsSync(m)
	b.entries += len(m.GetEntries().GetData())
	b.deferred = append(b.deferred, m.Deferred...)
	if m.Notify {
		b.addMark(m.Mark)
	}
}

func (b *batch) truncate(from uint64) {
	for i, p := range b.deferred {
		if p != nil && p.CoversThrough >= from {
			b.deferred[i] = nil
		}
	}
	stale := b.marks
	b.marks = nil
	for _, mark := range stale {
		if mark.Index >= from {
			mark = &messages.AppendMark{Term: mark.Term, Index: from - 1}
		}
		b.addMark(mark)
	}
}

func (b *batch) addMark(mark *messages.AppendMark) {
	n := len(b.marks)
	for n > 0 && b.marks[n-1].GetIndex() <= mark.GetIndex() {
		n--
	}
	b.marks = append(b.marks[:n], mark)
}

func (b *batch) reset() {
	clear(b.deferred)
	clear(b.marks)
	*b = batch{deferred: b.deferred[:0], marks: b.marks[:0]}
}
