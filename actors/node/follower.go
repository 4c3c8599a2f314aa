package node

import (
	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// follower accepts entries from the leader of its term. If it has no contact to a leader for an
// election timeout, it becomes a preCandidate. A learner is a follower that never does (E23).
type follower struct{ nonLeader }

func (*follower) name() string { return roleFollower }

// becomeFollower ends the present role and adopts term, which is the current term or a higher one.
// Only a higher term clears the vote (E2). leader is the leader of term, 0 if it is not known.
func (n *Node) becomeFollower(term, leader uint64, why string) {
	invariant(term >= n.term, "the term would fall from %d to %d", n.term, term)
	former := n.role.name()
	n.role.leave(why)
	higher := term > n.term
	if higher {
		n.setTerm(term, 0)
	}
	n.become(&follower{nonLeader{n}})
	n.contact.leaderLost = false
	// Sent also if no leader was known before: the first report of an incarnation resets the reads of
	// the Session. After a higher term the same leader is reported again, and the Session retries.
	if leader == 0 || higher {
		n.contact.leader = 0
		n.sendLeaderChanged()
	}
	if leader != 0 {
		n.contact.last = n.env.Now()
		n.setLeader(leader)
	}
	if former != roleFollower {
		n.env.Log().Info().Str("was", former).Uint64("term", n.term).Str("why", why).Msg("became follower")
	}
	if leader == 0 {
		n.resetCampaignTimer()
	} else {
		n.resetElectionTimer()
	}
	if higher {
		n.persist(&messages.Append{NeedsSync: true, Notify: true, Mark: &messages.AppendMark{Term: n.term}})
	}
}

func (f *follower) receive(ctx actor.Context) {
	m := ctx.Message()
	if !f.stepTerm(m) {
		return
	}
	switch m := m.(type) {
	case *messages.AppendEntries:
		f.recordLeaderContact(m.Leader)
		f.handleAppendEntries(m)
	case *messages.Heartbeat:
		f.recordLeaderContact(m.Leader)
		f.handleHeartbeat(m)
	case *messages.Tick:
		if f.timer.fired(m.Timer) && f.timer.expired() {
			f.handleElectionTimeout()
		}
	case *messages.LinkDown:
		f.campaignIfLeaderLinkBroke(m)
	case *messages.LinkUp:
		f.handleLinkUp(m)
	case *messages.TimeoutNow:
		f.handleTimeoutNow(m)
	case *messages.Campaign:
		f.becomePreCandidate("requested")
	default:
		f.step(m)
	}
}

func (f *follower) recordLeaderContact(leader uint64) {
	if known := f.contact.leader; known != 0 && known != leader {
		failTwoLeaders(f.term, known, leader)
	}
	resetTimer := f.contact.recordMessage(f.env.Now())
	f.stateChanged = true
	f.setLeader(leader)
	if resetTimer {
		f.resetElectionTimer()
	}
}

func (f *follower) handleElectionTimeout() {
	if !f.isVoter() {
		if f.config.Storage.Rejoining && !f.mayVote() && f.contact.leader == 0 {
			f.logWaitingToRejoin()
		}
		f.resetElectionTimer()
		return
	}
	f.becomePreCandidate("election timer expired")
}

// campaignIfLeaderLinkBroke begins a fast campaign if the link to the leader broke (see
// leaderContact).
func (f *follower) campaignIfLeaderLinkBroke(m *messages.LinkDown) {
	f.Node.recordLinkDown(m)
	if m.Peer != f.contact.leader || !f.isVoter() {
		return
	}
	if f.contact.leaderLinkDown(f.env.Now(), f.term, f.config.ElectionTimeout) {
		f.env.Log().Info().Str("leader", raft.FormatID(m.Peer)).Uint64("term", f.term).Str("reason", m.Reason).
			Msg("link to the leader broke; campaigning early")
		f.setRandomDeadline(0, fastCampaignDelayMax)
		f.contact.ignoreUntil = f.timer.deadline
	}
}

// handleLinkUp reports the leader to the Session again if its link is back: requests for read
// points may have been lost with the link. Proposals that were forwarded may have been lost too.
func (f *follower) handleLinkUp(m *messages.LinkUp) {
	f.contact.linkUp(m.Peer)
	if m.Peer != f.contact.leader {
		return
	}
	if f.contact.leaderLinkUp() {
		f.resetElectionTimer()
	}
	f.sendLeaderChanged()
	f.repeatForwards(true)
}

// handleAppendEntries is the receiver's side of AppendEntries (Raft §5.3).
func (f *follower) handleAppendEntries(m *messages.AppendEntries) {
	if err := raft.CheckAppendEntries(m); err != nil {
		f.logMalformed(err, m.Leader, "dropped a malformed append")
		return
	}
	if !f.log.terms.Matches(m.PrevIndex, m.PrevTerm) {
		f.refuseAppend(m)
		return
	}
	acknowledged := m.PrevIndex
	var fresh *messages.Entries
	truncateFrom := uint64(0)
	if m.Entries != nil && len(m.Entries.Data) > 0 {
		acknowledged += uint64(len(m.Entries.Data))
		if conflict := f.log.terms.FindConflict(m.Entries); conflict > 0 {
			if conflict <= f.log.lastIndex() && !f.machineReady {
				return // the state machine may have applied it, so that it is committed
			}
			truncateFrom = f.truncate(m.Leader, conflict)
			fresh = m.Entries
			if conflict > fresh.First {
				fresh = raft.SliceEntries(fresh, conflict, ^uint64(0))
			}
			f.appendEntries(fresh)
		}
	}
	f.advanceCommitIndex(min(m.Commit, acknowledged))
	f.acknowledgeAppend(m, acknowledged, truncateFrom, fresh)
}

// truncate removes the entries from the conflict on, with the configurations among them (E31). It
// returns the index from which the LogStore truncates, 0 if the log ends before the conflict.
func (f *follower) truncate(leader, conflict uint64) uint64 {
	last := f.log.lastIndex()
	if conflict > last {
		return 0
	}
	if conflict <= f.log.commitIndex {
		failCommittedReplaced(leader, f.term, conflict, f.log.commitIndex)
	}
	f.env.Log().Info().Uint64("from", conflict).Uint64("last_index", last).Uint64("term", f.term).
		Msg("truncating entries that another leader replaced")
	if f.log.truncate(conflict, f.term) {
		f.applyConfiguration()
	}
	f.stateChanged = true
	return conflict
}

// acknowledgeAppend accepts a request: at once if the disk has the term and everything up to index,
// else as a deferred message of the Append that makes it durable. The term is part of what is
// acknowledged: the leader relies on the entries to stay, but a node that restarted in an earlier
// term would let the leader of that term replace them (E1).
func (f *follower) acknowledgeAppend(m *messages.AppendEntries, index, truncateFrom uint64, fresh *messages.Entries) {
	response := &messages.AppendResponse{
		Term: f.term, From: f.self(), Accepted: true, Index: index, Stream: m.Stream, Sequence: m.Sequence,
		LastIndex: f.log.lastIndex(), DiskLow: f.log.diskLow,
	}
	termDurable := f.log.durableTerm == f.term
	if fresh == nil && termDurable && index <= f.log.durableIndex {
		f.sendToReplicator(m.Leader, response)
		return
	}
	a := &messages.Append{
		TruncateFrom: truncateFrom,
		Entries:      fresh,
		NeedsSync:    true,
		Notify:       fresh != nil,
		Mark:         &messages.AppendMark{Term: f.term, Index: index},
		Deferred:     []*messages.DeferredMessage{newDeferredMessage(m.Leader, messages.Receiver_RECEIVER_REPLICATOR, index, response)},
	}
	f.persist(a)
}

func (f *follower) refuseAppend(m *messages.AppendEntries) {
	term, index := f.log.terms.ConflictHint(m.PrevIndex)
	f.sendToReplicator(m.Leader, &messages.AppendResponse{
		Term: f.term, From: f.self(), Index: m.PrevIndex, Stream: m.Stream, Sequence: m.Sequence,
		ConflictTerm: term, ConflictIndex: index, LastIndex: f.log.lastIndex(), DiskLow: f.log.diskLow,
	})
}

// handleHeartbeat advances the commit index and responds. The leader sends at most this node's
// matchIndex, but the log may have become an older one since: so the term of the entry at the
// commit index must match too (docs/protocol.md P43).
func (f *follower) handleHeartbeat(m *messages.Heartbeat) {
	if m.Commit > f.log.commitIndex && f.log.terms.Matches(m.Commit, m.CommitTerm) {
		f.advanceCommitIndex(m.Commit)
	}
	if f.forwards.recordTaken(m) {
		f.forwardCollected()
	}
	if m.CommitOnly {
		return
	}
	f.repeatForwards(false)
	f.sendToPeer(m.Leader, &messages.HeartbeatResponse{Term: f.term, From: f.self(), Round: m.Round, DiskLow: f.log.diskLow})
	if f.log.commitIndex > f.log.persistedCommit {
		f.persist(&messages.Append{Mark: &messages.AppendMark{Term: f.term}})
	}
}
