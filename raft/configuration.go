package raft

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/messages"
)

// QuorumOf returns the quorum of a configuration. A learner is not in the incoming majority. It is
// in the outgoing one if outgoing_voters contains it: so a joint configuration demotes a voter
// (E34).
func QuorumOf(c *messages.Configuration) Quorum {
	var q Quorum
	for _, m := range c.GetMembers() {
		if !m.Learner {
			q.Incoming = append(q.Incoming, m.Id)
		}
	}
	q.Outgoing = slices.Clone(Majority(c.GetOutgoingVoters()))
	slices.Sort(q.Incoming)
	slices.Sort(q.Outgoing)
	return q
}

// FindMember returns the member with this id, nil if there is none.
func FindMember(c *messages.Configuration, id uint64) *messages.Member {
	for _, m := range c.GetMembers() {
		if m.Id == id {
			return m
		}
	}
	return nil
}

// ConfigurationHistory has all configurations of a log. The latest one is in effect from when it is
// appended (Raft §6, E30). When its entry is truncated, the one before it is in effect again (E31).
//
//	index            baseIndex │ …  5 … … …  9 … last index
//	configuration    base      │    C1       C2
//
// In effect is C2; after a truncation from 9 it is C1, after one from 5 it is base.
//
// Invariant: the indexes of appended ascend strictly and are above baseIndex. Configurations are
// immutable.
type ConfigurationHistory struct {
	base      *messages.Configuration
	baseIndex uint64
	appended  []*messages.IndexedConfiguration
}

// NewConfigurationHistory returns the history of a log with the configuration in effect at
// baseIndex, nil if the log has all entries, and the configurations among its entries.
func NewConfigurationHistory(base *messages.Configuration, baseIndex uint64, later []*messages.IndexedConfiguration) *ConfigurationHistory {
	if base == nil {
		base = new(messages.Configuration)
	}
	c := &ConfigurationHistory{base: base, baseIndex: baseIndex}
	for _, l := range later {
		c.Append(l.Index, l.Configuration)
	}
	return c
}

// Append puts a configuration into effect. It panics unless its index is above those of all others.
func (c *ConfigurationHistory) Append(index uint64, configuration *messages.Configuration) {
	if latest, _ := c.Latest(); index <= latest {
		panic(fmt.Sprintf("configuration at index %d appended after the one at %d", index, latest))
	}
	c.appended = append(c.appended, &messages.IndexedConfiguration{Index: index, Configuration: configuration})
}

// Truncate removes the configurations from index `from` on, and reports whether there were any.
func (c *ConfigurationHistory) Truncate(from uint64) (changed bool) {
	if from <= c.baseIndex && c.baseIndex > 0 {
		panic(fmt.Sprintf("truncation from %d of configurations whose base is %d, which is committed", from, c.baseIndex))
	}
	keep := len(c.appended)
	for keep > 0 && c.appended[keep-1].Index >= from {
		keep--
	}
	changed = keep < len(c.appended)
	c.appended = slices.Delete(c.appended, keep, len(c.appended))
	return changed
}

// Latest returns the configuration in effect and the index of its entry. It is never nil: a log
// without any has an empty one.
func (c *ConfigurationHistory) Latest() (index uint64, configuration *messages.Configuration) {
	if n := len(c.appended); n > 0 {
		return c.appended[n-1].Index, c.appended[n-1].Configuration
	}
	return c.baseIndex, c.base
}

// Committed returns the configuration in effect at the commit index and the index of its entry. It
// is never nil.
func (c *ConfigurationHistory) Committed(commitIndex uint64) (index uint64, configuration *messages.Configuration) {
	for _, l := range slices.Backward(c.appended) {
		if l.Index <= commitIndex {
			return l.Index, l.Configuration
		}
	}
	return c.baseIndex, c.base
}

// at returns the configuration that was in effect when the log ended at index, nil below the base.
func (c *ConfigurationHistory) at(index uint64) *messages.Configuration {
	for i := len(c.appended) - 1; i >= 0; i-- {
		if c.appended[i].Index <= index {
			return c.appended[i].Configuration
		}
	}
	if index < c.baseIndex {
		return nil
	}
	return c.base
}

