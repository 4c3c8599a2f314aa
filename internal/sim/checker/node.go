package checker

import (
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/messages"
)

// NodeView observes the state that a Node reports.
func (c *Checker) NodeView(id uint64, v actors.NodeView) {
	c.sideEffect(v)
	s := c.models[id]
	was := s.view
	s.view, s.nodeIncarnation = v, v.Incarnation
	if v.Role == "recovering" || v.Incarnation != s.logIncarnation {
		return
	}
	if v.Term < s.viewTerm || v.Term == s.viewTerm && s.viewVote != 0 && v.Vote != s.viewVote {
		c.fail("term and vote monotonic", "member %d goes from term %d, vote %d to %d, %d", id, s.viewTerm, s.viewVote, v.Term, v.Vote)
	}
	s.viewTerm, s.viewVote = v.Term, v.Vote
	if v.LastIndex != uint64(len(s.log)) || v.LastTerm != termAt(s.log, v.LastIndex) {
		c.fail("log matches appends", "member %d reports a log that ends with (%d, %d), its LogStore was given %v", id, v.LastIndex, v.LastTerm, s.log)
		return
	}
	if v.DurableIndex > uint64(len(s.durableLog)) || v.DurableIndex > 0 && termAt(s.durableLog, v.DurableIndex) != termAt(s.log, v.DurableIndex) {
		c.fail("persist before send", "member %d takes index %d for durable; its disk has %v, its log %v", id, v.DurableIndex, s.durableLog, s.log)
	}
	c.checkConfiguration(id, s, &v)
	c.checkLimits(id, s, &v)
	if v.Role == "leader" && (was.Role != "leader" || was.Term != v.Term) {
		c.elected(id, s, &v)
	}
	c.checkCommit(id, s, &v)
}

// checkConfiguration: the configuration in effect is the latest one in the log, committed or not
// (Raft §6, E30, E31).
func (c *Checker) checkConfiguration(id uint64, s *memberModel, v *actors.NodeView) {
	var latest configurationEntry
	if n := len(s.configurations); n > 0 {
		latest = s.configurations[n-1]
	}
	if v.ConfigurationIndex == latest.index && v.Configuration == s.shownConfiguration && s.shownConfiguration != nil {
		return
	}
	s.shownConfiguration = v.Configuration
	if v.ConfigurationIndex != latest.index || latest.index != 0 && !proto.Equal(v.Configuration, latest.configuration) {
		c.fail("configuration in effect", "member %d uses the configuration of entry %d, %v; the latest in its log is that of entry %d, %v",
			id, v.ConfigurationIndex, v.Configuration, latest.index, latest.configuration)
	}
}

// maxForwardBytes is the most that a member forwards at once: a batch, or one entry. A leader with
// nothing else pending takes that whatever its own limit is, since a retry would be no smaller.
func (c *Checker) maxForwardBytes() uint64 {
	most := c.largestEntry
	for _, s := range c.models {
		most = max(most, s.nodeLimits.MaxBatchBytes)
	}
	return most
}

// checkLimits: what a Node keeps is limited (E45).
func (c *Checker) checkLimits(id uint64, s *memberModel, v *actors.NodeView) {
	limits := &s.nodeLimits
	if v.UncommittedBytes > limits.MaxUncommittedBytes && v.UncommittedBytes > c.maxForwardBytes() {
		c.fail("bounded proposals", "leader %d has %d bytes of uncommitted proposals; its limit is %d", id, v.UncommittedBytes, limits.MaxUncommittedBytes)
	}
	if v.PendingReads > limits.MaxPendingReads {
		c.fail("bounded reads", "%d reads wait at leader %d", v.PendingReads, id)
	}
	// Entries that are not durable must be in memory.
	unsynced := uint64(0)
	if v.DurableIndex < v.LastIndex {
		unsynced = s.cumulativeBytes[v.LastIndex-1]
		if v.DurableIndex > 0 {
			unsynced -= s.cumulativeBytes[v.DurableIndex-1]
		}
	}
	if v.MemoryBytes > limits.MemoryBytes+unsynced {
		c.fail("bounded memory", "member %d keeps %d bytes of its log in memory, of which %d are not durable", id, v.MemoryBytes, unsynced)
	}
}

func (c *Checker) elected(id uint64, s *memberModel, v *actors.NodeView) {
	c.sim.Elected()
	if other := c.leaders[v.Term]; other != 0 && other != id {
		c.fail("election safety", "members %d and %d both lead in term %d", other, id, v.Term)
	}
	c.leaders[v.Term] = id
	votes := c.votes[v.Term]
	if !quorum(v.Configuration, func(voter uint64) bool {
		return votes[voter] == id || c.models[voter].formerVotes[v.Term] == id || voter == id && s.disk.term == v.Term && s.disk.vote == id
	}) {
		c.fail("quorum elects", "member %d leads in term %d; the votes in it are %v", id, v.Term, votes)
	}
	for i, t := range c.committed {
		if c.committedIn[i] < v.Term && termAt(s.log, uint64(i+1)) != t {
			c.fail("leader completeness", "leader %d of term %d lacks entry %d of term %d, committed in term %d", id, v.Term, i+1, t, c.committedIn[i])
			return
		}
	}
}

// quorum counts naively: more than half of the voters, and in a joint configuration of the former
// voters too.
func quorum(c *messages.Configuration, has func(id uint64) bool) bool {
	voters, agree := 0, 0
	for _, m := range c.GetMembers() {
		if m.Learner {
			continue
		}
		voters++
		if has(m.Id) {
			agree++
		}
	}
	former := 0
	for _, id := range c.GetOutgoingVoters() {
		if has(id) {
			former++
		}
	}
	return 2*agree > voters && (len(c.GetOutgoingVoters()) == 0 || 2*former > len(c.GetOutgoingVoters()))
}

