package node

import (
	"fmt"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// fetch gives a replicator entries from memory, or tells it what to read from disk. `from` 0 asks where to begin: with
// this term's first entry, which is what every follower lacks.
func (n *Node) handleFetch(m *messages.Fetch) {
	from := m.From
	if from == 0 {
		from = n.leadership.firstIndex
	}
	n.sendFetched(m.Peer, from, m.MaxBytes, &messages.Fetched{Token: m.Token})
}

// resolve turns a follower's conflict hint into nextIndex (Raft §5.3, "the protocol can be optimized…").
func (n *Node) handleResolveConflict(m *messages.ResolveConflict) {
	next := n.log.NextAfterConflict(m.ConflictTerm, m.ConflictIndex)
	n.sendFetched(m.Peer, next, m.MaxBytes, &messages.Fetched{Token: m.Token, ConflictNextIndex: next})
}

func (n *Node) sendFetched(peer, from, maxBytes uint64, answer *messages.Fetched) {
	p := n.leadership.peerByID(peer)
	if p == nil || p.replicator == nil {
		return
	}
	last := n.log.LastIndex()
	from = min(from, last+1)
	answer.Incarnation, answer.LastIndex, answer.Commit = n.config.Incarnation, last, n.commitIndex
	prevTerm, known := n.log.Term(from - 1)
	answer.PrevTerm = prevTerm
	switch {
	case !known:
		answer.Compacted = true
	case from > last:
		answer.Entries = &messages.Entries{First: from}
	case n.memory.holds(from):
		answer.Entries = n.memory.slice(n.log, from, last, maxBytes)
	default:
		// What is not in memory is on disk: only durable entries are evicted.
		answer.Entries = &messages.Entries{First: from}
		answer.OnDiskThrough = n.memory.first - 1
	}
	n.send(p.replicator, answer)
}

func failLogBehindMachine(applied, last uint64) {
	panic(&actors.FatalError{Err: fmt.Errorf("the state machine has applied index %d but the log ends at %d: "+
		"the log was lost or belongs to another time; remove this node from the cluster and add it again with an empty data directory",
		applied, last)})
}

func failRemoved(from, index uint64) {
	panic(&actors.FatalError{Err: fmt.Errorf("this member was removed from the cluster by the configuration at index %d (told by %s): "+
		"its data directory is of no more use; a new member needs a new id and an empty directory", index, raft.FormatID(from))})
}
