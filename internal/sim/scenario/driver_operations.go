package scenario

import (
	"github.com/troupe-raft/troupe/internal/sim/history"
	"github.com/troupe-raft/troupe/internal/sim/world"
)

// The operations of a script on the store. Each one is part of the history: its reply is checked
// when it arrives, and linearizability when the script has ended.

// begin calls an operation at a member and does not wait. The outcome is Pending until it is
// answered, or Unknown once its member has stopped.
func (s *Driver) begin(m *world.Member, kind history.Op, key uint32, expect, value string) *history.Operation {
	return s.History.Begin(history.ScriptClient, m, history.Command{Kind: kind, Key: key, Expect: expect, Value: value}, nil)
}

// await waits until an operation is answered.
func (s *Driver) await(o *history.Operation) *history.Operation {
	s.within(5*world.ElectionTimeout, o.Kind.String()+" is answered", func() bool { return o.Outcome != history.Pending })
	if o.Outcome != history.Answered {
		s.fail("%v of key %d at member %d is %v", o.Kind, o.Key, o.MemberID, o.Outcome)
	}
	return o
}

// put sets a key at a member and waits.
func (s *Driver) put(m *world.Member, key uint32, value string) {
	s.await(s.begin(m, history.Put, key, "", value))
}

// append appends to the value of a key and waits; it returns the value before.
func (s *Driver) append(m *world.Member, key uint32, value string) string {
	return s.await(s.begin(m, history.Append, key, "", value)).Reply.Before
}

// swap sets a key if it has the expected value, and reports whether it had.
func (s *Driver) swap(m *world.Member, key uint32, expect, value string) bool {
	return s.await(s.begin(m, history.CompareAndSwap, key, expect, value)).Reply.Swapped
}

// remove deletes a key and waits.
func (s *Driver) remove(m *world.Member, key uint32) {
	s.await(s.begin(m, history.Delete, key, "", ""))
}

// get reads a key in a mode (GetIndex, …) at a member.
func (s *Driver) get(m *world.Member, mode history.Op, key uint32) string {
	return s.await(s.begin(m, mode, key, "", "")).Reply.Before
}

// expect reads a key and ends the script if it has another value.
func (s *Driver) expect(m *world.Member, mode history.Op, key uint32, value string) {
	if got := s.get(m, mode, key); got != value {
		s.fail("%v of key %d at member %d gives %q, want %q", mode, key, m.ID(), got, value)
	}
}

// writeAndWait writes n times at a member, and waits until none of its writes is pending.
func (s *Driver) writeAndWait(m *world.Member, n int) {
	s.submitWrites(m, n)
	s.within(5*world.ElectionTimeout, "the writes are acknowledged", func() bool { return m.Embedder.PendingWrites() == 0 })
}
