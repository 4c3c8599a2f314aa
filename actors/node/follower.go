package node

import (
	"fmt"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// becomeFollower takes up a term (the present one or a higher) and leaves whatever role there was. Stepping down within
// the same term keeps the vote; only a higher term clears it (E2).
func (n *Node) becomeFollower(term, leader uint64, why string) {
	invariant(term >= n.term, "term would go back from %d to %d", n.term, term)
	was := n.role
	if n.leadership != nil {
		n.stopLeading(why)
	}
	n.campaign = nil
	higher := term > n.term
	if higher {
		n.term, n.vote = term, 0
	}
	n.become(roleFollower, n.follower)
	n.leaderLinkBroken = false
	if leader == 0 || higher {
		n.leaderID = 0
		n.sendLeaderChanged()
	}
	if leader != 0 {
		n.lastLeaderContact = n.env.Now()
		n.setLeader(leader)
	}
	if was != roleFollower {
		n.env.Log().Info().Str("was", was).Uint64("term", n.term).Str("why", why).Msg("became follower")
	}
	if leader == 0 {
		n.setCampaignDeadline()
	} else {
		n.resetElectionTimer()
	}
	if higher {
		n.persist(&messages.Append{NeedsSync: true, Notify: true, Mark: &messages.AppendMark{Term: n.term}})
	}
}

// follower: hears a leader, or after a timeout begins to campaign. A learner is a follower that does not (E23).
func (n *Node) follower(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *messages.AppendEntries:
		n.handleAppendEntries(m)
	case *messages.Heartbeat:
		n.handleHeartbeat(m)
	case *messages.Tick:
		n.handleElectionTimeout()
	case *messages.RequestRead:
		n.forwardRead(m)
	case *messages.ForwardedProposals:
		n.refuseForwarded(m, messages.Refusal_REFUSAL_NO_LEADER, 0)
	case *messages.ForwardedRead:
		n.refuseForwardedRead(m, messages.Refusal_REFUSAL_NO_LEADER)
	case *messages.TimeoutNow:
		n.handleTimeoutNow(m)
	case *messages.Campaign:
		n.becomePreCandidate("asked to")
	case *messages.Removed:
		n.handleRemoved(m)
	}
}

// append is the receiver's side of AppendEntries (Raft §5.3). Its acknowledgement is a promise: it leaves after the sync.
func (n *Node) handleAppendEntries(m *messages.AppendEntries) {
	if err := validateAppendEntries(m); err != nil {
		n.env.Log().Error().Err(err).Str("from", raft.FormatID(m.Leader)).Uint64("prev_index", m.PrevIndex).
			Msg("dropped a malformed append: check that all members run compatible versions")
		return
	}
	if !n.log.Matches(m.PrevIndex, m.PrevTerm) {
		n.rejectAppend(m)
		return
	}
	acknowledged := m.PrevIndex
	var fresh *messages.Entries
	truncateFrom := uint64(0)
	if m.Entries != nil && len(m.Entries.Data) > 0 {
		acknowledged += uint64(len(m.Entries.Data))
		if conflict := n.log.FindConflict(m.Entries); conflict > 0 {
			truncateFrom = n.truncateLog(conflict)
			fresh = m.Entries
			if conflict > fresh.First {
				fresh = raft.SliceEntries(fresh, conflict, ^uint64(0))
			}
			n.appendToLog(fresh)
		}
	}
	n.advanceCommitIndex(min(m.Commit, acknowledged))
	n.acknowledgeAppend(m, acknowledged, truncateFrom, fresh)
}

