package troupe

import (
	"cmp"
	"context"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/actors/live"
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

// RejoinRequest says for which member Node.RejoinMember records a new data directory.
type RejoinRequest struct {
	MemberID uint64
	// StorageID is that of Node.StorageID at the member. If it is empty, the member must be running
	// with Config.Rejoin, and the one that it asked to rejoin with is taken.
	StorageID string
	// Force records the data directory also if this node is connected to the member with its recorded
	// one, or if the member asked to rejoin with another one than StorageID.
	Force bool
}

// RejoinResult is what Node.RejoinMember has recorded.
type RejoinResult struct {
	StorageID string
	// Unchanged: it was recorded before the call. A request without a StorageID returns that too, for
	// a member that has rejoined and has not asked again.
	Unchanged bool
}

// RejoinMember asks this node, which must lead, to record that a member which lost its data
// directory has a new one. It waits until a majority of the members, without that one, has recorded
// it. From then on the member votes and counts again; it catches up by itself. Call RejoinMember
// only if the old data directory is gone for good: it is refused from then on.
//
// The error is ErrNotLeader if this node does not lead, ErrNotMember if MemberID is no other
// member, ErrNotRejoining if the member has not asked to rejoin, or with another data directory, or
// if another call has recorded another one meanwhile, ErrInvalidStorageID if StorageID cannot be
// that of a new data directory, ErrMemberConnected if the member is connected with its recorded
// data directory, ErrTimeout or ErrCanceled if the context ends first (the member may still be
// recorded), or ErrStopped.
func (n *Node) RejoinMember(ctx context.Context, r RejoinRequest) (RejoinResult, error) {
	wanted, recorded, err := n.storageToRecord(r)
	if err != nil {
		return RejoinResult{}, err
	}
	return n.recordStorage(ctx, r, wanted, recorded)
}

// recordStorage requests the wanted storage id at each heartbeat until it is committed. A request
// that the node dropped may be old when the node can append it: the member may be back on its own
// data directory, and another call may have recorded another one. So each is checked again.
func (n *Node) recordStorage(ctx context.Context, r RejoinRequest, wanted, recorded string) (RejoinResult, error) {
	ticker := time.NewTicker(n.config.Timing.HeartbeatInterval)
	defer ticker.Stop()
	for {
		outdated := n.checkAgain(r, wanted, recorded)
		switch status := n.Status(); {
		case n.hasRecorded(status, r.MemberID, wanted):
			return RejoinResult{StorageID: wanted, Unchanged: wanted == recorded}, nil
		case status.Role == roleStopped:
			return RejoinResult{}, n.stoppedError()
		case status.Role != roleLeader:
			return RejoinResult{}, notLeaderError(status.LeaderID)
		case outdated != nil:
			return RejoinResult{}, outdated
		}
		// A leader that has an uncommitted configuration drops the message.
		raw, _ := hex.DecodeString(wanted)
		n.core.Send(&messages.Rejoin{Member: r.MemberID, StorageId: raw})
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return RejoinResult{}, contextError(ctx, "recording the data directory of member "+raft.FormatID(r.MemberID)+
				": a majority of the members must be running without it")
		}
	}
}

// checkAgain returns an error if the wanted storage id may not be recorded any more: the member has
// returned on its own data directory, or another call has recorded another one. recorded is the id
// that the configuration had at the first check.
func (n *Node) checkAgain(r RejoinRequest, wanted, recorded string) error {
	asked := hex.EncodeToString(n.core.Peers().Applicant(r.MemberID))
	taken := r.StorageID == ""
	r.StorageID = wanted
	_, present, err := n.storageToRecord(r)
	id := raft.FormatID(r.MemberID)
	switch {
	case hex.EncodeToString(n.core.Peers().Known(r.MemberID)) == wanted: // read last: the request ends when it is recorded
		return nil
	case err != nil:
		return err
	case taken && asked != wanted:
		return fmt.Errorf("%w: member %s asked with %s, and does not ask with it any more: look at its log, and run this again", ErrNotRejoining, id, wanted)
	case present != recorded && n.hasRejoined(r.MemberID):
		return fmt.Errorf("%w: another request has recorded data directory %s for member %s meanwhile, instead of %s: check which one it runs on",
			ErrNotRejoining, present, id, wanted)
	}
	return nil
}

