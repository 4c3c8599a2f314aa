package member

import (
	"sync"
	"time"

	"github.com/troupe-raft/troupe/messages"
)

// handover is the time in which a leader that stops waits for another leader, so that the cluster
// need not wait for an election timeout.
type handover struct {
	mu        sync.Mutex
	active    bool
	stopTimer func() // of the patience
}

func (h *handover) begin(stopTimer func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.active, h.stopTimer = true, stopTimer
}

// end reports whether the handover was active.
func (h *handover) end() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	was := h.active
	if was {
		h.stopTimer()
	}
	h.active = false
	return was
}

// Stop begins to stop the node. A leader that is connected to a peer first hands leadership over;
// without success it stops after patience all the same. Done is closed when the node has stopped.
func (n *Node) Stop(patience time.Duration) {
	if n.observer.Views().Node.Role != RoleLeader || !n.environment.Connected() {
		n.StopActors()
		return
	}
	n.handover.begin(n.host.Every(patience, n.StopActors))
	n.Send(&messages.TransferLeadership{})
}

// StopActors begins to stop the actors, without a handover or in the middle of one.
func (n *Node) StopActors() {
	n.handover.end()
	n.stopActors.Do(n.tree.Stop)
}

// Kill is StopActors without any further message to a peer.
func (n *Node) Kill() {
	n.environment.Close()
	n.StopActors()
}

// leaderChanged ends a handover when another member leads.
func (n *Node) leaderChanged(m *messages.LeaderChanged) {
	if m.Leader != 0 && m.Leader != n.config.ID && n.handover.end() {
		n.StopActors()
	}
}
