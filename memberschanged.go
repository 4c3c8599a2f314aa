package troupe

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/persistence"
	"github.com/troupe-raft/troupe/raft"
)

// explainWrongCluster returns ErrMembersChanged in place of an ErrWrongCluster if the data
// directory is of the same cluster, and only the list of members has changed: the cluster's id
// depends on it.
func (c Config) explainWrongCluster(wrong error) error {
	if !errors.Is(wrong, ErrWrongCluster) {
		return wrong
	}
	first, err := readFirstConfiguration(c.FS, c.DataDir)
	if err != nil || first == nil || raft.ClusterID(first, c.ClusterToken) != first.ClusterId {
		return wrong // the data directory cannot tell, or has another token
	}
	stored := publicMembers(first)
	isKnown := func(m Member) bool { return findMember(stored, m) != nil }
	if !slices.ContainsFunc(c.Members, isKnown) {
		return wrong
	}
	return fmt.Errorf("%w %s: %s; a cluster keeps the members that it was created with: start it with those, or give "+
		"a new cluster a data directory of its own", ErrMembersChanged, c.DataDir, strings.Join(memberDifferences(c.Members, stored), "; "))
}

// findMember returns the member with the same id, or else with the same name; nil if there is none.
func findMember(members []Member, m Member) *Member {
	i := slices.IndexFunc(members, func(other Member) bool { return other.ID == m.ID })
	if i < 0 && m.Name != "" {
		i = slices.IndexFunc(members, func(other Member) bool { return other.Name == m.Name })
	}
	if i < 0 {
		return nil
	}
	return &members[i]
}

// memberDifferences says how the members that were given differ from the stored ones.
func memberDifferences(given, stored []Member) (all []string) {
	for _, m := range given {
		old := findMember(stored, m)
		if old == nil {
			all = append(all, fmt.Sprintf("member %#x (%q) is not in it", m.ID, m.Name))
			continue
		}
		differ := func(what string, now, before any) {
			if a, b := fmt.Sprint(now), fmt.Sprint(before); a != b {
				all = append(all, fmt.Sprintf("member %#x (%q) has the %s %s, and %s in it", old.ID, old.Name, what, a, b))
			}
		}
		differ("name", fmt.Sprintf("%q", m.Name), fmt.Sprintf("%q", old.Name))
		differ("address", m.Address, old.Address)
		differ("peer URLs", m.PeerURLs, old.PeerURLs)
		differ("id", raft.FormatID(m.ID), raft.FormatID(old.ID))
	}
	for _, old := range stored {
		if findMember(given, old) == nil {
			all = append(all, fmt.Sprintf("member %#x (%q) in it was not given", old.ID, old.Name))
		}
	}
	return all
}

// errFound ends the reading of the log.
var errFound = errors.New("found")

// readFirstConfiguration reads the first configuration in a log; nil if the log has none.
func readFirstConfiguration(filesystem FS, dataDir string) (first *messages.Configuration, err error) {
	err = persistence.Dump(filesystem, dataDir, persistence.InspectOptions{}, func(f persistence.FrameInfo) error {
		first = f.BaseConfiguration
		for _, data := range f.Entries.GetData() {
			if entry, err := raft.DecodeEntry(data); first == nil && err == nil && entry.Kind == raft.KindConfiguration {
				if first, err = raft.DecodeConfiguration(data); err != nil {
					return err
				}
			}
		}
		if first != nil {
			return errFound
		}
		return nil
	})
	if errors.Is(err, errFound) {
		err = nil
	}
	return first, err
}
