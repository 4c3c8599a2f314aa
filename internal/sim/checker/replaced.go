package checker

import (
	"bytes"

	"github.com/troupe-raft/troupe/messages"
)

// A member whose disk was replaced has forgotten its votes and its acknowledgements (E37). The
// checker keeps what it sent before apart from what it sends with its new disk.

// DiskReplaced observes that a member, which is down, gets an empty disk, or an older copy of its
// own.
func (c *Checker) DiskReplaced(id uint64) {
	was := c.models[id]
	s := &memberModel{matched: make([]uint64, len(c.models)), forgot: true, formerLog: was.formerLog, formerVotes: was.formerVotes}
	s.formerStorage = c.members[id-1].LogOptions().StorageID
	s.log = was.log // of its last run, until it starts again
	if len(was.durableLog) > len(s.formerLog) || !was.forgot {
		s.formerLog = was.durableLog
	}
	if s.formerVotes == nil {
		s.formerVotes = map[uint64]uint64{}
	}
	for term, votes := range c.votes { // order does not matter: each term is handled by itself
		if votes[id] != 0 {
			s.formerVotes[term] = votes[id]
			delete(votes, id)
		}
	}
	c.models[id] = s
}

// Forgot reports whether the disk of a member was replaced and no committed configuration names the
// new one.
func (c *Checker) Forgot(id uint64) bool { return c.models[id].forgot }

// checkRejoined observes a committed configuration: the members whose new data directory it names
// count again.
func (c *Checker) checkRejoined(configuration *messages.Configuration) {
	for _, m := range configuration.GetMembers() {
		s := c.models[m.GetId()]
		storageID := c.members[m.GetId()-1].LogOptions().StorageID
		if s.forgot && storageID != s.formerStorage && bytes.Equal(m.GetStorageId(), storageID[:]) {
			s.forgot = false
		}
	}
}

// hadOnDisk reports whether an entry is on the disk of a member, was on the one before it, or was
// on it before it was damaged: a LogStore that opens the log of a damaged disk may crash after it
// has written, and before it reports what is missing.
func (s *memberModel) hadOnDisk(index, term uint64) bool {
	return termAt(s.durableLog, index) == term || termAt(s.formerLog, index) == term ||
		s.undamaged != nil && termAt(s.undamaged.log, index) == term
}
