package mvcc

import (
	"context"
	"fmt"

	"github.com/troupe-raft/troupe/kv/mvcc/engine"
)

// count returns the exact number of keys in the range at a revision.
func (r *reader) count(ctx context.Context, keys keyRange, at int64) (int64, error) {
	if keys.single() {
		kv, err := r.get(keys.start, at)
		if kv == nil || err != nil {
			return 0, err
		}
		return 1, nil
	}
	now, err := r.countNewest(ctx, keys)
	if err != nil || at == r.rev {
		return now, err
	}
	// Two ways to a past count: subtract the changes since then, or visit every key. A visit of a
	// changed key reads its history, so the second way must be much shorter.
	if (now+r.tombstones)*eventsPerKeyVisit < r.rev-at {
		n := int64(0)
		err := r.visit(ctx, keys, at, false, func([]byte, *record) bool { n++; return true })
		return n, err
	}
	since, err := r.countChange(ctx, keys, at)
	return now - since, err
}

// eventsPerKeyVisit is the cost of visiting a key in the past, in events read.
const eventsPerKeyVisit = 8

// countNewest counts in O(log n): see countTree.
func (r *reader) countNewest(ctx context.Context, keys keyRange) (int64, error) {
	if !keys.toEnd && string(keys.end) <= string(keys.start) {
		return 0, nil
	}
	first, before, _ := r.counts.find(keys.start)
	last, until := bucket{}, r.counts.total()
	if !keys.toEnd {
		last, until, _ = r.counts.find(keys.end)
	}
	sameBucket := !keys.toEnd && first.start == last.start
	startsBucket := first.start == string(keys.start)
	endsBucket := keys.toEnd || last.start == string(keys.end)
	if startsBucket && endsBucket {
		return until - before, nil
	}
	it, err := r.src.NewIter(ctx, []byte{spaceCurrent}, []byte{spaceCurrent + 1})
	if err != nil {
		return 0, fmt.Errorf("opening an iterator: %w", err)
	}
	defer it.Close()
	if sameBucket {
		return countRows(it, keys.start, keys.end)
	}
	n := until - before
	if !startsBucket {
		skipped, err := countRows(it, []byte(first.start), keys.start)
		if err != nil {
			return 0, err
		}
		n -= skipped
	}
	if !endsBucket {
		more, err := countRows(it, []byte(last.start), keys.end)
		if err != nil {
			return 0, err
		}
		n += more
	}
	return n, nil
}

// countRows counts the current rows from one key up to another. They are at most those of one
// bucket.
func countRows(it engine.Iterator, from, to []byte) (n int64, err error) {
	lower, upper := keyRange{start: from, end: to}.bounds(spaceCurrent)
	it.SetBounds(lower, upper)
	for ok := it.First(); ok; ok = it.Next() {
		n++
	}
	return n, it.Error()
}

// countChange returns by how much the events after a revision have changed the number of keys in
// the range.
func (r *reader) countChange(ctx context.Context, keys keyRange, after int64) (change int64, err error) {
	it, err := r.src.NewIter(ctx, appendHistoryKey(nil, revision{main: after + 1}), []byte{spaceHistory + 1})
	if err != nil {
		return 0, fmt.Errorf("opening an iterator: %w", err)
	}
	defer it.Close()
	steps := 0
	for ok := it.First(); ok; ok = it.Next() {
		if steps++; steps%256 == 0 {
			if err := r.checkInterrupted(ctx); err != nil {
				return 0, err
			}
		}
		key, rec, err := r.event(it)
		if err != nil {
			return 0, err
		}
		switch {
		case !keys.contains(key):
		case !rec.isLive():
			change--
		case rec.version == 1:
			change++
		}
	}
	return change, it.Error()
}

// event parses the history row at the iterator.
func (r *reader) event(it engine.Iterator) (key []byte, rec record, err error) {
	rev, err := parseRevision(it.Key()[1:])
	if err != nil {
		return nil, record{}, err
	}
	row, err := it.ValueAndErr()
	if err != nil {
		return nil, record{}, fmt.Errorf("reading event %d.%d: %w", rev.main, rev.sub, err)
	}
	return parseEvent(rev, row)
}