// validateAppendEntries tells whether a request is what a leader can say, before anything is done about it: what does not fit would
// break an invariant further in, again and again as it is repeated, until the node stops.
func validateAppendEntries(m *messages.AppendEntries) error {
	e := m.Entries
	if err := raft.CheckEntries(e); err != nil || len(e.GetData()) == 0 {
		return err
	}
	if first, last := e.Runs[0].Term, e.Runs[len(e.Runs)-1].Term; e.First != m.PrevIndex+1 || first < m.PrevTerm || last > m.Term {
		return fmt.Errorf("entries from %d of terms %d to %d after index %d of term %d, from a leader of term %d",
			e.First, first, last, m.PrevIndex, m.PrevTerm, m.Term)
	}
	return nil
}

// acknowledge answers an accepted append: at once where everything acknowledged is on disk already, else through the
// LogStore after the sync that puts it there. The term is part of what is acknowledged: this leader will take it that the
// entries stay, and a node that came back without the term would let a leader of an earlier one replace them.
func (n *Node) acknowledgeAppend(m *messages.AppendEntries, index, truncateFrom uint64, fresh *messages.Entries) {
	answer := &messages.AppendResponse{
		Term: n.term, From: n.self(), Accepted: true, Index: index, Stream: m.Stream, Sequence: m.Sequence,
		LastIndex: n.log.LastIndex(), DiskLow: n.diskLow,
	}
	termHeld := n.durableTerm == n.term
	if fresh == nil && termHeld && index <= n.durableIndex {
		n.send(n.env.PeerPID(m.Leader, messages.Role_ROLE_REPLICATOR), answer)
		return
	}
	a := &messages.Append{
		TruncateFrom: truncateFrom,
		Entries:      fresh,
		NeedsSync:    true,
		Notify:       fresh != nil,
		Mark:         &messages.AppendMark{Term: n.term, Index: index},
		Deferred:     []*messages.DeferredMessage{newDeferredMessage(m.Leader, messages.Role_ROLE_REPLICATOR, index, answer)},
	}
	n.persist(a)
}

func (n *Node) rejectAppend(m *messages.AppendEntries) {
	term, index := n.log.ConflictHint(m.PrevIndex)
	n.send(n.env.PeerPID(m.Leader, messages.Role_ROLE_REPLICATOR), &messages.AppendResponse{
		Term: n.term, From: n.self(), Index: m.PrevIndex, Stream: m.Stream, Sequence: m.Sequence,
		ConflictTerm: term, ConflictIndex: index, LastIndex: n.log.LastIndex(), DiskLow: n.diskLow,
	})
}

// truncate drops the log from the conflict on and rolls back everything derived from it, the configuration included
// (E31). It returns what to tell the LogStore: 0 when nothing was dropped.
func (n *Node) truncateLog(conflict uint64) uint64 {
	if conflict > n.log.LastIndex() {
		return 0
	}
	invariant(conflict > n.commitIndex, "a conflict at index %d, at or below the commit index %d", conflict, n.commitIndex)
	n.env.Log().Info().Uint64("from", conflict).Uint64("last_index", n.log.LastIndex()).Uint64("term", n.term).
		Msg("truncating entries that another leader replaced")
	n.log.Truncate(conflict)
	n.memory.truncate(conflict)
	n.durableIndex = min(n.durableIndex, conflict-1)
	n.truncations.add(n.term, conflict)
	if n.configurations.Truncate(conflict) {
		n.applyConfiguration()
	}
	n.stateChanged = true
	return conflict
}

// heartbeat keeps the follower at rest and tells it what is committed. There is no log check in it: the leader sends
// min(commitIndex, matchIndex of this peer), so that what it names is known to be here.
func (n *Node) handleHeartbeat(m *messages.Heartbeat) {
	n.advanceCommitIndex(min(m.Commit, n.log.LastIndex()))
	if m.CommitOnly {
		return
	}
	n.sendToPeer(m.Leader, &messages.HeartbeatResponse{Term: n.term, From: n.self(), Round: m.Round, DiskLow: n.diskLow})
	if n.commitIndex > n.persistedCommit {
		n.persist(&messages.Append{Mark: &messages.AppendMark{Term: n.term}})
	}
}
