package session

import (
	"fmt"

	"github.com/troupe-raft/troupe/messages"
)

// epoch is the time in which this member's Node is in one term. The zero value is before the first.
type epoch struct{ incarnation, term uint64 }

// sendState is what is known of the copies of a command: when another one must be sent, and what a
// refusal says (docs/protocol.md P65 to P67).
//
// A command is sent once in an epoch. Within it the Node sees to it that a forwarded command
// arrives, however long that takes. Waiting longer is no reason to send it again: that would add
// load just when there is too much. Another copy is sent for two reasons:
//
//   - The epoch has changed. The new leader may not have the command, or the restarted Node has
//     forgotten it.
//   - The last copy was refused for a reason that passes.
//
// A refusal for overload or a full disk ends the command, if no copy can take effect any more. The
// refused one cannot, because each is decided once. Of the others:
//
//   - None was sent before, or each was refused: the refusal is final at once.
//   - Some were sent in earlier terms. The entry of such a copy has an earlier term than the leader
//     that refuses, and terms ascend along the log. So once this member has applied an entry of the
//     leader's term or a later one, it has applied every copy that can be committed. The command
//     has had its result then, or it has no effect and never will: the refusal is final.
//   - Some were sent by an earlier incarnation. Their results may have been lost with the actors,
//     and one of the same term may arrive at the leader after this refusal. So the refusal is
//     temporary.
type sendState struct {
	sentIn  epoch // the last copy
	refused bool  // the last copy was, and the next retry sends another one
	// Copies before the last one that were not refused: in an earlier term of this incarnation, or by
	// an earlier incarnation.
	earlierTerm, earlierIncarnation bool
	// endsAt, if not 0: the last copy was refused, and reason ends the command when an entry of this
	// term or a later one is applied.
	endsAt uint64
	reason error
}

// mustSend reports whether a copy must be sent in an epoch.
func (s *sendState) mustSend(in epoch) bool { return s.sentIn != in || s.refused }

// lastIsUndecided reports whether a copy was sent and the last one was not refused.
func (s *sendState) lastIsUndecided() bool {
	return s.sentIn != (epoch{}) && !s.refused && s.endsAt == 0
}

// mayBeProposed reports whether a copy may be in a log, or on its way there.
func (s *sendState) mayBeProposed() bool {
	return s.earlierTerm || s.earlierIncarnation || s.lastIsUndecided()
}

// recordSent records that a copy is sent.
func (s *sendState) recordSent(in epoch) {
	s.earlierTerm = s.earlierTerm || s.lastIsUndecided()
	if s.sentIn.incarnation != in.incarnation {
		s.earlierTerm, s.earlierIncarnation = false, s.earlierTerm || s.earlierIncarnation
	}
	s.sentIn, s.refused, s.endsAt, s.reason = in, false, 0, nil
}

// resends are the turns in which pending commands are sent again. There may be many, and they are
// sent on the goroutine of the Node when a leader becomes known. So the session sends some, and a
// ContinueProposals after them. The Node handles what else has arrived, then returns it.
type resends struct {
	next     uint64 // the sequence at which the next turn begins
	turn     uint64 // its number
	underWay bool   // a ContinueProposals is at the Node
	refused  bool   // a command was refused temporarily since the last turn that began at the front
}

// maxResendTurn is the number of commands of a turn.
const maxResendTurn = 512

// newPropose returns the message that proposes an entry in this epoch. The caller holds mu.
func (p *proposals) newPropose(entry []byte) *messages.Propose {
	return &messages.Propose{Data: entry, Incarnation: p.epoch.incarnation, Term: p.epoch.term}
}

// deliverLeader begins another epoch if the term or the incarnation is new, and sends what must be
// sent to the leader.
func (p *proposals) deliverLeader(m *messages.LeaderChanged) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if m.Incarnation != p.epoch.incarnation {
		p.appliedTerm = 0
	}
	p.epoch, p.leaderKnown = epoch{m.Incarnation, m.Term}, m.Leader != 0
	if p.closed == nil && p.leaderKnown {
		p.resend()
	}
}

