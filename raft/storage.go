package raft

import (
	"bytes"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/messages"
)

// What a member promised (its votes, the entries that it acknowledged) is on its disk. A member
// that comes back with another data directory has forgotten it. The rules of this file decide what
// such a member may do (E37; docs/protocol.md P99 to P108).
//
// # Why catching up is not enough
//
// Five members A to E; E lost its disk after it voted for D in term 8. D has not heard of it yet.
//
//	A leads term 7 and catches E up: E has every committed entry, and term 7.
//	E may now vote for B in term 8: A, B and E elect B.
//	D receives E's old vote for term 8: C, D and E elect D. Two leaders in one term.
//
// So the leader of term 7 first appends a configuration with E's new storage id, and E neither
// votes nor counts until a majority has acknowledged that entry without E. Each member of that
// majority has acknowledged it in term 7 or later, so none of them has voted for D in term 8
// before, and none of them will, since D's log lacks the entry. What is left of the cluster, with
// E's old vote, is no majority.
//
// The entry names a storage id that did not exist before the old one was lost. So whatever E
// promised with its old data directory came before the entry, and the argument holds for all of it.

// WithStorageIDs returns a copy of c that names the storage ids of members for which c names none,
// as far as known returns them. It reports whether all are named then, and returns nil if there is
// nothing to add.
func WithStorageIDs(c *messages.Configuration, known func(id uint64) []byte) (named *messages.Configuration, complete bool) {
	complete = true
	for i, m := range c.GetMembers() {
		if len(m.GetStorageId()) > 0 {
			continue
		}
		storageID := known(m.GetId())
		if len(storageID) == 0 {
			complete = false
			continue
		}
		if named == nil {
			named = proto.Clone(c).(*messages.Configuration)
		}
		named.Members[i].StorageId = slices.Clone(storageID)
	}
	if named != nil && ValidateConfiguration(named) != nil {
		return nil, false // two members share a data directory; the link refuses one of them
	}
	return named, complete
}

// WithRejoined returns a copy of c in which a member has a new data directory.
func WithRejoined(c *messages.Configuration, id uint64, storageID []byte) (*messages.Configuration, error) {
	next := proto.Clone(c).(*messages.Configuration)
	m := FindMember(next, id)
	switch {
	case m == nil:
		return nil, fmt.Errorf("%w: %#x is not a member", ErrInvalidConfiguration, id)
	case len(storageID) == 0:
		return nil, fmt.Errorf("%w: no storage id for member %#x", ErrInvalidConfiguration, id)
	case bytes.Equal(m.GetStorageId(), storageID):
		return nil, fmt.Errorf("%w: member %#x has this storage id already", ErrInvalidConfiguration, id)
	}
	m.StorageId, m.Rejoined = slices.Clone(storageID), true
	return next, ValidateConfiguration(next)
}

// CountsInMajorities reports whether what a member acknowledges counts: not between the moment in
// which the configuration in effect (latest) names its new data directory, and the commitment of
// that.
func CountsInMajorities(committed, latest *messages.Configuration, id uint64) bool {
	m := FindMember(latest, id)
	return !m.GetRejoined() || bytes.Equal(FindMember(committed, id).GetStorageId(), m.GetStorageId())
}

// Storage is a member's own data directory.
type Storage struct {
	ID []byte
	// Rejoining: it was made to replace one that was lost.
	Rejoining bool
	// ConfirmedIndex is the index of the committed configuration that names it, as a member names its
	// own data directory to its peers; 0: none.
	ConfirmedIndex uint64
	// Starts are the member's starts on it.
	Starts Starts
}

// MayVote reports whether a member may vote and campaign: if the committed configuration names its
// data directory, or names none and the directory replaces no other.
func (s Storage) MayVote(committed *messages.Configuration, self uint64) bool {
	if named := FindMember(committed, self).GetStorageId(); len(named) > 0 {
		return bytes.Equal(named, s.ID)
	}
	return !s.Rejoining
}

// RefusalAction is what a member does when a peer refuses its data directory.
type RefusalAction int

const (
	// RefusalStops: another directory made promises in its name, and it must not go on.
	RefusalStops RefusalAction = iota
	// RefusalWaits: it rejoins, and an operator has not asked the leader to record it yet.
	RefusalWaits
	// RefusalIgnored: the refusal is old, or its sender does not have the configuration yet that names
	// the directory.
	RefusalIgnored
)

// OnRefusal decides by the refusal of a single peer. A peer that once met another data directory
// shows that there may be forgotten promises, whatever the others say; those that do not refuse may
// never have met it.
func (s Storage) OnRefusal(m *messages.StorageRefused, committed *messages.Configuration, committedIndex, self uint64) RefusalAction {
	named := FindMember(committed, self).GetStorageId()
	switch {
	case !bytes.Equal(m.GetStorageId(), s.ID):
		return RefusalIgnored
	case m.GetStart() != 0 && s.Starts.Present() != Start{Number: m.GetStart(), ID: m.GetStartId()}:
		return RefusalIgnored // an earlier start was meant
	case m.GetStart() != 0, m.GetLostEntries():
		return RefusalStops
	case len(named) > 0 && bytes.Equal(named, s.ID) && m.GetConfigurationIndex() <= committedIndex:
		return RefusalIgnored
	case s.Rejoining && !s.MayVote(committed, self):
		return RefusalWaits
	}
	return RefusalStops
}
