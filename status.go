package troupe

import (
	"encoding/hex"
	"sync"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/internal/member"
	"github.com/troupe-raft/troupe/messages"
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
	// Rejoining: the data directory of this node replaced one that was lost, and no leader has
	// recorded it yet (Node.RejoinMember). The node receives nothing and does not vote.
	Rejoining bool
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
	// LostEntries: the peer lacks entries that it had acknowledged to this leader. Its data directory
	// is an older copy, or its disk lost writes; it must rejoin (Config.Rejoin).
	LostEntries bool
	// AsksToRejoin is the storage id with which the peer waits to rejoin (Node.RejoinMember); empty if
	// it does not.
	AsksToRejoin string
}

const (
	roleLeader  = member.RoleLeader
	roleStopped = "stopped"
)

// Status returns a recent snapshot of the node's state. It is cheap and never waits.
func (n *Node) Status() Status {
	views := n.core.Observer().Views()
	v := views.Node
	s := Status{
		ID: n.config.ID, ClusterID: n.ClusterID(), Restarts: n.core.Restarts(),
		Role: v.Role, Term: v.Term, LeaderID: v.LeaderID, IsLearner: v.Learner,
		CommitIndex: v.Commit, AppliedIndex: views.Machine.Applied,
		LastIndex: v.LastIndex, FirstIndex: views.LogStore.FirstIndex,
		Serving: views.Machine.Serving, LogBytes: views.LogStore.DiskBytes, DiskLow: v.DiskLow,
		Members: n.members.of(v.Configuration), ConfigurationIndex: v.ConfigurationIndex,
		Peers: n.peerStatuses(views.Replicators), Rejoining: n.core.Peers().Own().Rejoining,
	}
	select {
	case <-n.core.Done():
		s.Role, s.LeaderID, s.Serving, s.Err = roleStopped, 0, false, n.core.Err()
	default:
	}
	return s
}

// Term returns the current term. It is cheaper than Status.
func (n *Node) Term() uint64 { return n.core.Observer().Term() }

func (n *Node) peerStatuses(views []actors.ReplicatorView) (peers []PeerStatus) {
	for _, v := range views {
		peers = append(peers, PeerStatus{
			ID: v.PeerID, State: v.State, Match: v.Match, Next: v.Next,
			InFlightMessages: v.InFlight, InFlightBytes: v.InFlightBytes,
			LostEntries: v.LostEntries, AsksToRejoin: hex.EncodeToString(n.core.Peers().Applicant(v.PeerID)),
		})
	}
	return peers
}

// memberCache keeps the members of the latest configuration, so that every Status shares them.
type memberCache struct {
	mu            sync.Mutex
	configuration *messages.Configuration
	members       []Member
}

// of returns the members of a configuration.
func (c *memberCache) of(configuration *messages.Configuration) []Member {
	c.mu.Lock()
	defer c.mu.Unlock()
	if configuration != c.configuration {
		c.configuration, c.members = configuration, publicMembers(configuration)
	}
	return c.members
}
