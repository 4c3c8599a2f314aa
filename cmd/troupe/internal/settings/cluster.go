package settings

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"sort"
	"strings"
)

// Member is one member of the cluster that the flags describe.
type Member struct {
	ID   uint64
	Name string
	// Address is host:port of the first of PeerURLs: where the others reach it.
	Address  string
	PeerURLs []string
}

// peer is one member as --initial-cluster names it.
type clusterMember struct {
	name string
	urls []URL
}

// parseInitialCluster reads "a=http://10.0.0.1:2380,b=http://10.0.0.2:2380". A name may stand several times: the member
// then has several URLs, the first of which is used.
func parseInitialCluster(text string) ([]clusterMember, error) {
	const setting, advice = "--initial-cluster", "write name=http://host:port for each member, separated by commas"
	var peers []clusterMember
	owner := map[string]string{} // URL → the name that has it
	at := map[string]int{}       // name → its place in peers
	for _, part := range strings.Split(text, ",") {
		part = strings.TrimSpace(part)
		name, address, found := strings.Cut(part, "=")
		name = strings.TrimSpace(name)
		switch {
		case part == "":
			return nil, &Error{setting, fmt.Sprintf("a member is missing in %q", text), advice}
		case !found:
			return nil, &Error{setting, fmt.Sprintf("%q names no URL", part), advice}
		case name == "":
			return nil, &Error{setting, fmt.Sprintf("%q names no member", part), advice}
		case strings.TrimSpace(address) == "":
			return nil, &Error{setting, fmt.Sprintf("member %q has no URL", name), advice}
		}
		urls, err := parseURLs(setting, address, "http", "https")
		if err != nil {
			return nil, err
		}
		u := urls[0]
		if other, taken := owner[u.String()]; taken {
			if other == name {
				return nil, &Error{setting, fmt.Sprintf("%s stands twice for member %q", u, name), "name it once"}
			}
			return nil, &Error{setting, fmt.Sprintf("members %q and %q have the same URL %s", other, name, u), "each member needs an address of its own"}
		}
		if u.Wildcard() {
			return nil, &Error{setting, fmt.Sprintf("member %q is at %s, which no other member can reach", name, u), "name the host"}
		}
		owner[u.String()] = name
		if i, known := at[name]; known {
			peers[i].urls = append(peers[i].urls, u)
			continue
		}
		at[name] = len(peers)
		peers = append(peers, clusterMember{name, []URL{u}})
	}
	return peers, nil
}

// MemberID derives a member's id from what is the same on every member's command line: the cluster's token and the
// member's peer URLs, in any order. So that all members know all ids before they have spoken a word, and a member set up
// again for another address or cluster is another member.
//
// Not etcd's derivation (SHA-1 over URLs, cluster name and time): ids of the two never need to agree.
func MemberID(token string, peerURLs []URL) uint64 {
	texts := Strings(peerURLs)
	sort.Strings(texts)
	h := sha256.New()
	// Every part is preceded by its length, so that no two lists run together to the same bytes.
	for _, part := range append([]string{"troupe member", token}, texts...) {
		fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	id := binary.BigEndian.Uint64(h.Sum(nil))
	if id == 0 {
		id = 1 // 0 means "nobody" in the protocol
	}
	return id
}

// bootstrap makes the members of the cluster in the order of their ids: the first configuration is the same bytes on all
// of them, whatever order the operator wrote.
func newMembers(token string, peers []clusterMember) ([]Member, error) {
	members := make([]Member, 0, len(peers))
	for _, p := range peers {
		members = append(members, Member{
			ID:       MemberID(token, p.urls),
			Name:     p.name,
			Address:  p.urls[0].Address,
			PeerURLs: Strings(p.urls),
		})
	}
	sort.Slice(members, func(i, j int) bool { return members[i].ID < members[j].ID })
	for i := 1; i < len(members); i++ {
		if members[i].ID == members[i-1].ID {
			return nil, &Error{"--initial-cluster", fmt.Sprintf("members %q and %q come out with the same id", members[i-1].Name, members[i].Name),
				"change --initial-cluster-token"}
		}
	}
	return members, nil
}