// ErrInvalidConfiguration is wrapped by all errors of ValidateConfiguration.
var ErrInvalidConfiguration = errors.New("invalid configuration")

// ValidateConfiguration returns an error if a cluster cannot run with this configuration. A member
// may have no address, as a single member needs none; two members cannot have the same one.
func ValidateConfiguration(c *messages.Configuration) error {
	ids, addresses, storages := map[uint64]bool{}, map[string]uint64{}, map[string]uint64{}
	for _, m := range c.GetMembers() {
		switch other, taken := addresses[m.Address]; {
		case m.Id == 0:
			return fmt.Errorf("%w: member %q has no id", ErrInvalidConfiguration, m.Name)
		case ids[m.Id]:
			return fmt.Errorf("%w: member %#x is listed twice", ErrInvalidConfiguration, m.Id)
		case slices.Contains(c.Removed, m.Id):
			return fmt.Errorf("%w: member %#x was removed; an id cannot be used again, give it a new one", ErrInvalidConfiguration, m.Id)
		case m.Address != "" && taken:
			return fmt.Errorf("%w: members %#x and %#x share the address %s", ErrInvalidConfiguration, other, m.Id, m.Address)
		case len(m.StorageId) > 0 && storages[string(m.StorageId)] != 0:
			return fmt.Errorf("%w: members %#x and %#x share a data directory", ErrInvalidConfiguration, storages[string(m.StorageId)], m.Id)
		}
		if !utf8.ValidString(m.Name) || !utf8.ValidString(m.Address) || slices.ContainsFunc(m.PeerUrls, notUTF8) {
			return fmt.Errorf("%w: name or addresses of member %#x are not UTF-8", ErrInvalidConfiguration, m.Id)
		}
		ids[m.Id], addresses[m.Address], storages[string(m.StorageId)] = true, m.Id, m.Id
	}
	if size := proto.Size(c); size >= MaxConfigurationBytes {
		return fmt.Errorf("%w: it has %d bytes and may have %d: shorten names and URLs, or list fewer members",
			ErrInvalidConfiguration, size, MaxConfigurationBytes-1)
	}
	return validateVoters(c, ids)
}

func validateVoters(c *messages.Configuration, members map[uint64]bool) error {
	if len(QuorumOf(c).Incoming) == 0 {
		return fmt.Errorf("%w: no member has a vote", ErrInvalidConfiguration)
	}
	outgoing := map[uint64]bool{}
	for _, id := range c.OutgoingVoters {
		switch {
		case outgoing[id]:
			return fmt.Errorf("%w: outgoing voter %#x is listed twice", ErrInvalidConfiguration, id)
		case !members[id]:
			return fmt.Errorf("%w: outgoing voter %#x is not a member and has no address", ErrInvalidConfiguration, id)
		}
		outgoing[id] = true
	}
	return nil
}

func notUTF8(s string) bool { return !utf8.ValidString(s) }

// ClusterID returns the id of the cluster that starts with these members and this token, never 0.
// Nodes that were started with another list of members or another token refuse each other by it.
// The order of the members does not matter.
func ClusterID(bootstrap *messages.Configuration, token string) uint64 {
	members := slices.Clone(bootstrap.GetMembers())
	slices.SortFunc(members, func(a, b *messages.Member) int { return cmp.Compare(a.Id, b.Id) })
	// The length before each string makes the bytes of different lists different.
	text := func(data []byte, s string) []byte {
		return append(binary.AppendUvarint(data, uint64(len(s))), s...)
	}
	data := text([]byte("troupe cluster"), token)
	data = binary.AppendUvarint(data, uint64(len(members)))
	for _, m := range members {
		data = binary.BigEndian.AppendUint64(data, m.Id)
		data = text(text(data, m.Name), m.Address)
		data = binary.AppendUvarint(data, uint64(len(m.PeerUrls)))
		for _, url := range m.PeerUrls {
			data = text(data, url)
		}
	}
	sum := sha256.Sum256(data)
	return max(binary.BigEndian.Uint64(sum[:8]), 1)
}
