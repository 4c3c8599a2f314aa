package troupe

import (
	"cmp"
	"encoding/hex"
	"slices"

	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// Member is one server of the cluster.
type Member struct {
	// ID is not 0. The id of a removed member must not be used again.
	ID   uint64
	Name string
	// Address is where peers reach the member, as host:port.
	Address string
	// PeerURLs are those that the operator gave. They may be empty; nothing connects to them.
	PeerURLs []string
	// IsLearner is true for a member that receives the log but does not vote.
	IsLearner bool
	// StorageID is the id of the member's data directory, in hexadecimal, as a leader has recorded it.
	// It is empty until then, and ignored in Config.Members.
	StorageID string
}

// publicMembers returns the members of a configuration.
func publicMembers(c *messages.Configuration) (members []Member) {
	for _, m := range c.GetMembers() {
		members = append(members, Member{
			ID: m.Id, Name: m.Name, Address: m.Address, PeerURLs: m.PeerUrls, IsLearner: m.Learner,
			StorageID: hex.EncodeToString(m.StorageId),
		})
	}
	return members
}

// initialConfiguration returns the first configuration of the cluster. It has the same bytes on
// every member.
func (c Config) initialConfiguration() *messages.Configuration {
	first := &messages.Configuration{}
	for _, m := range c.Members {
		first.Members = append(first.Members, &messages.Member{
			Id: m.ID, Name: m.Name, Address: m.Address, PeerUrls: slices.Clone(m.PeerURLs), Learner: m.IsLearner,
		})
	}
	slices.SortFunc(first.Members, func(a, b *messages.Member) int { return cmp.Compare(a.Id, b.Id) })
	first.ClusterId = raft.ClusterID(first, c.ClusterToken)
	return first
}

// ClusterID returns the id of a new cluster of these members. It depends on the members and the
// token only, so that all members of a new cluster compute the same id.
func ClusterID(members []Member, token string) uint64 {
	return Config{Members: members, ClusterToken: token}.initialConfiguration().ClusterId
}
