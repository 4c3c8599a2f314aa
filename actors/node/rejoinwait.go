package node

import (
	"fmt"
	"slices"
	"time"

	"github.com/troupe-raft/troupe/raft"
)

// The pause between two log lines of a member that waits to rejoin doubles from the first to the
// second.
const (
	minRejoinLogPause = 10 * time.Second
	maxRejoinLogPause = time.Hour
)

// rejoinWait is which peers have responded to a member that waits to rejoin, and when it logs that
// again.
type rejoinWait struct {
	refusedBy   []uint64 // sorted
	next, pause time.Duration
}

// recordRefusal makes a line due at the first refusal: by then the link works.
func (w *rejoinWait) recordRefusal(peer uint64, now time.Duration) {
	if len(w.refusedBy) == 0 {
		w.next, w.pause = now, minRejoinLogPause
	}
	if i, known := slices.BinarySearch(w.refusedBy, peer); !known {
		w.refusedBy = slices.Insert(w.refusedBy, i, peer)
	}
}

// isDue reports whether to log that the member waits. If it does, the next line is due later.
func (w *rejoinWait) isDue(now time.Duration) bool {
	if w.pause == 0 {
		w.next, w.pause = now+minRejoinLogPause, minRejoinLogPause
	}
	if now < w.next {
		return false
	}
	w.next, w.pause = now+w.pause, min(2*w.pause, maxRejoinLogPause)
	return true
}

// logWaitingToRejoin logs ever less often what this member waits for: an operator, at a majority of
// the others. If no member has the data of the cluster, it waits without end.
func (n *Node) logWaitingToRejoin() {
	if !n.rejoin.isDue(n.env.Now()) {
		return
	}
	var reached, unreached []string
	for _, id := range n.quorum.VoterIDs() {
		switch _, answered := slices.BinarySearch(n.rejoin.refusedBy, id); {
		case id == n.self():
		case answered:
			reached = append(reached, raft.FormatID(id))
		default:
			unreached = append(unreached, raft.FormatID(id))
		}
	}
	n.env.Log().Warn().Hex("storage_id", n.config.Storage.ID).Strs("reached", reached).Strs("not_reached", unreached).
		Str("advice", fmt.Sprintf("run `troupe member rejoin %s` against a member that runs on its data; if every member waits, there is no "+
			"such cluster: to begin a new one, stop all members, remove their data directories, and start them with "+
			"--initial-cluster-state=new", raft.FormatID(n.self()))).
		Msg("waiting to rejoin: this member does not vote and receives nothing yet")
}
