package persistence

import (
	"fmt"

	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// pendingBatch is what Add has collected for the next Commit: the log is truncated to end before
// entries.First, then the entries are appended.
type pendingBatch struct {
	nonEmpty bool
	hard     hardState
	entries  messages.Entries
}

// Add collects one change for the next Commit. A truncateFrom other than 0 removes the entries from
// that index on. The entries (nil for none) are appended to the log as earlier Adds have left it.
// hs is the hard state after the change. Entries are not copied before Commit and must not change.
//
// It returns an *InvariantError for a request that Raft never makes, and errTooLarge for a batch
// above MaxBatchBytes; both collect nothing.
func (l *Log) Add(truncateFrom uint64, entries *messages.Entries, hs *messages.HardState) error {
	if l.latched != nil {
		return l.latched
	}
	hard := hardState{hs.GetTerm(), hs.GetVote(), hs.GetCommit()}
	if err := l.checkAdd(truncateFrom, entries, hard); err != nil {
		return err
	}
	p := &l.pending
	if !p.nonEmpty {
		p.nonEmpty = true
		p.entries.First = l.published.terms.LastIndex() + 1
	}
	// A restarted node may not know the commit index again yet; it stays valid.
	hard.commit = max(hard.commit, l.commitIndex())
	p.hard = hard
	if truncateFrom != 0 {
		p.truncate(truncateFrom)
	}
	if entries != nil {
		for _, r := range entries.Runs {
			if n := len(p.entries.Runs); n == 0 || p.entries.Runs[n-1].Term != r.Term {
				p.entries.Runs = append(p.entries.Runs, r)
			}
		}
		p.entries.Data = append(p.entries.Data, entries.Data...)
		p.entries.Bytes += entries.Bytes
	}
	return nil
}

// checkAdd checks a request against Raft's rules for logs and hard states.
func (l *Log) checkAdd(truncateFrom uint64, entries *messages.Entries, hard hardState) error {
	last, lastTerm, before := l.lastIndex(), l.lastIndexTerm(), l.active.hard
	if l.pending.nonEmpty {
		before = l.pending.hard
	}
	if hard.term < before.term || hard.term == before.term && before.vote != 0 && hard.vote != before.vote {
		return invariantError("hard state %+v after %+v", hard, before)
	}
	if truncateFrom != 0 {
		if truncateFrom <= l.commitIndex() || truncateFrom <= l.published.base.index || truncateFrom > last+1 {
			return invariantError("truncation from %d of a log with commit %d, base %d, last %d",
				truncateFrom, l.commitIndex(), l.published.base.index, last)
		}
		last, lastTerm = truncateFrom-1, l.termAt(truncateFrom-1)
	}
	if entries == nil || len(entries.Data) == 0 {
		return nil
	}
	runs := entries.Runs
	if entries.First != last+1 || len(runs) == 0 || runs[0].FirstIndex != entries.First || runs[0].Term < lastTerm {
		return invariantError("entries from %d with runs %v after a log that ends at %d in term %d",
			entries.First, runs, last, lastTerm)
	}
	if top := runs[len(runs)-1].Term; top > hard.term {
		return invariantError("entries of term %d under the term %d", top, hard.term)
	}
	if size := l.pendingBytes() + int64(entries.Bytes) + tableEntryBytes*int64(len(entries.Data)); size > MaxBatchBytes {
		return fmt.Errorf("%w: %d bytes in one batch, at most %d: send less at a time", errTooLarge, size, MaxBatchBytes)
	}
	return nil
}

// truncate drops the pending entries from an index on; from may lie before all of them.
func (p *pendingBatch) truncate(from uint64) {
	e := &p.entries
	if from < e.First {
		e.First = from
	}
	keep := int(from - e.First)
	if keep >= len(e.Data) {
		return
	}
	for _, data := range e.Data[keep:] {
		e.Bytes -= uint64(len(data))
	}
	clear(e.Data[keep:])
	e.Data = e.Data[:keep]
	for n := len(e.Runs) - 1; n >= 0 && e.Runs[n].FirstIndex >= from; n-- {
		e.Runs = e.Runs[:n]
	}
}

func (p *pendingBatch) reset() {
	e := &p.entries
	clear(e.Data)
	e.Runs, e.Data, e.Bytes, p.nonEmpty = e.Runs[:0], e.Data[:0], 0, false
}

func (l *Log) pendingBytes() int64 {
	e := &l.pending.entries
	return frameHeaderBytes + termRunBytes*int64(len(e.Runs)) + tableEntryBytes*int64(len(e.Data)) + int64(e.Bytes)
}

// PendingBytes returns the number of bytes that the next Commit would write.
func (l *Log) PendingBytes() int64 {
	if !l.pending.nonEmpty {
		return 0
	}
	return alignFrame(l.pendingBytes())
}

// PendingIsRedundant reports whether the collected changes are durable already: no entries, no
// truncation, the same term and vote. They may hold a newer commit index, which need not be durable
// and goes along with the next write.
func (l *Log) PendingIsRedundant() bool {
	p, durable := &l.pending, l.active.hard
	return p.nonEmpty && len(p.entries.Data) == 0 && p.entries.First == l.published.terms.LastIndex()+1 &&
		p.hard.term == durable.term && p.hard.vote == durable.vote
}

// lastIndex returns the last index, pending entries included.
func (l *Log) lastIndex() uint64 {
	if l.pending.nonEmpty {
		return raft.EntriesLast(&l.pending.entries)
	}
	return l.published.terms.LastIndex()
}

// commitIndex returns the highest commit index that Add was called with.
func (l *Log) commitIndex() uint64 {
	if l.pending.nonEmpty {
		return max(l.active.hard.commit, l.pending.hard.commit)
	}
	return l.active.hard.commit
}

func (l *Log) lastIndexTerm() uint64 { return l.termAt(l.lastIndex()) }

// termAt returns the term at an index of the log, pending entries included.
func (l *Log) termAt(index uint64) uint64 {
	if e := &l.pending.entries; l.pending.nonEmpty && index >= e.First && len(e.Data) > 0 {
		return raft.EntriesTerm(e, index)
	}
	term, _ := l.published.terms.Term(index)
	return term
}
