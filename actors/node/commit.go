package node

import (
	"fmt"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// advanceCommitIndex raises the commit index and sends the Machine what it may apply.
func (n *Node) advanceCommitIndex(to uint64) {
	if n.log.advanceCommit(to) {
		n.stateChanged = true
		n.confirmStorage()
		n.sendCommitted()
	}
}

// sendCommitted responds to the pending Pull of the Machine as soon as there is an entry that the
// Machine may apply (see raftLog).
func (n *Node) sendCommitted() {
	through := n.log.applicableThrough(n.term)
	p := n.pendingPull
	if p == nil || p.From > through {
		return
	}
	n.pendingPull = nil
	m := &messages.Committed{Incarnation: n.config.Incarnation, Commit: n.log.commitIndex}
	m.Entries, m.OnDiskThrough = n.log.read(p.From, through, p.MaxBytes)
	n.send(n.children.machine, m)
}

// handleMachineReady stops the node if the state machine has applied what the log does not have
// (E11). What it has applied was committed, even if the last hard state does not say so.
func (n *Node) handleMachineReady(m *messages.MachineReady) {
	if m.Applied > n.log.lastIndex() {
		failLogBehindMachine(m.Applied, n.log.lastIndex())
	}
	n.advanceCommitIndex(m.Applied)
}

func failLogBehindMachine(applied, last uint64) {
	panic(&actors.FatalError{Err: fmt.Errorf("the state machine has applied index %d but the log ends at %d: "+
		"the log is missing, or older than the state machine; move the data directory away, start the node with an "+
		"empty one so that it rejoins (docs/operations.md)", applied, last)})
}

func failCommittedLost(last, commit uint64) {
	panic(&actors.FatalError{Err: fmt.Errorf("the log ends at index %d but index %d was committed: "+
		"this node lost a part of its log; move the data directory away, start the node with an empty one so that "+
		"it rejoins (docs/operations.md)", last, commit)})
}

func failRemoved(from, index uint64) {
	panic(&actors.FatalError{Err: fmt.Errorf("the configuration at index %d does not contain this node (reported by "+
		"member %s): it was removed from the cluster and cannot join again; start a new member with a new id "+
		"and an empty data directory", index, raft.FormatID(from))})
}
