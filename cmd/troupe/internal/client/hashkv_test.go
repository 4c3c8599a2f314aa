package client

import (
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// Hashes of different revisions cannot be compared, so all members are asked for the newest one
// that every member has.
func TestHashesAreOfOneRevision(t *testing.T) {
	members := []*fakeServer{{}, {}}
	for i, m := range members {
		m.status = &pb.StatusResponse{Header: &pb.ResponseHeader{Revision: int64(7 - 2*i)}, Leader: 1}
		m.hash = func(r *pb.HashKVRequest) (*pb.HashKVResponse, error) {
			return &pb.HashKVResponse{Hash: 9, HashRevision: r.Revision}, nil
		}
		startFake(t, m)
	}
	list := []*pb.Member{
		{ID: 1, Name: "a", ClientURLs: []string{"http://" + members[0].endpoint}},
		{ID: 2, Name: "b", ClientURLs: []string{"http://" + members[1].endpoint}},
		{ID: 3, Name: "c"}, // not started yet
	}
	members[0].list = list
	hashes, err := newCluster(t, members[0].endpoint).HashKV(testContext(t, time.Minute), 0)
	if err != nil || len(hashes) != 3 {
		t.Fatalf("%v, %v", hashes, err)
	}
	for _, h := range hashes[:2] {
		if h.Err != nil || h.Hash != 9 || h.Revision != 5 {
			t.Errorf("%+v, want the hash of revision 5", h)
		}
	}
	if hashes[2].Err == nil {
		t.Error("a hash of a member that has not started")
	}
}

func TestMemberIsFoundByNameAndEveryFormOfID(t *testing.T) {
	members := []MemberStatus{{ID: 0xa1, Name: "a"}, {ID: 0xb2, Name: "161x"}}
	for _, text := range []string{"a", "0xa1", "0xA1", "a1", "161"} {
		if m, err := FindMember(members, text); err != nil || m.ID != 0xa1 {
			t.Errorf("%s: %+v, %v", text, m, err)
		}
	}
	if _, err := FindMember(members, "0xa2"); err == nil {
		t.Error("found a member that does not exist")
	}
}
