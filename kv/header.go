package kv

import (
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// headers makes the header that every response carries: who answers, at which revision, in which term.
type headers struct {
	clusterID uint64
	memberID  uint64
	consensus Consensus
}

func (h *headers) atRevision(revision int64) *pb.ResponseHeader {
	return &pb.ResponseHeader{
		ClusterId: h.clusterID, MemberId: h.memberID, Revision: revision, RaftTerm: h.consensus.Term(),
	}
}

// fill completes a header that has its revision already.
func (h *headers) fill(header **pb.ResponseHeader) {
	if *header == nil {
		*header = &pb.ResponseHeader{}
	}
	(*header).ClusterId, (*header).MemberId, (*header).RaftTerm = h.clusterID, h.memberID, h.consensus.Term()
}
