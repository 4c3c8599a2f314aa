package kv

import (
	"context"
	"errors"
	"io"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/troupe-raft/troupe/kv/internal/header"
	"github.com/troupe-raft/troupe/kv/mvcc"
)

// leaseService is etcd's Lease service as that of a store without leases: none can be granted, and
// every other call has etcd's answer for a lease that does not exist.
type leaseService struct {
	pb.UnimplementedLeaseServer

	headers *header.Maker
	store   *mvcc.StoreRef
}

// noLeaseTTL is the time to live of a lease that does not exist.
const noLeaseTTL = -1

func (s *leaseService) header() *pb.ResponseHeader { return s.headers.At(s.store.Revision()) }

func (s *leaseService) LeaseGrant(context.Context, *pb.LeaseGrantRequest) (*pb.LeaseGrantResponse, error) {
	return nil, errNotSupported("leases are")
}

func (s *leaseService) LeaseRevoke(context.Context, *pb.LeaseRevokeRequest) (*pb.LeaseRevokeResponse, error) {
	return nil, rpctypes.ErrGRPCLeaseNotFound
}

func (s *leaseService) LeaseTimeToLive(_ context.Context, r *pb.LeaseTimeToLiveRequest) (*pb.LeaseTimeToLiveResponse, error) {
	return &pb.LeaseTimeToLiveResponse{Header: s.header(), ID: r.GetID(), TTL: noLeaseTTL}, nil
}

func (s *leaseService) LeaseLeases(context.Context, *pb.LeaseLeasesRequest) (*pb.LeaseLeasesResponse, error) {
	return &pb.LeaseLeasesResponse{Header: s.header()}, nil
}

// LeaseKeepAlive answers every renewal with a time to live of 0: the lease has expired.
func (s *leaseService) LeaseKeepAlive(stream pb.Lease_LeaseKeepAliveServer) error {
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = stream.Send(&pb.LeaseKeepAliveResponse{Header: s.header(), ID: r.GetID()})
		}
		if err != nil {
			return toStatus(err)
		}
	}
}
