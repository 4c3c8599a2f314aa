package node

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// This file handles the storage ids of the members: how a leader records them in the configuration,
// and what a node does when its own is refused. The rules are in raft/storage.go.

// recordStorageIDs appends a configuration that names the storage ids which the one in effect
// lacks, so that a member learns those of peers that it never met. It waits for the ids of all
// members, but at most an election timeout.
func (l *leader) recordStorageIDs() {
	index, c := l.log.configurations.Latest()
	if l.log.commitIndex < max(index, l.firstIndex) || len(c.GetMembers()) < 2 {
		return
	}
	met := false
	named, complete := raft.WithStorageIDs(c, func(id uint64) []byte {
		if id == l.self() {
			return l.config.Storage.ID
		}
		storageID := l.env.StorageID(id)
		met = met || len(storageID) > 0
		return storageID
	})
	if named == nil || !met || !complete && l.env.Now()-l.startedAt < l.config.ElectionTimeout {
		return // asked again at the next heartbeat
	}
	l.appendConfiguration(named)
}

// handleRejoin appends a configuration with the new data directory of a member that lost its own.
// The caller checks and asks again if that is not possible now: a configuration is not committed
// yet, or the leader has not committed an entry of its own term.
func (l *leader) handleRejoin(m *messages.Rejoin) {
	index, c := l.log.configurations.Latest()
	if l.log.commitIndex < max(index, l.firstIndex) || m.Member == l.self() {
		return
	}
	if bytes.Equal(raft.FindMember(c, m.Member).GetStorageId(), m.StorageId) {
		return // requested again before the caller knew that it is recorded
	}
	// The storage ids of the others are recorded with it: the member has met none of them.
	named, _ := raft.WithStorageIDs(c, func(id uint64) []byte {
		switch id {
		case m.Member:
			return nil
		case l.self():
			return l.config.Storage.ID
		}
		return l.env.StorageID(id)
	})
	if named == nil {
		named = c
	}
	next, err := raft.WithRejoined(named, m.Member, m.StorageId)
	if err != nil {
		l.env.Log().Error().Err(err).Str("member", raft.FormatID(m.Member)).Msg("member cannot rejoin")
		return
	}
	l.env.Log().Warn().Str("member", raft.FormatID(m.Member)).Hex("storage_id", m.StorageId).
		Uint64("index", l.log.lastIndex()+1).Msg("member rejoins with a new data directory")
	l.appendConfiguration(next)
}

// refuseLostEntries has a peer stop that lacks entries which it had acknowledged in this term: its
// data directory is an older copy, or its disk lost writes. It may have forgotten votes too, so it
// does not count any more.
func (l *leader) refuseLostEntries(p *peerState, acknowledged uint64) {
	p.lostEntries = true
	storageID := p.storageID
	if len(storageID) == 0 {
		storageID = l.env.StorageID(p.id)
	}
	l.sendToPeer(p.id, &messages.StorageRefused{
		From: l.self(), StorageId: storageID, Known: storageID, LostEntries: true,
		Reason: fmt.Sprintf("member %#x lacks entries up to index %d that it had acknowledged: its data directory is an older copy, or its "+
			"disk lost writes, so it may have forgotten votes too; move it away, start it with "+
			"--initial-cluster-state=rejoin, and run `troupe member rejoin` (docs/operations.md)", p.id, acknowledged),
	})
}

// appendConfiguration appends c, unless the leader refuses entries: its caller asks again.
func (l *leader) appendConfiguration(c *messages.Configuration) {
	data := raft.EncodeConfiguration(c)
	if reason, _ := l.refusal(uint64(len(data))); reason == messages.Refusal_REFUSAL_UNSPECIFIED {
		l.appendProposals([][]byte{data}, uint64(len(data)))
	}
}

// voteForLeader notes the leader of the term as the vote of a node that may not vote. It may have
// voted in this term and forgotten it; with this vote it helps nobody else, once it may vote again.
func (n *Node) voteForLeader(leader uint64) {
	if leader != 0 && leader != n.self() && n.vote == 0 && !n.mayVote() {
		n.vote = leader
	}
}

// confirmStorage notifies the link when a committed configuration names this node's data directory.
// Peers that lag behind, and know another one, admit it from then on.
func (n *Node) confirmStorage() {
	index, committed := n.log.configurations.Committed(n.log.commitIndex)
	named := raft.FindMember(committed, n.self()).GetStorageId()
	if index == n.confirmedIndex || len(named) == 0 || !bytes.Equal(named, n.config.Storage.ID) {
		return
	}
	if n.confirmedIndex == 0 && n.config.Storage.Rejoining && n.role.name() != roleRecovering {
		n.env.Log().Info().Hex("storage_id", named).Msg("this member has rejoined, and votes again")
	}
	n.confirmedIndex = index
	n.env.StorageConfirmed(index)
}

// handleStorageRefused stops the node if a peer knows it with another data directory, or if this
// one lost entries.
func (n *Node) handleStorageRefused(m *messages.StorageRefused) {
	index, committed := n.log.configurations.Committed(n.log.commitIndex)
	switch n.config.Storage.OnRefusal(m, committed, index, n.self()) {
	case raft.RefusalStops:
		panic(&actors.FatalError{Err: &actors.StorageRefusedError{Peer: m.From, Reason: m.Reason}})
	case raft.RefusalWaits:
		n.rejoin.recordRefusal(m.From, n.env.Now())
		n.logWaitingToRejoin()
	}
}

// failPin stops the node: its disk could not store the storage id or a start of a peer.
func failPin(m *messages.PinFailed) {
	panic(&actors.StorageError{Operation: "store the storage id and start of member " + raft.FormatID(m.Peer), Err: errors.New(m.Reason)})
}
