package raft

import "fmt"

// CommitIndex returns the leader's commit index. acked is the index up to which a voter's disk has
// the leader's log, and current the commit index so far. The result is the highest index that a
// quorum has, if its entry is of the leader's own term; all entries before it are then committed
// too (Raft §5.3, §5.4.2). An entry of an earlier term is not committed by counting, since a later
// leader may still overwrite it (Figure 8, E44). The commit index never falls.
func CommitIndex(q Quorum, acked func(id uint64) uint64, current, term uint64, log *LogTerms) uint64 {
	index := q.HighestAcknowledged(acked)
	if index <= current {
		return current
	}
	if index > log.LastIndex() {
		panic(fmt.Sprintf("a quorum has index %d of a log that ends at %d", index, log.LastIndex()))
	}
	if t, ok := log.Term(index); !ok || t != term {
		return current
	}
	return index
}
