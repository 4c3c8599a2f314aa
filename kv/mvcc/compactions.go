package mvcc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/troupe-raft/troupe/kv/mvcc/engine"
)

// compaction is one compaction of the past. HashKV of its revision returns the hash from before it,
// with the compacted revision of that time, as in etcd; so a check of all members can compare what
// they held, although each has removed rows of it since.
//
// The hash of a history is the sum of the hashes of its events (eventHash). So the hash from before
// a compaction is that of the events up to rev which are left, plus that of those which were
// removed. The compactor adds each event that it removes to the compactions that the event was part
// of.
//
// Which compaction removes an event depends on the events only, and not on the rounds of this
// member: a round may do the work of several compactions at once.
type compaction struct {
	rev     int64  // compacted at
	before  int64  // the compacted revision before it; -1: none
	removed uint64 // sum of the hashes of the events up to rev that were there before it and are removed
}

// keptCompactions is how many compactions are kept, as in etcd.
const keptCompactions = 10

const compactionBytes = 24

func addCompaction(all []compaction, c compaction) []compaction {
	first := max(0, len(all)+1-keptCompactions)
	return append(slices.Clone(all[first:]), c)
}

func appendCompactions(buf []byte, all []compaction) []byte {
	for _, c := range all {
		buf = binary.BigEndian.AppendUint64(buf, uint64(c.rev))
		buf = binary.BigEndian.AppendUint64(buf, uint64(c.before))
		buf = binary.BigEndian.AppendUint64(buf, c.removed)
	}
	return buf
}

func parseCompactions(row []byte) (all []compaction, err error) {
	if len(row)%compactionBytes != 0 {
		return nil, fmt.Errorf("a row of compactions of %d bytes: %w", len(row), ErrCorrupt)
	}
	for ; len(row) > 0; row = row[compactionBytes:] {
		all = append(all, compaction{
			rev:     int64(binary.BigEndian.Uint64(row)),
			before:  int64(binary.BigEndian.Uint64(row[8:])),
			removed: binary.BigEndian.Uint64(row[16:]),
		})
	}
	return all, nil
}

func (s *Store) loadCompactions() error {
	row, closer, err := s.db.Get(compactionsKey)
	if errors.Is(err, engine.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	s.tip.compactions, err = parseCompactions(row)
	return joinErrors(err, closer.Close())
}

// compactionAt returns the compaction at a revision.
func compactionAt(all []compaction, rev int64) (c compaction, found bool) {
	for _, c := range all {
		if c.rev == rev {
			return c, true
		}
	}
	return compaction{}, false
}

// removal is one step of the compactor: its batch, and the state after it.
type removal struct {
	batch   engine.Batch
	tip     state
	removed map[revision]struct{} // by this step, so that none is counted twice
	changed bool                  // tip.compactions differ from those of the store
}

// removeEvent removes the event at a revision and counts it, unless it is removed already.
// The first compaction that sees it as unreachable is the first one at or above reachableBefore.
func (m *removal) removeEvent(r *reader, at revision, reachableBefore int64) error {
	if _, again := m.removed[at]; again {
		return nil
	}
	key := appendHistoryKey(nil, at)
	row, closer, err := r.row(key)
	if err != nil || closer == nil {
		return err
	}
	defer closer.Close()
	m.removed[at] = struct{}{}
	m.tip.liveBytes -= int64(len(key) + len(row))
	hash := eventHash(key, row)
	for i := range m.tip.compactions {
		c := &m.tip.compactions[i]
		if at.main > c.rev || reachableBefore <= c.before {
			continue // it was not part of this compaction's history, or an earlier one removes it
		}
		if !m.changed {
			m.changed = true
			m.tip.compactions = slices.Clone(m.tip.compactions)
			c = &m.tip.compactions[i]
		}
		c.removed += hash
	}
	return m.batch.Delete(key)
}
