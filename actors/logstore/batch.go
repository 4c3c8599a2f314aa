package logstore

import "github.com/troupe-raft/troupe/messages"

// batch is what will be said once the Appends collected are durable.
type batch struct {
	urgent  bool
	entries int
	// In the order in which they came; nil where one was dropped.
	promises []*messages.Promise
	// The mark of the newest Append that wants to be told, and of the newest at all.
	told, last *messages.Mark
}

// add takes one Append. What it truncates takes the promises and marks of this batch with it that held through there: they
// were about entries that this very write replaces (E12).
func (b *batch) add(m *messages.Append) {
	if from := m.TruncateFrom; from != 0 {
		for i, p := range b.promises {
			if p != nil && p.HoldsThrough >= from {
				b.promises[i] = nil
			}
		}
		if b.told != nil && b.told.Index >= from {
			b.told = nil
		}
	}
	b.urgent = b.urgent || urgent(m)
	b.entries += len(m.GetEntries().GetData())
	b.promises = append(b.promises, m.Then...)
	if m.Mark != nil {
		b.last = m.Mark
		if m.Tell {
			b.told = m.Mark
		}
	}
}

func (b *batch) reset() {
	clear(b.promises)
	*b = batch{promises: b.promises[:0]}
}
