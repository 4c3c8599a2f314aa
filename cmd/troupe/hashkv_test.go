package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/troupe-raft/troupe/cmd/troupe/internal/client"
)

func TestHashesAreComparedAtEqualStates(t *testing.T) {
	hash := func(name string, hash uint32, revision, compacted int64) client.MemberHash {
		return client.MemberHash{Member: client.MemberStatus{Name: name}, Hash: hash, Revision: revision, CompactRevision: compacted}
	}
	down := client.MemberHash{Member: client.MemberStatus{Name: "c"}, Err: errors.New("connection refused")}
	for _, c := range []struct {
		hashes []client.MemberHash
		want   string
	}{
		{[]client.MemberHash{hash("a", 1, 7, 0), hash("b", 1, 7, 0)}, ""},
		{[]client.MemberHash{hash("a", 1, 7, 0), hash("b", 2, 7, 0), down}, "member a and member b differ at revision 7"},
		{[]client.MemberHash{hash("a", 1, 7, 0), hash("b", 1, 7, 0), down}, "no hash of member c"},
		{[]client.MemberHash{hash("a", 1, 7, 3), hash("b", 2, 7, 4)}, "compacted at different revisions"},
	} {
		err := compareHashes(c.hashes)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v, want %q", c.hashes, err, c.want)
		}
	}
}
