package client

import (
	"context"
	"errors"
	"fmt"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
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
	if revision == 0 {
		for _, m := range members {
			if r := m.Status.GetHeader().GetRevision(); m.Status != nil && (revision == 0 || r < revision) {
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

func (c *Cluster) queryHash(ctx context.Context, h *MemberHash, revision int64) error {
	endpoint, err := parseEndpoint(h.Member.Endpoint, false)
	if err != nil {
		return err
	}
	conn, err := dial(ctx, endpoint, c.tls)
	if err != nil {
		return err
	}
	defer conn.Close()
	response, err := pb.NewMaintenanceClient(conn).HashKV(ctx, &pb.HashKVRequest{Revision: revision})
	if err != nil {
		return fmt.Errorf("%s: %s", endpoint, plainText(err))
	}
	h.Hash, h.Revision, h.CompactRevision = response.Hash, response.HashRevision, response.CompactRevision
	return nil
}

// errNoLeader is the error of a request that only a leader serves.
var errNoLeader = errors.New("no member leads: a majority of the members must be running")
