package node

import (
	"bytes"

	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// syncReplicators starts a Replicator for each other member of the configuration in effect, and
// stops those of former members.
func (l *leader) syncReplicators() {
	_, c := l.log.configurations.Latest()
	var removed peerStates
	l.peers, removed = l.peers.update(c.GetMembers(), l.self(), l.env.Now())
	for _, p := range removed {
		l.stopReplication(p)
	}
	l.updateCounting()
	for _, p := range l.peers {
		if p.replicator == nil {
			producer := l.config.Replicator(ReplicatorConfig{
				Peer: p.id, Reader: l.children.logReader, Term: l.term, StorageID: p.storageID, Replaced: p.replaced,
			})
			p.replicator = l.children.spawnReplicator(l.ctx, l.env, producer, p.id)
		}
	}
}

// updateCounting notes which peers count in majorities, and reports whether that changed. It
// depends on the configuration in effect and on the committed one.
func (l *leader) updateCounting() (changed bool) {
	_, latest := l.log.configurations.Latest()
	_, committed := l.log.configurations.Committed(l.log.commitIndex)
	for _, p := range l.peers {
		counts := raft.CountsInMajorities(committed, latest, p.id)
		changed = changed || counts != p.counts
		p.counts = counts
	}
	return changed
}

func (l *leader) stopReplication(p *peerState) {
	if p.replicator != nil {
		l.children.stopReplicator(l.ctx, p.replicator)
		p.replicator = nil
	}
}

// appendProposals gives proposals their indexes and sends them to the LogStore and to every
// Replicator at the same time: the leader's disk and the network work in parallel. A leader never
// truncates its own log.
func (l *leader) appendProposals(data [][]byte, bytes uint64) {
	first := l.log.lastIndex() + 1
	e := &messages.Entries{
		First: first,
		Runs:  []*messages.TermRun{{FirstIndex: first, Term: l.term}},
		Data:  data,
		Bytes: bytes,
	}
	prevTerm := l.log.lastTerm()
	if l.appendEntries(e) {
		l.syncReplicators()
	}
	l.uncommitted.add(l.log.lastIndex(), data, bytes)
	m := &messages.Replicate{
		Incarnation: l.config.Incarnation, PrevTerm: prevTerm, Entries: e,
		LastIndex: l.log.lastIndex(), Commit: l.log.commitIndex,
	}
	for _, p := range l.peers {
		if p.replicator != nil {
			p.recordSent(p.heartbeatCommit(l.log.commitIndex))
			l.send(p.replicator, m)
		}
	}
	l.persistAndWatch(&messages.Append{Entries: e}) // after the Replicators, whose way is longer
}

// handleReplicationProgress stores how far a peer's log agrees. Only a higher matchIndex counts as
// contact: a Replicator also reports when it has waited in vain (E19).
func (l *leader) handleReplicationProgress(m *messages.ReplicationProgress) {
	p := l.peers.find(m.Peer)
	if p == nil || m.Term != l.term || p.replaced && !bytes.Equal(m.StorageId, p.storageID) {
		return
	}
	if m.LostEntries {
		l.refuseLostEntries(p, m.MatchIndex)
		return
	}
	p.replicatorState, p.diskLow, p.lostEntries = m.State, m.DiskLow, false
	if m.MatchIndex > p.matchIndex {
		p.matchIndex, p.lastContact = m.MatchIndex, l.env.Now()
		l.advanceLeaderCommit()
		if p.commitSent < p.heartbeatCommit(l.log.commitIndex) {
			// Its matchIndex was below what others committed, and no more entries may follow.
			l.commits.advanced = true
			l.scheduleFlush()
		}
	}
	l.continueTransfer()
}

// advanceLeaderCommit raises the commit index to what a quorum has on disk. This node's disk counts
// like any other: its entries may be committed on the peers' disks, and a single voter waits for
// its own (E10).
func (l *leader) advanceLeaderCommit() {
	former := l.log.commitIndex
	matchIndex := l.valueOf(l.log.durableIndex, func(p *peerState) uint64 { return p.matchIndex })
	commit := raft.CommitIndex(l.quorum, matchIndex, former, l.term, l.log.terms)
	if commit == former {
		return
	}
	l.advanceCommitIndex(commit)
	l.uncommitted.release(min(commit, l.log.durableIndex))
	if former < l.firstIndex && commit >= l.firstIndex {
		l.reads.firstCommit()
	}
	l.commits.advanced = true
	l.scheduleFlush() // it also starts the round of the reads that firstCommit collected
	if l.updateCounting() {
		l.advanceLeaderCommit() // with a member that counts from now on
	}
}

// notifyCommit sends the commit index to peers (see commitNotifier).
func (l *leader) notifyCommit() {
	if l.commits.notify(l.peers, l.log.commitIndex, l.sendCommit) {
		l.env.After(commitNotifyDelay, l.ctx.Self(), &messages.Tick{
			Incarnation: l.config.Incarnation, Timer: commitNotifyTimer,
		})
	}
}

func (l *leader) sendCommit(p *peerState, commit uint64) {
	m := l.newHeartbeat(p, commit)
	m.CommitOnly = true
	l.sendToPeer(p.id, m)
}

// sendHeartbeats sends a heartbeat with the latest read round to all peers.
func (l *leader) sendHeartbeats() {
	for _, p := range l.peers {
		l.sendToPeer(p.id, l.newHeartbeat(p, p.heartbeatCommit(l.log.commitIndex)))
	}
	l.commits.advanced = false
}

func (l *leader) newHeartbeat(p *peerState, commit uint64) *messages.Heartbeat {
	p.recordSent(commit)
	m := &messages.Heartbeat{Term: l.term, Leader: l.self(), Commit: commit, Round: l.reads.round}
	m.CommitTerm, _ = l.log.terms.Term(commit)
	m.ForwardedStream, m.ForwardedHighest, m.ForwardedTaken = p.forwarded.Taken()
	return m
}

func (l *leader) handleHeartbeatResponse(m *messages.HeartbeatResponse) {
	p := l.peers.find(m.From)
	if p == nil {
		return
	}
	p.lastContact, p.diskLow = l.env.Now(), m.DiskLow
	if m.Round > p.ackedRound {
		p.ackedRound = min(m.Round, l.reads.round)
		l.confirmReads()
	}
}

// handleFetch sends a Replicator entries. `from` 0 asks where to begin: at the first entry of the
// term, which no peer has.
func (l *leader) handleFetch(m *messages.Fetch) {
	from := m.From
	if from == 0 {
		from = l.firstIndex
	}
	l.sendFetched(m.Peer, from, m.MaxBytes, &messages.Fetched{Token: m.Token})
}

// handleResolveConflict computes nextIndex from a follower's conflict hint (end of Raft §5.3).
func (l *leader) handleResolveConflict(m *messages.ResolveConflict) {
	next := l.log.terms.NextAfterConflict(m.ConflictTerm, m.ConflictIndex)
	l.sendFetched(m.Peer, next, m.MaxBytes, &messages.Fetched{Token: m.Token, ConflictNextIndex: next})
}

// sendFetched completes m with the entries from `from` on, or with where they are on disk.
func (l *leader) sendFetched(peer, from, maxBytes uint64, m *messages.Fetched) {
	p := l.peers.find(peer)
	if p == nil || p.replicator == nil {
		return
	}
	last := l.log.lastIndex()
	from = min(from, last+1)
	m.Incarnation, m.LastIndex, m.Commit = l.config.Incarnation, last, l.log.commitIndex
	prevTerm, known := l.log.terms.Term(from - 1)
	m.PrevTerm = prevTerm
	switch {
	case !known:
		m.Compacted = true
	case from <= last:
		m.Entries, m.OnDiskThrough = l.log.read(from, last, maxBytes)
	}
	if known && m.Entries == nil {
		m.Entries = &messages.Entries{First: from}
	}
	l.send(p.replicator, m)
}