// storageToRecord checks a request and returns the storage id to record, and the one in the
// configuration in effect.
func (n *Node) storageToRecord(r RejoinRequest) (wanted, recorded string, err error) {
	status, id := n.Status(), raft.FormatID(r.MemberID)
	i := slices.IndexFunc(status.Members, func(m Member) bool { return m.ID == r.MemberID })
	switch {
	case status.Role == roleStopped:
		return "", "", n.stoppedError()
	case status.Role != roleLeader:
		return "", "", notLeaderError(status.LeaderID)
	case r.MemberID == n.ID():
		return "", "", fmt.Errorf("%w: %s is the leader itself, and needs no other data directory", ErrNotMember, id)
	case i < 0:
		return "", "", fmt.Errorf("%w: %s", ErrNotMember, id)
	}
	recorded = status.Members[i].StorageID
	known := hex.EncodeToString(n.core.Peers().Known(r.MemberID)) // not recorded for a moment at first
	asked := hex.EncodeToString(n.core.Peers().Applicant(r.MemberID))
	connected := n.isConnected(r.MemberID)
	wanted = strings.ToLower(cmp.Or(r.StorageID, asked))
	raw, err := hex.DecodeString(wanted)
	switch {
	case wanted == "" && n.hasRejoined(r.MemberID):
		return recorded, recorded, nil
	case wanted == "" && connected:
		return "", "", fmt.Errorf("%w: member %s has data directory %s and needs no other", ErrMemberConnected, id, known)
	case wanted == "":
		return "", "", fmt.Errorf("%w: member %s: start it with an empty data directory, so that it rejoins "+
			"(--initial-cluster-state=rejoin), and check that it reaches the leader", ErrNotRejoining, id)
	case err != nil || len(raw) != len(n.core.Identity().StorageID):
		return "", "", fmt.Errorf("%w: %q: give 32 hexadecimal digits", ErrInvalidStorageID, r.StorageID)
	case wanted == recorded || r.Force:
	case connected:
		return "", "", fmt.Errorf("%w: member %s has data directory %s, which would be refused from then on; stop the member if another "+
			"directory is to replace it, or force it (--force)", ErrMemberConnected, id, known)
	case asked != "" && wanted != asked:
		return "", "", fmt.Errorf("%w with this data directory: member %s asked with %s; name that one or none, or force it (--force)",
			ErrNotRejoining, id, asked)
	}
	for _, m := range status.Members {
		if m.ID != r.MemberID && m.StorageID == wanted {
			return "", "", fmt.Errorf("%w: %s is that of member %s", ErrInvalidStorageID, wanted, raft.FormatID(m.ID))
		}
	}
	return wanted, recorded, nil
}

// isConnected reports whether this node exchanges messages with a member. The link admits a member
// with its recorded data directory only, also while another directory asks to rejoin as the member.
func (n *Node) isConnected(id uint64) bool {
	return slices.ContainsFunc(n.environment.LinkStats(), func(l live.PeerStat) bool { return l.ID == id && l.Up })
}

// hasRejoined reports whether the data directory in the configuration replaced another one.
func (n *Node) hasRejoined(id uint64) bool {
	return raft.FindMember(n.core.Observer().Views().Node.Configuration, id).GetRejoined()
}

// hasRecorded reports whether the committed configuration names a storage id.
func (n *Node) hasRecorded(status Status, id uint64, storageID string) bool {
	return status.CommitIndex >= status.ConfigurationIndex && slices.ContainsFunc(status.Members, func(m Member) bool {
		return m.ID == id && m.StorageID == storageID
	})
}
