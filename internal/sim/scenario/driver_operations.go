package scenario

import (
	"github.com/troupe-raft/troupe/internal/sim/history"
	"github.com/troupe-raft/troupe/internal/sim/world"
)

// What a script asks of the store. Every operation is part of the history: its answer is held
// against what truly happened, and the whole against linearizability when the script is over.

// begin asks a member and does not wait: o.outcome is pending until it is answered, or Unknown once
// its member died.
func (s *Driver) begin(m *world.Member, kind history.Op, key uint32, expect, value string) *history.Operation {
	return s.History.Begin(history.ScriptClient, m, history.Command{Kind: kind, Key: key, Expect: expect, Value: value}, nil)
}

// await lets things happen until an operation is answered.
func (s *Driver) await(o *history.Operation) *history.Operation {
	s.within(5*world.ElectionTimeout, o.Kind.String()+" is answered", func() bool { return o.Outcome != history.Pending })
	if o.Outcome != history.Answered {
		s.fail("%v of key %d at member %d is %v", o.Kind, o.Key, o.MemberID, o.Outcome)
	}
	return o
}

// put sets a key at a member and waits for the answer.
func (s *Driver) put(m *world.Member, key uint32, value string) {
	s.await(s.begin(m, history.Put, key, "", value))
}

// append lengthens a key's value and waits for the answer; it returns the value before.
func (s *Driver) append(m *world.Member, key uint32, value string) string {
	return s.await(s.begin(m, history.Append, key, "", value)).Reply.Before
}

// swap sets a key if it has the expected value, and tells whether it had.
func (s *Driver) swap(m *world.Member, key uint32, expect, value string) bool {
	return s.await(s.begin(m, history.CompareAndSwap, key, expect, value)).Reply.Swapped
}

// remove deletes a key and waits for the answer.
func (s *Driver) remove(m *world.Member, key uint32) {
	s.await(s.begin(m, history.Delete, key, "", ""))
}

// get reads a key in a mode (GetIndex, …) at a member.
func (s *Driver) get(m *world.Member, mode history.Op, key uint32) string {
	return s.await(s.begin(m, mode, key, "", "")).Reply.Before
}

// expect reads a key and ends the script if its value is another.
func (s *Driver) expect(m *world.Member, mode history.Op, key uint32, value string) {
	if got := s.get(m, mode, key); got != value {
		s.fail("%v of key %d at member %d gives %q, want %q", mode, key, m.ID(), got, value)
	}
}

// beginWrites lets a member write n times and does not wait: short appends to keys of the script's
// own.
func (s *Driver) beginWrites(m *world.Member, n int) {
	for range n {
		s.beginScriptWrite(m)
	}
}

// scribble is a write of which only the effect matters.
func (s *Driver) beginScriptWrite(m *world.Member) *history.Operation {
	s.ScriptWrites++
	return s.History.Begin(history.ScriptClient, m, history.Command{Kind: history.Append, Key: history.FirstScriptKey + s.ScriptWrites/world.MaxKeyUses, Value: "x"}, nil)
}

// writes lets a member write, and waits until all it has under way is acknowledged.
func (s *Driver) writeAndWait(m *world.Member, n int) {
	s.beginWrites(m, n)
	s.within(5*world.ElectionTimeout, "the writes are acknowledged", func() bool { return m.Embedder.PendingWrites() == 0 })
}
