package raft

import "fmt"

// CommitIndex is the leader's commit index, given what each voter's disk is known to hold: the highest index that a quorum
// has, provided its entry is of the leader's own term, whereby all before it are committed too (Raft §5.3, §5.4.2). An
// entry of an earlier term is never committed by counting: a later leader may still overwrite it (Figure 8, E44). It never
// goes back.
func CommitIndex(q Quorum, acked func(id uint64) uint64, current, term uint64, log *LogTerms) uint64 {
	index := q.HighestAcknowledged(acked)
	if index <= current {
		return current
	}
	if index > log.LastIndex() {
		panic(fmt.Sprintf("a quorum is said to have index %d of a log that ends at %d", index, log.LastIndex()))
	}
	if t, ok := log.Term(index); !ok || t != term {
		return current
	}
	return index
}
