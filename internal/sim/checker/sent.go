package checker

import (
	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/internal/sim/hash"
	"github.com/troupe-raft/troupe/messages"
)

// pendingAck is an acknowledgement that a Node gave to its LogStore as a deferred message, and the
// term of its entry. The LogStore sends that very message, in its order, or never.
type pendingAck struct {
	response *messages.AppendResponse
	term     uint64
}

// MessageSent observes that an actor sends a message to another member. What the message states
// must be durable (persist before send), and a node must not send anything before its log is
// recovered or after its disk has failed (E5).
func (c *Checker) MessageSent(sender Mailbox, from Member, to uint64, message any) {
	id := from.ID()
	s := c.models[id]
	c.sideEffect(message)
	if s.view.Role == "" || s.view.Role == "recovering" {
		c.fail("no message before recovery", "member %d sends %T %v before its log is recovered", id, message, message)
	}
	bySender := sender.Path() == actors.LogStoreName
	if s.disk.failedOperation != "" && (bySender || from.NodeStopped()) {
		c.fail("fail-stop", "%s of member %d sends %T %v after a failure of its disk (%s)", sender.ActorID(), id, message, message, s.disk.failedOperation)
	}
	switch m := message.(type) {
	case *messages.RequestVote:
		if !m.PreVote {
			c.voted(m.Term, id, id)
		}
	case *messages.VoteResponse:
		if m.Granted && !m.PreVote {
			c.voted(m.Term, id, to)
		}
	case *messages.AppendResponse:
		if m.Accepted {
			c.acknowledged(id, s, m, bySender)
		}
	case *messages.AppendEntries:
		c.checkSentEntries(id, m)
	}
}

// voted observes a vote that is sent. By then term and vote are on the disk of the voter, or a
// later term is, in which it cannot vote in this one again.
func (c *Checker) voted(term, voter, candidate uint64) {
	votes := c.votes[term]
	if votes == nil {
		votes = map[uint64]uint64{}
		c.votes[term] = votes
	}
	if was := votes[voter]; was != 0 && was != candidate {
		c.fail("one vote per term", "member %d votes for %d and for %d in term %d", voter, was, candidate, term)
	}
	votes[voter] = candidate
	s := c.models[voter]
	if s.forgot {
		c.fail("no vote after a loss", "member %d, whose disk was replaced, votes for %d in term %d; no committed configuration names its new disk",
			voter, candidate, term)
	}
	if d := &s.disk; d.term < term || d.term == term && d.vote != candidate {
		c.fail("persist before send", "member %d votes in term %d for %d; on its disk are term %d and vote %d", voter, term, candidate, d.term, d.vote)
	}
	if term > s.term {
		s.term, s.vote = term, candidate
	}
}

// acknowledged observes an acknowledgement: the disk of the member must have the log of the leader
// up to its index.
func (c *Checker) acknowledged(id uint64, s *memberModel, m *messages.AppendResponse, byLogStore bool) {
	term := termAt(s.log, m.Index) // sent by the Node: about its log at present
	if byLogStore {
		term = 0
		for i, p := range s.pendingAcks {
			if p.response == m {
				term, s.pendingAcks = p.term, append(s.pendingAcks[:0], s.pendingAcks[i+1:]...)
				break
			}
		}
	}
	if has := termAt(s.durableLog, m.Index); m.Index > 0 && (has == 0 || has != term) {
		c.fail("persist before send", "member %d acknowledges entry %d of term %d; its disk holds %d entries, and there one of term %d",
			id, m.Index, term, len(s.durableLog), has)
		return
	}
	if d := &s.disk; d.term < m.Term {
		c.fail("persist before send", "member %d acknowledges entry %d in term %d; on its disk is term %d: after a crash it would follow a leader before that",
			id, m.Index, m.Term, d.term)
		return
	}
	if m.Index > s.acknowledged.index {
		s.acknowledged = position{m.Index, term}
	}
}

// checkSentEntries: the entries that a leader sends stand in some log.
func (c *Checker) checkSentEntries(id uint64, m *messages.AppendEntries) {
	e, run, before := m.Entries, 0, m.PrevTerm
	for i, data := range e.GetData() {
		index := e.First + uint64(i)
		for run+1 < len(e.Runs) && e.Runs[run+1].FirstIndex <= index {
			run++
		}
		term := e.Runs[run].Term
		if is := (entryRecord{term, before, hash.Checksum(data)}); c.entries.lookup(index, term) != is {
			c.fail("log matching", "member %d sends as entry %d of term %d what is %+v and not %+v", id, index, term, is, c.entries.lookup(index, term))
			return
		}
		before = term
	}
}
