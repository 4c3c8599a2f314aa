package node

import (
	"testing"

	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// Messages to the Machine and to Replicators share the array of the memory log.
func TestMemoryLogNeverOverwritesSentEntries(t *testing.T) {
	m, terms := newMemoryLog(0), raft.NewLogTerms(0, 0, 0, nil)
	add := func(first, term uint64, data ...string) {
		e := &messages.Entries{First: first, Runs: []*messages.TermRun{{FirstIndex: first, Term: term}}}
		for _, d := range data {
			e.Data, e.Bytes = append(e.Data, []byte(d)), e.Bytes+uint64(len(d))
		}
		terms.Append(e)
		m.append(e)
	}
	add(1, 1, "a", "b", "c", "d")
	sent := m.slice(terms, 1, 4, 100)
	terms.Truncate(3)
	m.truncate(3)
	add(3, 2, "x", "y")
	if string(sent.Data[2]) != "c" || string(sent.Data[3]) != "d" {
		t.Fatalf("sent before the truncation: %q", sent.Data)
	}
	if after := m.slice(terms, 3, 4, 100); string(after.Data[0]) != "x" || string(after.Data[1]) != "y" {
		t.Fatalf("in memory: %q", after.Data)
	}
}

func TestE45MemoryLogIsBounded(t *testing.T) {
	s := newFixture(t, 3, func(l *Limits) { l.MemoryBytes = 500 }).asFollower(3, 2, 1, 1)
	prevTerm := uint64(1)
	for i := range uint64(100) {
		s.deliver(newAppendEntries(3, i+1, prevTerm, 1, 3))
		s.syncAll()
		prevTerm = 3
	}
	if s.node.log.memory.bytes > 500 || s.node.log.lastIndex() != 101 {
		t.Fatalf("%d bytes of %d entries in memory", s.node.log.memory.bytes, s.node.log.lastIndex())
	}
}

func TestMemoryKeepsEntriesUntilDurable(t *testing.T) {
	s := newFixture(t, 3, func(l *Limits) { l.MemoryBytes = 0 }).asFollower(3, 2, 1, 1)
	s.deliver(newAppendEntries(3, 1, 1, 1, 3, 3, 3))
	s.deliver(&messages.Durable{Incarnation: s.incarnation, Mark: &messages.AppendMark{Term: 3, Index: 3}})
	if m := s.node.log.memory; m.first != 4 || !m.holds(4) {
		t.Fatalf("memory begins at %d", m.first)
	}
}
