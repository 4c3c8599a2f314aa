package settings

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"sort"
	"strings"
)

// Member is one member of the cluster that the flags describe.
type Member struct {
	ID   uint64
	Name string
	// Address is host:port of the first of PeerURLs. The other members connect to it.
	Address  string
	PeerURLs []string
}

// clusterMember is one member of --initial-cluster.
type clusterMember struct {
	name string
	urls []URL
}

// parseInitialCluster parses "a=http://10.0.0.1:2380,b=http://10.0.0.2:2380". A name may occur
// several times: the member then has several URLs, and the first one is used. The error joins all
// that is wrong.
func parseInitialCluster(text string) ([]clusterMember, error) {
	const advice = "write name=http://host:port for each member, separated by commas"
	list := memberList{owner: map[string]string{}, position: map[string]int{}}
	for _, part := range strings.Split(text, ",") {
		part = strings.TrimSpace(part)
		name, address, found := strings.Cut(part, "=")
		name = strings.TrimSpace(name)
		switch {
		case part == "": // etcd accepts a comma too many
		case !found:
			list.fail(fmt.Sprintf("%q names no URL", part), advice)
		case name == "":
			list.fail(fmt.Sprintf("%q names no member", part), advice)
		case strings.TrimSpace(address) == "":
			list.fail(fmt.Sprintf("member %q has no URL", name), advice)
		default:
			list.add(name, address)
		}
	}
	if len(list.peers) == 0 && len(list.errs) == 0 {
		list.fail("names no member", advice+"; a shell variable that is not set gives an empty value")
	}
	return list.peers, errors.Join(list.errs...)
}

// memberList collects the members of --initial-cluster.
type memberList struct {
	peers    []clusterMember
	owner    map[string]string // name by URL
	position map[string]int    // position in peers by name
	errs     []error
}

func (l *memberList) fail(problem, advice string) {
	l.errs = append(l.errs, &Error{"--initial-cluster", problem, advice})
}

// add adds a member, or a URL to a member.
func (l *memberList) add(name, address string) {
	urls, err := parseURLs("--initial-cluster", address, "http", "https")
	if err != nil {
		l.errs = append(l.errs, err)
		return
	}
	u := urls[0]
	other, taken := l.owner[u.String()]
	switch {
	case taken && other == name:
		l.fail(fmt.Sprintf("member %q has the URL %s twice", name, u), "name it once")
		return
	case taken:
		l.fail(fmt.Sprintf("members %q and %q have the same URL %s", other, name, u), "give each member an address of its own")
		return
	case u.Wildcard():
		l.fail(fmt.Sprintf("member %q is at %s, which no other member can reach", name, u), "name the host")
		return
	}
	l.owner[u.String()] = name
	if i, known := l.position[name]; known {
		l.peers[i].urls = append(l.peers[i].urls, u)
		return
	}
	l.position[name] = len(l.peers)
	l.peers = append(l.peers, clusterMember{name, []URL{u}})
}

// MemberID derives a member's id from the cluster's token and the member's peer URLs, in any order.
// These are the same on every member's command line, so that all members know all ids before they
// exchange a message. Another address or another cluster gives another id. The result is never 0.
//
// The derivation differs from etcd's (SHA-1 over URLs, cluster name and time); the ids of the two
// never need to agree.
func MemberID(token string, peerURLs []URL) uint64 {
	texts := Strings(peerURLs)
	sort.Strings(texts)
	h := sha256.New()
	// The length before each part keeps two different lists from giving the same bytes.
	for _, part := range append([]string{"troupe member", token}, texts...) {
		fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	id := binary.BigEndian.Uint64(h.Sum(nil))
	if id == 0 {
		id = 1 // 0 means no member in the protocol
	}
	return id
}

// newMembers returns the members of the cluster in the order of their ids. The first configuration
// then has the same bytes on all members, in whatever order --initial-cluster names them.
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
			return nil, &Error{"--initial-cluster", fmt.Sprintf("members %q and %q have the same id", members[i-1].Name, members[i].Name),
				"change --initial-cluster-token"}
		}
	}
	return members, nil
}
