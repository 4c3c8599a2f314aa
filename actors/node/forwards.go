package node

import (
	"slices"
	"time"

	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// forwards are the batches of proposals that a node has sent to the leader of its term.
//
// The network may lose a batch, or the news of what became of it, without any break of a link. The
// Session does not send a command again for that: a second copy in another batch could be appended
// after the first was refused. So the node repeats the batch itself, under the same number, and the
// leader decides each number once in its term (raft.DuplicateFilter):
//
//	follower                              leader
//	ForwardedProposals 7  ──────────▶     takes it, and appends its entries
//	                      ◀──────────     Heartbeat: taken … 6 7      7 is decided
//	ForwardedProposals 8  ───── lost
//	                      ◀──────────     Heartbeat: taken … 6 7      8 is undecided
//	ForwardedProposals 8  ──────────▶     after an election timeout, or when the link is up again
//	                      ◀──────────     ProposalsRefused 8          8 is decided
//	ForwardedProposals 8  ──────────▶     a late copy: it is neither appended nor lost again, but
//	                                      refused once more, in case that the refusal was lost
//
// Only the leader of the term decides. Of a batch that arrives after its leadership has ended, or
// after a restart, nothing is known: it may have been taken before. So it is dropped.
//
// A taken batch is lost only with the leader's term. Every change of term forgets all batches: the
// Session sends its commands again when the leader of the next term is known, and a leader of a
// later term drops the batches of an earlier one.
//
// Invariants: the numbers of undecided ascend, and the newest number is less than
// raft.ForwardWindow above the lowest of them; more proposals wait in the proposalBuffer. All are
// of the present term.
type forwards struct {
	// stream identifies this incarnation to leaders, count is the number of the newest batch.
	stream, count uint64
	undecided     []*forwardedBatch
}

type forwardedBatch struct {
	message *messages.ForwardedProposals
	sentAt  time.Duration
	// patience is the time until it is sent again. It doubles each time, so that a network that is
	// slow for a large batch is not filled with copies of it.
	patience time.Duration
}

// maxForwardPatience is in election timeouts.
const maxForwardPatience = 8

// hasRoom reports whether another batch may be sent.
func (f *forwards) hasRoom() bool {
	return len(f.undecided) == 0 || f.count+1-f.undecided[0].message.Number < raft.ForwardWindow
}

// add numbers a batch and records that it was sent.
func (f *forwards) add(m *messages.ForwardedProposals, now, patience time.Duration) {
	f.count++
	m.Stream, m.Number = f.stream, f.count
	f.undecided = append(f.undecided, &forwardedBatch{m, now, patience})
}

// recordTaken removes the batches that a Heartbeat of the leader reports as taken, and reports
// whether there were any.
func (f *forwards) recordTaken(m *messages.Heartbeat) (decided bool) {
	if m.ForwardedStream != f.stream || len(f.undecided) == 0 {
		return false
	}
	before := len(f.undecided)
	f.undecided = slices.DeleteFunc(f.undecided, func(b *forwardedBatch) bool {
		back := m.ForwardedHighest - b.message.Number
		return b.message.Number <= m.ForwardedHighest && back < raft.ForwardWindow && m.ForwardedTaken&(1<<back) != 0
	})
	return len(f.undecided) < before
}

// recordRefused removes a refused batch. It reports false if the batch is decided: the message is a
// copy, or about another term or incarnation.
func (f *forwards) recordRefused(m *messages.ProposalsRefused) (decided bool) {
	if m.Stream != f.stream {
		return false
	}
	before := len(f.undecided)
	f.undecided = slices.DeleteFunc(f.undecided, func(b *forwardedBatch) bool { return b.message.Number == m.Number })
	return len(f.undecided) < before
}

// overdue returns the batches to send again, and records that they are sent. all: also those that
// are not overdue.
func (f *forwards) overdue(now, most time.Duration, all bool) (messages []*messages.ForwardedProposals) {
	for _, b := range f.undecided {
		if all || now-b.sentAt >= b.patience {
			b.sentAt = now
			b.patience = min(2*b.patience, most)
			messages = append(messages, b.message)
		}
	}
	return messages
}

// reset forgets all batches, because the term has changed.
func (f *forwards) reset() { f.undecided = nil }