// checkCommit checks a commit index that has changed.
func (c *Checker) checkCommit(id uint64, s *memberModel, v *actors.NodeView) {
	if v.Commit == s.commit {
		return
	}
	if v.Commit < s.commit {
		c.fail("commit index monotonic", "commit index of member %d goes from %d to %d", id, s.commit, v.Commit)
		return
	}
	if v.Commit > v.LastIndex {
		c.fail("commit within the log", "commit index of member %d is %d, its log ends at %d", id, v.Commit, v.LastIndex)
		return
	}
	known := uint64(len(c.committed))
	if v.Commit > known && v.Commit > 1 {
		if v.Role != "leader" {
			c.fail("only leaders commit", "%s %d commits entry %d of term %d; no leader has", v.Role, id, v.Commit, termAt(s.log, v.Commit))
		} else if t := termAt(s.log, v.Commit); t != v.Term {
			c.fail("commit by own term", "leader %d of term %d commits entry %d of term %d by counting", id, v.Term, v.Commit, t)
		}
	}
	for i := s.commit + 1; i <= v.Commit; i++ {
		term := termAt(s.log, i)
		if i <= known {
			if c.committed[i-1] != term {
				c.fail("state machine safety", "member %d commits entry %d of term %d; one of term %d was committed", id, i, term, c.committed[i-1])
				return
			}
			c.committedIn[i-1] = min(c.committedIn[i-1], v.Term)
			continue
		}
		c.committed, c.committedIn = append(c.committed, term), append(c.committedIn, v.Term)
		// Every member starts with the first configuration as committed
		if i > 1 && !c.onQuorumDisks(v.Configuration, i) {
			c.fail("commit needs a quorum", "member %d commits entry %d of term %d, which no quorum of %v has on disk", id, i, term, v.Configuration)
			return
		}
		for _, configuration := range s.configurations {
			if configuration.index == i {
				c.checkRejoined(configuration.configuration)
			}
		}
	}
	s.commit = v.Commit
}

// onQuorumDisks reports whether a committed entry is on the disks of a quorum. A disk that was
// replaced counts with what it held, because an acknowledgement of that time may arrive later; the
// new one does not count.
func (c *Checker) onQuorumDisks(configuration *messages.Configuration, index uint64) bool {
	term := c.committed[index-1]
	return quorum(configuration, func(id uint64) bool {
		if id >= uint64(len(c.models)) {
			return false
		}
		if s := c.models[id]; s.forgot {
			return termAt(s.formerLog, index) == term
		}
		return termAt(c.models[id].durableLog, index) == term
	})
}

// onQuorumDisksOrLost is onQuorumDisks, where a disk that was replaced or damaged counts with what
// it held: it held it when the entry was committed.
func (c *Checker) onQuorumDisksOrLost(configuration *messages.Configuration, index uint64) bool {
	term := c.committed[index-1]
	return quorum(configuration, func(id uint64) bool { return c.models[id].hadOnDisk(index, term) })
}

// ReplicatorView observes the state that a replicator reports, and compares it with the disk of its
// peer.
func (c *Checker) ReplicatorView(id uint64, v actors.ReplicatorView) {
	if v.Next != 0 && v.Next <= v.Match {
		c.fail("nextIndex above matchIndex", "at member %d, for %d: nextIndex %d is not above matchIndex %d", id, v.PeerID, v.Next, v.Match)
	}
	s := c.models[id]
	limits := &s.replicatorLimits
	// The last request may exceed the limit by its own bytes, or by those of a batch of the Node.
	if over := max(limits.MaxRequestBytes, s.nodeLimits.MaxBatchBytes, c.largestEntry); v.InFlight > limits.MaxInFlight || v.InFlightBytes >= limits.MaxInFlightBytes+over {
		c.fail("bounded window", "at member %d, for %d: %d requests of %d bytes in flight", id, v.PeerID, v.InFlight, v.InFlightBytes)
	}
	if v.Incarnation != s.logIncarnation || s.view.Role != "leader" || v.Match == s.matched[v.PeerID] {
		return
	}
	s.matched[v.PeerID] = v.Match
	// A peer in a later term may have lost again what it acknowledged in this one.
	if p := c.models[v.PeerID]; p.disk.term <= s.view.Term && !(p.forgot && p.hadOnDisk(v.Match, termAt(s.log, v.Match))) && (termAt(p.durableLog, v.Match) == 0 && v.Match > 0 || termAt(p.durableLog, v.Match) != termAt(s.log, v.Match)) {
		c.fail("matchIndex is durable", "leader %d of term %d takes entry %d of term %d to be on the disk of %d, which has %d entries and there one of term %d",
			id, s.view.Term, v.Match, termAt(s.log, v.Match), v.PeerID, len(p.durableLog), termAt(p.durableLog, v.Match))
	}
}

// LogView observes the state that a LogStore reports, and compares it with its disk.
func (c *Checker) LogView(id uint64, v actors.LogStoreView) {
	s := c.models[id]
	if v.Incarnation != s.logIncarnation {
		return
	}
	if v.LastIndex != uint64(len(s.durableLog)) || v.HardState.GetTerm() != s.disk.term || v.HardState.GetVote() != s.disk.vote {
		c.fail("disk matches appends", "the LogStore of member %d reports %d entries and %v; its disk has %d, term %d, vote %d",
			id, v.LastIndex, v.HardState, len(s.durableLog), s.disk.term, s.disk.vote)
	}
}
