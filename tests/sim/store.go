package sim

import (
	"bytes"
	"io"
	"slices"

	"github.com/troupe-raft/troupe/actors/machine"
)

// state is a state machine's state after some index.
type state struct {
	last uint64
	hash uint64 // over all commands so far and their results
	data contents
}

// store is what an OnDisk state machine keeps over its lives. A crash takes the newest batches, in order.
type store struct {
	state
	ledger []machine.SessionRecord
	undo   []undo // of the newest batches, oldest first
	faults
}

// undo leads back to the state before a batch.
type undo struct {
	last, hash uint64
	ledger     []machine.SessionRecord
	keys       []uint32
	values     []string // of keys, as they were; later ones first
}

// keptUndos is how many batches a crash can take at most.
const keptUndos = 4

func newStore() *store { return &store{state: state{data: contents{}}} }

// crash takes the newest batches.
func (s *store) crash(lost int) {
	for ; lost > 0 && len(s.undo) > 0; lost-- {
		u := s.undo[len(s.undo)-1]
		s.undo = s.undo[:len(s.undo)-1]
		for i := len(u.keys) - 1; i >= 0; i-- {
			s.data.set(u.keys[i], u.values[i])
		}
		s.last, s.hash, s.ledger = u.last, u.hash, u.ledger
	}
}

// keeper is the state machine: a key-value store. It tells the history what it applies.
type keeper struct {
	member *member
	*state
	undo *undo // of the batch in hand, where it is wanted
}

// openMachine is the factory of a member's state machine. What it opens is what the member's clients read.
func (m *member) openMachine() (machine.StateMachine, error) {
	if m.machineOpen {
		m.world.fail("one state machine at a time", "member %d opens its state machine before the former one is closed", m.id)
	}
	m.machineOpen = true
	if m.store != nil {
		m.machine = &m.store.state
		return &diskKeeper{keeper: keeper{member: m, state: m.machine}, store: m.store}, nil
	}
	m.machine = &state{data: contents{}}
	return &memoryKeeper{keeper{member: m, state: m.machine}}, nil
}

type memoryKeeper struct{ keeper }

func (k *memoryKeeper) Apply(b *machine.Batch) ([][]byte, error) { return k.apply(b), nil }
func (k *memoryKeeper) Snapshot(io.Writer) error                 { return nil }
func (k *memoryKeeper) Restore(io.Reader) error                  { return nil }

type diskKeeper struct {
	keeper
	store *store
}

func (k *diskKeeper) Recover() (uint64, []machine.SessionRecord, error) {
	if k.store.damaged {
		return 0, nil, errStateDamaged
	}
	return k.last, slices.Clone(k.store.ledger), nil
}

func (k *diskKeeper) Apply(b *machine.Batch) ([][]byte, error) {
	fails, stored := k.member.stateFails()
	if fails != nil && !stored {
		return nil, fails
	}
	results := k.keep(b)
	return results, fails
}

// keep applies a batch and stores what came of it.
func (k *diskKeeper) keep(b *machine.Batch) [][]byte {
	k.undo = &undo{last: k.last, hash: k.hash, ledger: k.store.ledger}
	results := k.apply(b)
	update := b.SessionUpdate(results)
	kept := make([]machine.SessionRecord, 0, len(k.store.ledger)+1)
	for _, r := range k.store.ledger {
		if r.Index >= update.DropBelow {
			kept = append(kept, r)
		}
	}
	if len(update.Put.Data) > 0 {
		kept = append(kept, machine.SessionRecord{Index: update.Put.Index, Data: bytes.Clone(update.Put.Data)})
	}
	k.store.ledger = kept
	if len(k.store.undo) == keptUndos {
		k.store.undo = append(k.store.undo[:0], k.store.undo[1:]...)
	}
	k.store.undo = append(k.store.undo, *k.undo)
	return results
}

func (k *keeper) apply(b *machine.Batch) [][]byte {
	w := k.member.world
	results := make([][]byte, len(b.Commands))
	for i, encoded := range b.Commands {
		c := decodeCommand(encoded.Data)
		before := k.data[c.key]
		after, swapped := perform(c.kind, before, c.expect, c.value)
		if k.undo != nil {
			k.undo.keys, k.undo.values = append(k.undo.keys, c.key), append(k.undo.values, before)
		}
		k.data.set(c.key, after)
		results[i] = (&result{number: c.number, swapped: swapped, before: before}).encode()
		k.hash = mix(k.hash, encoded.Index, encoded.Term, c.number, hashOf(results[i]))
		w.ghost.applied(k.member, encoded.Index, c.number, k.hash)
		w.history.applied(encoded.Index, &c, after)
	}
	if b.Last <= k.last {
		w.fail("apply once in order", "member %d applies up to %d again, after %d", k.member.id, b.Last, k.last)
	}
	k.last = b.Last
	return results
}

func (k *keeper) Close() error {
	k.member.machineOpen = false
	return nil
}

// mix is a hash of a few numbers.
func mix(all ...uint64) uint64 {
	h := uint64(14695981039346656037)
	for _, v := range all {
		h = (h ^ v) * 1099511628211
		h ^= h >> 29
	}
	return h
}
