package sim

import (
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/messages"
)

// node holds a Node's state against all others.
func (g *Checker) nodeView(m *member, v actors.NodeView) {
	if g.mustIgnore.mailbox != nil {
		g.sideEffect(v)
	}
	was := m.view
	m.view = v
	s := g.members[m.id]
	s.nodeIncarnation = v.Incarnation
	if v.Role == "recovering" || v.Incarnation != s.logIncarnation {
		return
	}
	if v.Term < s.viewTerm || v.Term == s.viewTerm && s.viewVote != 0 && v.Vote != s.viewVote {
		g.fail("term and vote are monotone", "member %d goes from term %d, vote %d to %d, %d", m.id, s.viewTerm, s.viewVote, v.Term, v.Vote)
	}
	s.viewTerm, s.viewVote = v.Term, v.Vote
	if v.LastIndex != uint64(len(s.log)) || v.LastTerm != termAt(s.log, v.LastIndex) {
		g.fail("log as told", "member %d shows a log that ends with (%d, %d), its LogStore was told %v", m.id, v.LastIndex, v.LastTerm, s.log)
		return
	}
	if v.DurableIndex > uint64(len(s.durableLog)) || v.DurableIndex > 0 && termAt(s.durableLog, v.DurableIndex) != termAt(s.log, v.DurableIndex) {
		g.fail("write, then speak", "member %d takes index %d for durable; its disk has %v, its log %v", m.id, v.DurableIndex, s.durableLog, s.log)
	}
	g.checkConfiguration(m, s, &v)
	g.checkLimits(m, s, &v)
	if v.Role == "leader" && (was.Role != "leader" || was.Term != v.Term) {
		g.elected(m, s, &v)
	}
	g.checkCommit(m, s, &v)
}

// checkConfiguration: the configuration in effect is the latest one in the log, committed or not (Raft §6, E30, E31).
func (g *Checker) checkConfiguration(m *member, s *memberModel, v *actors.NodeView) {
	var latest configurationEntry
	if n := len(s.configurations); n > 0 {
		latest = s.configurations[n-1]
	}
	if v.ConfigurationIndex == latest.index && v.Configuration == s.shownConfiguration && s.shownConfiguration != nil {
		return
	}
	s.shownConfiguration = v.Configuration
	if v.ConfigurationIndex != latest.index || latest.index != 0 && !proto.Equal(v.Configuration, latest.configuration) {
		g.fail("configuration in effect", "member %d acts by the configuration of entry %d, %v; the latest in its log is that of entry %d, %v",
			m.id, v.ConfigurationIndex, v.Configuration, latest.index, latest.configuration)
	}
}

// bundle is the most that anybody forwards at once: a batch, or one entry. Where nothing else is pending, a leader takes that
// whatever its own limit, for it would never be smaller.
func (g *Checker) maxForwardBytes() uint64 {
	most := g.largestEntry
	for _, s := range g.members {
		most = max(most, s.nodeLimits.MaxBatchBytes)
	}
	return most
}

// bounded: what a Node keeps has limits (E45).
func (g *Checker) checkLimits(m *member, s *memberModel, v *actors.NodeView) {
	limits := &s.nodeLimits
	if v.UncommittedBytes > limits.MaxUncommittedBytes && v.UncommittedBytes > g.maxForwardBytes() {
		g.fail("bounded proposals", "leader %d has %d bytes of uncommitted proposals; its limit is %d", m.id, v.UncommittedBytes, limits.MaxUncommittedBytes)
	}
	if v.PendingReads > limits.MaxPendingReads {
		g.fail("bounded reads", "%d reads wait at leader %d", v.PendingReads, m.id)
	}
	// What is on no disk can be had from memory only.
	unsynced := uint64(0)
	if v.DurableIndex < v.LastIndex {
		unsynced = s.cumulativeBytes[v.LastIndex-1]
		if v.DurableIndex > 0 {
			unsynced -= s.cumulativeBytes[v.DurableIndex-1]
		}
	}
	if v.MemoryBytes > limits.MemoryBytes+unsynced {
		g.fail("bounded memory", "member %d keeps %d bytes of its log in memory, of which %d are not durable", m.id, v.MemoryBytes, unsynced)
	}
}

func (g *Checker) elected(m *member, s *memberModel, v *actors.NodeView) {
	g.world.counts.Elections++
	if other := g.leaders[v.Term]; other != 0 && other != m.id {
		g.fail("election safety", "members %d and %d both lead in term %d", other, m.id, v.Term)
	}
	g.leaders[v.Term] = m.id
	votes := g.votes[v.Term]
	if !quorum(v.Configuration, func(id uint64) bool {
		return votes[id] == m.id || id == m.id && s.durableDisk.term == v.Term && s.durableDisk.vote == m.id
	}) {
		g.fail("a quorum elects", "member %d leads in term %d; the votes given in it are %v", m.id, v.Term, votes)
	}
	for i, t := range g.committedTerms {
		if g.committedInTerm[i] < v.Term && termAt(s.log, uint64(i+1)) != t {
			g.fail("leader completeness", "leader %d of term %d lacks entry %d of term %d, committed in term %d", m.id, v.Term, i+1, t, g.committedInTerm[i])
			return
		}
	}
}

