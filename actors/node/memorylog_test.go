package node

import (
	"testing"

	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// Its slots are in messages that are under way, to the Machine and to replicators.
func TestMemoryLogNeverOverwritesSentEntries(t *testing.T) {
	m, log := newMemoryLog(0), raft.NewLogTerms(0, 0, 0, nil)
	take := func(first, term uint64, data ...string) {
		e := &messages.Entries{First: first, Runs: []*messages.TermRun{{FirstIndex: first, Term: term}}}
		for _, d := range data {
			e.Data, e.Bytes = append(e.Data, []byte(d)), e.Bytes+uint64(len(d))
		}
		log.Append(e)
		m.append(e)
	}
	take(1, 1, "a", "b", "c", "d")
	handed := m.slice(log, 1, 4, 100)
	log.Truncate(3)
	m.truncate(3)
	take(3, 2, "x", "y")
	if string(handed.Data[2]) != "c" || string(handed.Data[3]) != "d" {
		t.Fatalf("handed out: %q", handed.Data)
	}
	if now := m.slice(log, 3, 4, 100); string(now.Data[0]) != "x" || string(now.Data[1]) != "y" {
		t.Fatalf("held: %q", now.Data)
	}
}

func TestE45MemoryLogIsBounded(t *testing.T) {
	s := newFixture(t, 3)
	s.config.Limits.MemoryBytes = 500
	s.crashNode()
	s.asFollower(3, 2, 1, 1)
	for i := range uint64(100) {
		prevTerm := uint64(3)
		if i == 0 {
			prevTerm = 1
		}
		s.deliver(newAppendEntries(3, i+1, prevTerm, 1, 3))
		s.syncAll()
	}
	if s.node.log.memory.bytes > 500 || s.node.log.lastIndex() != 101 {
		t.Fatalf("%d bytes of %d entries are kept", s.node.log.memory.bytes, s.node.log.lastIndex())
	}
}

func TestMemoryKeepsEntriesUntilDurable(t *testing.T) {
	s := newFixture(t, 3)
	s.config.Limits.MemoryBytes = 0
	s.crashNode()
	s.asFollower(3, 2, 1, 1)
	s.deliver(newAppendEntries(3, 1, 1, 1, 3, 3, 3))
	s.deliver(&messages.Durable{Incarnation: 2, Mark: &messages.AppendMark{Term: 3, Index: 3}})
	if s.node.log.memory.first != 4 || !s.node.log.memory.holds(4) {
		t.Fatalf("memory begins at %d", s.node.log.memory.first)
	}
}
