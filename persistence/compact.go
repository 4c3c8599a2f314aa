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
func (l *Log) Rebase(index, term uint64, configuration *messages.Configuration) error {
	if l.failed != nil {
		return l.failed
	}
	if l.pending.any {
		return broken("base at %d while %d entries are pending", index, len(l.pending.entries.Data))
	}
	if index <= l.catalog.base.index || term < l.catalog.base.term || term == 0 {
		return broken("base at %d of term %d after one at %d of term %d", index, term, l.catalog.base.index, l.catalog.base.term)
	}
	if held, _ := l.catalog.terms.Term(index); index <= l.hard.commit && held != term {
		return broken("base at %d of term %d, but the entry committed there is of term %d", index, term, held)
	}
	next := base{index: index, term: term, configuration: configuration}
	payload, err := next.encode()
	if err != nil {
		return fmt.Errorf("encode the configuration as of %d: %w", index, err)
	}
	first := l.Last() + 1
	if held, ok := l.catalog.terms.Term(index); !ok || held != term {
		first = index + 1
	}
	if err := l.makeRoom(align(frameHeaderBytes+int64(len(payload))) + frameHeaderBytes); err != nil {
		return l.fail("begin a segment", err)
	}
	f := l.nextFrame(first, first-1, l.hard)
	l.frame = appendFrame(l.frame[:0], &f, kindBase, payload)
	if err := l.write(&f, l.frame); err != nil {
		return l.fail("write a base", err)
	}
	l.catalog.replaceBase(&effect{offset: int64(f.offset), first: first, base: &next})
	if err := l.writeIdle(); err != nil {
		return err
	}
	return l.dropSegments()
}

// dropSegments removes the oldest segments as far as nothing in them counts any more.
func (l *Log) dropSegments() error {
	keep := l.segments[len(l.segments)-1]
	if len(l.catalog.spans) > 0 {
		keep = l.catalog.spans[0].segment
	}
	dropped := false
	for len(l.segments) > 1 && l.segments[0] != keep {
		// The index of a segment may stand in its successor, never the other way round: the oldest can always go.
		if err := l.o.FS.Remove(l.segments[0].path); err != nil {
			return l.fail("drop a segment", err)
		}
		l.segments = append(l.segments[:0], l.segments[1:]...)
		dropped = true
	}
	if !dropped {
		return nil
	}
	if err := l.o.FS.SyncDir(l.o.Dir); err != nil {
		return l.fail("drop a segment", err)
	}
	return nil
}
