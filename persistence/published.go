package persistence

import (
	"slices"
	"sort"
	"sync"

	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// segment is a file of the log. Immutable but for size, which only the log itself looks at.
type segment struct {
	sequence uint64
	path     string
	size     int64 // of the file
	// Where its index stands, in which file: its own, or its successor's. Not known of the active one.
	indexAt indexLocation
	// The index itself, where the one on disk is damaged and it was made anew from the frames.
	rebuiltIndex *segmentIndex
}

type indexLocation struct {
	path    string
	segment uint64
	offset  int64
}

// span says that the entries [first, last] are in a segment.
type entrySpan struct {
	segment     *segment
	first, last uint64
}

// catalog tells where the entries are. It is what the Log, which writes, shares with Readers, which may be on another
// goroutine: the Log changes it only after a sync, so what it says is durable.
//
// Invariant: spans ascend without a gap from base.index + 1 to the last index; each in another segment, in the order of
// their sequences.
type publishedLog struct {
	mu    sync.Mutex
	base  base
	terms *raft.LogTerms
	spans []entrySpan
	// The segment being written, and its index, which is not on disk yet.
	active      *segment
	activeIndex *segmentIndex
}

// truncateSpans drops what is at or above first.
func (c *publishedLog) truncateSpans(first uint64) {
	for n := len(c.spans) - 1; n >= 0 && c.spans[n].last >= first; n-- {
		if c.spans[n].first < first {
			c.spans[n].last = first - 1
			return
		}
		c.spans = c.spans[:n]
	}
}

// rebase drops what is at or below the base.
func (c *publishedLog) trimSpans() {
	keep := sort.Search(len(c.spans), func(i int) bool { return c.spans[i].last > c.base.index })
	c.spans = append(c.spans[:0], c.spans[keep:]...)
	if len(c.spans) > 0 && c.spans[0].first <= c.base.index {
		c.spans[0].first = c.base.index + 1
	}
}

// publish shows a batch that is durable now.
func (c *publishedLog) applyBatch(e *logEdit, entries *messages.Entries) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.activeIndex.apply(e)
	if e.first <= c.terms.LastIndex() {
		c.terms.Truncate(e.first)
		c.truncateSpans(e.first)
	}
	if e.count == 0 {
		return
	}
	c.terms.Append(entries)
	if n := len(c.spans) - 1; n >= 0 && c.spans[n].segment == c.active {
		c.spans[n].last = c.terms.LastIndex()
	} else {
		c.spans = append(c.spans, entrySpan{c.active, e.first, c.terms.LastIndex()})
	}
}

// applyBase shows a base that is durable now: the log begins after it. What it overrides is cut before.
func (c *publishedLog) applyBase(e *logEdit) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.activeIndex.apply(e)
	if e.first <= c.terms.LastIndex() && e.first > c.base.index {
		c.terms.Truncate(e.first)
		c.truncateSpans(e.first)
	}
	c.base = *e.base
	if last := c.terms.LastIndex(); last > c.base.index {
		c.terms = raft.NewLogTerms(c.base.index, c.base.term, last, c.terms.Runs(c.base.index+1, last))
	} else {
		c.terms.Reset(c.base.index, c.base.term)
	}
	c.trimSpans()
}

// needs tells whether entries of the log are in a segment. Its file is removed only when none are.
func (c *publishedLog) holdsEntriesOf(s *segment) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.ContainsFunc(c.spans, func(x entrySpan) bool { return x.segment == s })
}

// find returns the span that holds an index.
func (c *publishedLog) findSpan(index uint64) (entrySpan, bool) {
	i := sort.Search(len(c.spans), func(i int) bool { return c.spans[i].last >= index })
	if i == len(c.spans) || c.spans[i].first > index {
		return entrySpan{}, false
	}
	return c.spans[i], true
}
