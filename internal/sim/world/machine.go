package world

import (
	"bytes"
	"io"
	"slices"

	"github.com/troupe-raft/troupe/internal/sim/hash"
	"github.com/troupe-raft/troupe/internal/sim/history"
	"github.com/troupe-raft/troupe/statemachine"
)

// machineDisk is the storage of an on-disk state machine. A crash loses the newest batches.
type machineDisk struct {
	history.State
	sessions    []statemachine.SessionRecord
	undoRecords []undoRecord // of the newest batches, oldest first
	machineDiskFaults
}

// undoRecord restores the state before a batch.
type undoRecord struct {
	last, hash uint64
	sessions   []statemachine.SessionRecord
	keys       []uint32
	values     []string // of keys before the batch; later ones first
}

// MaxUndoRecords is how many batches a crash loses at most.
const MaxUndoRecords = 4

func newMachineDisk() *machineDisk {
	return &machineDisk{State: history.State{Data: history.Contents{}}}
}

// LoseNewest removes the newest batches.
func (s *machineDisk) LoseNewest(lost int) {
	for ; lost > 0 && len(s.undoRecords) > 0; lost-- {
		u := s.undoRecords[len(s.undoRecords)-1]
		s.undoRecords = s.undoRecords[:len(s.undoRecords)-1]
		for i := len(u.keys) - 1; i >= 0; i-- {
			s.Data.Set(u.keys[i], u.values[i])
		}
		s.Last, s.Hash, s.sessions = u.last, u.hash, u.sessions
	}
}

// kvMachine is the state machine: a key-value store. It reports what it applies to the history.
type kvMachine struct {
	member *Member
	*history.State
	undo *undoRecord // of the batch in hand; nil: it is not wanted
}

// openMachine opens the state machine of a member. The clients of the member read the one that was
// opened last.
func (m *Member) openMachine() (statemachine.StateMachine, error) {
	if m.machineOpen {
		m.world.Fail("one state machine at a time", "member %d opens its state machine before the former one is closed", m.id)
	}
	m.machineOpen = true
	if m.application != nil {
		return m.openApplication()
	}
	if m.MachineDisk != nil {
		m.replica.State = &m.MachineDisk.State
		return &diskMachine{kvMachine: kvMachine{member: m, State: m.replica.State}, disk: m.MachineDisk}, nil
	}
	m.replica.State = &history.State{Data: history.Contents{}}
	return &memoryMachine{kvMachine{member: m, State: m.replica.State}}, nil
}

type memoryMachine struct{ kvMachine }

func (k *memoryMachine) Apply(b *statemachine.Batch) ([][]byte, error) { return k.apply(b), nil }
func (k *memoryMachine) Snapshot(io.Writer) error                      { return nil }
func (k *memoryMachine) Restore(io.Reader) error                       { return nil }

type diskMachine struct {
	kvMachine
	disk *machineDisk
}

func (k *diskMachine) Recover() (uint64, []statemachine.SessionRecord, error) {
	if k.disk.Damaged {
		return 0, nil, ErrStateDamaged
	}
	return k.Last, slices.Clone(k.disk.sessions), nil
}

func (k *diskMachine) Apply(b *statemachine.Batch) ([][]byte, error) {
	fails, stored := k.member.batchFault()
	if fails != nil && !stored {
		return nil, fails
	}
	results := k.applyAndStore(b)
	return results, fails
}

// applyAndStore applies a batch and stores the result.
func (k *diskMachine) applyAndStore(b *statemachine.Batch) [][]byte {
	k.undo = &undoRecord{last: k.Last, hash: k.Hash, sessions: k.disk.sessions}
	results := k.apply(b)
	update := b.SessionUpdate(results)
	kept := make([]statemachine.SessionRecord, 0, len(k.disk.sessions)+1)
	for _, r := range k.disk.sessions {
		if r.Index >= update.DropBelow {
			kept = append(kept, r)
		}
	}
	if len(update.Put.Data) > 0 {
		kept = append(kept, statemachine.SessionRecord{Index: update.Put.Index, Data: bytes.Clone(update.Put.Data)})
	}
	k.disk.sessions = kept
	if len(k.disk.undoRecords) == MaxUndoRecords {
		k.disk.undoRecords = append(k.disk.undoRecords[:0], k.disk.undoRecords[1:]...)
	}
	k.disk.undoRecords = append(k.disk.undoRecords, *k.undo)
	return results
}

func (k *kvMachine) apply(b *statemachine.Batch) [][]byte {
	w := k.member.world
	results := make([][]byte, len(b.Commands))
	for i, encoded := range b.Commands {
		c := history.DecodeCommand(encoded.Data)
		before := k.Data[c.Key]
		after, swapped := history.ApplyWrite(c.Kind, before, c.Expect, c.Value)
		if k.undo != nil {
			k.undo.keys, k.undo.values = append(k.undo.keys, c.Key), append(k.undo.values, before)
		}
		k.Data.Set(c.Key, after)
		results[i] = (&history.Reply{Number: c.Number, Swapped: swapped, Before: before}).Encode()
		k.Hash = hashNumbers(k.Hash, encoded.Index, encoded.Term, c.Number, hashOf(results[i]))
		w.Checker.CommandApplied(k.member.id, encoded.Index, c.Number, k.Hash)
		w.History.Applied(encoded.Index, &c, after)
	}
	if b.Last <= k.Last {
		w.Fail("apply once in order", "member %d applies up to %d again, after %d", k.member.id, b.Last, k.Last)
	}
	k.Last = b.Last
	return results
}

func (k *kvMachine) Close() error {
	k.member.machineOpen = false
	return nil
}

// hashOf returns a hash of bytes.
func hashOf(data []byte) uint64 { return uint64(len(data))<<32 | uint64(hash.Checksum(data)) }

// hashNumbers returns a hash of numbers.
func hashNumbers(all ...uint64) uint64 {
	h := uint64(14695981039346656037)
	for _, v := range all {
		h = (h ^ v) * 1099511628211
		h ^= h >> 29
	}
	return h
}
