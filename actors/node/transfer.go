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

func (n *Node) startTransfer(target uint64) {
	if target == 0 {
		target = n.bestSuccessor()
	}
	p := n.lead.peer(target)
	if p == nil || !n.quorum.Contains(target) {
		n.env.Log().Warn().Str("target", hexID(target)).Msg("cannot hand leadership over: not another voter of this cluster")
		return
	}
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
		n.env.Log().Warn().Str("target", hexID(t.target)).Uint64("term", n.term).
			Msg("the target did not take leadership over in time; leading on")
	}
}
