package client

import (
	"context"
	"errors"
	"slices"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
)

// MemberHash is the hash of a member's data, or why there is none.
type MemberHash struct {
	Member MemberStatus
	// Hash is that of the data up to Revision without the history before CompactRevision.
	Hash                      uint32
	Revision, CompactRevision int64
	Err                       error
}

// HashKV requests the hash of every member's data up to a revision, of all at once. Revision 0
// means the newest one that every member has which responds: hashes of different revisions say
// nothing about each other.
func (c *Cluster) HashKV(ctx context.Context, revision int64) ([]MemberHash, error) {
	members, err := c.Statuses(ctx)
	if err != nil {
		return nil, err
	}
	setAsideLeaderless(members)
	if revision == 0 {
		for _, m := range members {
			if r := m.Status.GetHeader().GetRevision(); m.Err == nil && (revision == 0 || r < revision) {
				revision = r
			}
		}
	}
	hashes := make([]MemberHash, len(members))
	var requests sync.WaitGroup
	for i, m := range members {
		hashes[i].Member, hashes[i].Err = m, m.Err
		if m.Err == nil {
			requests.Go(func() { hashes[i].Err = c.queryHash(ctx, &hashes[i], revision) })
		}
	}
	requests.Wait()
	return hashes, nil
}

// setAsideLeaderless gives members without a leader an error, if others have one: they lack what
// the others have written since, and one that waits to rejoin has nothing.
func setAsideLeaderless(members []MemberStatus) {
	led := slices.ContainsFunc(members, func(m MemberStatus) bool { return m.Status.GetLeader() != 0 })
	for i, m := range members {
		if led && m.Err == nil && m.Status.GetLeader() == 0 {
			members[i].Err = errors.New("no leader is known to it, so it may lack what the others have")
		}
	}
}

func (c *Cluster) queryHash(ctx context.Context, h *MemberHash, revision int64) error {
	var response *pb.HashKVResponse
	err := c.at(ctx, h.Member, func(conn grpc.ClientConnInterface) (err error) {
		response, err = pb.NewMaintenanceClient(conn).HashKV(ctx, &pb.HashKVRequest{Revision: revision})
		return err
	})
	h.Hash, h.Revision, h.CompactRevision = response.GetHash(), response.GetHashRevision(), response.GetCompactRevision()
	return err
}
