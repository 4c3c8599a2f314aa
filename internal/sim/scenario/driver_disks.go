package scenario

import (
	"github.com/troupe-raft/troupe/internal/sim/history"
	"github.com/troupe-raft/troupe/internal/sim/world"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/persistence"
	"github.com/troupe-raft/troupe/persistence/vfs"
	"github.com/troupe-raft/troupe/raft"
)

// The disks of members, as their next run would find them.

// recoveredLog is a log that was recovered from a disk.
type recoveredLog struct {
	*persistence.Recovery
	entries *messages.Entries
}

// term returns the term of an entry; 0: there is none.
func (f *recoveredLog) term(index uint64) uint64 {
	if index == 0 || index > f.LastIndex {
		return 0
	}
	return raft.EntriesTerm(f.entries, index)
}

// recoverCopy opens a copy of a member's disk by the production log, as it would be after a power
// cut now. choose decides about every write that was not synced. The member itself is not affected.
func recoverCopy(m *world.Member, choose vfs.CrashChoice) (*recoveredLog, error) {
	o := m.LogOptions()
	o.FS = m.Disk.CrashClone(choose)
	log, recovery, err := persistence.Open(o)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	f := &recoveredLog{Recovery: recovery, entries: &messages.Entries{First: 1, Runs: recovery.Runs}}
	reader := log.Reader()
	defer reader.Close()
	for next := uint64(1); next <= recovery.LastIndex; {
		e, _, err := reader.Read(next, recovery.LastIndex, 1<<20)
		if err != nil {
			return nil, err
		}
		f.entries.Data = append(f.entries.Data, e.Data...)
		next += uint64(len(e.Data))
	}
	return f, nil
}

// commandsOnDisk returns the numbers of the commands in a member's log, by index.
func (s *Driver) commandsOnDisk(m *world.Member) map[uint64]uint64 {
	f, err := recoverCopy(m, vfs.LoseUnsynced)
	if err != nil {
		s.fail("the log of member %d: %v", m.ID(), err)
	}
	numbers := map[uint64]uint64{}
	for i, data := range f.entries.Data {
		e, err := raft.DecodeEntry(data)
		if err != nil {
			s.fail("entry %d of member %d: %v", i+1, m.ID(), err)
		}
		if e.Kind == raft.KindCommand {
			numbers[uint64(i+1)] = history.DecodeCommand(e.Payload).Number
		}
	}
	return numbers
}
