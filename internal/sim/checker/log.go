package checker

import (
	"slices"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/internal/sim/hash"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// InitialState observes the log that is written to the disk of a member before its first start.
func (c *Checker) InitialState(id uint64, terms []uint64, term, commit uint64, entries *messages.Entries) {
	s := c.models[id]
	for i, data := range entries.Data {
		c.entries.record(uint64(i+1), entryRecord{terms[i], termAt(terms, uint64(i)), hash.Checksum(data)})
	}
	for i := uint64(len(c.committed)); i < commit; i++ {
		c.committed, c.committedIn = append(c.committed, terms[i]), append(c.committedIn, term)
	}
	s.log, s.writtenLog = slices.Clone(terms), slices.Clone(terms)
}

// appended observes that the Node of a member changes its log.
func (c *Checker) appended(id uint64, a *messages.Append) {
	s := c.models[id]
	if a.Incarnation != s.logIncarnation || !c.checkAppend(id, s, a) {
		return
	}
	for _, d := range a.Deferred {
		if r := d.GetEnvelope().GetAppendResponse(); r.GetAccepted() {
			s.pendingAcks = append(s.pendingAcks, pendingAck{response: r})
		}
	}
	change := changeOf(a)
	if change.from != 0 {
		s.log = change.applyTo(s.log)
		s.cumulativeBytes = s.cumulativeBytes[:min(change.from-1, uint64(len(s.cumulativeBytes)))]
		for n := len(s.configurations); n > 0 && s.configurations[n-1].index >= change.from; n-- {
			s.configurations = s.configurations[:n-1]
		}
	}
	for i, data := range a.GetEntries().GetData() {
		c.entryAppended(id, s, a.Entries.First+uint64(i), data)
	}
	for i := range s.pendingAcks {
		if p := &s.pendingAcks[i]; p.term == 0 {
			p.term = termAt(s.log, p.response.Index)
		}
	}
}

// entryAppended observes an entry that is new in the log of a member.
func (c *Checker) entryAppended(id uint64, s *memberModel, index uint64, data []byte) {
	is := entryRecord{term: termAt(s.log, index), before: termAt(s.log, index-1), sum: hash.Checksum(data)}
	if was := c.entries.record(index, is); was != is {
		c.fail("log matching", "two entries at index %d of term %d: %+v and, at member %d, %+v", index, is.term, was, id, is)
	}
	if index > 1 && is.term < is.before {
		c.fail("log matching", "at member %d, entry %d of term %d follows one of term %d", id, index, is.term, is.before)
	}
	c.largestEntry = max(c.largestEntry, uint64(len(data)))
	before := uint64(0)
	if n := len(s.cumulativeBytes); n > 0 {
		before = s.cumulativeBytes[n-1]
	}
	s.cumulativeBytes = append(s.cumulativeBytes, before+uint64(len(data)))
	if raft.KindOf(data) == raft.KindConfiguration {
		if configuration, err := raft.DecodeConfiguration(data); err == nil {
			s.configurations = append(s.configurations, configurationEntry{index, configuration})
		}
	}
}

// checkAppend checks a change before it is made. A leader only appends (Raft §5.3). Any other Node
// replaces entries only from the first one that conflicts with its leader's, and so never one that
// was committed in the term of that leader or an earlier one. (A leader that was replaced may still
// truncate, at a member of its minority, what the majority of its successor has committed: Raft
// §5.4.3 speaks of later leaders.)
func (c *Checker) checkAppend(id uint64, s *memberModel, a *messages.Append) bool {
	e, last := a.GetEntries(), uint64(len(s.log))
	leads := s.view.Role == "leader" && s.view.Term == a.HardState.GetTerm()
	from := a.TruncateFrom
	if from == 0 {
		if len(e.GetData()) > 0 && e.First != last+1 {
			if leads && e.First <= last {
				c.fail("leader append-only", "leader %d of term %d writes entry %d over its own log, which ends at %d", id, s.view.Term, e.First, last)
			}
			c.fail("log matches appends", "member %d appends from %d to a log that ends at %d", id, e.First, last)
			return false
		}
		return true
	}
	if leads {
		c.fail("leader append-only", "leader %d of term %d truncates its log from %d", id, s.view.Term, from)
	}
	for i := from; i <= min(last, uint64(len(c.committed))); i++ {
		if s.log[i-1] == c.committed[i-1] && c.committedIn[i-1] <= a.HardState.GetTerm() {
			c.fail("committed entries stay", "member %d truncates its log from %d in term %d, with entry %d of term %d that was committed in term %d",
				id, from, a.HardState.GetTerm(), i, s.log[i-1], c.committedIn[i-1])
			return false
		}
	}
	if from > last || len(e.GetData()) == 0 || e.First != from || raft.EntriesTerm(e, from) == s.log[from-1] {
		c.fail("truncate only on conflict", "member %d truncates its log from %d to %d, and nothing conflicts there: %d entries from %d follow",
			id, from, last, len(e.GetData()), e.GetFirst())
		return false
	}
	return true
}

// recovered compares what was recovered from a disk with what was written to it and what the member
// acknowledged.
func (c *Checker) recovered(id uint64, r *messages.Recovered) {
	s, disk := c.models[id], c.members[id-1].Storage()
	term, vote := r.HardState.GetTerm(), r.HardState.GetVote()
	if term < s.term || term == s.term && s.vote != 0 && vote != s.vote {
		c.fail("term and vote survive", "member %d recovered term %d and vote %d, and had voted for %d in term %d", id, term, vote, s.vote, s.term)
	}
	c.terms = appendRuns(c.terms[:0], r.Runs, r.LastIndex)
	s.applyReplacements(c.terms)
	if p := s.acknowledged; p.index != 0 && termAt(c.terms, p.index) != p.term {
		c.fail("persist before send", "member %d recovered without entry %d of term %d, which it had acknowledged", id, p.index, p.term)
	}
	if disk.HasDamage() { // it may hold less than was synced, but never less than was acknowledged
		s.durableLog, s.disk.term, s.disk.vote = append(s.durableLog[:0], c.terms...), term, vote
		s.writtenLog = append(s.writtenLog[:0], c.terms...)
	}
	if !slices.Equal(c.terms, s.durableLog) || term != s.disk.term || vote != s.disk.vote {
		c.fail("recovery matches disk", "member %d recovered term %d, vote %d and %v; on its disk are term %d, vote %d and %v",
			id, term, vote, c.terms, s.disk.term, s.disk.vote, s.durableLog)
	}
	c.reconcileRecovered(id, s)
	s.disk.failedOperation = "" // recovery reads the log anew, and writes anew what it cannot trust
	s.logIncarnation, s.nodeIncarnation = r.Incarnation, r.Incarnation
	s.log = append(s.log[:0], c.terms...)
	s.cumulativeBytes = s.cumulativeBytes[:0]
	for range s.log {
		s.cumulativeBytes = append(s.cumulativeBytes, 0) // none of them is in memory
	}
	s.configurations = s.configurations[:0]
	for _, configuration := range r.Configurations {
		s.configurations = append(s.configurations, configurationEntry{configuration.Index, configuration.Configuration})
	}
	s.pendingAcks, s.shownConfiguration = nil, nil
	clear(s.matched)
	s.viewTerm, s.viewVote, s.commit, s.applied, s.replayIndex = term, vote, 0, 0, r.HardState.GetCommit()
	s.view = actors.NodeView{}
}

// applyReplacements: an acknowledged entry may be gone because a later leader replaced it, by a
// change that the LogStore wrote although its sync failed or never came. Then the log must have
// there what that change wrote.
func (s *memberModel) applyReplacements(terms []uint64) {
	after := slices.Clone(s.writtenLog)
	for i := range s.pendingChanges {
		after = s.pendingChanges[i].applyTo(after)
		from, p := s.pendingChanges[i].from, s.acknowledged
		if from == 0 || from > p.index || termAt(terms, p.index) == p.term || termAt(terms, p.index) != termAt(after, p.index) {
			continue
		}
		s.acknowledged = position{from - 1, termAt(after, from-1)}
	}
}

// reconcileRecovered: a disk has what its LogStore wrote, and some prefix of the changes that it
// was given since.
func (c *Checker) reconcileRecovered(id uint64, s *memberModel) {
	for !slices.Equal(s.writtenLog, s.durableLog) {
		if len(s.pendingChanges) == 0 {
			c.fail("disk matches appends", "member %d recovered a log of %d entries that its LogStore never had", id, len(s.durableLog))
			break
		}
		s.writtenLog = s.pendingChanges[0].applyTo(s.writtenLog)
		s.pendingChanges = s.pendingChanges[1:]
	}
	s.writtenLog, s.pendingChanges = append(s.writtenLog[:0], s.durableLog...), s.pendingChanges[:0]
}
