package kv

import (
	"cmp"
	"context"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/troupe-raft/troupe"
	"github.com/troupe-raft/troupe/kv/internal/header"
	"github.com/troupe-raft/troupe/kv/mvcc"
)

// clusterService is etcd's Cluster service. The members are those of the node's configuration;
// their names and client URLs are what they have written into the store (Server.Publish).
type clusterService struct {
	pb.UnimplementedClusterServer

	headers        *header.Maker
	consensus      Consensus
	store          *mvcc.StoreRef
	requestTimeout time.Duration
}

func (s *clusterService) MemberList(ctx context.Context, r *pb.MemberListRequest) (*pb.MemberListResponse, error) {
	store := s.store.IfOpen()
	if r.GetLinearizable() {
		bounded, cancel := boundWait(ctx, nil, s.requestTimeout)
		defer cancel()
		var err error
		if store, err = s.upToDateStore(bounded); err != nil {
			return nil, toStatus(err)
		}
	}
	// As in etcd, the header has no revision: members are not part of the key space.
	return &pb.MemberListResponse{Header: s.headers.At(0), Members: s.members(store)}, nil
}

// upToDateStore returns the store once it contains everything that was committed before the call.
func (s *clusterService) upToDateStore(ctx context.Context) (*mvcc.Store, error) {
	point, err := s.consensus.Read(ctx, troupe.ReadIndex)
	if err != nil {
		return nil, err
	}
	store, v, err := s.store.ViewAt(ctx, point.Index)
	if err == nil {
		v.Release()
	}
	return store, err
}

// members returns the members; store is nil if none is open.
func (s *clusterService) members(store *mvcc.Store) []*pb.Member {
	published := map[uint64]mvcc.MemberAttributes{}
	if store != nil {
		for _, a := range store.MemberAttributes() {
			published[a.ID] = a
		}
	}
	configured := s.consensus.Status().Members
	members := make([]*pb.Member, len(configured))
	for i, m := range configured {
		// As in etcd, a member that has not started yet, or whose attributes this one has not applied
		// yet, has the name of the configuration and no client URLs.
		members[i] = &pb.Member{
			ID: m.ID, Name: cmp.Or(published[m.ID].Name, m.Name), ClientURLs: published[m.ID].ClientURLs,
			PeerURLs: peerURLs(m), IsLearner: m.IsLearner,
		}
	}
	return members
}

func peerURLs(m troupe.Member) []string {
	if len(m.PeerURLs) > 0 || m.Address == "" {
		return m.PeerURLs
	}
	return []string{"http://" + m.Address}
}

const membershipChanges = "changing the membership is"

func (s *clusterService) MemberAdd(context.Context, *pb.MemberAddRequest) (*pb.MemberAddResponse, error) {
	return nil, errNotSupported(membershipChanges)
}

func (s *clusterService) MemberRemove(context.Context, *pb.MemberRemoveRequest) (*pb.MemberRemoveResponse, error) {
	return nil, errNotSupported(membershipChanges)
}

func (s *clusterService) MemberUpdate(context.Context, *pb.MemberUpdateRequest) (*pb.MemberUpdateResponse, error) {
	return nil, errNotSupported(membershipChanges)
}

func (s *clusterService) MemberPromote(context.Context, *pb.MemberPromoteRequest) (*pb.MemberPromoteResponse, error) {
	return nil, errNotSupported(membershipChanges)
}