// deliverContinue sends the next turn.
func (p *proposals) deliverContinue(m *messages.ContinueProposals) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed == nil && p.leaderKnown && m.Incarnation == p.epoch.incarnation && m.Turn == p.resends.turn {
		p.sendTurn()
	}
}

// retry sends again what was refused temporarily.
func (p *proposals) retry() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed == nil && p.leaderKnown && !p.resends.underWay && (p.resends.refused || p.registration.refused) {
		p.resend()
	}
}

// resend begins to send all that must be sent, from the front. The caller holds mu.
func (p *proposals) resend() {
	if p.registration.sessionID == 0 {
		p.sendRegistration()
		return
	}
	p.resends.next, p.resends.refused = p.firstSequence, false
	p.sendTurn()
}

// sendTurn sends the next commands that must be sent. The caller holds mu.
func (p *proposals) sendTurn() {
	r := &p.resends
	r.next = max(r.next, p.firstSequence)
	end := p.firstSequence + uint64(len(p.queue))
	for sent := 0; r.next < end; r.next++ {
		c := p.find(r.next)
		if c == nil || !c.mustSend(p.epoch) {
			continue
		}
		if sent == maxResendTurn {
			r.turn++
			r.underWay = true
			p.send(&messages.ContinueProposals{Incarnation: p.epoch.incarnation, Turn: r.turn})
			return
		}
		sent++
		c.recordSent(p.epoch)
		p.send(p.newPropose(c.entry))
	}
	r.underWay = false
}

// deliverRefused handles commands that the leader, or this member's Node, did not append.
func (p *proposals) deliverRefused(m *messages.ProposalsRefused) {
	temporary := m.Reason != messages.Refusal_REFUSAL_OVERLOADED && m.Reason != messages.Refusal_REFUSAL_DISK_FULL
	p.mu.Lock()
	defer p.mu.Unlock()
	if m.Term != p.epoch.term {
		return // everything is sent again in the present term
	}
	for i, sequence := range m.Sequences {
		if sequence == 0 && p.registration.sessionID == 0 {
			p.registration.refused = true // a registration has no sequence
			if !temporary {
				p.refuseUnregistered(p.leaderRefusal(m))
			}
		}
		if m.SessionIds[i] != p.registration.sessionID {
			continue
		}
		c := p.find(sequence)
		switch {
		case c == nil || c.sentIn != p.epoch:
		case temporary || c.earlierIncarnation:
			c.refused, p.resends.refused = true, true
		default:
			p.refuseFinally(c, sequence, m)
		}
	}
}

// refuseFinally ends a command with the error of a refusal, at once or when the refusal is final.
// The caller holds mu.
func (p *proposals) refuseFinally(c *pendingCommand, sequence uint64, m *messages.ProposalsRefused) {
	if !c.earlierTerm || p.appliedTerm >= m.Term {
		p.remove(sequence).end(Outcome{Err: p.leaderRefusal(m)})
		return
	}
	c.endsAt, c.reason = m.Term, p.leaderRefusal(m)
	p.refusedLater = append(p.refusedLater, sequence)
}

// endRefused ends the commands whose refusal has become final. The caller holds mu.
func (p *proposals) endRefused() {
	kept := p.refusedLater[:0]
	for _, sequence := range p.refusedLater {
		switch c := p.find(sequence); {
		case c == nil || c.endsAt == 0: // it has ended, or was sent again
		case p.appliedTerm >= c.endsAt:
			p.remove(sequence).end(Outcome{Err: c.reason})
		default:
			kept = append(kept, sequence)
		}
	}
	p.refusedLater = kept
}

// leaderRefusal counts a refusal of the leader and returns its error.
func (p *proposals) leaderRefusal(m *messages.ProposalsRefused) error {
	if m.Reason == messages.Refusal_REFUSAL_OVERLOADED {
		return p.refusals.refuse(ErrOverloaded, limitLeaderUncommitted, m.Limit)
	}
	p.refusals[limitLeaderDisk].Add(1)
	return fmt.Errorf("%w: the leader's disk has less free space than DiskLowWater; free some, and writes succeed again", ErrDiskFull)
}
