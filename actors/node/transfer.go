package node

import (
	"time"

	"github.com/troupe-raft/troupe/messages"
)

// transfer is a leadership being handed over on demand (dissertation §3.10, E20): only to an up-to-date voter, bounded in
// time, and gone with any change of role, since it lives in leadership.
type transfer struct {
	target   uint64
	deadline time.Duration
	sent     bool
}

// transferPause is how many election timeouts a leader waits before it tries again of its own accord.
const transferPause = 10

// leaveLowDisk hands over to a member that has room, for the sake of those who write. Where none has, it leads on: reads
// need no room (E8).
func (n *Node) leaveLowDisk() {
	if !n.diskLow || n.lead.transfer != nil || n.env.Now() < n.lead.transferAfter {
		return
	}
	if best := n.bestSuccessor(); best != 0 {
		n.startTransfer(best)
	}
}

// startTransfer begins to hand leadership over; target 0 is the best successor. One that is under way already is left to
// succeed or to run out of time: two targets would campaign against each other.
func (n *Node) startTransfer(target uint64) {
	if n.lead.transfer != nil {
		return
	}
	if target == 0 {
		target = n.bestSuccessor()
	}
	p := n.lead.peer(target)
	if p == nil || !n.quorum.Contains(target) {
		n.env.Log().Warn().Str("target", hexID(target)).Msg("cannot hand leadership over: not another voter of this cluster")
		return
	}
	// What was collected is appended before: the target has to have it, or voters who do would refuse it.
	n.flush()
	n.lead.transfer = &transfer{target: target, deadline: n.env.Now() + n.config.Election}
	n.env.Log().Info().Str("target", hexID(target)).Uint64("term", n.term).Msg("handing leadership over on demand")
	n.continueTransfer()
}

// continueTransfer tells the target to campaign once it has the whole log. No proposal is taken meanwhile, so it gets there.
func (n *Node) continueTransfer() {
	t := n.lead.transfer
	if t == nil || t.sent {
		return
	}
	if p := n.lead.peer(t.target); p != nil && p.match == n.log.Last() {
		t.sent = true
		n.tell(t.target, &messages.TimeoutNow{Term: n.term, Leader: n.self()})
	}
}

func (n *Node) abortLateTransfer() {
	if t := n.lead.transfer; t != nil && n.env.Now() >= t.deadline {
		n.lead.transfer = nil
		n.lead.transferAfter = n.env.Now() + transferPause*n.config.Election
		n.env.Log().Warn().Str("target", hexID(t.target)).Uint64("term", n.term).
			Msg("the target did not take leadership over in time; leading on")
	}
}
