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
	n.machineReady = true
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

// failCommittedReplaced stops the node: its leader has other entries where this node knows entries
// as committed. No restart mends that, and after one the node might follow a leader whose log it
// cannot tell from its own.
func failCommittedReplaced(leader, term, from, commit uint64) {
	failContradiction("leader %s of term %d has other entries from index %d on, and this member knows the entries "+
		"up to index %d as committed: the cluster has lost writes that it had acknowledged, most likely because the data directories "+
		"of a majority of the members were lost, or replaced by older copies; keep the data directory of this member, it holds those "+
		"writes (docs/operations.md#the-cluster-lost-writes)", raft.FormatID(leader), term, from, commit)
}

// failTwoLeaders stops the node: a term has two leaders. After a restart the node would follow the
// other one of them, and the entries of one term would differ between the members without notice.
func failTwoLeaders(term, one, other uint64) {
	failContradiction("term %d has two leaders, %s and %s: a member voted for both, most likely because its data "+
		"directory was replaced by an older copy, or two processes ran on copies of it; compare the members before anything is written "+
		"(docs/operations.md#two-leaders-in-one-term)", term, raft.FormatID(one), raft.FormatID(other))
}

func failContradiction(format string, values ...any) {
	panic(&actors.FatalError{Err: &actors.ContradictionError{Reason: fmt.Sprintf(format, values...)}})
}

func failRemoved(from, index uint64) {
	panic(&actors.FatalError{Err: fmt.Errorf("the configuration at index %d does not contain this node (reported by "+
		"member %s): it was removed from the cluster and cannot join again; start a new member with a new id "+
		"and an empty data directory", index, raft.FormatID(from))})
}
