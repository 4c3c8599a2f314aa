package node

import (
	"bytes"
	"cmp"
	"slices"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// peerState is a leader's state of another member, voter or learner.
type peerState struct {
	id         uint64
	replicator *actor.PID // nil while the former Replicator of this name has not terminated
	// matchIndex is the index up to which the peer's log agrees with the leader's, on its disk.
	matchIndex uint64
	// ackedRound is the highest round of heartbeats that the peer acknowledged (see readRounds).
	ackedRound uint64
	// lastContact is when the peer last responded to a heartbeat or raised its matchIndex; at first,
	// when this state was made (see leader.hasQuorumContact).
	lastContact     time.Duration
	replicatorState string
	// storageID is that of the configuration in effect. replaced: it was set within this leadership,
	// in place of another directory.
	storageID []byte
	replaced  bool
	// counts: what the peer acknowledges counts in majorities (raft.CountsInMajorities).
	counts bool
	// lostEntries: the peer lacks entries that it had acknowledged to this leader.
	lostEntries bool
	diskLow     bool
	// forwarded recognises copies of the proposals that the peer forwarded.
	forwarded raft.DuplicateFilter

	// commitSent is the highest commit index that was sent to the peer. commitPending is what it
	// should have when the timer of the commitNotifier fires. Up to forwardedThrough the log may have
	// proposals that the peer forwarded.
	commitSent, commitPending, forwardedThrough uint64
}

// recordSent stores that a message with this commit index was sent to the peer.
func (p *peerState) recordSent(commit uint64) { p.commitSent = max(p.commitSent, commit) }

// heartbeatCommit returns the highest commit index that a heartbeat to the peer may carry: above
// matchIndex the peer may have other entries (docs/protocol.md P79).
func (p *peerState) heartbeatCommit(commitIndex uint64) uint64 { return min(commitIndex, p.matchIndex) }

// peerStates are in the order of their ids.
type peerStates []*peerState

// find returns nil if id is not a peer.
func (s peerStates) find(id uint64) *peerState {
	for _, p := range s {
		if p.id == id {
			return p
		}
	}
	return nil
}

// update returns the states for the other members, with those that existed before, and the states
// of peers that are not members any more, or that have another data directory: what the former one
// acknowledged says nothing about that.
func (s peerStates) update(members []*messages.Member, self uint64, now time.Duration) (updated, removed peerStates) {
	for _, m := range members {
		if m.Id == self {
			continue
		}
		p := s.find(m.Id)
		replaced := p != nil && m.Rejoined && !bytes.Equal(p.storageID, m.StorageId)
		if p == nil || replaced {
			p = &peerState{id: m.Id, lastContact: now, replicatorState: "probing", replaced: replaced}
		}
		p.storageID = m.StorageId
		updated = append(updated, p)
	}
	for _, p := range s {
		if updated.find(p.id) != p {
			removed = append(removed, p)
		}
	}
	slices.SortFunc(updated, func(a, b *peerState) int { return cmp.Compare(a.id, b.id) })
	return updated, removed
}
