package node

import (
	"fmt"

	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// raftLog is the log of the Node without the bytes on disk, which the LogStore has. The LogStore
// writes later than the Node changes the log, so the log (terms, configurations, commitIndex) and
// what is on disk (durableIndex, durableTerm) differ for a while:
//
//	index   base │ base+1 …  durableIndex … lastIndex
//	on disk      │ ─────────────────────┤
//	in memory    │              ├───────────────────┤   memory: the newest part
//	committed    │ ─────────────────────────┤           commitIndex, here on the peers' disks
//	applicable   │ ─────────────────────┤               min(commitIndex, durableIndex)
//
// # What the Machine may apply (E11; docs/protocol.md P45, P46)
//
// The Machine may apply an entry when it is committed, and this node's disk has the entry and the
// current term. Without the entry, a crash would leave a state machine that is ahead of its log.
// The term matters for an entry that the disk already has. Suppose a node learns in term 5 that an
// entry of term 3 is committed, applies it, and crashes before term 5 is on disk. It restarts in
// an earlier term. A leader of term 4, which does not know of the commit, may then replace the
// entry. With term 5 on disk the node refuses that leader.
//
// # What an acknowledgement of the LogStore means (E12; docs/protocol.md P33 to P35)
//
// Durable carries the mark of an Append: the term of the Node and the last index of its log at
// that time. If the log was truncated since, the disk may hold other entries at those indexes.
// pendingTruncations computes how much of the mark still holds.
type raftLog struct {
	terms          *raft.LogTerms
	memory         *memoryLog
	configurations *raft.ConfigurationHistory
	// commitIndex is the highest index known to be committed; at most the last index.
	commitIndex uint64
	// persistedCommit is the commit index of the last hard state that was sent to the LogStore.
	persistedCommit uint64
	// durableIndex is the highest index of the present log that this node's disk has.
	durableIndex uint64
	// durableTerm is the highest term that this node's disk has.
	durableTerm uint64
	truncations pendingTruncations
	// diskLow: the disk has less free space than its low-water mark.
	diskLow bool
}

// newRaftLog returns the log as the LogStore recovered it. All of it is durable.
func newRaftLog(m *messages.Recovered) *raftLog {
	commit := m.HardState.GetCommit()
	return &raftLog{
		terms:           raft.NewLogTerms(m.BaseIndex, m.BaseTerm, m.LastIndex, m.Runs),
		memory:          newMemoryLog(m.LastIndex),
		configurations:  raft.NewConfigurationHistory(m.BaseConfiguration, m.BaseIndex, m.Configurations),
		commitIndex:     commit,
		persistedCommit: commit,
		durableIndex:    m.LastIndex,
		durableTerm:     m.HardState.GetTerm(),
	}
}

func (l *raftLog) lastIndex() uint64 { return l.terms.LastIndex() }
func (l *raftLog) lastTerm() uint64  { return l.terms.LastTerm() }

// append adds e, which begins after the last index. It reports whether e has a configuration, which
// is in effect from now on (E30).
func (l *raftLog) append(e *messages.Entries) (configurationChanged bool) {
	l.terms.Append(e)
	l.memory.append(e)
	for i, data := range e.Data {
		if raft.KindOf(data) != raft.KindConfiguration {
			continue
		}
		index := e.First + uint64(i)
		c, err := raft.DecodeConfiguration(data)
		if err != nil {
			panic(fmt.Errorf("configuration at index %d: %w", index, err))
		}
		l.configurations.Append(index, c)
		configurationChanged = true
	}
	return configurationChanged
}

// truncate removes the entries from index `from` on, in the given term of the node. It reports
// whether a configuration was among them: the one before it is in effect again (E31).
func (l *raftLog) truncate(from, term uint64) (configurationChanged bool) {
	invariant(from > l.commitIndex, "truncation from index %d, at or below the commit index %d", from, l.commitIndex)
	l.terms.Truncate(from)
	l.memory.truncate(from)
	l.durableIndex = min(l.durableIndex, from-1)
	l.truncations.add(term, from)
	return l.configurations.Truncate(from)
}

// recordDurable stores that the disk has everything up to mark, and the hard state of its term. It
// reports whether the durable index rises. Above memoryBytes, durable entries leave memory.
func (l *raftLog) recordDurable(mark *messages.AppendMark, memoryBytes uint64) (advanced bool) {
	l.durableTerm = max(l.durableTerm, mark.Term)
	index := l.truncations.durableIndex(mark)
	if index <= l.durableIndex {
		return false
	}
	invariant(index <= l.lastIndex(), "the LogStore reports index %d of term %d durable but the log ends at %d",
		index, mark.Term, l.lastIndex())
	l.durableIndex = index
	l.memory.evict(memoryBytes, l.durableIndex)
	return true
}

// advanceCommit raises the commit index and reports whether it rose. It never falls.
func (l *raftLog) advanceCommit(to uint64) (advanced bool) {
	if to <= l.commitIndex {
		return false
	}
	invariant(to <= l.lastIndex(), "commit index %d above the last index %d", to, l.lastIndex())
	l.commitIndex = to
	return true
}

// applicableThrough returns the highest index that the Machine may apply in the given term, 0 for
// none (E11).
func (l *raftLog) applicableThrough(term uint64) uint64 {
	if l.durableTerm < term {
		return 0
	}
	return min(l.commitIndex, l.durableIndex)
}

// read returns the entries from `from` to at most `to` that fit into maxBytes, but at least one. If
// memory does not have them, it returns nil and the index up to which they are on disk.
func (l *raftLog) read(from, to, maxBytes uint64) (e *messages.Entries, onDiskThrough uint64) {
	if l.memory.holds(from) {
		return l.memory.slice(l.terms, from, to, maxBytes), 0
	}
	return nil, min(to, l.memory.first-1) // only durable entries leave memory
}
