package persistence

import (
	"fmt"

	"github.com/troupe-raft/troupe/messages"
)

// Rebase makes the log begin after (index, term), whose configuration is given: because everything up to there is in a
// snapshot. Where the log holds that very entry, what follows it stays; where it conflicts or does not reach so far, all
// of it is dropped (Raft §7, E38). Nothing may be pending.
//
// The order is what makes it safe to be interrupted anywhere: the base is written and synced, then a frame that claims it,
// so that not even damage can take it back unnoticed, and only then are files removed.
func (l *Log) rebase(index, term uint64, configuration *messages.Configuration) error {
	if l.latched != nil {
		return l.latched
	}
	if l.pending.nonEmpty {
		return invariantError("base at %d while %d entries are pending", index, len(l.pending.entries.Data))
	}
	if index <= l.published.base.index || term < l.published.base.term || term == 0 {
		return invariantError("base at %d of term %d after one at %d of term %d", index, term, l.published.base.index, l.published.base.term)
	}
	if held, _ := l.published.terms.Term(index); index <= l.hard.commit && held != term {
		return invariantError("base at %d of term %d, but the entry committed there is of term %d", index, term, held)
	}
	next := base{index: index, term: term, configuration: configuration}
	payload, err := next.encode()
	if err != nil {
		return fmt.Errorf("encode the configuration as of %d: %w", index, err)
	}
	first := l.lastIndex() + 1
	if held, ok := l.published.terms.Term(index); !ok || held != term {
		first = index + 1
	}
	if err := l.ensureSpace(alignFrame(frameHeaderBytes+int64(len(payload))) + frameHeaderBytes); err != nil {
		return l.latch("begin a segment", err)
	}
	f := l.newFrame(first, first-1, l.hard)
	l.frameBuf = appendFrame(l.frameBuf[:0], &f, kindBase, payload)
	if err := l.writeFrame(&f, l.frameBuf); err != nil {
		return l.latch("write a base", err)
	}
	l.published.applyBase(&logEdit{offset: int64(f.offset), first: first, base: &next})
	if err := l.commitIdle(); err != nil {
		return err
	}
	return l.removeObsoleteSegments()
}

// removeObsoleteSegments removes the oldest segments as far as nothing in them counts any more.
func (l *Log) removeObsoleteSegments() error {
	keep := l.segments[len(l.segments)-1]
	if len(l.published.spans) > 0 {
		keep = l.published.spans[0].segment
	}
	dropped := false
	for len(l.segments) > 1 && l.segments[0] != keep {
		// The index of a segment may stand in its successor, never the other way round: the oldest can always go.
		if err := l.options.FS.Remove(l.segments[0].path); err != nil {
			return l.latch("drop a segment", err)
		}
		l.segments = append(l.segments[:0], l.segments[1:]...)
		dropped = true
	}
	if !dropped {
		return nil
	}
	if err := l.options.FS.SyncDir(l.options.Dir); err != nil {
		return l.latch("drop a segment", err)
	}
	return nil
}
