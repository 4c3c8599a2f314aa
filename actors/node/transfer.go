package node

import (
	"time"

	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// transfer is the handover of leadership to another voter (dissertation §3.10, E20). The leader
// refuses proposals until the target has the whole log, and then sends it TimeoutNow. A transfer
// ends after an election timeout, or with the leadership.
type transfer struct {
	target         uint64 // 0: no transfer is active
	deadline       time.Duration
	timeoutNowSent bool
	// retryAt is when the leader may start a transfer by itself again after one that failed.
	retryAt time.Duration
}

func (t *transfer) isActive() bool { return t.target != 0 }

// transferRetryTimeouts is the number of election timeouts before a leader whose disk is low tries
// a transfer again.
const transferRetryTimeouts = 10

// startTransfer starts a transfer to target, 0 for the best one. An active transfer goes on: two
// targets would campaign against each other.
func (l *leader) startTransfer(target uint64) {
	if l.transfer.isActive() {
		return
	}
	if target == 0 {
		target = l.bestTransferTarget()
	}
	if p := l.peers.find(target); p == nil || !l.quorum.Contains(target) || !p.counts {
		l.env.Log().Warn().Str("target", raft.FormatID(target)).
			Msg("cannot transfer leadership: the target is not another voter of this cluster")
		return
	}
	// Appended later, the collected proposals would reach other voters, and they would refuse the
	// target because its log is shorter.
	l.processBatch()
	l.transfer.target, l.transfer.timeoutNowSent = target, false
	l.transfer.deadline = l.env.Now() + l.config.ElectionTimeout
	l.env.Log().Info().Str("target", raft.FormatID(target)).Uint64("term", l.term).Msg("transferring leadership")
	l.continueTransfer()
}

// continueTransfer sends TimeoutNow once the target has the whole log.
func (l *leader) continueTransfer() {
	t := &l.transfer
	if !t.isActive() || t.timeoutNowSent {
		return
	}
	if p := l.peers.find(t.target); p != nil && p.matchIndex == l.log.lastIndex() {
		t.timeoutNowSent = true
		l.sendTimeoutNow(t.target)
	}
}

func (l *leader) abortExpiredTransfer() {
	t := &l.transfer
	if t.isActive() && l.env.Now() >= t.deadline {
		l.env.Log().Warn().Str("target", raft.FormatID(t.target)).Uint64("term", l.term).
			Msg("leadership transfer aborted: the target did not become leader in time")
		t.target, t.retryAt = 0, l.env.Now()+transferRetryTimeouts*l.config.ElectionTimeout
	}
}

// transferFromLowDisk transfers leadership to a voter with free disk space, so that clients can
// write again. Without one the leader continues, since reads need no space (E8).
func (l *leader) transferFromLowDisk() {
	if !l.log.diskLow || l.transfer.isActive() || l.env.Now() < l.transfer.retryAt {
		return
	}
	if best := l.bestTransferTarget(); best != 0 {
		l.startTransfer(best)
	}
}

// stepDownWithTransfer steps down at once, and asks the best target, if there is one, to campaign.
func (l *leader) stepDownWithTransfer(why string) {
	l.env.Log().Warn().Uint64("term", l.term).Str("why", why).Msg("stepping down with a leadership transfer")
	best := l.bestTransferTarget()
	l.becomeFollower(l.term, 0, why)
	if best != 0 {
		l.sendTimeoutNow(best)
	}
}

func (l *leader) sendTimeoutNow(target uint64) {
	l.sendToPeer(target, &messages.TimeoutNow{Term: l.term, Leader: l.self()})
}

// bestTransferTarget returns the voter with the highest matchIndex among those with recent contact,
// a link that is up, and free disk space; 0 for none.
func (l *leader) bestTransferTarget() uint64 {
	var best *peerState
	for _, p := range l.peers {
		if !l.quorum.Contains(p.id) || !p.counts || p.lostEntries || p.diskLow || l.contact.downLinks[p.id] ||
			l.env.Now()-p.lastContact > l.config.ElectionTimeout {
			continue
		}
		if best == nil || p.matchIndex > best.matchIndex {
			best = p
		}
	}
	if best == nil {
		return 0
	}
	return best.id
}
