package sim

import (
	"slices"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/internal/sim/hash"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// fact is all there is to know of an entry: Log Matching says that there is one for each index and term, and that what lies
// before follows from it.
type entryRecord struct {
	term, before uint64 // before: the term of the entry at the index before
	sum          uint32
}

// facts by index. Nearly every index sees one term only.
type entryTable struct {
	firstSeen  []entryRecord
	otherTerms map[position]entryRecord
}

// learn keeps a fact, and tells the one that was known for the same index and term.
func (f *entryTable) record(index uint64, is entryRecord) (was entryRecord) {
	for uint64(len(f.firstSeen)) < index {
		f.firstSeen = append(f.firstSeen, entryRecord{})
	}
	switch at := &f.firstSeen[index-1]; at.term {
	case 0:
		*at = is
		return is
	case is.term:
		return *at
	}
	if was, known := f.otherTerms[position{index, is.term}]; known {
		return was
	}
	if f.otherTerms == nil {
		f.otherTerms = map[position]entryRecord{}
	}
	f.otherTerms[position{index, is.term}] = is
	return is
}

// of tells the fact of an index and term; one of term 0 where there is none.
func (f *entryTable) lookup(index, term uint64) entryRecord {
	if index > uint64(len(f.firstSeen)) {
		return entryRecord{}
	}
	if is := f.firstSeen[index-1]; is.term == term {
		return is
	}
	return f.otherTerms[position{index, term}]
}

func termAt(log []uint64, index uint64) uint64 {
	if index == 0 || index > uint64(len(log)) {
		return 0
	}
	return log[index-1]
}

// change is what an Append does to a log.
type change struct {
	from       uint64 // the log ends before; 0: nothing changes
	runs       []*messages.TermRun
	count      uint64
	term, vote uint64
}

func changeOf(a *messages.Append) change {
	c := change{from: a.TruncateFrom, term: a.HardState.GetTerm(), vote: a.HardState.GetVote()}
	if e := a.GetEntries(); len(e.GetData()) > 0 {
		c.from, c.runs, c.count = e.First, e.Runs, uint64(len(e.Data))
	}
	return c
}

// applyTo changes a log in place. A gap is left out: it shows in what follows.
func (c *change) applyTo(log []uint64) []uint64 {
	if c.from == 0 || c.from > uint64(len(log))+1 {
		return log
	}
	return appendRuns(log[:c.from-1], c.runs, c.from+c.count-1)
}

// appendRuns appends the terms that runs give for the entries up to last.
func appendRuns(log []uint64, runs []*messages.TermRun, last uint64) []uint64 {
	for i, r := range runs {
		end := last
		if i+1 < len(runs) {
			end = runs[i+1].FirstIndex - 1
		}
		for uint64(len(log)) < end {
			log = append(log, r.Term)
		}
	}
	return log
}

// appended sees the Node of a member change its log.
func (g *Checker) appended(m *member, a *messages.Append) {
	s := g.members[m.id]
	if a.Incarnation != s.logIncarnation {
		return
	}
	if !g.checkAppend(m, s, a) {
		return
	}
	for _, p := range a.Deferred {
		if answer := p.GetEnvelope().GetAppendResponse(); answer.GetAccepted() {
			s.pendingAcks = append(s.pendingAcks, pendingAck{answer: answer})
		}
	}
	c := changeOf(a)
	if c.from != 0 {
		s.log = c.applyTo(s.log)
		s.cumulativeBytes = s.cumulativeBytes[:min(c.from-1, uint64(len(s.cumulativeBytes)))]
		for n := len(s.configurations); n > 0 && s.configurations[n-1].index >= c.from; n-- {
			s.configurations = s.configurations[:n-1]
		}
	}
	for i, data := range a.GetEntries().GetData() {
		g.entryAppended(m, s, a.Entries.First+uint64(i), data)
	}
	for i := range s.pendingAcks {
		if p := &s.pendingAcks[i]; p.term == 0 {
			p.term = termAt(s.log, p.answer.Index)
		}
	}
}

// stands: an entry stands in the log of a member.
func (g *Checker) entryAppended(m *member, s *memberModel, index uint64, data []byte) {
	is := entryRecord{term: termAt(s.log, index), before: termAt(s.log, index-1), sum: hash.Checksum(data)}
	if was := g.entries.record(index, is); was != is {
		g.fail("log matching", "two entries at index %d of term %d: %+v and, at member %d, %+v", index, is.term, was, m.id, is)
	}
	if index > 1 && is.term < is.before {
		g.fail("log matching", "at member %d, entry %d of term %d follows one of term %d", m.id, index, is.term, is.before)
	}
	g.largestEntry = max(g.largestEntry, uint64(len(data)))
	before := uint64(0)
	if n := len(s.cumulativeBytes); n > 0 {
		before = s.cumulativeBytes[n-1]
	}
	s.cumulativeBytes = append(s.cumulativeBytes, before+uint64(len(data)))
	if raft.KindOf(data) == raft.KindConfiguration {
		if c, err := raft.DecodeConfiguration(data); err == nil {
			s.configurations = append(s.configurations, configurationEntry{index, c})
		}
	}
}

// checkAppend: a leader only appends (Raft §5.3); anybody else replaces entries only from the first on that conflicts with its
// leader's, so never one that was committed in that leader's term or an earlier one. (A leader that was replaced may still
// take away from a member of its minority what its successor's majority has committed: Raft, §5.4.3, speaks of later leaders.)
func (g *Checker) checkAppend(m *member, s *memberModel, a *messages.Append) bool {
	e, last := a.GetEntries(), uint64(len(s.log))
	leads := m.view.Role == "leader" && m.view.Term == a.HardState.GetTerm()
	from := a.TruncateFrom
	if from == 0 {
		if len(e.GetData()) > 0 && e.First != last+1 {
			if leads && e.First <= last {
				g.fail("leader append-only", "leader %d of term %d writes entry %d over its own log, which ends at %d", m.id, m.view.Term, e.First, last)
			}
			g.fail("log as told", "member %d appends from %d to a log that ends at %d", m.id, e.First, last)
			return false
		}
		return true
	}
	if leads {
		g.fail("leader append-only", "leader %d of term %d truncates its log from %d", m.id, m.view.Term, from)
	}
	for i := from; i <= min(last, uint64(len(g.committedTerms))); i++ {
		if s.log[i-1] == g.committedTerms[i-1] && g.committedInTerm[i-1] <= a.HardState.GetTerm() {
			g.fail("committed entries stay", "member %d truncates its log from %d in term %d, with entry %d of term %d that was committed in term %d",
				m.id, from, a.HardState.GetTerm(), i, s.log[i-1], g.committedInTerm[i-1])
			return false
		}
	}
	if from > last || len(e.GetData()) == 0 || e.First != from || raft.EntriesTerm(e, from) == s.log[from-1] {
		g.fail("a conflict before a truncation", "member %d truncates its log from %d to %d, and nothing conflicts there: %d entries from %d follow",
			m.id, from, last, len(e.GetData()), e.GetFirst())
		return false
	}
	return true
}

// recovered holds what a disk gave back against what was written on it and promised for it.
func (g *Checker) recovered(m *member, r *messages.Recovered) {
	s := g.members[m.id]
	term, vote := r.HardState.GetTerm(), r.HardState.GetVote()
	if term < s.term || term == s.term && s.vote != 0 && vote != s.vote {
		g.fail("term and vote survive", "member %d came back with term %d and vote %d, and had voted for %d in term %d", m.id, term, vote, s.vote, s.term)
	}
	g.terms = appendRuns(g.terms[:0], r.Runs, r.LastIndex)
	s.applyReplacements(g.terms)
	if p := s.acknowledged; p.index != 0 && termAt(g.terms, p.index) != p.term {
		g.fail("write, then speak", "member %d came back without entry %d of term %d, which it had acknowledged", m.id, p.index, p.term)
	}
	if m.disk.damaged { // some of what lay there is damaged: what is left may be less, but never less than was promised
		s.durableLog, s.durableDisk.term, s.durableDisk.vote = append(s.durableLog[:0], g.terms...), term, vote
		s.writtenLog = append(s.writtenLog[:0], g.terms...)
	}
	if !slices.Equal(g.terms, s.durableLog) || term != s.durableDisk.term || vote != s.durableDisk.vote {
		g.fail("recovery tells the disk", "member %d came back with term %d, vote %d and %v; on its disk are term %d, vote %d and %v",
			m.id, term, vote, g.terms, s.durableDisk.term, s.durableDisk.vote, s.durableLog)
	}
	g.reconcileRecovered(m, s)
	s.durableDisk.failedOperation = "" // the log was read anew, and what could not be trusted is written anew
	s.logIncarnation, s.nodeIncarnation = r.Incarnation, r.Incarnation
	s.log = append(s.log[:0], g.terms...)
	s.cumulativeBytes = s.cumulativeBytes[:0]
	for range s.log {
		s.cumulativeBytes = append(s.cumulativeBytes, 0) // none of them is in memory
	}
	s.configurations = s.configurations[:0]
	for _, c := range r.Configurations {
		s.configurations = append(s.configurations, configurationEntry{c.Index, c.Configuration})
	}
	s.pendingAcks, s.shownConfiguration = nil, nil
	clear(s.matched)
	s.viewTerm, s.viewVote, s.commit, s.applied, s.replayIndex = term, vote, 0, 0, r.HardState.GetCommit()
	m.view = actors.NodeView{}
	m.replica.HighestRead = r.HardState.GetCommit() // below which nothing is served any more
}

// replaced: what a member acknowledged may be gone because a later leader replaced it, by a change that was handed to the
// LogStore and written, though its sync failed or never came. What stands there now must be what that change put there.
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

// returned: a disk has what its LogStore wrote, and of what it had been handed since, some first part.
func (g *Checker) reconcileRecovered(m *member, s *memberModel) {
	for !slices.Equal(s.writtenLog, s.durableLog) {
		if len(s.pendingChanges) == 0 {
			g.fail("disk as told", "member %d came back with a log of %d entries that its LogStore never had", m.id, len(s.durableLog))
			break
		}
		s.writtenLog = s.pendingChanges[0].applyTo(s.writtenLog)
		s.pendingChanges = s.pendingChanges[1:]
	}
	s.writtenLog, s.pendingChanges = append(s.writtenLog[:0], s.durableLog...), s.pendingChanges[:0]
}

// given tells of the log that a member's disk is about to get before its first life.
func (g *Checker) initialState(id uint64, p initialState, entries *messages.Entries) {
	s, log := g.members[id], p.log
	for i, data := range entries.Data {
		g.entries.record(uint64(i+1), entryRecord{log[i], termAt(log, uint64(i)), hash.Checksum(data)})
	}
	for i := uint64(len(g.committedTerms)); i < p.commit; i++ {
		g.committedTerms, g.committedInTerm = append(g.committedTerms, log[i]), append(g.committedInTerm, p.term)
	}
	s.log, s.writtenLog = slices.Clone(log), slices.Clone(log)
}
