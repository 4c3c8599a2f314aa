package node

import (
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// memoryLog is the newest part of the log in memory: what Replicators of up-to-date peers and the
// Machine need next, and everything that is not on disk yet.
//
//	index    first … … … … … … … … last index
//	data      [0]  [1] …                        append adds here; truncate cuts here
//	         └ evict removes here
//
// Invariants: it is contiguous and ends with the log's last index. Entries messages that were sent
// share its array, so an element that was written once is never written again: after a truncation
// the slice has no spare capacity, and the next append copies it to another array.
type memoryLog struct {
	first uint64 // index of data[0]; last index + 1 when empty
	data  [][]byte
	bytes uint64
}

func newMemoryLog(lastIndex uint64) *memoryLog { return &memoryLog{first: lastIndex + 1} }

func (m *memoryLog) next() uint64 { return m.first + uint64(len(m.data)) }

func (m *memoryLog) append(e *messages.Entries) {
	invariant(e.First == m.next(), "append at %d to a memory log that ends before %d", e.First, m.next())
	m.data = append(m.data, e.Data...)
	m.bytes += e.Bytes
}

// truncate removes entries from index `from` on.
func (m *memoryLog) truncate(from uint64) {
	if from <= m.first {
		*m = memoryLog{first: from}
		return
	}
	keep := from - m.first
	if keep >= uint64(len(m.data)) {
		return
	}
	for _, d := range m.data[keep:] {
		m.bytes -= uint64(len(d))
	}
	m.data = m.data[:keep:keep]
}

// evict removes the oldest entries while there are more bytes than limit, but none above `through`:
// entries that are not on disk exist only here.
func (m *memoryLog) evict(limit, through uint64) {
	k := 0
	for m.bytes > limit && k < len(m.data) && m.first+uint64(k) <= through {
		m.bytes -= uint64(len(m.data[k]))
		k++
	}
	if k > 0 {
		m.data = m.data[k:]
		m.first += uint64(k)
	}
}

// holds reports whether the entry at index is in memory.
func (m *memoryLog) holds(index uint64) bool { return index >= m.first && index < m.next() }

// slice returns entries from `from` to at most `to` that fit into maxBytes, but at least one. It
// must hold `from`.
func (m *memoryLog) slice(terms *raft.LogTerms, from, to, maxBytes uint64) *messages.Entries {
	invariant(m.holds(from), "slice from %d of a memory log of %d to %d", from, m.first, m.next())
	k := from - m.first
	end, bytes := k, uint64(0)
	for end < uint64(len(m.data)) && m.first+end <= to {
		size := uint64(len(m.data[end]))
		if end > k && bytes+size > maxBytes {
			break
		}
		bytes += size
		end++
	}
	return &messages.Entries{
		First: from,
		Runs:  terms.Runs(from, m.first+end-1),
		Data:  m.data[k:end:end],
		Bytes: bytes,
	}
}
