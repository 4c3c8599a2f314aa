package persistence

import (
	"slices"
	"sort"
	"sync"

	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// publishedLog is the durable log as Readers see it. The Log changes it only after a sync; Readers
// look at it from other goroutines.
//
// Invariant: spans ascend without gaps from base.index + 1 to the last index, each in another
// segment, in the order of the segments.
type publishedLog struct {
	mu    sync.Mutex
	base  base
	terms *raft.LogTerms
	spans entrySpans
	// The active segment, and its index, which is not on the disk yet.
	active      *segment
	activeIndex *segmentIndex
}

// segment is a file of the log. Only size changes, and only the Log uses it.
type segment struct {
	sequence uint64
	path     string
	size     int64         // of the file
	indexAt  indexLocation // not set for the active segment
	// The index, if the one on the disk is damaged and recovery rebuilt it.
	rebuiltIndex *segmentIndex
}

// indexLocation is where the index of a segment is: in the segment itself or in its successor.
type indexLocation struct {
	path    string
	segment uint64
	offset  int64
}

// entrySpan is the range of entries [first, last] that a segment holds.
type entrySpan struct {
	segment     *segment
	first, last uint64
}

type entrySpans []entrySpan

// truncate drops the entries from an index on.
func (s entrySpans) truncate(first uint64) entrySpans {
	for n := len(s) - 1; n >= 0 && s[n].last >= first; n-- {
		if s[n].first < first {
			s[n].last = first - 1
			break
		}
		s = s[:n]
	}
	return s
}

// dropUpTo drops the entries up to an index.
func (s entrySpans) dropUpTo(index uint64) entrySpans {
	s = append(s[:0], s[sort.Search(len(s), func(i int) bool { return s[i].last > index }):]...)
	if len(s) > 0 {
		s[0].first = max(s[0].first, index+1)
	}
	return s
}

// find returns the span that holds an index.
func (s entrySpans) find(index uint64) (entrySpan, bool) {
	i := sort.Search(len(s), func(i int) bool { return s[i].last >= index })
	if i == len(s) || s[i].first > index {
		return entrySpan{}, false
	}
	return s[i], true
}

// truncate drops the entries from an index on.
func (p *publishedLog) truncate(first uint64) {
	p.terms.Truncate(first)
	p.spans = p.spans.truncate(first)
}

// applyBatch publishes a batch, which must be durable.
func (p *publishedLog) applyBatch(e *logEdit, entries *messages.Entries) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.activeIndex.apply(e)
	if e.first <= p.terms.LastIndex() {
		p.truncate(e.first)
	}
	if e.count == 0 {
		return
	}
	p.terms.Append(entries)
	if n := len(p.spans) - 1; n >= 0 && p.spans[n].segment == p.active {
		p.spans[n].last = p.terms.LastIndex()
	} else {
		p.spans = append(p.spans, entrySpan{p.active, e.first, p.terms.LastIndex()})
	}
}

// applyBase publishes a base, which must be durable, after the truncation that comes with it.
func (p *publishedLog) applyBase(e *logEdit) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.activeIndex.apply(e)
	if e.first <= p.terms.LastIndex() && e.first > p.base.index {
		p.truncate(e.first)
	}
	p.base = *e.base
	if last := p.terms.LastIndex(); last > p.base.index {
		p.terms = raft.NewLogTerms(p.base.index, p.base.term, last, p.terms.Runs(p.base.index+1, last))
	} else {
		p.terms.Reset(p.base.index, p.base.term)
	}
	p.spans = p.spans.dropUpTo(p.base.index)
}

// holdsEntriesOf reports whether a segment holds entries of the log. Only the file of a segment
// that does not is ever removed.
func (p *publishedLog) holdsEntriesOf(s *segment) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.ContainsFunc(p.spans, func(x entrySpan) bool { return x.segment == s })
}
