package sim

import (
	"bytes"
	"encoding/binary"
	"io"

	"github.com/troupe-raft/troupe/actors/machine"
)

// state is a state machine's state: a hash over all commands so far.
type state struct {
	last   uint64
	hash   uint64
	ledger []machine.LedgerRecord
}

// store is what an OnDisk state machine keeps: its states, oldest first. A crash takes the newest.
type store struct{ states []state }

func (s *store) newest() state {
	if len(s.states) == 0 {
		return state{}
	}
	return s.states[len(s.states)-1]
}

func (s *store) crash(lost int) { s.states = s.states[:max(0, len(s.states)-lost)] }

// hasher is the state machine. It tells the ghost what it applies.
type hasher struct {
	member *member
	state  state
}

func (m *member) openMachine() (machine.StateMachine, error) {
	if m.store != nil {
		return &diskHasher{hasher{member: m, state: m.store.newest()}}, nil
	}
	return &memoryHasher{hasher{member: m}}, nil
}

type memoryHasher struct{ hasher }

func (h *memoryHasher) Apply(b *machine.Batch) ([][]byte, error) { return h.apply(b), nil }
func (h *memoryHasher) Snapshot(io.Writer) error                 { return nil }
func (h *memoryHasher) Restore(io.Reader) error                  { return nil }

type diskHasher struct{ hasher }

func (h *diskHasher) Recover() (uint64, []machine.LedgerRecord, error) {
	return h.state.last, h.state.ledger, nil
}

func (h *diskHasher) Apply(b *machine.Batch) ([][]byte, error) {
	results := h.apply(b)
	update := b.Ledger(results)
	kept := make([]machine.LedgerRecord, 0, len(h.state.ledger)+1)
	for _, r := range h.state.ledger {
		if r.Index >= update.DropBelow {
			kept = append(kept, r)
		}
	}
	if len(update.Put.Data) > 0 {
		kept = append(kept, machine.LedgerRecord{Index: update.Put.Index, Data: bytes.Clone(update.Put.Data)})
	}
	h.state.ledger = kept
	h.member.store.states = append(h.member.store.states, h.state)
	return results, nil
}

func (h *hasher) apply(b *machine.Batch) [][]byte {
	results := make([][]byte, len(b.Commands))
	for i, c := range b.Commands {
		command := binary.LittleEndian.Uint64(c.Data)
		h.state.hash = mix(h.state.hash, c.Index, c.Term, command)
		h.member.world.ghost.applied(h.member, c.Index, command, h.state.hash)
		results[i] = binary.LittleEndian.AppendUint64(nil, command)
	}
	if b.Last <= h.state.last {
		h.member.world.fail("apply once in order", "member %d applies up to %d again, after %d", h.member.id, b.Last, h.state.last)
	}
	h.state.last = b.Last
	return results
}

func (h *hasher) Close() error { return nil }

// mix is a hash of a few numbers.
func mix(all ...uint64) uint64 {
	h := uint64(14695981039346656037)
	for _, v := range all {
		h = (h ^ v) * 1099511628211
		h ^= h >> 29
	}
	return h
}
