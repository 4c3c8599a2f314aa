package logstore

import "github.com/troupe-raft/troupe/messages"

// batch collects what must be sent once its Appends are durable.
type batch struct {
	needsSync bool
	entries   int
	// deferred holds the deferred messages in the order in which they came; nil for one that was
	// dropped.
	deferred []*messages.DeferredMessage
	// marks are those that the Node wants reported as durable. A mark that a newer and higher one
	// covers is left out, so there is usually one. A newer mark with a lower index covers nothing: a
	// mark of index 0, for a vote, does not replace an earlier mark of entries. Marks are never
	// merged, because the term of a mark tells which truncations came after it (docs/protocol.md P37).
	// Invariant: the indexes strictly decrease.
	marks []*messages.AppendMark
}

// add adds one Append. If it truncates, it drops the deferred messages of this batch that cover
// truncated entries (E12).
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
	for i, d := range b.deferred {
		if d != nil && d.CoversThrough >= from {
			b.deferred[i] = nil
		}
	}
	old := b.marks
	b.marks = nil
	for _, mark := range old {
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