// quorum counts naively: more than half of the voters, and in a joint configuration of the former voters too.
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

func (g *Checker) checkCommit(m *member, s *memberModel, v *actors.NodeView) {
	if v.Commit == s.commit {
		return
	}
	if v.Commit < s.commit {
		g.fail("commit is monotone", "commit index of member %d goes from %d to %d", m.id, s.commit, v.Commit)
		return
	}
	if v.Commit > v.LastIndex {
		g.fail("commit within the log", "commit index of member %d is %d, its log ends at %d", m.id, v.Commit, v.LastIndex)
		return
	}
	known := uint64(len(g.committedTerms))
	if v.Commit > known && v.Commit > 1 {
		if v.Role != "leader" {
			g.fail("leaders commit", "%s %d commits entry %d of term %d; no leader has", v.Role, m.id, v.Commit, termAt(s.log, v.Commit))
		} else if t := termAt(s.log, v.Commit); t != v.Term {
			g.fail("commits of the own term", "leader %d of term %d commits entry %d of term %d by counting", m.id, v.Term, v.Commit, t)
		}
	}
	for i := s.commit + 1; i <= v.Commit; i++ {
		term := termAt(s.log, i)
		if i <= known {
			if g.committedTerms[i-1] != term {
				g.fail("state machine safety", "member %d commits entry %d of term %d; one of term %d was committed", m.id, i, term, g.committedTerms[i-1])
				return
			}
			g.committedInTerm[i-1] = min(g.committedInTerm[i-1], v.Term)
			continue
		}
		g.committedTerms, g.committedInTerm = append(g.committedTerms, term), append(g.committedInTerm, v.Term)
		if i > 1 && !g.onQuorumDisks(v.Configuration, i) { // the first configuration is everybody's without asking
			g.fail("commit needs a quorum", "member %d commits entry %d of term %d, which no quorum of %v has on disk", m.id, i, term, v.Configuration)
			return
		}
	}
	s.commit = v.Commit
}

// held tells whether a committed entry is on the disks of a quorum.
func (g *Checker) onQuorumDisks(c *messages.Configuration, index uint64) bool {
	term := g.committedTerms[index-1]
	return quorum(c, func(id uint64) bool {
		return id < uint64(len(g.members)) && termAt(g.members[id].durableLog, index) == term
	})
}

// replicator holds a replicator's picture of its peer against the peer's disk.
func (g *Checker) replicatorView(m *member, v actors.ReplicatorView) {
	if v.Next != 0 && v.Next <= v.Match {
		g.fail("nextIndex above matchIndex", "at member %d, for %d: nextIndex %d is not above matchIndex %d", m.id, v.PeerID, v.Next, v.Match)
	}
	s := g.members[m.id]
	limits := &s.replicatorLimits
	// The last one in may reach over the limit, with a request's bytes or a batch's of the Node.
	if over := max(limits.MaxRequestBytes, s.nodeLimits.MaxBatchBytes, g.largestEntry); v.InFlight > limits.MaxInFlight || v.InFlightBytes >= limits.MaxInFlightBytes+over {
		g.fail("bounded window", "at member %d, for %d: %d requests of %d bytes in flight", m.id, v.PeerID, v.InFlight, v.InFlightBytes)
	}
	if v.Incarnation != s.logIncarnation || m.view.Role != "leader" || v.Match == s.matched[v.PeerID] {
		return
	}
	s.matched[v.PeerID] = v.Match
	// A peer that went on to a later term may have lost again what it acknowledged in this one.
	if p := g.members[v.PeerID]; p.durableDisk.term <= m.view.Term && (termAt(p.durableLog, v.Match) == 0 && v.Match > 0 || termAt(p.durableLog, v.Match) != termAt(s.log, v.Match)) {
		g.fail("matchIndex is durable", "leader %d of term %d takes entry %d of term %d to be on the disk of %d, which has %d entries and there one of term %d",
			m.id, m.view.Term, v.Match, termAt(s.log, v.Match), v.PeerID, len(p.durableLog), termAt(p.durableLog, v.Match))
	}
}

// stored holds what a LogStore shows of itself against its disk.
func (g *Checker) logView(m *member, v actors.LogView) {
	s := g.members[m.id]
	if v.Incarnation != s.logIncarnation {
		return
	}
	if v.LastIndex != uint64(len(s.durableLog)) || v.HardState.GetTerm() != s.durableDisk.term || v.HardState.GetVote() != s.durableDisk.vote {
		g.fail("disk as told", "the LogStore of member %d shows %d entries and %v; its disk has %d, term %d, vote %d",
			m.id, v.LastIndex, v.HardState, len(s.durableLog), s.durableDisk.term, s.durableDisk.vote)
	}
}
