package node

import (
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// refusal returns why a proposal of `size` bytes cannot be accepted, with the limit that it would
// exceed; UNSPECIFIED if it can.
func (l *leader) refusal(size uint64) (messages.Refusal, uint64) {
	switch {
	case l.transfer.isActive():
		return messages.Refusal_REFUSAL_TRANSFERRING, 0
	case l.log.diskLow:
		return messages.Refusal_REFUSAL_DISK_FULL, 0
	}
	return l.proposals.refusal(size, l.uncommitted.bytes, l.config.Limits.MaxUncommittedBytes)
}

// handlePropose collects a proposal of this node's Session, or refuses it.
func (l *leader) handlePropose(m *messages.Propose) {
	if m.Term != l.term || l.uncommitted.has(m.Data) {
		return
	}
	reason, limit := l.refusal(uint64(len(m.Data)))
	if l.collectProposal(m, reason, limit) {
		l.uncommitted.collect(m.Data)
	}
}

// handleForwardedProposals collects the proposals of a peer, or refuses all of them but those that
// are in the log already.
//
// A copy that the network or the peer made is neither: appended after the original was refused, it
// would execute commands that the Session reported as not executed. The duplicate filter recognises
// copies within the term. A message of an earlier term may be a copy as well, so it is dropped;
// nothing is lost, since each Session sends its commands again when the term changes.
//
// Only the leader of its term refuses a batch. Any other node, and this one in another term or
// after a restart, does not know whether the batch was taken before: a refusal would be a guess.
func (l *leader) handleForwardedProposals(m *messages.ForwardedProposals) {
	p := l.peers.find(m.From)
	switch {
	case p == nil || m.Term != l.term:
		return
	case !p.forwarded.Accept(m.Stream, m.Number):
		if p.forwarded.IsRefused(m.Stream, m.Number) {
			l.refuseForwarded(m, m.Data, messages.Refusal_REFUSAL_NO_LEADER, 0) // temporary: it may be tried again
		}
		return
	}
	if err := raft.CheckProposals(m.Data); err != nil {
		l.logMalformed(err, m.From, "dropped malformed forwarded proposals")
		return
	}
	fresh := l.uncommitted.withoutKnown(m.Data)
	if len(fresh) == 0 {
		return
	}
	if reason, limit := l.refusal(totalBytes(fresh)); reason != messages.Refusal_REFUSAL_UNSPECIFIED {
		p.forwarded.Refuse(m.Stream, m.Number)
		l.refuseForwarded(m, fresh, reason, limit)
		return
	}
	l.uncommitted.collect(fresh...)
	l.proposals.add(fresh...)
	l.proposals.forwarders = append(l.proposals.forwarders, m.From)
	l.scheduleFlush()
}

// handleReadRequest gives a read point, or has the read wait for one (see readRounds). unconfirmed:
// the caller accepts the commit index without a round.
func (l *leader) handleReadRequest(r readRequest, unconfirmed bool) {
	switch {
	case l.reads.count >= l.config.Limits.MaxPendingReads:
		l.refuseReads([]readRequest{r}, messages.Refusal_REFUSAL_OVERLOADED)
	case l.log.commitIndex < l.firstIndex:
		l.reads.waitForFirstCommit(r)
	case unconfirmed:
		l.sendReadPoint(r, l.log.commitIndex)
	default:
		l.reads.collect(r)
		l.scheduleFlush()
	}
}

// startReadRound starts one round for all collected reads.
func (l *leader) startReadRound() {
	if l.reads.start(l.log.commitIndex) {
		l.sendHeartbeats()
		l.confirmReads()
	}
}

// confirmReads sends the read points of the rounds that a quorum has acknowledged. The quorum
// counts rounds as it counts indexes for commits (E27).
func (l *leader) confirmReads() {
	confirmed := l.quorum.HighestAcknowledged(l.valueOf(l.reads.round, func(p *peerState) uint64 {
		return p.ackedRound
	}))
	for _, round := range l.reads.confirm(confirmed) {
		for _, r := range round.reads {
			l.sendReadPoint(r, round.index)
		}
	}
}
