// Package header makes the header that every response of the etcd API carries.
package header

import pb "go.etcd.io/etcd/api/v3/etcdserverpb"

// Maker makes the headers of one member's responses.
type Maker struct {
	ClusterID, MemberID uint64
	Term                func() uint64 // the current Raft term; cheap, called for every response
}

// At returns a header with the given revision. Revision 0 is left out, as etcd leaves it out where
// a response is not about the key space.
func (m *Maker) At(revision int64) *pb.ResponseHeader {
	h := &pb.ResponseHeader{Revision: revision}
	m.Fill(&h)
	return h
}

// Fill completes a header that has its revision already, or makes one.
func (m *Maker) Fill(header **pb.ResponseHeader) {
	if *header == nil {
		*header = &pb.ResponseHeader{}
	}
	(*header).ClusterId, (*header).MemberId, (*header).RaftTerm = m.ClusterID, m.MemberID, m.Term()
}
