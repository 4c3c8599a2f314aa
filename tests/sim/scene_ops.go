package sim

// What a script asks of the store. Every operation is part of the history: its answer is held against what truly happened,
// and the whole against linearizability when the script is over.

// begin asks a member and does not wait: o.outcome is pending until it is answered, or Unknown once its member died.
func (s *Scene) begin(m *member, kind Op, key uint32, expect, value string) *operation {
	return s.history.begin(script, m, command{kind: kind, key: key, expect: expect, value: value}, nil)
}

// await lets things happen until an operation is answered.
func (s *Scene) await(o *operation) *operation {
	s.within(5*election, o.kind.String()+" is answered", func() bool { return o.outcome != pending })
	if o.outcome != Answered {
		s.fail("%v of key %d at member %d is %v", o.kind, o.key, o.member, o.outcome)
	}
	return o
}

// put sets a key at a member and waits for the answer.
func (s *Scene) put(m *member, key uint32, value string) { s.await(s.begin(m, Put, key, "", value)) }

// append lengthens a key's value and waits for the answer; it returns the value before.
func (s *Scene) append(m *member, key uint32, value string) string {
	return s.await(s.begin(m, Append, key, "", value)).saw.before
}

// swap sets a key if it has the expected value, and tells whether it had.
func (s *Scene) swap(m *member, key uint32, expect, value string) bool {
	return s.await(s.begin(m, CompareAndSwap, key, expect, value)).saw.swapped
}

// remove deletes a key and waits for the answer.
func (s *Scene) remove(m *member, key uint32) { s.await(s.begin(m, Delete, key, "", "")) }

// get reads a key in a mode (GetIndex, …) at a member.
func (s *Scene) get(m *member, mode Op, key uint32) string {
	return s.await(s.begin(m, mode, key, "", "")).saw.before
}

// expect reads a key and ends the script if its value is another.
func (s *Scene) expect(m *member, mode Op, key uint32, value string) {
	if got := s.get(m, mode, key); got != value {
		s.fail("%v of key %d at member %d gives %q, want %q", mode, key, m.id, got, value)
	}
}

// writesLater lets a member write n times and does not wait: short appends to keys of the script's own.
func (s *Scene) writesLater(m *member, n int) {
	for range n {
		s.scribble(m)
	}
}

// scribble is a write of which only the effect matters.
func (w *World) scribble(m *member) *operation {
	w.scribbled++
	return w.history.begin(script, m, command{kind: Append, key: scriptKeys + w.scribbled/keyLimit, value: "x"}, nil)
}

// writes lets a member write, and waits until all it has under way is acknowledged.
func (s *Scene) writes(m *member, n int) {
	s.writesLater(m, n)
	s.within(5*election, "the writes are acknowledged", func() bool { return m.program.writing() == 0 })
}
