package sim

import (
	"github.com/troupe-raft/troupe/internal/sim/hash"
	"github.com/troupe-raft/troupe/messages"
)

// pledge is an acknowledgement that a Node handed to its LogStore, and the term of the entry that it is about. The LogStore
// says the very same message, in its order, or never.
type pendingAck struct {
	answer *messages.AppendResponse
	term   uint64
}

// spoke sees what a member says to another: promises must be on its disk (write, then speak).
func (g *Checker) messageSent(from, to *member, message any) {
	s, speaker := g.members[from.id], g.world.currentMailbox
	if g.mustIgnore.mailbox != nil {
		g.sideEffect(message)
	}
	if from.view.Role == "" || from.view.Role == "recovering" {
		g.fail("silence in recovery", "member %d says %T %v before it knows its log", from.id, message, message)
	}
	if s.durableDisk.failedOperation != "" && (speaker.path == "log" || from.nodeStopped()) {
		g.fail("fail-stop", "%s of member %d says %T %v after a failure of its disk (%s)", speaker.self.Id, from.id, message, message, s.durableDisk.failedOperation)
	}
	switch m := message.(type) {
	case *messages.RequestVote:
		if !m.PreVote {
			g.voted(m.Term, from, from.id)
		}
	case *messages.VoteResponse:
		if m.Granted && !m.PreVote {
			g.voted(m.Term, from, to.id)
		}
	case *messages.AppendResponse:
		if m.Accepted {
			g.acknowledged(from, s, m)
		}
	case *messages.AppendEntries:
		g.checkSentEntries(from, m)
	}
}

// gone tells whether the node has stopped by itself.
func (m *member) nodeStopped() bool {
	return m.tree == nil || m.tree.Stopped()
}

// voted: a vote is said. Term and vote are on the voter's disk by then, or a later term is, in which it cannot be given
// again.
func (g *Checker) voted(term uint64, voter *member, candidate uint64) {
	votes := g.votes[term]
	if votes == nil {
		votes = map[uint64]uint64{}
		g.votes[term] = votes
	}
	if was := votes[voter.id]; was != 0 && was != candidate {
		g.fail("one vote a term", "member %d votes for %d and for %d in term %d", voter.id, was, candidate, term)
	}
	votes[voter.id] = candidate
	s := g.members[voter.id]
	if p := &s.durableDisk; p.term < term || p.term == term && p.vote != candidate {
		g.fail("write, then speak", "member %d gives its vote of term %d to %d; on its disk are term %d and vote %d", voter.id, term, candidate, p.term, p.vote)
	}
	if term > s.term {
		s.term, s.vote = term, candidate
	}
}

// acknowledged: a member says that its disk has the leader's log up to an index.
func (g *Checker) acknowledged(from *member, s *memberModel, m *messages.AppendResponse) {
	term := termAt(s.log, m.Index) // said by the Node: of what it has now
	if g.world.currentMailbox.path == "log" {
		term = 0
		for i, p := range s.pendingAcks {
			if p.answer == m {
				term, s.pendingAcks = p.term, append(s.pendingAcks[:0], s.pendingAcks[i+1:]...)
				break
			}
		}
	}
	if has := termAt(s.durableLog, m.Index); m.Index > 0 && (has == 0 || has != term) {
		g.fail("write, then speak", "member %d acknowledges entry %d of term %d; its disk holds %d entries, and there one of term %d",
			from.id, m.Index, term, len(s.durableLog), has)
		return
	}
	if p := &s.durableDisk; p.term < m.Term {
		g.fail("write, then speak", "member %d acknowledges entry %d in term %d; on its disk is term %d: after a crash it would follow a leader before that",
			from.id, m.Index, m.Term, p.term)
		return
	}
	if m.Index > s.acknowledged.index {
		s.acknowledged = position{m.Index, term}
	}
}

// sends: what a leader sends is what stands in a log.
func (g *Checker) checkSentEntries(from *member, m *messages.AppendEntries) {
	e, run, before := m.Entries, 0, m.PrevTerm
	for i, data := range e.GetData() {
		index := e.First + uint64(i)
		for run+1 < len(e.Runs) && e.Runs[run+1].FirstIndex <= index {
			run++
		}
		term := e.Runs[run].Term
		if is := (entryRecord{term, before, hash.Checksum(data)}); g.entries.lookup(index, term) != is {
			g.fail("log matching", "member %d sends as entry %d of term %d what is %+v and not %+v", from.id, index, term, is, g.entries.lookup(index, term))
			return
		}
		before = term
	}
}
