package persistence

import (
	"fmt"
	"math"

	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/messages"
)

// base is the position before the first entry: everything up to index was compacted, or is covered
// by an installed snapshot.
//
// rebase writes a base frame and then an idle frame, whose durable end proves the base frame: not
// even damage can undo it undetected. Only then does it remove the segments that hold no entry of
// the log any more, oldest first. A crash may undo removals; recovery then finds old segments that
// the base covers, and removes them.
//
//	before    1 … 40 │ 41 … 90 │ 91 … 120        three segments
//	rebase(90)                  │ base 90, idle  the base frame is in the active segment
//	after                       │ 91 … 120
type base struct {
	index, term   uint64
	configuration *messages.Configuration // as of index; nil for a log that begins at 1
}

// rebase makes the log begin after the entry (index, term), because a snapshot covers everything up
// to it; configuration is the cluster's configuration as of that entry. If the log holds that
// entry, the entries after it stay. If the log has another term there, or ends before it, all
// entries are dropped (Raft §7, E38).
//
// It returns an *InvariantError if changes are pending, the base would move back, or the base
// contradicts a committed entry.
func (l *Log) rebase(index, term uint64, configuration *messages.Configuration) error {
	if l.latched != nil {
		return l.latched
	}
	w, old := &l.active, &l.published.base
	if l.pending.nonEmpty {
		return invariantError("base at %d while %d entries are pending", index, len(l.pending.entries.Data))
	}
	if index <= old.index || term < old.term || term == 0 {
		return invariantError("base at %d of term %d after one at %d of term %d", index, term, old.index, old.term)
	}
	held, ok := l.published.terms.Term(index)
	if index <= w.hard.commit && held != term {
		return invariantError("base at %d of term %d, but the entry committed there is of term %d", index, term, held)
	}
	next := base{index: index, term: term, configuration: configuration}
	payload, err := next.encode()
	if err != nil {
		return fmt.Errorf("encode the configuration as of %d: %w", index, err)
	}
	first := l.lastIndex() + 1
	if !ok || held != term {
		first = index + 1
	}
	if err := l.ensureSpace(alignFrame(frameHeaderBytes+int64(len(payload))) + frameHeaderBytes); err != nil {
		return err
	}
	f := w.newFrame(first, first-1, w.hard)
	w.frameBuf = appendFrame(w.frameBuf[:0], &f, kindBase, payload)
	if err := w.writeFrame(&f, w.frameBuf); err != nil {
		return l.latch("write a base", err)
	}
	l.published.applyBase(&logEdit{offset: int64(f.offset), first: first, base: &next})
	if err := l.commitIdle(); err != nil {
		return err
	}
	return l.removeObsoleteSegments()
}

// removeObsoleteSegments removes the oldest segments, up to the first that holds an entry of the
// log.
func (l *Log) removeObsoleteSegments() error {
	keep := l.active.segment
	if len(l.published.spans) > 0 {
		keep = l.published.spans[0].segment
	}
	removed := false
	for len(l.segments) > 1 && l.segments[0] != keep {
		// A segment's index may be in its successor, never in its predecessor, so the oldest segment
		// can always be removed.
		if err := l.options.FS.Remove(l.segments[0].path); err != nil {
			return l.latch("remove a segment", err)
		}
		l.segments = append(l.segments[:0], l.segments[1:]...)
		removed = true
	}
	if !removed {
		return nil
	}
	if err := l.options.FS.SyncDir(l.options.Dir); err != nil {
		return l.latch("remove a segment", err)
	}
	return nil
}

func (b *base) encode() ([]byte, error) {
	payload := le.AppendUint64(le.AppendUint64(nil, b.index), b.term)
	if b.configuration == nil {
		return payload, nil
	}
	return proto.MarshalOptions{Deterministic: true}.MarshalAppend(payload, b.configuration)
}

func decodeBase(p []byte) (*base, error) {
	if len(p) < 16 {
		return nil, invalidFrame("base of %d bytes", len(p))
	}
	b := &base{index: le.Uint64(p), term: le.Uint64(p[8:])}
	if len(p) > 16 {
		b.configuration = new(messages.Configuration)
		if err := proto.Unmarshal(p[16:], b.configuration); err != nil {
			return nil, invalidFrame("configuration of the base: %v", err)
		}
	}
	if (b.index == 0) != (b.term == 0) || b.index == math.MaxUint64 {
		return nil, invalidFrame("base at index %d of term %d", b.index, b.term)
	}
	return b, nil
}
