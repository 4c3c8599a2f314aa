package troupe

import (
	"sort"

	"github.com/troupe-raft/troupe/actors"
)

// Status is a recent snapshot of a node's state.
type Status struct {
	ID        uint64
	ClusterID uint64
	// Role is "recovering", "follower", "preCandidate", "candidate", "leader", "removed" or "stopped".
	Role         string
	Term         uint64
	LeaderID     uint64 // 0 if no leader is known
	IsLearner    bool
	CommitIndex  uint64
	AppliedIndex uint64
	LastIndex    uint64 // of the log
	FirstIndex   uint64 // of the log
	Serving      bool   // the entries that were committed before the start are applied
	LogBytes     int64  // on disk
	DiskLow      bool   // the disk has less free space than Limits.DiskLowWater
	// Members is shared between callers and must not be changed.
	Members []Member
	// ConfigurationIndex is the index of the entry that holds Members.
	ConfigurationIndex uint64
	// Peers is the leader's knowledge of the other members, ordered by id; empty at other nodes.
	Peers []PeerStatus
	// Restarts is the number of restarts of actors since the start of the node.
	Restarts int
	// Err is the error that stopped the node, nil while it runs and after Stop.
	Err error
}

// PeerStatus is a leader's knowledge of one peer.
type PeerStatus struct {
	ID               uint64
	State            string // "probing" or "streaming"
	Match            uint64 // matchIndex (Raft, Figure 2)
	Next             uint64 // nextIndex
	InFlightMessages int    // sent and not acknowledged
	InFlightBytes    uint64
}

const (
	roleRecovering = "recovering"
	roleLeader     = "leader"
	roleStopped    = "stopped"
)

// Status returns a recent snapshot of the node's state. It is cheap and never waits.
func (n *Node) Status() Status {
	s := n.observer.status()
	s.ID, s.ClusterID, s.Restarts = n.config.ID, n.ClusterID(), n.supervisorTree.Restarts()
	select {
	case <-n.done:
		s.Role, s.LeaderID, s.Serving, s.Err = roleStopped, 0, false, n.err
	default:
	}
	return s
}

// Term returns the current term. It is cheaper than Status.
func (n *Node) Term() uint64 { return n.observer.term.Load() }

// status returns the part of the status that the actors report.
func (o *nodeObserver) status() Status {
	o.mu.Lock()
	defer o.mu.Unlock()
	v := o.node
	s := Status{
		Role: v.Role, Term: v.Term, LeaderID: v.LeaderID, IsLearner: v.Learner,
		CommitIndex: v.Commit, AppliedIndex: o.machine.Applied, LastIndex: v.LastIndex, FirstIndex: o.logStore.FirstIndex,
		Serving: o.machine.Serving, LogBytes: o.logStore.DiskBytes, DiskLow: v.DiskLow,
		Members: o.members, ConfigurationIndex: v.ConfigurationIndex,
	}
	if v.Role == roleLeader {
		s.Peers = peerStatuses(o.peers)
	}
	return s
}

func peerStatuses(views map[uint64]actors.ReplicatorView) (peers []PeerStatus) {
	for _, v := range views {
		if v.State != roleStopped {
			peers = append(peers, PeerStatus{
				ID: v.PeerID, State: v.State, Match: v.Match, Next: v.Next,
				InFlightMessages: v.InFlight, InFlightBytes: v.InFlightBytes,
			})
		}
	}
	sort.Slice(peers, func(i, j int) bool { return peers[i].ID < peers[j].ID })
	return peers
}
