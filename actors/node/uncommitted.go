package node

import (
	"slices"

	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// uncommittedEntries are a leader's entries that are not both committed and on its own disk. Until
// then they exist in memory only, even if the disks of the peers were faster and committed them.
// Their bytes bound what the leader accepts (Limits.MaxUncommittedBytes).
//
// Their commands are known by session and sequence. A Session sends its pending commands again to a
// new leader, whose log may have them from the former one, and after a restart of its actors. A
// command that is known is not appended again. The commands of each Session are bounded by what it
// may have pending (P68).
type uncommittedEntries struct {
	batches []uncommittedBatch
	bytes   uint64
	// commands has those of batches, and those that are collected to be appended.
	commands map[commandKey]struct{}
}

type uncommittedBatch struct {
	last, bytes uint64
	commands    []commandKey
}

type commandKey struct{ session, sequence uint64 }

// keyOf returns the key of a command or barrier. Other entries have none.
func keyOf(data []byte) (key commandKey, ok bool) {
	if kind := raft.KindOf(data); kind != raft.KindCommand && kind != raft.KindBarrier {
		return key, false
	}
	e, err := raft.DecodeEntry(data)
	return commandKey{e.SessionID, e.Sequence}, err == nil
}

// has reports whether the command of an entry is known.
func (u *uncommittedEntries) has(data []byte) bool {
	key, ok := keyOf(data)
	if ok {
		_, ok = u.commands[key]
	}
	return ok
}

// withoutKnown returns the entries whose commands are not known.
func (u *uncommittedEntries) withoutKnown(data [][]byte) [][]byte {
	if !slices.ContainsFunc(data, u.has) {
		return data
	}
	return slices.DeleteFunc(slices.Clone(data), u.has)
}

// collect records commands that will be appended.
func (u *uncommittedEntries) collect(data ...[]byte) {
	for _, d := range data {
		if key, ok := keyOf(d); ok {
			u.commands[key] = struct{}{}
		}
	}
}

// add records appended entries.
func (u *uncommittedEntries) add(last uint64, data [][]byte, bytes uint64) {
	batch := uncommittedBatch{last: last, bytes: bytes, commands: make([]commandKey, 0, len(data))}
	for _, d := range data {
		if key, ok := keyOf(d); ok {
			batch.commands = append(batch.commands, key)
			u.commands[key] = struct{}{}
		}
	}
	u.batches = append(u.batches, batch)
	u.bytes += bytes
}

// inherit records the commands of entries that were in the log before this leadership. Their bytes
// do not count: this leader did not accept them.
func (u *uncommittedEntries) inherit(e *messages.Entries) {
	u.add(raft.EntriesLast(e), e.Data, 0)
}

// release removes the batches that end at or below an index.
func (u *uncommittedEntries) release(through uint64) {
	k := 0
	for k < len(u.batches) && u.batches[k].last <= through {
		u.bytes -= u.batches[k].bytes
		for _, key := range u.batches[k].commands {
			delete(u.commands, key)
		}
		k++
	}
	u.batches = u.batches[k:]
}
