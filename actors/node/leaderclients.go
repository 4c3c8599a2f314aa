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

// handleForwardedProposals collects the proposals of a peer, or refuses all of them.
//
// A copy that the network made is neither: appended after the original was refused, it would
// execute commands that the Session reported as not executed. The duplicate filter recognises
// copies within the term. A message of an earlier term may be a copy as well, so it is refused;
// nothing is lost, since each Session sends its commands again when the term changes.
func (l *leader) handleForwardedProposals(m *messages.ForwardedProposals) {
	if m.Number != 0 { // 0 in tests only
		if m.Term < l.term {
			l.refuseForwarded(m, messages.Refusal_REFUSAL_NO_LEADER, 0)
			return
		}
		if p := l.peers.find(m.From); p != nil && !p.forwarded.Accept(m.Stream, m.Number) {
			return
		}
	}
	if err := raft.CheckProposals(m.Data); err != nil {
		l.env.Log().Error().Err(err).Str("from", raft.FormatID(m.From)).Msg("dropped malformed forwarded proposals")
		return
	}
	if reason, limit := l.refusal(totalBytes(m.Data)); reason != messages.Refusal_REFUSAL_UNSPECIFIED {
		l.refuseForwarded(m, reason, limit)
		return
	}
	l.proposals.add(m.Data...)
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
