package node

import (
	"time"

	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// transfer is a leadership being handed over on demand (dissertation §3.10, E20): only to an up-to-date voter, bounded in
// time, and gone with any change of role, since it lives in leadership.
type transfer struct {
	target         uint64
	deadline       time.Duration
	timeoutNowSent bool
}

// transferRetryTimeouts is how many election timeouts a leader waits before it tries again of its own accord.
const transferRetryTimeouts = 10

// transferFromLowDisk hands over to a member that has room, for the sake of those who write. Where none has, it leads on: reads
// need no room (E8).
func (n *Node) transferFromLowDisk() {
	if !n.diskLow || n.leadership.transfer != nil || n.env.Now() < n.leadership.nextTransferAt {
		return
	}
	if best := n.bestTransferTarget(); best != 0 {
		n.startTransfer(best)
	}
}

// startTransfer begins to hand leadership over; target 0 is the best successor. One that is under way already is left to
// succeed or to run out of time: two targets would campaign against each other.
func (n *Node) startTransfer(target uint64) {
	if n.leadership.transfer != nil {
		return
	}
	if target == 0 {
		target = n.bestTransferTarget()
	}
	p := n.leadership.peerByID(target)
	if p == nil || !n.quorum.Contains(target) {
		n.env.Log().Warn().Str("target", raft.FormatID(target)).Msg("cannot hand leadership over: not another voter of this cluster")
		return
	}
	// What was collected is appended before: the target has to have it, or voters who do would refuse it.
	n.flush()
	n.leadership.transfer = &transfer{target: target, deadline: n.env.Now() + n.config.ElectionTimeout}
	n.env.Log().Info().Str("target", raft.FormatID(target)).Uint64("term", n.term).Msg("handing leadership over on demand")
	n.continueTransfer()
}

// continueTransfer tells the target to campaign once it has the whole log. No proposal is taken meanwhile, so it gets there.
func (n *Node) continueTransfer() {
	t := n.leadership.transfer
	if t == nil || t.timeoutNowSent {
		return
	}
	if p := n.leadership.peerByID(t.target); p != nil && p.matchIndex == n.log.LastIndex() {
		t.timeoutNowSent = true
		n.sendToPeer(t.target, &messages.TimeoutNow{Term: n.term, Leader: n.self()})
	}
}

func (n *Node) abortExpiredTransfer() {
	if t := n.leadership.transfer; t != nil && n.env.Now() >= t.deadline {
		n.leadership.transfer = nil
		n.leadership.nextTransferAt = n.env.Now() + transferRetryTimeouts*n.config.ElectionTimeout
		n.env.Log().Warn().Str("target", raft.FormatID(t.target)).Uint64("term", n.term).
			Msg("the target did not take leadership over in time; leading on")
	}
}
