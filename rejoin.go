package troupe

import (
	"context"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// StorageRefusedError is the error of a node whose data directory its peers refuse: the member had
// another one before, or this one lost entries that it had acknowledged. It may have forgotten
// votes, so it must not go on. Its text says what to do; see Config.Rejoin.
//
//	type StorageRefusedError struct {
//		Peer   uint64
//		Reason string
//	}
//	func (e *StorageRefusedError) Error() string
type StorageRefusedError = actors.StorageRefusedError

// StorageID returns the id of this member's data directory, in hexadecimal. It is random and made
// with the directory.
func (n *Node) StorageID() string {
	id := n.core.Identity().StorageID
	return hex.EncodeToString(id[:])
}

// RejoinMember asks this node, which must lead, to record that a member which lost its data
// directory has a new one. It waits until a majority of the members, without that one, has recorded
// it, and returns its storage id. From then on the member votes and counts again; it catches up by
// itself.
//
// storageID is that of Node.StorageID at the member; if it is empty, the member must be running
// with Config.Rejoin, and the one that it asked to rejoin with is taken. Call RejoinMember only if
// the old data directory is gone for good: it is refused from then on.
//
// The error is ErrNotLeader if this node does not lead, ErrNotMember if id is no other member,
// ErrNotRejoining if the member has not asked to rejoin, ErrTimeout or ErrCanceled if the context
// ends first (the member may still be recorded), or ErrStopped.
func (n *Node) RejoinMember(ctx context.Context, id uint64, storageID string) (string, error) {
	wanted, err := n.storageToRecord(id, storageID)
	if err != nil {
		return "", err
	}
	ticker := time.NewTicker(n.config.Timing.HeartbeatInterval)
	defer ticker.Stop()
	for {
		switch status := n.Status(); {
		case n.hasRecorded(status, id, wanted):
			return wanted, nil
		case status.Role == roleStopped:
			return "", n.stoppedError()
		case status.Role != roleLeader:
			return "", notLeaderError(status.LeaderID)
		}
		// A leader that has an uncommitted configuration drops the message.
		raw, _ := hex.DecodeString(wanted)
		n.core.Send(&messages.Rejoin{Member: id, StorageId: raw})
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return "", contextError(ctx, "recording the data directory of member "+raft.FormatID(id)+
				": a majority of the members must be running without it")
		}
	}
}

// storageToRecord checks the arguments of RejoinMember and returns the storage id to record.
func (n *Node) storageToRecord(id uint64, storageID string) (string, error) {
	status := n.Status()
	i := slices.IndexFunc(status.Members, func(m Member) bool { return m.ID == id && id != n.ID() })
	if storageID == "" {
		storageID = hex.EncodeToString(n.core.Peers().Applicant(id))
	}
	raw, err := hex.DecodeString(storageID)
	switch {
	case status.Role == roleStopped:
		return "", n.stoppedError()
	case status.Role != roleLeader:
		return "", notLeaderError(status.LeaderID)
	case i < 0:
		return "", fmt.Errorf("%w: %s", ErrNotMember, raft.FormatID(id))
	case storageID == "":
		return "", fmt.Errorf("%w: member %s: start it with an empty data directory and Config.Rejoin "+
			"(--initial-cluster-state=rejoin), and check that it reaches the leader", ErrNotRejoining, raft.FormatID(id))
	case err != nil || len(raw) != len(n.core.Identity().StorageID):
		return "", fmt.Errorf("%w: %q is no storage id: give 32 hexadecimal digits", ErrNotRejoining, storageID)
	}
	for _, m := range status.Members {
		if m.ID != id && m.StorageID == storageID {
			return "", fmt.Errorf("%w: %s is the storage id of member %s", ErrNotRejoining, storageID, raft.FormatID(m.ID))
		}
	}
	return storageID, nil
}

// hasRecorded reports whether the committed configuration names a storage id.
func (n *Node) hasRecorded(status Status, id uint64, storageID string) bool {
	return status.CommitIndex >= status.ConfigurationIndex && slices.ContainsFunc(status.Members, func(m Member) bool {
		return m.ID == id && m.StorageID == storageID
	})
}
